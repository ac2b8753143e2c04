/** `Heap.compact`: the moves that a program carries out itself. */
import { describe, expect, it } from 'vitest'
import { Heap } from '../../src/heap/heap.js'
import type { HeapCompactOptions, HeapMove } from '../../src/heap/heap-options.js'
import { must } from '../fuzz/model.js'
import { fuzzSeed, Random } from '../fuzz/random.js'

const MIB = 2 ** 20
const BUSY = expect.objectContaining({ code: 'ERR_ARENA_BUSY' })
const DOUBLE_FREE = expect.objectContaining({ code: 'ERR_ARENA_DOUBLE_FREE' })

/** A space with records, each of which knows its block, and holds its own number in all of its bytes. */
class Records {
  readonly heap: Heap
  readonly bytes: Uint8Array
  readonly byBlock = new Map<number, number>()
  #last = 0

  constructor(capacityBytes: number, granuleBytes = 16) {
    this.heap = new Heap({ capacityBytes, granuleBytes })
    this.bytes = new Uint8Array(capacityBytes)
  }

  add(sizeBytes: number): number {
    const block = this.heap.allocate(sizeBytes)
    must(block !== -1 && !this.byBlock.has(block), `block ${block} is new`)
    this.#last = (this.#last + 1) % 256
    this.byBlock.set(block, this.#last)
    const offset = this.heap.offsetOf(block)
    this.bytes.fill(this.#last, offset, offset + this.heap.sizeOf(block))
    return block
  }

  remove(block: number): void {
    this.byBlock.delete(block)
    this.heap.free(block)
  }

  /** Fills the space with `count` records, and removes all but one of `keepOne`. */
  spread(count: number, sizeBytes: number, keepOne: number): void {
    const blocks = Array.from({ length: count }, () => this.add(sizeBytes))
    for (const [index, block] of blocks.entries()) if (index % keepOne !== 0) this.remove(block)
  }

  carryOut({ from, to, fromOffset, toOffset, sizeBytes }: HeapMove): void {
    const { heap } = this
    must(fromOffset === heap.offsetOf(from) && toOffset === heap.offsetOf(to), `offsets of ${from} and ${to}`)
    must(heap.sizeOf(from) === sizeBytes && heap.sizeOf(to) === sizeBytes, `sizes of ${from} and ${to}`)
    this.bytes.copyWithin(toOffset, fromOffset, fromOffset + sizeBytes)
    const record = this.byBlock.get(from)
    must(record !== undefined && !this.byBlock.has(to), `block ${from} is somebody's, and ${to} is not`)
    this.byBlock.delete(from)
    this.byBlock.set(to, record)
    this.heap.free(from)
  }

  /** Carries all moves out. Returns how many there were. */
  compact(options?: HeapCompactOptions): number {
    let count = 0
    for (let moves = this.heap.compact(options); moves.length > 0; moves = this.heap.compact(options)) {
      for (const move of moves) this.carryOut(move)
      count += moves.length
      expect(count).toBeLessThan(1_000_000)
    }
    return count
  }

  /** Proves that the heap is whole, that each record has a live block, and that it holds what it held. */
  verify(otherBlocks = 0): void {
    const { heap } = this
    heap.check()
    expect(heap.stats().liveBlocks).toBe(this.byBlock.size + otherBlocks)
    for (const [block, record] of this.byBlock) {
      const offset = heap.offsetOf(block)
      const bytes = this.bytes.subarray(offset, offset + heap.sizeOf(block))
      must(
        bytes.every(byte => byte === record),
        `record ${record} at ${block} holds what it held`,
      )
    }
  }

  get usedBytes(): number {
    return this.heap.stats().usedBytes
  }
}

/** 64 pages with four records of 16 granules each: a quarter of each page is in use. */
const LIVE = 256
/** The pages of which those records need 16, once they are compacted. */
const MOST_PAGES = 18

function sparse(granuleBytes = 16): Records {
  const records = new Records(MIB * (granuleBytes / 16), granuleBytes)
  records.spread(4 * LIVE, 16 * granuleBytes, 4)
  return records
}

describe('compact', () => {
  it.each([16, 64, 512])('frees pages, with granules of %i bytes', granuleBytes => {
    const records = sparse(granuleBytes)
    const { pageBytes } = records.heap
    expect(records.usedBytes).toBe(64 * pageBytes)
    const count = records.compact()
    records.verify()
    expect(records.usedBytes).toBeLessThanOrEqual(MOST_PAGES * pageBytes)
    // Hardly a record has moved twice.
    expect(count).toBeLessThanOrEqual(LIVE - 4 * (MOST_PAGES - 4))
    // All of it is below, and so the rest is one gap.
    const { capacityBytes } = records.heap
    expect(records.heap.stats().longestFreeBytes).toBeGreaterThanOrEqual(
      capacityBytes - MOST_PAGES * pageBytes,
    )
  })

  it('has pages of every size', () => {
    for (const pageBytes of [4096, 16_384, 65_536]) {
      const heap = new Heap({ capacityBytes: 16 * MIB, pageBytes })
      const blocks = Array.from({ length: 4096 }, () => heap.allocate(1024))
      for (const [index, block] of blocks.entries()) if (index % 64 !== 0) heap.free(block)
      for (let moves = heap.compact(); moves.length > 0; moves = heap.compact()) {
        for (const { from } of moves) heap.free(from)
      }
      // 64 KiB are live.
      expect(heap.stats().usedBytes).toBeLessThanOrEqual(2 * 65_536)
      heap.check()
    }
  })

  it('makes pages free at once when a moved block is freed', () => {
    const records = sparse()
    const { dirtyBytes, usedBytes } = records.heap.stats()
    for (const move of records.heap.compact()) records.carryOut(move)
    let purgedBytes = 0
    records.heap.purge((_, lengthBytes) => {
      purgedBytes += lengthBytes
    })
    expect(purgedBytes - dirtyBytes).toBe(usedBytes - records.usedBytes)
    expect(records.usedBytes).toBeLessThan(20 * 4096)
  })

  it('never hands the place of a moved block out again before lower ones', () => {
    const records = sparse()
    for (const move of records.heap.compact()) records.carryOut(move)
    expect(records.add(256)).toBeLessThan(20 * 256)
    records.verify()
  })

  it.each([
    [{ capacityBytes: 0 }, 0],
    [{ capacityBytes: MIB }, 0],
    [{ capacityBytes: MIB }, 1],
    [{ capacityBytes: MIB }, 4000],
  ])('has no move for %o with %i blocks and nothing to gain', (options, blocks) => {
    const heap = new Heap(options)
    for (let n = 0; n < blocks; n++) heap.allocate(256)
    expect(heap.compact()).toEqual([])
    heap.check()
  })

  it('returns no more moves than asked for, and comes to the same end', () => {
    const records = sparse()
    let count = 0
    for (let moves = records.heap.compact({ maxMoves: 7 }); moves.length > 0; ) {
      expect(moves.length).toBeLessThanOrEqual(7)
      for (const move of moves) records.carryOut(move)
      count += moves.length
      moves = records.heap.compact({ maxMoves: 7 })
    }
    const atOnce = sparse()
    expect([count, records.usedBytes]).toEqual([atOnce.compact(), atOnce.usedBytes])
    records.verify()
  })

  it('returns no more bytes than asked for, but one move at least', () => {
    const records = sparse()
    expect(records.heap.compact({ maxBytes: 1023 }).map(({ sizeBytes }) => sizeBytes)).toEqual([
      256, 256, 256,
    ])
    expect(records.heap.compact({ maxBytes: 1024 })).toHaveLength(4)
    expect(records.heap.compact({ maxBytes: 0 })).toHaveLength(1)
    expect(records.heap.compact({ maxBytes: 100 })).toHaveLength(1)
  })

  it('moves less if more must be gained by it', () => {
    // Half of each page is free: a page comes free for each one that is moved.
    const half = () => {
      const records = new Records(MIB)
      records.spread(256, 256, 2)
      return records
    }
    expect(half().compact({ gain: 1.01 })).toBe(0)
    expect(half().compact({ gain: 1 })).toBeGreaterThan(0)
  })

  it('moves no pinned block, and asks for each with its integer', () => {
    const records = sparse()
    const pinned = [...records.byBlock.keys()].at(-1) as number
    const asked = new Set<number>()
    const all = new Set(records.byBlock.keys())
    const isPinned = (block: number) => {
      asked.add(block)
      return block === pinned
    }
    const moves = records.heap.compact({ isPinned })
    expect([...all].every(block => asked.has(block))).toBe(true)
    for (const move of moves) records.carryOut(move)
    records.compact({ isPinned })
    records.verify()
    expect(records.byBlock.has(pinned)).toBe(true)
    expect(records.usedBytes).toBeLessThanOrEqual((MOST_PAGES + 2) * 4096)
  })

  it('moves no block that was pinned while a pass was under way', () => {
    const records = sparse()
    for (const move of records.heap.compact({ maxMoves: 1 })) records.carryOut(move)
    const held = new Set(records.byBlock.keys())
    expect(records.heap.compact({ isPinned: block => held.has(block) })).toEqual([])
    expect(records.compact()).toBeGreaterThan(0)
    records.verify()
  })

  it('keeps what an error of isPinned finds', () => {
    const records = sparse()
    const error = new Error('from the caller')
    let calls = 0
    const isPinned = () => {
      // It is called for all at the start of a pass.
      if (++calls > LIVE + 20) throw error
      return false
    }
    expect(() => records.heap.compact({ isPinned })).toThrow(error)
    records.verify()
    records.compact()
    records.verify()
    expect(records.usedBytes).toBeLessThanOrEqual(MOST_PAGES * 4096)
  })

  it('is busy inside isPinned, and so is all that changes the heap', () => {
    const records = sparse()
    const { heap } = records
    const [block] = records.byBlock.keys()
    const calls = [
      () => heap.allocate(1),
      () => heap.free(block),
      () => heap.resize(block, 1),
      () => heap.purge(() => {}),
      () => heap.compact(),
      () => heap.toJSON(),
    ]
    let refused = 0
    heap.compact({
      isPinned: () => {
        for (const call of calls) expect(call).toThrow(BUSY)
        refused++
        return true
      },
    })
    expect(refused).toBe(LIVE)
    heap.free(heap.allocate(1))
    records.verify()
  })

  it('is refused inside the callback of purge', () => {
    const { heap } = sparse()
    heap.free(heap.allocate(8192))
    let calls = 0
    heap.purge(() => {
      calls++
      expect(() => heap.compact()).toThrow(BUSY)
    })
    expect(calls).toBeGreaterThan(0)
  })

  it.each([
    [{ maxMoves: 0 }, 'ERR_OUT_OF_RANGE'],
    [{ maxMoves: 1.5 }, 'ERR_OUT_OF_RANGE'],
    [{ maxMoves: -1 }, 'ERR_OUT_OF_RANGE'],
    [{ maxMoves: Number.NaN }, 'ERR_OUT_OF_RANGE'],
    [{ maxMoves: '1' }, 'ERR_INVALID_ARG_TYPE'],
    [{ maxBytes: -1 }, 'ERR_OUT_OF_RANGE'],
    [{ maxBytes: null }, 'ERR_INVALID_ARG_TYPE'],
    [{ gain: 0 }, 'ERR_OUT_OF_RANGE'],
    [{ gain: -1 }, 'ERR_OUT_OF_RANGE'],
    [{ gain: Number.NaN }, 'ERR_OUT_OF_RANGE'],
    [{ gain: true }, 'ERR_INVALID_ARG_TYPE'],
    [{ isPinned: new Set() }, 'ERR_INVALID_ARG_TYPE'],
    [{ pinned: [] }, 'ERR_INVALID_ARG_VALUE'],
    [null, 'ERR_INVALID_ARG_TYPE'],
    [1000, 'ERR_INVALID_ARG_TYPE'],
  ])('refuses the options %o', (options, code) => {
    const { heap } = sparse()
    expect(() => heap.compact(options as HeapCompactOptions)).toThrow(expect.objectContaining({ code }))
    heap.check()
  })

  it('takes the defaults for what is undefined, and Infinity', () => {
    const options = { maxMoves: undefined, maxBytes: undefined, gain: undefined, isPinned: undefined }
    expect(sparse().heap.compact(options as object)).toEqual(sparse().heap.compact())
    expect(sparse().heap.compact({ maxMoves: Infinity, maxBytes: Infinity }).length).toBeGreaterThan(150)
    expect(sparse().heap.compact({ gain: Infinity })).toEqual([])
  })
})

describe('a move', () => {
  it('keeps both blocks live until one of them is freed', () => {
    const records = sparse()
    const moves = records.heap.compact()
    const [{ from, to }] = moves
    expect(to).toBeLessThan(from)
    expect(records.heap.stats().liveBlocks).toBe(LIVE + moves.length)
    records.heap.free(from)
    expect(() => records.heap.free(from)).toThrow(DOUBLE_FREE)
    records.heap.free(to)
    expect(() => records.heap.free(to)).toThrow(DOUBLE_FREE)
    records.heap.check()
  })

  it('is given up by freeing its target, and is not asked for again in this round', () => {
    const records = sparse()
    const first = records.heap.compact()
    for (const { to } of first) records.heap.free(to)
    records.verify()
    expect(records.heap.compact()).toEqual([])
    // The next call begins anew.
    expect(records.heap.compact()).toEqual(first)
  })

  it('may stay open: neither of its blocks moves again', () => {
    const records = sparse()
    const open = records.heap.compact({ maxMoves: 4 })
    const blocks = new Set(open.flatMap(({ from, to }) => [from, to]))
    for (let round = 0; round < 5; round++) {
      for (const move of records.heap.compact()) {
        expect(blocks.has(move.from) || blocks.has(move.to)).toBe(false)
        records.carryOut(move)
      }
    }
    records.verify(4)
    for (const move of open) records.carryOut(move)
    records.compact()
    records.verify()
    expect(records.usedBytes).toBeLessThanOrEqual(MOST_PAGES * 4096)
  })

  it('may be of a block that its owner has freed meanwhile', () => {
    const records = sparse()
    const [{ from, to }] = records.heap.compact({ maxMoves: 1 })
    records.remove(from)
    records.heap.free(to)
    records.verify()
  })

  it('leaves other blocks to be freed as ever', () => {
    const records = sparse()
    const open = records.heap.compact({ maxMoves: 1 })
    const block = records.add(100)
    for (const wrong of [-1, 2 ** 30, block + 1, 0.5, Number.NaN, 2 ** 31]) {
      expect(() => records.heap.free(wrong)).toThrow(DOUBLE_FREE)
    }
    records.remove(block)
    expect(() => records.heap.free(block)).toThrow(DOUBLE_FREE)
    records.heap.free(open[0].to)
    records.verify()
  })

  it('is no longer known to a heap that was made of saved books, but both of its blocks are', () => {
    const records = sparse()
    const open = records.heap.compact({ maxMoves: 2 })
    const again = Heap.from(JSON.parse(JSON.stringify(records.heap)))
    for (const { from, to } of open) {
      again.free(from)
      again.free(to)
    }
    again.check()
    expect(again.stats().liveBlocks).toBe(LIVE - 2)
  })
})

/** Blocks come and go, and moves are asked for, carried out and given up, in any order. */
function meddle(random: Random, records: Records, steps: number, size: () => number): void {
  const mayAdd = () => records.usedBytes < records.heap.capacityBytes / 2
  for (let n = 0; n < 400 && mayAdd(); n++) records.add(size())
  let open: HeapMove[] = []
  const finish = () => {
    for (const move of open) {
      if (random.chance(0.9)) records.carryOut(move)
      else records.heap.free(move.to)
    }
    open = []
  }
  const remove = (block: number) => {
    // The owner of a record ends its move, too.
    const move = open.find(({ from }) => from === block)
    records.remove(block)
    if (move !== undefined) records.heap.free(move.to)
    open = open.filter(other => other !== move)
  }
  for (let step = 0; step < steps; step++) {
    const blocks = [...records.byBlock.keys()]
    const choice = random.below(10)
    if (choice < 2 && mayAdd()) records.add(size())
    else if (choice < 5 && blocks.length > 0) remove(random.pick(blocks))
    else if (choice < 8) {
      const limits = { maxMoves: random.between(1, 40), gain: random.pick([0.1, 1 / 3, 1]) }
      open.push(...records.heap.compact(limits))
    } else finish()
    if (step % 25 === 0) records.heap.check()
  }
  finish()
}

describe('a pass', () => {
  it('goes on while blocks come and go, and begins anew when many have', () => {
    const seed = fuzzSeed
    const random = new Random(seed)
    for (let round = 0; round < 6; round++) {
      const scale = random.pick([1, 2, 16])
      const records = new Records(2 * MIB * scale, 16 * scale)
      meddle(random, records, 150, () => random.between(1, random.pick([200, 2000, 70_000]) * scale))
      records.verify()
      const moved = records.compact()
      expect(moved, `moves with seed ${seed}`).toBeLessThanOrEqual(10 * records.byBlock.size)
      records.verify()
      for (const block of [...records.byBlock.keys()]) records.remove(block)
      expect(records.heap.allocate(records.heap.capacityBytes), `seed ${seed}`).toBe(0)
    }
  })
})
