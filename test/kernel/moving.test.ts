/** A source moves granules as it should, whatever mappings they lie in: compared with one flat array. */
import { afterEach, describe, expect, it } from 'vitest'
import { BreakSource } from '../../src/memory/break-source.js'
import { MmapSource } from '../../src/memory/mmap-source.js'
import { MAX_CALL_MOVES } from '../../src/memory/page-source.js'
import type { Segment } from '../../src/memory/segment.js'
import { hasNoBreak } from '../support/break.js'
import { FaultyKernel } from '../support/faulty-kernel.js'
import { ManualDeferral } from '../support/manual-deferral.js'
import { fuzzSeed, randomFrom } from '../support/random.js'
import { thrownBy, turns } from '../support/world.js'

const GRANULE = 16
const CALLS = 200

type Source = MmapSource | BreakSource

interface Area {
  readonly segment: Segment
  readonly firstGranule: number
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly model: Uint8Array
}

const kernel = new FaultyKernel()
const deferral = new ManualDeferral()
let source: Source

const SOURCES: Record<string, () => Source> = {
  'one segment': () => new MmapSource(kernel, deferral),
  // The first is a piece of a slab; each further one is four times as long.
  'small segments': () => new MmapSource(kernel, deferral, { startsSmall: true }),
  'the program break': () => new BreakSource(kernel, deferral, 'subject'),
}

afterEach(async () => {
  kernel.allow()
  source.check()
  for (const segment of [...source.segments]) source.retire(segment)
  source.close()
  for (let i = 0; i < 4; i++) {
    await turns()
    deferral.runTurn()
    deferral.advance(1_000)
  }
  expect(kernel.mappings.size).toBe(0)
})

/** All segments, shown and filled with bytes that the model has too. */
function show(random: (end: number) => number): Area[] {
  const { pageBytes } = source
  return source.segments.map(segment => {
    const lengthBytes = segment.pageCount * pageBytes
    const bytes = new Uint8Array(source.wrap(segment.firstPage * pageBytes, lengthBytes).buffer)
    const words = new Uint32Array(bytes.buffer)
    for (let i = 0; i < words.length; i++) words[i] = random(2 ** 32)
    return { segment, firstGranule: (segment.firstPage * pageBytes) / GRANULE, bytes, model: bytes.slice() }
  })
}

function hide(areas: Area[]): void {
  for (const { bytes } of areas) source.detach(bytes.buffer)
}

describe.each(Object.keys(SOURCES).filter(name => name !== 'the program break' || !hasNoBreak))(
  '%s',
  name => {
    it('takes random moves, and nothing of a call with one that leaves its segment', () => {
      const seed = fuzzSeed()
      const random = randomFrom(seed)
      source = SOURCES[name]()
      for (let i = 0; i < 3; i++) source.reserve(1)
      const areas = show(random.below)
      const moves = new Int32Array(3 * MAX_CALL_MOVES)
      for (let call = 0; call < CALLS; call++) {
        const isBad = random.oneIn(8)
        const count = isBad ? 20 : random.below(random.oneIn(4) ? MAX_CALL_MOVES + 1 : 20)
        const some = [random.pick(areas), random.pick(areas)]
        for (let i = 0; i < count; i++) {
          const [from, to] = [0, 1].map(() => random.pick(random.oneIn(4) ? areas : some))
          const [fromGranule, toGranule] = [from, to].map(({ model }) => random.below(model.length / GRANULE))
          const most = Math.min(
            from.model.length / GRANULE - fromGranule,
            to.model.length / GRANULE - toGranule,
          )
          const granules = Math.max(1, random.size(Math.min(most, 1_024)))
          moves.set([from.firstGranule + fromGranule, to.firstGranule + toGranule, granules], 3 * i)
          if (isBad) continue
          const bytes = from.model.slice(fromGranule * GRANULE, (fromGranule + granules) * GRANULE)
          to.model.set(bytes, toGranule * GRANULE)
        }
        if (isBad) {
          moves[3 * random.below(20) + 2] = random.pick([0, -1, 2 ** 31 - 1])
          const code = thrownBy(() => source.move(moves, count))?.code
          expect(code, `seed ${seed}, call ${call}`).toBe('ERR_OUT_OF_RANGE')
        } else source.move(moves, count)
      }
      for (const { segment, bytes, model } of areas) {
        const isSame = Buffer.compare(bytes, model) === 0
        expect(isSame, `seed ${seed}, the segment at page ${segment.firstPage}`).toBe(true)
      }
      hide(areas)
    })

    it('makes one call of the kernel for up to 256 moves, and refuses more', () => {
      source = SOURCES[name]()
      source.reserve(1)
      const [{ bytes, firstGranule }, ...others] = show(() => 0)
      bytes.fill(7, 0, GRANULE)
      const moves = new Int32Array(3 * (MAX_CALL_MOVES + 1))
      for (let i = 0; i <= MAX_CALL_MOVES; i++) moves.set([firstGranule + i, firstGranule + i + 1, 1], 3 * i)
      const before = kernel.callCount
      source.move(moves, MAX_CALL_MOVES)
      expect(kernel.callCount - before).toBe(1)
      expect(bytes.lastIndexOf(7)).toBe((MAX_CALL_MOVES + 1) * GRANULE - 1)
      expect(() => source.move(moves, MAX_CALL_MOVES + 1)).toThrow('at most 256 moves a call')
      hide([{ bytes, firstGranule } as Area, ...others])
    })

    it('names granules that no segment has, and copies nothing', () => {
      source = SOURCES[name]()
      source.reserve(1)
      const areas = show(() => 1)
      const { firstGranule, bytes, model } = areas[0]
      const moves = Int32Array.of(firstGranule, firstGranule + 4, 1, 2 ** 31 - 1, firstGranule, 1)
      expect(() => source.move(moves, 2)).toThrow(/page \d+ has a segment/)
      expect(Buffer.compare(bytes, model)).toBe(0)
      hide(areas)
    })

    it('hands on a refusal of the kernel, and the next call goes through', () => {
      source = SOURCES[name]()
      source.reserve(1)
      const areas = show(() => 0)
      const { firstGranule, bytes } = areas[0]
      bytes.fill(3, 0, GRANULE)
      const moves = Int32Array.of(firstGranule, firstGranule + 4, 1)
      kernel.failNth('move', 1)
      expect(thrownBy(() => source.move(moves, 1))).toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
      expect(bytes.lastIndexOf(3)).toBe(GRANULE - 1)
      source.move(moves, 1)
      expect(bytes.lastIndexOf(3)).toBe(5 * GRANULE - 1)
      hide(areas)
    })
  },
)
