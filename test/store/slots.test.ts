/** Refs, generations and chunks, on slots of their own. */
import { describe, expect, it } from 'vitest'
import { CHUNK_SLOTS, type Ref, SLOT_BITS, type SlotStorage, Slots } from '../../src/store/slots.js'

const GENERATIONS = 64
const RESTING = 1024
/** Slot 0 has no record. */
const FIRST_CHUNK_RECORDS = CHUNK_SLOTS - 1
const slotOf = (ref: number): number => ref & (2 ** SLOT_BITS - 1)
const generationOf = (ref: number): number => ref >>> SLOT_BITS

/** Storage that counts. What it purges reads as zero, as the kernel's pages do. */
class Storage implements SlotStorage {
  readonly live = new Set<ArrayBuffer>()
  fails = false

  allocate(lengthBytes: number): ArrayBuffer {
    if (this.fails) throw new RangeError('Array buffer allocation failed')
    const storage = new ArrayBuffer(lengthBytes)
    this.live.add(storage)
    return storage
  }

  dispose(storage: ArrayBuffer): void {
    if (!this.live.delete(storage)) throw new Error('disposed of twice')
  }

  purge(storage: ArrayBuffer, offsetBytes: number, lengthBytes: number): void {
    new Uint8Array(storage, offsetBytes, lengthBytes).fill(0)
  }
}

function slotsWith(count = 0): { slots: Slots; storage: Storage; refs: Ref[] } {
  const storage = new Storage()
  const slots = new Slots(storage)
  return { slots, storage, refs: Array.from({ length: count }, (_, i) => take(slots, i)) }
}

function take(slots: Slots, block: number, sizeBytes = block): Ref {
  slots.grow()
  return slots.take(block, sizeBytes)
}

/** Ends the record in a slot and begins others there, until so many have ended. */
function liveThrough(slots: Slots, ref: Ref, count: number): Ref {
  let last = ref
  for (let ended = 0; ended < count; ended++) {
    slots.free(last)
    const next = slots.take(0, 0)
    if (slotOf(next) !== slotOf(ref)) throw new Error('the slot comes again only where there is no other')
    last = next
  }
  return last
}

describe('a ref', () => {
  it('names a block and a size until the record ends', () => {
    const { slots, refs } = slotsWith(10)
    expect(refs).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    expect(refs.map(ref => slots.blockOf(ref))).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    slots.set(refs[3], 77, 88)
    expect([slots.blockOf(refs[3]), slots.sizeOf(refs[3])]).toEqual([77, 88])
    expect([slots.blockOf(refs[4]), slots.sizeOf(refs[4])]).toEqual([4, 4])
    slots.free(refs[3])
    expect(refs.map(ref => slots.has(ref)).indexOf(false)).toBe(3)
    expect([slots.liveCount, slots.room, slots.end]).toEqual([9, FIRST_CHUNK_RECORDS - 9, 11])
    expect([slots.refAt(0), slots.refAt(4)]).toEqual([-1, -1])
    slots.check(0)
  })

  it('is never 0', () => {
    const { slots } = slotsWith(FIRST_CHUNK_RECORDS)
    expect([slots.has(0), slots.wasUsed(0), slots.nextLive(0, slots.end)]).toEqual([false, false, 1])
    const refs = [...Array(slots.end).keys()].map(slot => slots.refAt(slot)).filter(ref => ref !== -1)
    for (let life = 0; life < 2; life++) {
      for (const ref of refs.splice(0) as Ref[]) slots.free(ref)
      slots.shrink()
      expect([slots.end, slots.liveCount, slots.nextLive(0, 1)]).toEqual([1, 0, 1])
      for (let i = 0; i < FIRST_CHUNK_RECORDS; i++) refs.push(take(slots, i))
      expect(refs.every(ref => slotOf(ref) > 0)).toBe(true)
      slots.check(0)
    }
  })

  it('of slots that begin with another generation is not one of these', () => {
    const { refs } = slotsWith(100)
    const others = new Slots(new Storage(), 65)
    const first = take(others, 7)
    expect([generationOf(first), others.blockOf(first)]).toEqual([1, 7])
    expect(refs.some(ref => others.has(ref))).toBe(false)
  })

  it('is nothing else than the number that was given', () => {
    const { slots, refs } = slotsWith(2)
    const one = { valueOf: () => 1 }
    const values = [
      -1,
      1.5,
      Number.NaN,
      Number.POSITIVE_INFINITY,
      2 ** 31,
      2 ** 32,
      2 ** 32 + 1,
      3,
      0,
      '1',
      1n,
      true,
      null,
      undefined,
      one,
      [1],
      Symbol('1'),
      new Date(1),
    ]
    for (const value of values) {
      expect(slots.has(value)).toBe(false)
      if (typeof value !== 'number' || value !== 3) expect(slots.wasUsed(value)).toBe(false)
    }
    expect(slots.has(refs[1])).toBe(true)
  })

  it('names nothing with another generation, and no negative number does, in any life of the slot', () => {
    const { slots } = slotsWith()
    const others = Array.from({ length: FIRST_CHUNK_RECORDS - 1 }, (_, i) => take(slots, i))
    let ref = slots.take(5, 5)
    const slot = slotOf(ref)
    for (let life = 0; life < 2 * GENERATIONS + 3; life++) {
      expect(generationOf(ref)).toBe(life % GENERATIONS)
      const named: number[] = []
      for (let generation = 0; generation < 2 * GENERATIONS; generation++) {
        if (slots.has((generation << SLOT_BITS) | slot)) named.push(generation)
      }
      expect(named).toEqual([life % GENERATIONS])
      slots.free(ref)
      for (let generation = 0; generation < 2 * GENERATIONS; generation++) {
        const stale = (generation << SLOT_BITS) | slot
        if (slots.has(stale)) throw new Error(`${stale} names a free slot after ${life + 1} lives`)
      }
      expect(slots.wasUsed(ref)).toBe(true)
      ref = slots.take(5, 5)
      expect(slotOf(ref)).toBe(slot)
    }
    expect(others.every(other => slots.has(other))).toBe(true)
  })

  it('meets another record only after 64 lives of its slot', () => {
    const { slots, refs } = slotsWith(FIRST_CHUNK_RECORDS)
    const first = refs[100]
    const later = liveThrough(slots, first, GENERATIONS - 1)
    expect(slots.has(first)).toBe(false)
    expect(liveThrough(slots, later, 1)).toBe(first)
    expect(slots.has(first)).toBe(true)
    slots.check(0)
  })

  it('of the last slot of all has 31 bits', () => {
    const ref = ((63 << SLOT_BITS) | (2 ** SLOT_BITS - 1)) as Ref
    expect(ref).toBe(2 ** 31 - 1)
    expect(slotsWith(1).slots.has(ref)).toBe(false)
  })
})

describe('freed slots', () => {
  it('rest until a thousand of their chunk are free, and come again in the order in which they came free', () => {
    const { slots, refs } = slotsWith(3000)
    const freed = refs.filter((_, i) => i % 2 === 1).reverse()
    for (const ref of freed.slice(0, RESTING - 1)) slots.free(ref)
    expect(slotOf(take(slots, 1))).toBe(3001)
    slots.free(freed[RESTING - 1])
    expect(slotOf(take(slots, 1))).toBe(slotOf(freed[0]))
    slots.free(freed[RESTING])
    expect(slotOf(take(slots, 1))).toBe(slotOf(freed[1]))
    slots.check(0)
  })

  it('are used at once where the chunk has no others, and before another chunk begins', () => {
    const { slots, refs, storage } = slotsWith(FIRST_CHUNK_RECORDS)
    expect(slots.room).toBe(0)
    slots.free(refs[9])
    slots.free(refs[3])
    expect([take(slots, 1), take(slots, 1)].map(slotOf)).toEqual([10, 4])
    expect(storage.live.size).toBe(1)
    expect(slotOf(take(slots, 1))).toBe(CHUNK_SLOTS)
    expect(storage.live.size).toBe(2)
  })

  it('of the lowest chunk come first', () => {
    const { slots, refs } = slotsWith(2 * CHUNK_SLOTS + 9)
    slots.free(refs[CHUNK_SLOTS + 4])
    slots.free(refs[6])
    expect([take(slots, 1), take(slots, 1), take(slots, 1)].map(slotOf)).toEqual([
      7,
      CHUNK_SLOTS + 5,
      2 * CHUNK_SLOTS + 10,
    ])
    slots.check(0)
  })

  it('wait where the record ends later', () => {
    const { slots, refs } = slotsWith(FIRST_CHUNK_RECORDS)
    slots.endLater(refs[0])
    expect([slots.has(refs[0]), slots.refAt(1), slots.room, slots.liveCount]).toEqual([
      false,
      -1,
      0,
      FIRST_CHUNK_RECORDS - 1,
    ])
    expect([slots.isEnding(refs[0]), slots.isEnding(refs[1])]).toEqual([true, false])
    slots.check(1)
    slots.free(refs[0])
    expect(slots.isEnding(refs[0])).toBe(false)
    slots.check(0)
    const next = slots.take(1, 1)
    expect([slotOf(next), generationOf(next)]).toEqual([1, 1])
  })
})

describe('chunks', () => {
  it.each([CHUNK_SLOTS - 1, CHUNK_SLOTS, CHUNK_SLOTS + 1, 3 * CHUNK_SLOTS])(
    'hold %d records, each at its border too',
    count => {
      const { slots, refs, storage } = slotsWith(count)
      expect(slots.end).toBe(count + 1)
      expect(storage.live.size).toBe(Math.ceil((count + 1) / CHUNK_SLOTS))
      for (const at of [0, CHUNK_SLOTS - 1, CHUNK_SLOTS, 2 * CHUNK_SLOTS - 1, count - 1]) {
        if (at < count) expect([slots.blockOf(refs[at]), slots.refAt(at + 1)]).toEqual([at, refs[at]])
      }
      slots.check(0)
      for (const ref of refs) slots.free(ref)
      expect([slots.liveCount, slots.room]).toEqual([0, storage.live.size * CHUNK_SLOTS - 1])
      slots.check(0)
    },
  )

  it('that cannot be had leave all as it was', () => {
    const { slots, storage, refs } = slotsWith(FIRST_CHUNK_RECORDS)
    storage.fails = true
    expect(() => slots.grow()).toThrow(RangeError)
    slots.check(0)
    expect([slots.room, slots.liveCount, slots.has(refs[0])]).toEqual([0, FIRST_CHUNK_RECORDS, true])
    storage.fails = false
    expect(slotOf(take(slots, 1))).toBe(CHUNK_SLOTS)
  })

  it('shrink to their lives: no ref comes again too soon', () => {
    const { slots, refs } = slotsWith(FIRST_CHUNK_RECORDS + 5)
    for (const ref of refs.slice(0, FIRST_CHUNK_RECORDS)) slots.free(ref)
    slots.shrink()
    slots.check(0)
    expect(refs.slice(0, FIRST_CHUNK_RECORDS).some(ref => slots.has(ref))).toBe(false)
    expect(slots.has(refs[FIRST_CHUNK_RECORDS])).toBe(true)
    const again = Array.from({ length: FIRST_CHUNK_RECORDS }, (_, i) => take(slots, i))
    expect(again.map(generationOf).every(generation => generation === 1)).toBe(true)
    expect(new Set(again).size).toBe(FIRST_CHUNK_RECORDS)
    expect([slots.room, slots.end]).toEqual([CHUNK_SLOTS - 5, CHUNK_SLOTS + 5])
    slots.check(0)
  })

  it('shrink where some slots have begun their generations anew: no ref comes again soon', () => {
    const count = 2000
    const { slots, refs } = slotsWith(count)
    for (const ref of refs) slots.free(ref)
    // Half of the slots have had 63 records, and the others 64.
    const recent: Ref[] = []
    for (let i = 0; i < 62 * count + count / 2; i++) {
      const ref = slots.take(0, 0)
      recent.push(ref)
      slots.free(ref)
    }
    slots.shrink()
    const again = new Set(Array.from({ length: count }, () => take(slots, 1)))
    expect(recent.slice(-40 * count).filter(ref => again.has(ref))).toEqual([])
    slots.check(0)
  })

  it('with a record that ends later do not shrink', () => {
    const { slots, refs } = slotsWith(100)
    slots.endLater(refs[50])
    for (const ref of refs) if (slots.has(ref)) slots.free(ref)
    slots.shrink()
    slots.check(1)
    slots.free(refs[50])
    slots.check(0)
    slots.shrink()
    slots.check(0)
    expect(slots.end).toBe(1)
  })

  it('are given up all together', () => {
    const { slots, refs, storage } = slotsWith(CHUNK_SLOTS + 1)
    expect(slots.bytes).toBe(2 * CHUNK_SLOTS * 12)
    slots.drop()
    expect([storage.live.size, slots.bytes, slots.end, slots.liveCount, slots.room]).toEqual([0, 0, 0, 0, 0])
    expect(refs.some(ref => slots.has(ref) || slots.wasUsed(ref))).toBe(false)
    slots.check(0)
  })
})

describe('the search for live slots', () => {
  it('finds each, and those alone whose block starts in a unit that has its bit set', () => {
    const { slots, refs } = slotsWith(200)
    const left = refs.filter(ref => slots.blockOf(ref) % 3 === 0)
    for (const ref of refs) if (!left.includes(ref)) slots.free(ref)
    const found = (next: (slot: number) => number): number[] => {
      const list: number[] = []
      for (let slot = next(0); slot < 190; slot = next(slot + 1)) list.push(slot)
      return list
    }
    expect(found(slot => slots.nextLive(slot, 190))).toEqual(left.map(slotOf).filter(slot => slot < 190))
    // Units of 4: the blocks from 8 to 11, and from 128 to 131.
    const units = Int32Array.of(1 << 2, 1)
    const onUnits = left.filter(ref => [9, 129].includes(slots.blockOf(ref)))
    expect(found(slot => slots.nextIn(units, 2, slot, 190))).toEqual(onUnits.map(slotOf))
    expect(slots.nextIn(units, 2, 132, 190)).toBe(190)
    // Blocks beyond the last unit have no bit.
    expect(slots.nextIn(Int32Array.of(0), 2, 0, 190)).toBe(190)
  })

  it('passes over a chunk without records', () => {
    const { slots, refs } = slotsWith(2 * CHUNK_SLOTS + 9)
    const [first, last] = [5, 2 * CHUNK_SLOTS + 5].map(slot => refs.find(ref => slotOf(ref) === slot) as Ref)
    for (const ref of refs) if (ref !== first && ref !== last) slots.free(ref)
    expect(slots.nextLive(0, slots.end)).toBe(5)
    expect(slots.nextLive(6, slots.end)).toBe(2 * CHUNK_SLOTS + 5)
    expect(slots.nextLive(2 * CHUNK_SLOTS + 6, slots.end)).toBe(slots.end)
  })
})
