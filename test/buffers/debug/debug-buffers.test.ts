import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { MIB, NONE } from '../../../src/base/units.js'
import { DebugBuffers, type DebugSurroundings } from '../../../src/buffers/debug/debug-buffers.js'
import type { Epoch } from '../../../src/buffers/owner.js'
import { BlockHeap } from '../../../src/heap/block-heap.js'
import { MmapSource } from '../../../src/memory/mmap-source.js'
import type { Segment } from '../../../src/memory/segment.js'
import type { DamageMessage } from '../../../src/notices/damage.js'
import { FaultyKernel } from '../../support/faulty-kernel.js'
import { ManualDeferral } from '../../support/manual-deferral.js'
import { fuzzSeed } from '../../support/random.js'
import { giveBack, takeAway } from '../../support/taking.js'
import { isMarked, mark, turns } from '../../support/world.js'

const EPOCH: Epoch = { arena: { name: 'subject' } }
const RELEASE_AFTER_MS = 1_000
const SLACK = 0xfd
const FREED = 0xdb
const NEVER = Number.POSITIVE_INFINITY

let kernel: FaultyKernel
let source: MmapSource
let deferral: ManualDeferral
let segment: Segment
let heap: BlockHeap
let buffers: DebugBuffers
let live: Set<number>
/** Times that blocks came free outside of a call that frees, and by timer. */
let cameFree: number
let gaveBack: number
/** Kind, size and place of what was told. */
let told: [string, number, number][]

const hear = (kind: string) => (message: unknown) => {
  const { sizeBytes, offsetBytes } = message as DamageMessage
  told.push([kind, sizeBytes, offsetBytes])
}
const onFreedWrite = hear('freed')
const onOverrun = hear('overrun')

function makeBuffers(options: Partial<DebugSurroundings> = {}): void {
  heap = new BlockHeap(source.pageBytes, { wholePagesFromBytes: 65_536, hasCache: false })
  live = new Set()
  cameFree = 0
  gaveBack = 0
  buffers = new DebugBuffers(heap, source, {
    arenaName: 'subject',
    deferral,
    releaseAfterMs: RELEASE_AFTER_MS,
    quarantineBlocks: 1_000,
    quarantineBytes: 64 * MIB,
    cameFree: () => cameFree++,
    giveBack: () => gaveBack++,
    ...options,
  })
  segment = source.reserve((4 * MIB) / source.pageBytes)
  heap.addRange(segment.firstPage, segment.pageCount)
  buffers.addSegment()
}

beforeEach(() => {
  kernel = new FaultyKernel()
  deferral = new ManualDeferral()
  source = new MmapSource(kernel, deferral)
  told = []
  subscribe('offheap:write-after-free', onFreedWrite)
  subscribe('offheap:overrun', onOverrun)
  makeBuffers()
})

afterEach(async () => {
  kernel.allow()
  check()
  unsubscribe('offheap:write-after-free', onFreedWrite)
  unsubscribe('offheap:overrun', onOverrun)
  for (const segment of [...source.segments]) source.retire(segment)
  await turns()
  deferral.runTurn()
})

function check(): void {
  heap.check()
  buffers.check(live.size)
}

interface Made {
  readonly block: number
  readonly owner: Buffer
  readonly sizeBytes: number
  /** Where the owner's first byte is, from page number 0 on. */
  readonly startBytes: number
}

function make(sizeBytes: number, alignBytes = 16): Made {
  buffers.noteAllocation()
  const block = buffers.take(sizeBytes, alignBytes)
  expect(block).not.toBe(NONE)
  const owner = buffers.makeOwner(block, sizeBytes, EPOCH, alignBytes)
  live.add(block)
  const startBytes = segment.firstPage * source.pageBytes + kernel.placeOf(owner).offsetBytes
  return { block, owner, sizeBytes, startBytes }
}

function end({ block }: Made): void {
  buffers.noteEnd(block)
  live.delete(block)
  buffers.end(block)
}

/** Code outside JavaScript writes one byte there, from the owner's first byte on, whatever became of that. */
function write({ startBytes }: Made, offsetBytes: number, byte = 0x42): void {
  source.fill(startBytes + offsetBytes, 1, byte)
}

/** What has been told so far, in the words above; then nothing of it. */
async function heard(): Promise<[string, number, number][]> {
  await turns(1)
  return told.splice(0)
}

describe('the Buffer of a block', () => {
  it.each([1, 100, 4_080, 4_096, 5_000, 65_536, 100_001])('of %i bytes is over exactly these', sizeBytes => {
    const made = make(sizeBytes)
    expect([made.owner.length, made.owner.byteOffset, made.owner.buffer.byteLength]).toEqual([
      sizeBytes,
      0,
      sizeBytes,
    ])
    expect(heap.sizeOf(made.block)).toBeGreaterThan(sizeBytes)
    end(made)
    expect([made.owner.length, made.owner.buffer.byteLength]).toEqual([0, 0])
  })

  it('begins at a multiple of what was asked for', () => {
    for (const alignBytes of [16, 64, 512, 4_096]) {
      for (const sizeBytes of [1, 100, 5_000, 70_000]) {
        expect(make(sizeBytes, alignBytes).startBytes % alignBytes).toBe(0)
      }
    }
  })

  it('has the pattern around it, as far as it can be read', () => {
    for (const sizeBytes of [1, 100, 5_000]) {
      const { block, startBytes } = make(sizeBytes)
      const first = block * 16
      const hasGuard = sizeBytes >= source.pageBytes
      const readable = heap.sizeOf(block) - (hasGuard ? source.pageBytes : 0)
      const before = startBytes - first
      if (before > 0) expect(source.firstOther(first, before, SLACK)).toBe(-1)
      const behind = readable - before - sizeBytes
      if (behind > 0) expect(source.firstOther(startBytes + sizeBytes, behind, SLACK)).toBe(-1)
      expect(before + behind).toBeGreaterThan(0)
    }
  })

  it('is neither resized where it is nor renewed', () => {
    const { block } = make(100)
    expect([buffers.resizing, buffers.renew()]).toEqual([null, false])
    expect(heap.isLive(block)).toBe(true)
  })

  it('is none where the runtime cannot make it, and the block can be taken back', () => {
    const block = buffers.take(100, 16)
    kernel.refuse('wrap')
    expect(() => buffers.makeOwner(block, 100, EPOCH, 16)).toThrow(RangeError)
    kernel.allow()
    buffers.takeBack(block)
    expect(heap.isLive(block)).toBe(false)
    // One that has its guard already.
    const made = make(5_000)
    live.delete(made.block)
    buffers.takeBack(made.block)
    expect([heap.isLive(made.block), made.owner.length, kernel.counts.unguard]).toEqual([false, 0, 1])
  })
})

describe('a guard', () => {
  it('is the last page of a block of a page and more, and of no shorter one', () => {
    const { pageBytes } = source
    make(pageBytes - 1)
    expect(kernel.counts.guard).toBe(0)
    const { block } = make(pageBytes)
    const [{ args }] = kernel.calls.filter(({ kind }) => kind === 'guard')
    expect(args.slice(1)).toEqual([block * 16 + heap.sizeOf(block) - pageBytes, pageBytes])
  })

  it('is lifted when the block leaves, before the heap hears of it', () => {
    const made = make(5_000)
    end(made)
    expect(kernel.counts.unguard).toBe(0)
    let wasLive = false
    kernel.fails = kind => {
      if (kind === 'unguard') wasLive = heap.isLive(made.block)
      return false
    }
    buffers.emptyQuarantine()
    expect([wasLive, heap.isLive(made.block), kernel.counts.unguard]).toEqual([true, false, 1])
  })

  it('that the kernel will not lift keeps the block, until it does', () => {
    const made = make(5_000)
    end(made)
    kernel.refuse('unguard')
    buffers.emptyQuarantine()
    expect([heap.isLive(made.block), buffers.isSetAside(made.block)]).toEqual([true, true])
    expect([buffers.setAsideBlocks, buffers.hasIdle, buffers.quarantinedBlocks]).toEqual([1, true, 0])
    check()
    buffers.recoverSetAside()
    expect([heap.isLive(made.block), buffers.hasIdle]).toEqual([true, true])
    kernel.allow()
    buffers.recoverSetAside()
    expect([heap.isLive(made.block), buffers.setAsideBlocks, buffers.hasIdle]).toEqual([false, 0, false])
  })

  it('is a page of the pattern where there can be none', async () => {
    kernel.refuse('guard')
    const made = make(5_000)
    const { block } = made
    write(made, 5_000 + 4_000)
    end(made)
    expect(await heard()).toEqual([['overrun', 5_000, 9_000]])
    expect(source.firstOther(block * 16, heap.sizeOf(block), FREED)).toBe(-1)
    buffers.emptyQuarantine()
    expect(kernel.counts.unguard).toBe(0)
  })
})

describe('an overrun', () => {
  it.each([
    [100, 100],
    [100, 115],
    [5_000, -1],
    [5_000, -3_184],
  ])('of a block of %i bytes at offset %i is told when it ends', async (sizeBytes, offsetBytes) => {
    const made = make(sizeBytes)
    write(made, offsetBytes)
    end(made)
    expect(await heard()).toEqual([['overrun', sizeBytes, offsetBytes]])
    buffers.emptyQuarantine()
    expect(await heard()).toEqual([])
  })

  it('is no byte of the block itself', async () => {
    for (const sizeBytes of [100, 5_000]) {
      const made = make(sizeBytes)
      for (const at of [0, sizeBytes - 1]) write(made, at)
      end(made)
    }
    expect(await heard()).toEqual([])
  })

  it('is found by check while the block lives, and told once', async () => {
    const made = make(100)
    write(made, 100)
    check()
    expect(await heard()).toEqual([['overrun', 100, 100]])
    check()
    end(made)
    expect(await heard()).toEqual([])
  })

  it('is found when all blocks end', async () => {
    const [first, second] = [make(100), make(200)]
    write(second, 200)
    buffers.noteEndOfAll()
    buffers.endAll(new Map([[first.block, 100]]))
    live.delete(second.block)
    expect(await heard()).toEqual([['overrun', 200, 200]])
  })

  it('of a forgotten block is found when its memory is free, not before', async () => {
    const made = make(100)
    const wrapId = buffers.wrapIdOf(made.block)
    live.delete(made.block)
    buffers.forget(made.block, 100, wrapId)
    write(made, 100)
    expect(await heard()).toEqual([])
    await giveBack(made.owner.buffer as ArrayBuffer, kernel)
    buffers.recoverSetAside()
    expect(await heard()).toEqual([['overrun', 100, 100]])
    expect(buffers.quarantinedBlocks).toBe(1)
  })
})

describe('a block in quarantine', () => {
  it('is live to the heap, full of the pattern, and counted', () => {
    const mades = [make(100), make(5_000)]
    for (const made of mades) end(made)
    expect([buffers.quarantinedBlocks, buffers.quarantinedBytes, buffers.setAsideBlocks]).toEqual([
      2, 5_100, 2,
    ])
    for (const { block, sizeBytes } of mades) {
      expect([heap.isLive(block), buffers.isSetAside(block)]).toEqual([true, true])
      const readable = heap.sizeOf(block) - (sizeBytes === 5_000 ? source.pageBytes : 0)
      expect(source.firstOther(block * 16, readable, FREED)).toBe(-1)
    }
  })

  it.each([0, 99, 100, 115])(
    'that was written to at offset %i is told of when it leaves',
    async offsetBytes => {
      const made = make(100)
      end(made)
      write(made, offsetBytes)
      expect(buffers.emptyQuarantine()).toBe(1)
      expect([await heard(), cameFree, heap.isLive(made.block)]).toEqual([
        [['freed', 100, offsetBytes]],
        1,
        false,
      ])
    },
  )

  it('that was written to is found by check, and told of once', async () => {
    const made = make(100)
    end(made)
    write(made, 5)
    check()
    expect(await heard()).toEqual([['freed', 100, 5]])
    buffers.emptyQuarantine()
    expect(await heard()).toEqual([])
  })

  it('leaves for a younger one where there are too many, or too many bytes', () => {
    makeBuffers({ quarantineBlocks: 2, quarantineBytes: 1_000 })
    const mades = [make(100), make(100), make(100), make(950)]
    const waiting = () => mades.filter(({ block }) => heap.isLive(block)).length
    for (const [at, left] of [4, 4, 3, 1].entries()) {
      end(mades[at])
      expect(waiting()).toBe(left)
    }
    expect(buffers.quarantinedBytes).toBe(950)
    // Nobody is told: the call that frees knows of it.
    expect([cameFree, gaveBack]).toEqual([0, 0])
  })

  it('does not wait where it is longer than all of the quarantine, or where nothing may wait', () => {
    for (const options of [{ quarantineBytes: 99 }, { quarantineBlocks: 0 }, { releaseAfterMs: 0 }]) {
      makeBuffers(options)
      const made = make(100)
      end(made)
      expect([heap.isLive(made.block), buffers.quarantinedBlocks]).toEqual([false, 0])
      expect(deferral.pendingTimers).toBe(0)
    }
  })

  it('leaves by timer after half of the promise at least, and all of it at most', () => {
    for (const startMs of [0, 10, 250, 499, 500, 501, 900]) {
      makeBuffers()
      const first = make(100)
      end(first)
      deferral.advance(startMs)
      const made = make(100)
      end(made)
      deferral.advance(RELEASE_AFTER_MS / 2 - 1)
      expect(heap.isLive(made.block)).toBe(true)
      deferral.advance(RELEASE_AFTER_MS / 2 + 1)
      expect([heap.isLive(made.block), buffers.quarantinedBlocks, deferral.pendingTimers]).toEqual([
        false,
        0,
        0,
      ])
      expect([gaveBack, cameFree]).toEqual([startMs < RELEASE_AFTER_MS / 2 ? 1 : 2, 0])
    }
  })

  it('stays where nothing is released by timer', () => {
    makeBuffers({ releaseAfterMs: NEVER })
    const made = make(100)
    end(made)
    deferral.advance(1e9)
    expect([deferral.pendingTimers, heap.isLive(made.block)]).toEqual([0, true])
    check()
    expect([buffers.emptyQuarantine(), cameFree]).toEqual([1, 1])
  })

  it('has a timer again where an interrupted call left none', () => {
    const made = make(100)
    end(made)
    expect(deferral.pendingTimers).toBe(1)
    buffers.recount()
    expect(deferral.pendingTimers).toBe(1)
    expect(buffers.emptyQuarantine()).toBe(1)
    expect([buffers.emptyQuarantine(), cameFree]).toEqual([0, 1])
  })
})

describe('a block whose buffer somebody took', () => {
  it('is set aside, in no quarantine, and nothing that they write is damage', async () => {
    const made = make(5_000)
    const taken = await takeAway(made.owner.buffer as ArrayBuffer)
    end(made)
    new Uint8Array(taken).fill(9)
    expect([buffers.isSetAside(made.block), buffers.quarantinedBlocks]).toEqual([true, 0])
    check()
    await giveBack(taken, kernel)
    buffers.recoverSetAside()
    expect([buffers.isSetAside(made.block), buffers.quarantinedBlocks]).toEqual([true, 1])
    buffers.emptyQuarantine()
    expect([await heard(), heap.isLive(made.block)]).toEqual([[], false])
  })
})

describe('clear', () => {
  it('ends all but what stays, and lets no more wait than have room', () => {
    makeBuffers({ quarantineBlocks: 2 })
    const before = make(100)
    end(before)
    const mades = Array.from({ length: 5 }, () => make(100))
    buffers.noteEndOfAll()
    buffers.endAll(new Map([[mades[4].block, 100]]))
    for (const { block } of mades.slice(0, 4)) live.delete(block)
    // What waited before is gone; of the others, the last two wait.
    expect([before, ...mades].map(({ block }) => heap.isLive(block))).toEqual([
      false,
      false,
      false,
      true,
      true,
      true,
    ])
    expect(mades.map(({ owner }) => owner.length)).toEqual([0, 0, 0, 0, 100])
    expect(buffers.quarantinedBlocks).toBe(2)
  })
})

describe('abandonSetAside', () => {
  it('forgets all that waits, guards that would not go too, and arms no timer', () => {
    const mades = [make(100), make(5_000), make(6_000)]
    end(mades[1])
    kernel.refuse('unguard')
    buffers.emptyQuarantine()
    end(mades[0])
    end(mades[2])
    buffers.abandonSetAside()
    expect(mades.map(({ block }) => heap.isLive(block))).toEqual([false, false, false])
    expect([buffers.setAsideBlocks, deferral.pendingTimers, buffers.hasIdle]).toEqual([0, 0, false])
  })
})

describe('historyOf', () => {
  function allocateHere(): Made {
    return make(100)
  }

  function freeHere(made: Made): void {
    end(made)
  }

  it('says where a Buffer was allocated, and where it was first freed', () => {
    const made = allocateHere()
    const allocated = buffers.historyOf(made.owner) as Error
    expect(allocated.stack).toMatch(/^Error: 100 bytes were allocated here\n(.*\n)? {4}at allocateHere /)
    freeHere(made)
    buffers.noteEnd(made.block)
    buffers.emptyQuarantine()
    const freed = buffers.historyOf(made.owner) as Error
    expect(freed.stack).toMatch(/^Error: It was first freed here\n(.*\n)? {4}at freeHere /)
    expect((freed.cause as Error).message).toBe('100 bytes were allocated here')
  })

  it('says where all were freed', () => {
    const made = allocateHere()
    buffers.noteEndOfAll()
    buffers.endAll(new Map())
    live.delete(made.block)
    expect(buffers.historyOf(made.owner)?.message).toBe('It was first freed here')
  })

  it('knows nothing of anything else', () => {
    for (const other of [Buffer.alloc(1), {}, null, undefined, 5, 'x']) {
      expect(buffers.historyOf(other)).toBe(undefined)
    }
  })
})

describe('check', () => {
  it('says when what waits would never leave', () => {
    const { after } = deferral
    deferral.after = (delayMs, run) => {
      after.call(deferral, delayMs, run)
      return null as never
    }
    const made = make(100)
    end(made)
    expect(() => check()).toThrow('2: what is in quarantine leaves it')
    deferral.after = after
    buffers.recount()
  })
})

describe('blocks of any sizes', () => {
  it('are told of where they were damaged, each once, and no others', async () => {
    const size = fc.oneof(fc.integer({ min: 1, max: 200 }), fc.integer({ min: 4_000, max: 9_000 }))
    const step = fc.oneof(
      { weight: 4, arbitrary: fc.record({ size, overruns: fc.boolean() }) },
      { weight: 3, arbitrary: fc.record({ end: fc.nat(30), isWritten: fc.boolean() }) },
      { weight: 1, arbitrary: fc.record({ waitMs: fc.nat(700) }) },
    )
    type Step = { size: number; overruns: boolean } | { end: number; isWritten: boolean } | { waitMs: number }
    const property = async (steps: Step[]) => {
      makeBuffers({ quarantineBlocks: 5 })
      const mades: (Made & { overruns: boolean; tag: number })[] = []
      const expected: [string, number, number][] = []
      let tag = 0
      for (const one of steps) {
        if ('size' in one) {
          const made = { ...make(one.size), overruns: one.overruns, tag: ++tag }
          mark(made.owner, made.tag)
          // Right before the block where it ends at its guard, else right behind it.
          const at = one.size >= source.pageBytes ? -1 : one.size
          const hasSlack = at >= 0 || made.startBytes > made.block * 16
          if (one.overruns && hasSlack) {
            write(made, at)
            expected.push(['overrun', one.size, at])
          }
          mades.push(made)
        } else if ('end' in one) {
          const [gone] = mades.splice(one.end % Math.max(1, mades.length), 1)
          if (gone === undefined) continue
          expect(isMarked(gone.owner, gone.tag)).toBe(true)
          end(gone)
          if (one.isWritten) {
            write(gone, 0)
            expected.push(['freed', gone.sizeBytes, 0])
          }
        } else {
          deferral.advance(one.waitMs)
        }
        for (const { owner, tag: marked } of mades) expect(isMarked(owner, marked)).toBe(true)
      }
      for (const made of mades) end(made)
      buffers.emptyQuarantine()
      check()
      heap.flush()
      expect(heap.usedPages).toBe(0)
      const inOrder = (messages: [string, number, number][]) => messages.map(String).sort()
      expect(inOrder(await heard())).toEqual(inOrder(expected))
      deferral.advance(10_000)
    }
    await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 25, size: 'max' }), property), {
      numRuns: 25,
      seed: fuzzSeed() | 0,
    })
  })
})
