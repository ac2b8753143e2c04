import { describe, expect, it } from 'vitest'
import { Quarantine, type Quarantined } from '../../../src/buffers/debug/debug-quarantine.js'
import { fuzzSeed, randomFrom } from '../../support/random.js'

const entry = (block: number, sizeBytes = 10): Quarantined => ({ block, sizeBytes })
const blocksOf = (entries: Iterable<Quarantined>): number[] => [...entries].map(({ block }) => block)

function quarantineOf(quarantineBlocks: number, quarantineBytes: number): Quarantine<Quarantined> {
  return new Quarantine({ quarantineBlocks, quarantineBytes })
}

describe('add', () => {
  it('lets the oldest leave for one too many', () => {
    const quarantine = quarantineOf(3, 1_000)
    for (const block of [5, 1, 9]) expect(quarantine.add(entry(block))).toEqual([])
    expect(blocksOf(quarantine.add(entry(2)))).toEqual([5])
    expect(blocksOf(quarantine)).toEqual([1, 9, 2])
    quarantine.check()
  })

  it('lets as many of the oldest leave as the bytes demand', () => {
    const quarantine = quarantineOf(100, 100)
    for (const block of [1, 2, 3, 4]) quarantine.add(entry(block, 25))
    expect(blocksOf(quarantine.add(entry(5, 51)))).toEqual([1, 2, 3])
    expect([quarantine.blocks, quarantine.bytes]).toEqual([2, 76])
    expect(blocksOf(quarantine.add(entry(6, 100)))).toEqual([4, 5])
    quarantine.check()
  })
})

describe('accepts', () => {
  it('refuses what is longer than all of it, and everything where nothing may wait', () => {
    expect(quarantineOf(1, 100).accepts(100)).toBe(true)
    expect(quarantineOf(1, 100).accepts(101)).toBe(false)
    expect(quarantineOf(0, 100).accepts(1)).toBe(false)
    expect(quarantineOf(1, 0).accepts(1)).toBe(false)
  })
})

describe('firstFitting', () => {
  it('gives where the last of them begin that have room together', () => {
    const ending = [1, 2, 3, 4, 5].map(block => entry(block, 30))
    expect(quarantineOf(100, 100).firstFitting(ending)).toBe(2)
    expect(quarantineOf(2, 1_000).firstFitting(ending)).toBe(3)
    expect(quarantineOf(100, 1_000).firstFitting(ending)).toBe(0)
    expect(quarantineOf(100, 29).firstFitting(ending)).toBe(5)
    expect(quarantineOf(0, 1_000).firstFitting(ending)).toBe(5)
    expect(quarantineOf(9, 9).firstFitting([])).toBe(0)
  })
})

describe('takeAged', () => {
  it('takes what was there the last time, and nothing else', () => {
    const quarantine = quarantineOf(100, 1_000)
    quarantine.add(entry(1))
    quarantine.add(entry(2))
    expect(quarantine.takeAged()).toEqual([])
    quarantine.add(entry(3))
    expect(blocksOf(quarantine.takeAged())).toEqual([1, 2])
    expect(blocksOf(quarantine.takeAged())).toEqual([3])
    expect(quarantine.takeAged()).toEqual([])
    expect(quarantine.blocks).toBe(0)
  })

  it('does not take younger ones in place of those that had to leave', () => {
    const quarantine = quarantineOf(2, 1_000)
    quarantine.add(entry(1))
    quarantine.add(entry(2))
    quarantine.takeAged()
    quarantine.add(entry(3))
    expect(blocksOf(quarantine.takeAged())).toEqual([2])
    expect(blocksOf(quarantine)).toEqual([3])
    quarantine.check()
  })
})

describe('a quarantine', () => {
  it('does what a plain list does', () => {
    const seed = fuzzSeed()
    const random = randomFrom(seed)
    const quarantine = quarantineOf(8, 500)
    let model: (Quarantined & { isAged: boolean })[] = []
    for (let block = 0; block < 5_000; block++) {
      const choice = random.below(20)
      if (choice === 0) {
        expect(blocksOf(quarantine.takeAll()), `OFFHEAP_FUZZ_SEED=${seed}`).toEqual(blocksOf(model))
        model = []
      } else if (choice < 4) {
        const aged = model.filter(({ isAged }) => isAged)
        model = model.filter(({ isAged }) => !isAged).map(one => ({ ...one, isAged: true }))
        expect(blocksOf(quarantine.takeAged()), `OFFHEAP_FUZZ_SEED=${seed}`).toEqual(blocksOf(aged))
      } else {
        const added = entry(block, random.below(300))
        model.push({ ...added, isAged: false })
        const left: Quarantined[] = []
        const sum = (): number => model.reduce((bytes, { sizeBytes }) => bytes + sizeBytes, 0)
        while (model.length > 8 || sum() > 500) left.push(model.shift() as Quarantined)
        expect(blocksOf(quarantine.add(added)), `OFFHEAP_FUZZ_SEED=${seed}`).toEqual(blocksOf(left))
      }
      expect(blocksOf(quarantine)).toEqual(blocksOf(model))
      for (const { block } of model) expect(quarantine.has(block)).toBe(true)
      quarantine.check()
    }
  })
})
