import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { MIB, NONE } from '../../src/base/units.js'
import { BlockBuffers } from '../../src/buffers/block-buffers.js'
import { blockOf, type Epoch, isOwner, sizeOf } from '../../src/buffers/owner.js'
import { reachOf } from '../../src/buffers/view-reach.js'
import { BlockHeap } from '../../src/heap/block-heap.js'
import { WipingHeap } from '../../src/heap/wiping-heap.js'
import type { Segment } from '../../src/memory/segment.js'
import { FakeSource } from '../support/fake-source.js'
import { FaultyKernel } from '../support/faulty-kernel.js'
import { fuzzSeed } from '../support/random.js'
import { collect, giveBack, takeAway } from '../support/taking.js'
import { isMarked, mark, thrownBy, turns } from '../support/world.js'

const EPOCH: Epoch = { arena: { name: 'subject' } }
const KIB = 1024
const ALIGN = 16
const NEVER = Number.POSITIVE_INFINITY
/** The longest block that shares a window, and one that does not. */
const LONGEST_SHARED = 64 * KIB
const OWN = LONGEST_SHARED + 1

let kernel: FaultyKernel
let source: FakeSource
let heap: BlockHeap
let segment: Segment
let buffers: BlockBuffers
/** Blocks with an owner. */
let live: Map<number, Buffer>

/** Buffers over 8 MiB of a heap that keeps nothing back, so that what is free is a gap at once. */
function makeBuffers(detachFromBytes: number, makeHeap = defaultHeap): void {
  heap = makeHeap()
  buffers = new BlockBuffers(heap, source, detachFromBytes, 'subject')
  live = new Map()
  segment = addSegment(8 * MIB)
}

function defaultHeap(): BlockHeap {
  return new BlockHeap(source.pageBytes, { wholePagesFromBytes: LONGEST_SHARED, hasCache: false })
}

function addSegment(lengthBytes: number): Segment {
  const added = source.reserve(lengthBytes / source.pageBytes)
  heap.addRange(added.firstPage, added.pageCount)
  buffers.addSegment(added)
  return added
}

beforeEach(() => {
  kernel = new FaultyKernel()
  source = new FakeSource(kernel)
  makeBuffers(NEVER)
})

afterEach(() => {
  kernel.allow()
  check()
  source.close()
})

function check(): void {
  heap.check()
  buffers.check(live.size)
}

interface Made {
  readonly block: number
  readonly owner: Buffer
}

/** A block and its owner; blocks that are set aside on the way stay where they are. */
function make(sizeBytes: number): Made {
  for (;;) {
    const block = heap.allocate(sizeBytes)
    expect(block).not.toBe(NONE)
    const owner = buffers.makeOwner(block, sizeBytes, EPOCH)
    if (owner === null) {
      expect(buffers.isSetAside(block)).toBe(true)
      continue
    }
    live.set(block, owner)
    return { block, owner }
  }
}

function end({ block, owner }: Made): void {
  live.delete(block)
  if (!isOwner(owner)) throw new Error('an owner')
  buffers.end(block, sizeOf(owner))
}

/** Pages that live blocks touch. */
function usedPages(): number {
  heap.flush()
  return heap.usedPages
}

function purgeAll(): void {
  for (let page = heap.nextDirty(0, false); page !== NONE; page = heap.nextDirty(page, false)) {
    const pageEnd = heap.dirtyEnd(page, Number.MAX_SAFE_INTEGER, false)
    heap.markPurged(page, pageEnd - page)
  }
}

describe('the Buffer of a block', () => {
  it.each([
    ['shares a window below 64 KiB and a byte', NEVER, LONGEST_SHARED, 'shared'],
    ['has one of its own from there on, which stays', NEVER, OWN, 'kept'],
    ['has one of its own from detachFromBytes on, which goes', 1_000, 1_000, 'detached'],
    ['shares a window below that', 1_000, 999, 'shared'],
    ['has one of its own at any length where all are detached', 0, 1, 'detached'],
    ['keeps its own below detachFromBytes', MIB, MIB - 1, 'kept'],
  ])('%s', (_, detachFromBytes, sizeBytes, kind) => {
    makeBuffers(detachFromBytes)
    make(16)
    const made = make(sizeBytes)
    const { owner, block } = made
    expect([owner.length, isOwner(owner) && blockOf(owner)]).toEqual([sizeBytes, block])
    const { byteLength } = owner.buffer
    if (kind === 'shared') expect(byteLength).toBeGreaterThan(MIB)
    else expect(byteLength).toBe(kind === 'kept' ? heap.sizeOf(block) : sizeBytes)
    expect(kernel.placeOf(owner).offsetBytes).toBe(block * 16)
    expect(source.isWrapped(buffers.wrapIdOf(block, sizeBytes))).toBe(true)
    end(made)
    expect(owner.length).toBe(kind === 'detached' ? 0 : sizeBytes)
    expect([heap.isLive(block), buffers.setAsideBlocks]).toEqual([false, 0])
  })

  it('is none where the runtime cannot make it, and the block can be taken back', () => {
    for (const sizeBytes of [100, OWN]) {
      const block = heap.allocate(sizeBytes)
      kernel.refuse('wrap')
      expect(thrownBy(() => buffers.makeOwner(block, sizeBytes, EPOCH))).toBeInstanceOf(RangeError)
      kernel.allow()
      expect(heap.isLive(block)).toBe(true)
      buffers.check(0)
      buffers.takeBack(block)
      expect([heap.isLive(block), usedPages()]).toEqual([false, 0])
    }
  })

  it('is taken back with the buffer that was made for it', () => {
    makeBuffers(0)
    const { block, owner } = make(5_000)
    live.delete(block)
    buffers.takeBack(block)
    expect([owner.length, heap.isLive(block)]).toEqual([0, false])
  })
})

describe('a block whose buffer somebody took', () => {
  it.each([
    ['of its own', 0, 5_000],
    ['that is kept', NEVER, OWN],
  ])(
    '%s is set aside when it ends, until the finalizer of that ran',
    async (_, detachFromBytes, sizeBytes) => {
      makeBuffers(detachFromBytes)
      const made = make(sizeBytes)
      const taken = await takeAway(made.owner.buffer as ArrayBuffer)
      end(made)
      expect([heap.isLive(made.block), buffers.isSetAside(made.block)]).toEqual([true, true])
      expect([buffers.setAsideBlocks, buffers.hasIdle, segment.isKeptForGood]).toEqual([1, true, true])
      buffers.recoverSetAside()
      expect(buffers.setAsideBlocks).toBe(1)
      await giveBack(taken, kernel)
      buffers.recoverSetAside()
      expect([heap.isLive(made.block), buffers.setAsideBlocks, buffers.hasIdle]).toEqual([false, 0, false])
    },
  )

  it('is set aside where the runtime refuses to detach it', () => {
    makeBuffers(0)
    const made = make(5_000)
    kernel.refuse('detach')
    end(made)
    expect([buffers.isSetAside(made.block), made.owner.length]).toEqual([true, 5_000])
  })

  it('of a window keeps others out, and is free when it ends', async () => {
    const made = make(100)
    const taken = await takeAway(made.owner.buffer as ArrayBuffer)
    const block = heap.allocate(100)
    expect(buffers.makeOwner(block, 100, EPOCH)).toBe(null)
    expect([buffers.isSetAside(block), buffers.setAsideBlocks]).toEqual([true, 1])
    end(made)
    expect(heap.isLive(made.block)).toBe(false)
    // Blocks with a buffer of their own keep off the taken bytes as well.
    const beyond = make(OWN)
    expect(beyond.block * 16).toBeGreaterThanOrEqual(MIB + LONGEST_SHARED)
    const aside = buffers.setAsideBlocks
    expect(aside).toBeGreaterThan(1)
    await giveBack(taken, kernel)
    buffers.recoverSetAside()
    expect([buffers.setAsideBlocks, make(100).block]).toEqual([0, made.block])
  })

  it('is met when a block of it has length 0', async () => {
    const [first, second] = [make(100), make(100)]
    await takeAway(first.owner.buffer as ArrayBuffer)
    buffers.notice(second.block, 100)
    expect(segment.isKeptForGood).toBe(true)
    expect(buffers.makeOwner(heap.allocate(50), 50, EPOCH)).toBe(null)
  })

  it('is not looked for where a block has a buffer of its own', async () => {
    const [small, long] = [make(100), make(OWN)]
    await takeAway(small.owner.buffer as ArrayBuffer)
    buffers.notice(long.block, OWN)
    expect(segment.isKeptForGood).toBe(false)
    buffers.noticeTaken()
    expect(segment.isKeptForGood).toBe(true)
  })

  it('is forgotten by the books when the memory goes', async () => {
    makeBuffers(0)
    const made = make(5_000)
    await takeAway(made.owner.buffer as ArrayBuffer)
    end(made)
    buffers.abandonSetAside()
    expect([heap.isLive(made.block), buffers.setAsideBlocks, buffers.hasIdle]).toEqual([false, 0, false])
  })
})

describe('a block that was forgotten', () => {
  /** Makes a block that nothing but `keep` of it refers to any more, and forgets it. */
  function forget<T>(sizeBytes: number, keep: (owner: Buffer) => T): { block: number; kept: T } {
    const { block, owner } = make(sizeBytes)
    const wrapId = buffers.wrapIdOf(block, sizeBytes)
    const kept = keep(owner)
    live.delete(block)
    buffers.forget(block, sizeBytes, wrapId)
    return { block, kept }
  }

  it.each([
    ['in a window', NEVER, 100],
    ['with a kept buffer', NEVER, OWN],
    ['with one of its own', 0, 100],
  ])('%s waits while a view of it is left', async (_, detachFromBytes, sizeBytes) => {
    makeBuffers(detachFromBytes)
    let recoveries = 0
    buffers.onCollected = () => recoveries++
    const { block, kept } = forget(sizeBytes, owner => ({
      view: owner.fill(7).subarray(1, 9) as Buffer | null,
    }))
    check()
    expect([buffers.setAsideBlocks, heap.isLive(block)]).toEqual([1, true])
    await collect()
    buffers.recoverSetAside()
    expect([heap.isLive(block), recoveries]).toEqual([true, 0])
    expect(kept.view?.every(byte => byte === 7)).toBe(true)
    // Another block is over another buffer, also in the same window.
    const other = make(sizeBytes)
    expect(other.owner.buffer).not.toBe(kept.view?.buffer)
    end(other)
    kept.view = null
    await collect()
    expect([recoveries, buffers.hasIdle]).toEqual([1, true])
    buffers.recoverSetAside()
    expect([heap.isLive(block), buffers.setAsideBlocks]).toEqual([false, 0])
  })

  it('is free at once where its buffer is gone already', async () => {
    const { block, owner } = make(100)
    const wrapId = buffers.wrapIdOf(block, 100)
    const taken = await takeAway(owner.buffer as ArrayBuffer)
    buffers.noticeTaken()
    await giveBack(taken, kernel)
    buffers.recoverSetAside()
    live.delete(block)
    buffers.forget(block, 100, wrapId)
    expect([heap.isLive(block), buffers.setAsideBlocks]).toEqual([false, 0])
  })

  it('waits for whoever took its window before it was forgotten', async () => {
    const { block, kept } = await (async () => {
      const { block: made, owner } = make(100)
      return { block: made, kept: await takeAway(owner.buffer as ArrayBuffer) }
    })()
    const wrapId = buffers.wrapIdOf(block, 100)
    live.delete(block)
    buffers.forget(block, 100, wrapId)
    expect([heap.isLive(block), buffers.isSetAside(block)]).toEqual([true, true])
    await giveBack(kept, kernel)
    buffers.recoverSetAside()
    expect(heap.isLive(block)).toBe(false)
  })

  it('with a buffer of its own that somebody took is set aside', async () => {
    makeBuffers(0)
    const { block, owner } = make(100)
    const wrapId = buffers.wrapIdOf(block, 100)
    const taken = await takeAway(owner.buffer as ArrayBuffer)
    live.delete(block)
    buffers.forget(block, 100, wrapId)
    expect(buffers.isSetAside(block)).toBe(true)
    await giveBack(taken, kernel)
    buffers.recoverSetAside()
    expect(heap.isLive(block)).toBe(false)
  })

  it('waits for a buffer from before that still reaches it', async () => {
    makeBuffers(0)
    const { block, owner } = make(100)
    kernel.refuse('detach')
    const next = buffers.replaceOwner(block, 90, EPOCH)
    kernel.allow()
    const wrapId = buffers.wrapIdOf(block, 90)
    live.delete(block)
    buffers.forget(block, 90, wrapId)
    expect(buffers.isSetAside(block)).toBe(false)
    await giveBack(next.buffer as ArrayBuffer, kernel)
    buffers.recoverSetAside()
    expect([heap.isLive(block), buffers.isSetAside(block), owner.length]).toEqual([true, true, 100])
    await giveBack(owner.buffer as ArrayBuffer, kernel)
    buffers.recoverSetAside()
    expect(heap.isLive(block)).toBe(false)
  })

  it('leaves its window, which then is idle', async () => {
    const { block, owner } = make(100)
    live.delete(block)
    buffers.forget(block, 100, buffers.wrapIdOf(block, 100))
    // The same window, wrapped anew.
    const other = make(100)
    await giveBack(owner.buffer as ArrayBuffer, kernel)
    buffers.recoverSetAside()
    expect([heap.isLive(block), buffers.hasIdle]).toEqual([false, false])
    end(other)
    expect(buffers.hasIdle).toBe(true)
    heap.flush()
    purgeAll()
    buffers.dropIdle()
    expect([other.owner.length, buffers.hasIdle]).toEqual([0, false])
  })

  it('waits for its window where that gave up a few buffers already', async () => {
    const rounds = 6
    const waiting: Made[] = []
    for (let round = 0; round < rounds; round++) {
      const made = make(100)
      live.delete(made.block)
      waiting.push(made)
      buffers.forget(made.block, 100, buffers.wrapIdOf(made.block, 100))
      check()
    }
    // The last two share the buffer that the window has now.
    expect(new Set(waiting.map(({ owner }) => owner.buffer)).size).toBe(rounds - 1)
    await giveBack(waiting[0].owner.buffer as ArrayBuffer, kernel)
    buffers.recoverSetAside()
    expect(waiting.map(({ block }) => heap.isLive(block))).toEqual([false, true, true, true, true, true])
    expect(make(100).owner.buffer).not.toBe(waiting[rounds - 1].owner.buffer)
  })

  it('is no block that a view leads to', () => {
    const { kept } = forget(100, owner => owner.subarray(0))
    const reach = reachOf(kept)
    expect([buffers.has(kept.buffer), reach && buffers.blockUnder(reach)]).toEqual([true, NONE])
    const long = forget(OWN, owner => owner.subarray(0)).kept
    const longReach = reachOf(long)
    expect([buffers.has(long.buffer), longReach && buffers.blockUnder(longReach)]).toEqual([true, NONE])
  })
})

describe('blockUnder', () => {
  const under = (view: Uint8Array): number => {
    const reach = reachOf(view)
    return reach === null ? NONE : buffers.blockUnder(reach)
  }

  it('finds the live block that holds all bytes of a view', () => {
    for (const detachFromBytes of [NEVER, 0]) {
      makeBuffers(detachFromBytes)
      const mades = [make(100), make(100), make(OWN)]
      for (const { block, owner } of mades) {
        for (const view of [owner, owner.subarray(7), owner.subarray(owner.length - 1), owner.subarray(5, 5)])
          expect(under(view)).toBe(block)
      }
    }
  })

  it('finds none where a view covers more than one block, or what is free', () => {
    const [first, second] = [make(160), make(160)]
    const { buffer, byteOffset } = first.owner
    expect(second.block).toBe(first.block + 10)
    expect(under(new Uint8Array(buffer, byteOffset, 160))).toBe(first.block)
    expect(under(new Uint8Array(buffer, byteOffset, 161))).toBe(NONE)
    expect(under(new Uint8Array(buffer, byteOffset + 320, 1))).toBe(NONE)
    end(first)
    expect(under(first.owner)).toBe(NONE)
    expect(under(Buffer.alloc(8))).toBe(NONE)
  })

  it('finds it through a window that was given up, and none that is set aside', async () => {
    const [kept, { block, owner }] = [make(100), make(100)]
    live.delete(block)
    buffers.forget(block, 100, buffers.wrapIdOf(block, 100))
    expect(owner.length).toBe(100)
    expect(under(kept.owner)).toBe(kept.block)
    await takeAway(kept.owner.buffer as ArrayBuffer)
    expect(under(kept.owner)).toBe(NONE)
  })
})

describe('resizing', () => {
  it('is for blocks that keep their kind of buffer', () => {
    makeBuffers(MIB)
    const { block } = make(100)
    expect([mayResize(block, 100, 99), mayResize(block, 100, LONGEST_SHARED)]).toEqual([true, true])
    expect([mayResize(block, 100, OWN), mayResize(block, OWN, MIB)]).toEqual([false, false])
    expect([mayResize(block, OWN, MIB - 1), mayResize(block, MIB, 2 * MIB)]).toEqual([true, true])
    expect(buffers.resizing).toBe(buffers)
  })

  it('is not for what shrinks in a heap that wipes', () => {
    makeBuffers(NEVER, () => new WipingHeap(source.pageBytes, { hasCache: false }, () => {}))
    const { block } = make(100)
    expect([mayResize(block, 100, 99), mayResize(block, 100, 101)]).toEqual([false, true])
    buffers.abandonSetAside()
    expect(mayResize(block, 100, 99)).toBe(true)
  })

  it('is not for bytes that somebody else can reach', async () => {
    const { block, owner } = make(100)
    const wrapId = buffers.wrapIdOf(block, 100)
    const view = owner.buffer as ArrayBuffer
    const other = make(100)
    live.delete(other.block)
    buffers.forget(other.block, 100, wrapId)
    expect(mayResize(block, 100, 90)).toBe(true)
    await takeAway(view)
    expect(mayResize(block, 100, 90)).toBe(false)
  })

  function mayResize(block: number, oldBytes: number, sizeBytes: number): boolean {
    return buffers.mayResizeTo(block, oldBytes, sizeBytes)
  }

  it.each([
    ['in a window', NEVER, 100, 200],
    ['with a kept buffer', NEVER, OWN, OWN + 70_000],
    ['with a buffer that is detached', 0, 100, 200],
  ])('gives a block %s another owner over the same bytes', (_, detachFromBytes, from, to) => {
    makeBuffers(detachFromBytes)
    const { block, owner } = make(from)
    mark(owner, 3)
    expect(heap.resize(block, to)).toBe(true)
    const next = buffers.replaceOwner(block, to, EPOCH)
    live.set(block, next)
    expect([next.length, isOwner(next) && sizeOf(next)]).toEqual([to, to])
    expect(isMarked(next, 3, from)).toBe(true)
    check()
    end({ block, owner: next })
    expect(usedPages()).toBe(0)
    purgeAll()
    buffers.dropIdle()
    expect([next.length, buffers.hasIdle]).toEqual([0, false])
  })

  it('wraps the window anew where that was given up', () => {
    const [{ block, owner }, other] = [make(100), make(100)]
    mark(owner, 3)
    live.delete(other.block)
    buffers.forget(other.block, 100, buffers.wrapIdOf(other.block, 100))
    const next = buffers.replaceOwner(block, 90, EPOCH)
    live.set(block, next)
    expect([next.buffer === owner.buffer, isMarked(next, 3, 90, 100)]).toEqual([false, true])
  })
})

describe('renew', () => {
  it('has the pages of a block purged, in one call, and no others', () => {
    const { pageBytes } = source
    const blocks = Array.from({ length: 3 }, () => make(OWN + 3 * pageBytes))
    for (const { owner } of blocks) owner.fill(9)
    source.calls.length = 0
    const { block, owner } = blocks[1]
    expect(buffers.renew(block, owner.length)).toBe(true)
    expect(source.calls).toEqual(['purge'])
    expect(owner.every(byte => byte === 0)).toBe(true)
    expect([0, 2].every(at => blocks[at].owner.every(byte => byte === 9))).toBe(true)
  })

  it('says where the kernel refuses', () => {
    const { block } = make(OWN)
    source.fails = call => call === 'purge'
    expect(buffers.renew(block, OWN)).toBe(false)
    source.fails = undefined
  })
})

describe('dropIdle', () => {
  it('drops what no live block needs once its pages are cold', () => {
    const [small, long] = [make(100), make(OWN)]
    expect(buffers.hasIdle).toBe(false)
    end(small)
    expect(buffers.hasIdle).toBe(true)
    end(long)
    heap.flush()
    buffers.dropIdle()
    expect([small.owner.length, long.owner.length]).toEqual([100, OWN])
    purgeAll()
    buffers.dropIdle()
    expect([small.owner.length, long.owner.length, buffers.hasIdle]).toEqual([0, 0, false])
  })

  it('keeps a window in which a block lives, and a buffer one of whose pages is warm', () => {
    const [small, long] = [make(100), make(OWN)]
    end(long)
    heap.flush()
    const firstPage = (long.block * 16) / source.pageBytes
    heap.markPurged(firstPage, 1)
    buffers.dropIdle()
    expect([small.owner.length, long.owner.length]).toEqual([100, OWN])
  })
})

describe('removeSegment', () => {
  it('detaches everything over a segment that goes, and nothing else', async () => {
    const other = addSegment(2 * MIB)
    const start = other.firstPage * source.pageBytes
    const mades = Array.from({ length: 60 }, (_, at) => make(at % 2 === 0 ? OWN : 60_000))
    const isThere = ({ block }: Made) => block * 16 >= start
    const gone = mades.filter(isThere)
    const kept = mades.filter(made => !isThere(made))
    for (const made of gone) end(made)
    // One that waits elsewhere.
    end(kept[0])
    heap.flush()
    purgeAll()
    buffers.removeSegment(other)
    heap.removeRange(other.firstPage, other.pageCount)
    expect(gone.length).toBeGreaterThan(10)
    expect(gone.every(({ owner }) => owner.length === 0)).toBe(true)
    expect(kept.every(({ owner }) => owner.length > 0)).toBe(true)
  })
})

describe('removeSegment, after a block of it was forgotten and all ended', () => {
  it('detaches the buffer that its window gave up', () => {
    const [forgotten, stays] = [make(100), make(100)]
    live.delete(forgotten.block)
    buffers.forget(forgotten.block, 100, buffers.wrapIdOf(forgotten.block, 100))
    buffers.endAll(new Map([[stays.block, 100]]))
    expect(forgotten.owner.length).toBe(100)
    end(stays)
    heap.flush()
    purgeAll()
    buffers.removeSegment(segment)
    heap.removeRange(segment.firstPage, segment.pageCount)
    expect(forgotten.owner.length).toBe(0)
  })
})

describe('endAll', () => {
  it('detaches every buffer, and what stays lives on', () => {
    const mades = [make(100), make(100), make(OWN), make(OWN)]
    const staying = new Map([mades[1], mades[3]].map(({ block, owner }) => [block, owner.length]))
    buffers.endAll(staying)
    for (const { block } of [mades[0], mades[2]]) live.delete(block)
    expect(mades.map(({ block }) => heap.isLive(block))).toEqual([false, true, false, true])
    // A window is one buffer: it stays with any block in it.
    expect(mades.map(({ owner }) => owner.length)).toEqual([100, 100, 0, OWN])
    check()
    end(mades[1])
    end(mades[3])
    expect(usedPages()).toBe(0)
  })

  it('detaches a window in which nothing stays', () => {
    const made = make(100)
    buffers.endAll(new Map())
    live.delete(made.block)
    expect([made.owner.length, heap.isLive(made.block)]).toEqual([0, false])
  })

  it('gives back what no owner has', () => {
    const block = buffers.take(5_000, ALIGN)
    buffers.endAll(new Map())
    expect(heap.isLive(block)).toBe(false)
  })

  it('sets aside what somebody took', async () => {
    makeBuffers(0)
    const [taken, other] = [make(5_000), make(5_000)]
    await takeAway(taken.owner.buffer as ArrayBuffer)
    buffers.endAll(new Map())
    live.clear()
    expect([taken, other].map(({ block }) => buffers.isSetAside(block))).toEqual([true, false])
    expect([taken, other].map(({ block }) => heap.isLive(block))).toEqual([true, false])
  })
})

describe('reaches', () => {
  it('are all wraps by which memory may be seen, also of what ended', async () => {
    makeBuffers(MIB)
    const [small, long] = [make(100), make(2 * MIB)]
    const wrapIds = [buffers.wrapIdOf(small.block, 100), buffers.wrapIdOf(long.block, 2 * MIB)]
    const all = () => buffers.reaches.map(({ wrapId }) => wrapId).sort()
    expect(all()).toEqual(wrapIds.toSorted())
    await takeAway(long.owner.buffer as ArrayBuffer)
    end(long)
    live.delete(small.block)
    buffers.forget(small.block, 100, wrapIds[0])
    expect(all()).toEqual(wrapIds.toSorted())
    expect(small.owner.length).toBe(100)
  })
})

describe('blocks of any sizes', () => {
  const sizes = fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 60_000, max: 70_000 }))
  const step = fc.oneof(
    { weight: 5, arbitrary: fc.record({ size: sizes }) },
    { weight: 4, arbitrary: fc.record({ end: fc.nat(50) }) },
    { weight: 1, arbitrary: fc.record({ purge: fc.constant(true) }) },
    { weight: 1, arbitrary: fc.record({ reset: fc.nat(50) }) },
  )
  type Step = { size: number } | { end: number } | { purge: boolean } | { reset: number }

  it.each([NEVER, 65_000, 0])(
    'keep their bytes while others come and go (detachFromBytes %d)',
    async from => {
      const property = async (steps: Step[]) => {
        makeBuffers(from)
        const mades: (Made & { tag: number })[] = []
        let tag = 0
        for (const one of steps) {
          if ('size' in one) {
            const made = { ...make(one.size), tag: ++tag }
            mark(made.owner, made.tag)
            mades.push(made)
          } else if ('end' in one) {
            const [gone] = mades.splice(one.end % Math.max(1, mades.length), 1)
            if (gone !== undefined) end(gone)
          } else if ('purge' in one) {
            heap.flush()
            purgeAll()
            buffers.dropIdle()
          } else {
            const staying = mades.filter((_, at) => at % 3 === one.reset % 3)
            buffers.endAll(new Map(staying.map(({ block, owner }) => [block, owner.length])))
            mades.splice(0, mades.length, ...staying)
            live = new Map(staying.map(({ block, owner }) => [block, owner]))
          }
          check()
          for (const { owner, tag: marked } of mades) expect(isMarked(owner, marked)).toBe(true)
        }
        for (const made of mades) end(made)
        check()
        expect([usedPages(), buffers.setAsideBlocks]).toEqual([0, 0])
        source.retire(segment)
        await turns(1)
      }
      const steps = fc.array(step, { maxLength: 25, size: 'max' })
      await fc.assert(fc.asyncProperty(steps, property), { numRuns: 15, seed: fuzzSeed() | 0 })
    },
  )
})
