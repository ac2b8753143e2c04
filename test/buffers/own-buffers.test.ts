import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { MIB, NONE } from '../../src/base/units.js'
import { OwnBuffers } from '../../src/buffers/own-buffers.js'
import { blockOf, type Epoch, isOwner } from '../../src/buffers/owner.js'
import { transferRefusal } from '../../src/buffers/transfer-refusal.js'
import type { WrapId } from '../../src/memory/runtime.js'
import type { Segment } from '../../src/memory/segment.js'
import { FakeSource } from '../support/fake-source.js'
import { FaultyKernel } from '../support/faulty-kernel.js'
import { fuzzSeed } from '../support/random.js'
import { giveBack, takeAway } from '../support/taking.js'
import { thrownBy } from '../support/world.js'

const EPOCH: Epoch = { arena: { name: 'subject' } }
/** Where blocks of the tests start, and how long they are. */
const [A, B, C] = [0, MIB / 16, (2 * MIB) / 16]
const SIZE = 100_000
const HELD = 102_400

let kernel: FaultyKernel
let source: FakeSource
let own: OwnBuffers
let segment: Segment

beforeEach(() => {
  kernel = new FaultyKernel()
  source = new FakeSource(kernel)
  own = new OwnBuffers(source, transferRefusal('subject'))
  segment = source.reserve((4 * MIB) / source.pageBytes)
})

afterEach(() => {
  kernel.allow()
  source.close()
})

const makeDetachable = (block: number, sizeBytes = SIZE): Buffer =>
  own.makeDetachable(block, 0, sizeBytes, EPOCH)
const makeKept = (block: number, sizeBytes = SIZE, usableBytes = HELD): Buffer =>
  own.makeKept(block, sizeBytes, usableBytes, EPOCH)

/** A kept buffer that waits at a block. */
function waitingAt(block: number): ArrayBuffer {
  const { buffer } = makeKept(block)
  expect(own.keep(block)).toBe(null)
  return buffer as ArrayBuffer
}

function refusingDetach<T>(run: () => T): T {
  kernel.refuse('detach')
  try {
    return run()
  } finally {
    kernel.allow()
  }
}

describe('a buffer that is detached', () => {
  it('covers exactly the bytes, wherever in the block they begin', () => {
    const owner = own.makeDetachable(B, 48, 77, EPOCH)
    expect([owner.buffer.byteLength, owner.byteOffset, owner.length]).toEqual([77, 0, 77])
    expect(kernel.placeOf(owner).offsetBytes).toBe(MIB + 48)
    expect(isOwner(owner) && blockOf(owner)).toBe(B)
    own.check(1)
  })

  it('ends with its block: every view has length 0', () => {
    const owner = makeDetachable(A)
    const view = owner.subarray(5)
    expect(own.detach(A)).toBe(null)
    expect([owner.length, view.length, own.has(owner.buffer)]).toEqual([0, 0, false])
    expect([own.liveBlocks, own.idleBytes, segment.isKeptForGood]).toEqual([0, 0, false])
    own.check(0)
  })

  it('takes the place of one that an interrupted call has left there', () => {
    const old = makeDetachable(A)
    const owner = makeDetachable(A)
    expect([old.length, owner.length]).toEqual([0, SIZE])
    own.check(1)
  })

  it('is none where the source cannot wrap the bytes', () => {
    kernel.refuse('wrap')
    expect(thrownBy(() => makeDetachable(A))).toBeInstanceOf(RangeError)
    expect(thrownBy(() => makeKept(B))).toBeInstanceOf(RangeError)
    own.check(0)
    expect([own.isTaken(A), own.wrapIdOf(A), own.reaches]).toEqual([false, 0, []])
  })
})

describe('a kept buffer', () => {
  it('covers all of the block', () => {
    const owner = makeKept(A)
    expect([owner.length, owner.buffer.byteLength]).toEqual([SIZE, HELD])
  })

  it('has the methods hidden that would take it away, unlike one that is detached', () => {
    const refused: ArrayBuffer[] = []
    own = new OwnBuffers(source, buffer => refused.push(buffer))
    const first = makeKept(A)
    makeDetachable(B)
    own.replace(B, 50, 50, EPOCH, false)
    const second = own.replace(A, SIZE, 2 * HELD, EPOCH, true)
    expect(refused).toEqual([first.buffer, second.buffer])
  })

  it('waits when its block ends, and serves the next one there', () => {
    const buffer = waitingAt(A)
    expect([buffer.byteLength, own.liveBlocks, own.idleBytes]).toEqual([HELD, 0, HELD])
    own.check(0)
    const next = makeKept(A, HELD)
    expect([next.buffer, next.length, own.liveBlocks, own.idleBytes]).toEqual([buffer, HELD, 1, 0])
    expect(kernel.counts.wrap).toBe(2)
    own.check(1)
  })

  it('is made anew, and the old one detached, where that is too short', () => {
    const buffer = waitingAt(A)
    const next = makeKept(A, HELD + 1, 2 * HELD)
    expect([buffer.byteLength, next.buffer.byteLength, own.idleBytes]).toEqual([0, 2 * HELD, 0])
    own.check(1)
  })

  it('is made anew where somebody took it while it waited', async () => {
    const buffer = waitingAt(A)
    const taken = await takeAway(buffer)
    const next = makeKept(A)
    expect([taken.byteLength, next.length]).toEqual([HELD, SIZE])
    expect(segment.isKeptForGood).toBe(true)
    own.check(1)
  })

  it('is made anew where an interrupted call has left a live one there', () => {
    const old = makeKept(A)
    expect([makeKept(A).length, old.length]).toEqual([SIZE, 0])
    own.check(1)
  })

  it('does not wait where somebody took it while the block lived', async () => {
    const { buffer } = makeKept(A)
    const wrapId = own.wrapIdOf(A)
    await takeAway(buffer as ArrayBuffer)
    expect([own.isTaken(A), own.isTaken(B)]).toEqual([true, false])
    expect(own.keep(A)).toBe(wrapId)
    expect([own.idleBytes, segment.isKeptForGood]).toEqual([0, true])
    own.check(0)
  })
})

describe('detach', () => {
  it('says by what the memory is still reached where somebody took it', async () => {
    const { buffer } = makeDetachable(A)
    const wrapId = own.wrapIdOf(A)
    const taken = await takeAway(buffer as ArrayBuffer)
    expect(own.detach(A)).toBe(wrapId)
    expect([segment.isKeptForGood, source.isWrapped(wrapId)]).toEqual([true, true])
    own.check(0)
    await giveBack(taken, kernel)
    expect(source.isWrapped(wrapId)).toBe(false)
  })

  it('says so where the runtime refuses', () => {
    const owner = makeDetachable(A)
    const wrapId = own.wrapIdOf(A)
    expect(refusingDetach(() => own.detach(A))).toBe(wrapId)
    expect([owner.length, segment.isKeptForGood]).toEqual([SIZE, true])
    own.check(0)
  })

  it('is for live blocks only', () => {
    expect(() => own.detach(A)).toThrow(`block ${A} has a buffer of its own`)
    waitingAt(A)
    expect(() => own.keep(A)).toThrow(`block ${A} has a buffer of its own`)
    own.check(0)
  })
})

describe('discard', () => {
  it('drops what a block has, waiting or live, and nothing where it has none', () => {
    const buffers = [waitingAt(A), makeDetachable(B).buffer]
    for (const block of [A, B, C]) own.discard(block)
    expect(buffers.map(buffer => buffer.byteLength)).toEqual([0, 0])
    own.check(0)
  })
})

describe('replace', () => {
  it.each([true, false])('detaches the old buffer and makes another (kept: %s)', isKept => {
    const old = isKept ? makeKept(A) : makeDetachable(A)
    old.fill(7)
    const owner = own.replace(A, 2 * SIZE, 2 * HELD, EPOCH, isKept)
    expect([old.length, owner.length, owner.buffer.byteLength]).toEqual([0, 2 * SIZE, 2 * HELD])
    expect(owner.subarray(0, SIZE).every(byte => byte === 7)).toBe(true)
    own.check(1)
    expect(isKept ? own.keep(A) : own.detach(A)).toBe(null)
    expect(own.idleBytes).toBe(isKept ? 2 * HELD : 0)
    own.check(0)
  })

  it('changes nothing where there is no other buffer to be had', () => {
    const old = makeDetachable(A)
    const wrapId = own.wrapIdOf(A)
    kernel.refuse('wrap')
    expect(thrownBy(() => own.replace(A, 50, 50, EPOCH, false))).toBeInstanceOf(RangeError)
    kernel.allow()
    expect([old.length, own.wrapIdOf(A), own.liveBlocks, own.idleBytes]).toEqual([SIZE, wrapId, 1, 0])
    own.check(1)
    expect(own.detach(A)).toBe(null)
  })

  it('remembers that the old one still reaches the memory, until the block ends', () => {
    const old = makeDetachable(A)
    const wrapId = own.wrapIdOf(A)
    const owner = refusingDetach(() => own.replace(A, 50, 50, EPOCH, false))
    const newId = own.wrapIdOf(A)
    expect([old.length, newId === wrapId]).toEqual([SIZE, false])
    expect(own.reaches).toEqual([
      { startBytes: 0, wrapId: newId },
      { startBytes: 0, wrapId },
    ])
    own.check(1)
    expect(own.detach(A)).toBe(wrapId)
    expect(owner.length).toBe(0)
    own.check(0)
  })

  it('does not let a buffer wait of which an older one is reached', () => {
    makeKept(A)
    const wrapId = own.wrapIdOf(A)
    const owner = refusingDetach(() => own.replace(A, 50, HELD, EPOCH, true))
    expect(own.keep(A)).toBe(wrapId)
    expect([owner.length, own.idleBytes]).toEqual([0, 0])
    own.check(0)
  })
})

describe('giveUp', () => {
  it('lets go of the buffer of a live block, which stays as it is', () => {
    const owner = makeDetachable(A)
    const wrapId = own.wrapIdOf(A)
    expect(own.giveUp(A)).toMatchObject({ buffer: owner.buffer, wrapId, lengthBytes: SIZE, reachedBy: null })
    expect([owner.length, own.has(owner.buffer), own.liveBlocks, own.idleBytes]).toEqual([SIZE, false, 0, 0])
    own.check(0)
  })
})

describe('has and blockUnder', () => {
  it('find the buffers of live blocks; has finds those that wait as well', () => {
    const [live, waiting] = [makeKept(A).buffer, waitingAt(B)]
    const other = new ArrayBuffer(SIZE)
    expect([live, waiting, other].map(buffer => own.has(buffer))).toEqual([true, true, false])
    expect([live, waiting, other].map(buffer => own.blockUnder(buffer))).toEqual([A, NONE, NONE])
  })
})

describe('buffers that wait', () => {
  it('are dropped where their pages are cold', () => {
    const [a, b] = [waitingAt(A), waitingAt(B)]
    const live = makeKept(C)
    const asked: number[][] = []
    own.dropIdle((offsetBytes, lengthBytes) => {
      asked.push([offsetBytes, lengthBytes])
      return offsetBytes === MIB
    })
    expect(asked).toEqual([
      [0, HELD],
      [MIB, HELD],
    ])
    expect([a.byteLength, b.byteLength, live.length, own.idleBytes]).toEqual([HELD, 0, SIZE, HELD])
    own.check(1)
  })

  it('are not looked for where there are none', () => {
    makeKept(A)
    own.dropIdle(() => {
      throw new Error('nothing to ask of')
    })
  })

  it('are dropped where somebody took them', async () => {
    const [a, b] = [waitingAt(A), waitingAt(B)]
    const { buffer } = makeKept(C)
    await takeAway(a)
    await takeAway(buffer as ArrayBuffer)
    own.noticeTaken()
    expect([own.idleBytes, b.byteLength, segment.isKeptForGood]).toEqual([HELD, HELD, true])
    // What somebody took of a live block is met when that ends.
    expect(own.isTaken(C)).toBe(true)
    own.check(1)
  })

  it('go with their segment, and with no other', () => {
    const other = source.reserve(MIB / source.pageBytes)
    const otherBlock = (other.firstPage * source.pageBytes) / 16
    const last = (4 * MIB - HELD) / 16
    const buffers = [A, last, otherBlock].map(waitingAt)
    own.removeSegment(segment)
    expect(buffers.map(buffer => buffer.byteLength)).toEqual([0, 0, HELD])
    own.check(0)
    own.removeSegment(other)
    expect(own.idleBytes).toBe(0)
  })
})

describe('clear', () => {
  it('detaches all but those of blocks that stay', async () => {
    const owners = [makeKept(A), makeDetachable(B), makeDetachable(C)]
    const taken: [number, WrapId][] = []
    own.clear(
      block => block === B,
      (block, wrapId) => taken.push([block, wrapId]),
    )
    expect(owners.map(owner => owner.length)).toEqual([0, SIZE, 0])
    expect(taken).toEqual([])
    own.check(1)
  })

  it('says which blocks are still reached, but not those that only wait', async () => {
    const wrapIds = [A, B].map(block => {
      makeDetachable(block)
      return own.wrapIdOf(block)
    })
    await takeAway(waitingAt(C))
    const taken: [number, WrapId][] = []
    refusingDetach(() =>
      own.clear(
        () => false,
        (block, wrapId) => taken.push([block, wrapId]),
      ),
    )
    expect(taken).toEqual([
      [A, wrapIds[0]],
      [B, wrapIds[1]],
    ])
    own.check(0)
  })

  it('drops what waits at a block that is said to stay', () => {
    const waiting = waitingAt(A)
    own.clear(
      () => true,
      () => expect.unreachable(),
    )
    expect([waiting.byteLength, own.idleBytes]).toEqual([0, 0])
    own.check(0)
  })
})

describe('check and recount', () => {
  it('say what is, whatever was counted', () => {
    makeKept(A)
    waitingAt(B)
    expect(() => own.check(2)).toThrow('1: 2 buffers of blocks, found 1')
    own.liveBlocks = 5
    expect(() => own.check(5)).toThrow('1: 5 buffers of blocks, found 1')
    own.recount()
    own.check(1)
    own.idleBytes = 7
    expect(() => own.check(1)).toThrow(`2: 7 idle bytes, found ${HELD}`)
    own.recount()
    expect([own.liveBlocks, own.idleBytes]).toEqual([1, HELD])
    own.check(1)
  })
})

describe('whatever blocks come and go', () => {
  it('each live one has a buffer for itself, and those that wait are counted', () => {
    const block = fc.constantFrom(A, B, C)
    const size = fc.integer({ min: 1, max: 4_096 })
    const step = fc.oneof(
      fc.record({ do: fc.constantFrom('kept' as const, 'detachable' as const), block, size }),
      fc.record({ do: fc.constantFrom('end' as const, 'replace' as const), block, size }),
      fc.record({ do: fc.constantFrom('drop' as const, 'clear' as const), block, size }),
    )
    // biome-ignore lint/complexity/noExcessiveCognitiveComplexity: a model beside each kind of step, read together
    const property = (steps: { do: string; block: number; size: number }[]) => {
      own = new OwnBuffers(source, transferRefusal('subject'))
      const live = new Map<number, { owner: Buffer; isKept: boolean; size: number }>()
      const waiting = new Map<number, number>()
      const granules = (bytes: number) => Math.ceil(bytes / 16) * 16
      for (const { do: what, block: at, size: bytes } of steps) {
        const known = live.get(at)
        if ((what === 'kept' || what === 'detachable') && known === undefined) {
          const isKept = what === 'kept'
          const owner = isKept ? makeKept(at, bytes, granules(bytes)) : makeDetachable(at, bytes)
          live.set(at, { owner, isKept, size: bytes })
          waiting.delete(at)
        } else if (what === 'end' && known !== undefined) {
          const lengthBytes = known.owner.buffer.byteLength
          expect(known.isKept ? own.keep(at) : own.detach(at)).toBe(null)
          live.delete(at)
          if (known.isKept) waiting.set(at, lengthBytes)
          expect(known.owner.length).toBe(known.isKept ? known.size : 0)
        } else if (what === 'replace' && known !== undefined) {
          const lengthBytes = known.isKept ? granules(bytes) : bytes
          const owner = own.replace(at, bytes, lengthBytes, EPOCH, known.isKept)
          live.set(at, { ...known, owner, size: bytes })
        } else if (what === 'drop') {
          own.dropIdle(offset => offset === at * 16)
          waiting.delete(at)
        } else if (what === 'clear') {
          own.clear(
            one => one === at,
            () => expect.unreachable(),
          )
          for (const one of live.keys()) if (one !== at) live.delete(one)
          waiting.clear()
        }
        own.check(live.size)
        expect(own.idleBytes).toBe([...waiting.values()].reduce((sum, length) => sum + length, 0))
        for (const [one, { owner, size: length }] of live) {
          expect([owner.length, own.blockUnder(owner.buffer)]).toEqual([length, one])
        }
      }
    }
    fc.assert(fc.property(fc.array(step, { maxLength: 40, size: 'max' }), property), {
      numRuns: 100,
      seed: fuzzSeed() | 0,
    })
  })
})
