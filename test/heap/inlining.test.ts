import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { someOf } from '../support/extent.js'

/** V8's `--max-inlined-bytecode-size`, and `--max-inlined-bytecode-size-cumulative`. */
const LONGEST_INLINED = 460
const ALL_INLINED = 920

const HEAP = fileURLToPath(new URL('../../dist/heap/index.js', import.meta.url))
/** Calls everything once: functions have no bytecode before. */
const SCRIPT = `
  const { Heap } = await import(${JSON.stringify(HEAP)})
  const heap = new Heap({ capacityBytes: 2 ** 26 })
  for (const size of [16, 512, 4096, 100_000]) for (let n = 0; n < 3; n++) heap.free(heap.allocate(size))
  // A short gap, between blocks.
  const [, block] = [heap.allocate(16), heap.allocate(48), heap.allocate(16)]
  heap.free(block)
  heap.stats()
  for (let n = 0; n < 2; n++) heap.allocate(16)
`

/** Bytecodes of each function of that name. */
function lengthsOf(name: string): number[] {
  const args = [
    '--print-bytecode',
    `--print-bytecode-filter=${name}`,
    '--input-type=module',
    '--eval',
    SCRIPT,
  ]
  const printed = execFileSync(process.execPath, args, { encoding: 'utf8', maxBuffer: 2 ** 26 })
  const found = printed.matchAll(/function: (\w+) .*\n(?:.*\n)??Bytecode length: (\d+)/g)
  return [...found].filter(([, found]) => found === name).map(([, , length]) => Number(length))
}

describe('what V8 may inline', () => {
  const names = [
    'allocateShort',
    'allocateLong',
    'freeLong',
    'keepMore',
    'give',
    'takeFrom',
    'takeFromRest',
    'takeLong',
  ]
  // A sample of them.
  it.each(someOf(names, 3))('is too long: %s', name => {
    const [length] = lengthsOf(name)
    expect(length).toBeGreaterThan(LONGEST_INLINED)
  })

  it('is all of what takes a small block from the front, in a function of its own', () => {
    const names = ['granulesIn', 'take', 'takeShort', 'shortBinOf', 'takeFromFront', 'useFront']
    const lengths = names.map(name => lengthsOf(name)[0])
    expect(lengths.reduce((sum, length) => sum + length)).toBeLessThan(ALL_INLINED)
  })

  it('is all of the warm paths, and leaves room for a caller', () => {
    const lengths = [...lengthsOf('allocate'), ...lengthsOf('free')]
    // Those of `Heap` and `BlockHeap`.
    expect(lengths.length).toBe(4)
    expect(Math.max(...lengths)).toBeLessThan(LONGEST_INLINED)
    expect(lengths.reduce((sum, length) => sum + length)).toBeLessThan((ALL_INLINED * 3) / 4)
  })
})
