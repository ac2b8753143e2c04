/**
 * Whether a process can have its program break at all. On musl none can. Elsewhere V8 puts its code into the first gap near Node's
 * own, and where the heap was placed low by chance that gap is right above the break (1 or 2 processes in 100 on Node 20 and 22).
 */
import { loadAddon } from '../../src/memory/addon.js'
import type { MappingId } from '../../src/memory/kernel.js'
import { isMusl } from './libc.js'
import { BREAK_IN_THE_WAY } from './process.js'

/** Where the pages of the break's owner begin, who holds none. No earlier owner's memory is there, if anybody had a view of that. */
export function baseOf(mapping: MappingId, breakAt: () => number): number {
  const { programBreak, pageBytes } = loadAddon()
  programBreak.closeFence(mapping, 4 * pageBytes)
  programBreak.openFence(mapping, pageBytes)
  programBreak.sbrk(mapping, pageBytes)
  const base = breakAt() - pageBytes
  programBreak.sbrk(mapping, -pageBytes)
  programBreak.closeFence(mapping, 0)
  return base
}

/** No test raises the break by more. */
const ROOM_BYTES = 256 * 2 ** 20

/** For `describe.skipIf`: says so, and why, where this process has no break to test. */
export const hasNoBreak = !canMoveBreak()
if (hasNoBreak) {
  const reason = isMusl
    ? 'musl never moves it'
    : `something is mapped right above it here (${BREAK_IN_THE_WAY})`
  console.warn(`tests of the program break are skipped: ${reason}`)
}

function canMoveBreak(): boolean {
  if (isMusl) return false
  const kernel = loadAddon()
  let mapping: MappingId | undefined
  try {
    mapping = kernel.programBreak.take('probe')
    kernel.programBreak.closeFence(mapping, ROOM_BYTES)
    return true
  } catch (error) {
    if ((error as Error).message !== BREAK_IN_THE_WAY) throw error
    return false
  } finally {
    if (mapping !== undefined) {
      kernel.programBreak.leave(mapping, false)
      kernel.unmap(mapping)
    }
  }
}
