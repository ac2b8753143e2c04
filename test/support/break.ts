/**
 * Whether a process can have its program break at all: V8 puts its code into the first gap near Node's own, and where the
 * heap was placed low by chance that gap is right above the break (1 or 2 processes in 100 on Node 20 and 22).
 */
import { loadKernel } from '../../src/memory/addon.js'
import type { MappingId } from '../../src/memory/kernel.js'
import type { Outcome } from './process.js'

/** Where the pages of the break's owner begin, who holds none. No earlier owner's memory is there, if anybody had a view of that. */
export function baseOf(mapping: MappingId, breakAt: () => number): number {
  const { programBreak, pageBytes } = loadKernel()
  programBreak.closeFence(mapping, 4 * pageBytes)
  programBreak.openFence(mapping, pageBytes)
  programBreak.sbrk(mapping, pageBytes)
  const base = breakAt() - pageBytes
  programBreak.sbrk(mapping, -pageBytes)
  programBreak.closeFence(mapping, 0)
  return base
}

const IN_THE_WAY = 'mmap: File exists (EEXIST)'
const ATTEMPTS = 20

/** For `describe.skipIf`: says so, and why, where this process has no break to test. */
export const hasNoBreak = !canMoveBreak()
if (hasNoBreak) {
  console.warn(
    `tests of the program break are skipped: something is mapped right above it here (${IN_THE_WAY})`,
  )
}

function canMoveBreak(): boolean {
  const kernel = loadKernel()
  try {
    const mapping = kernel.programBreak.take('probe')
    kernel.programBreak.leave(mapping, false)
    return kernel.unmap(mapping)
  } catch (error) {
    if ((error as Error).message !== IN_THE_WAY) throw error
    return false
  }
}

/** Runs a process again until it is one that has a break. */
export async function runWithBreak(run: () => Promise<Outcome>): Promise<Outcome> {
  for (let attempt = 1; ; attempt++) {
    const outcome = await run()
    if (!outcome.stderr.includes(IN_THE_WAY) || attempt === ATTEMPTS) return outcome
  }
}
