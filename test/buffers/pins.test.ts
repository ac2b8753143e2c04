import { describe, expect, it } from 'vitest'
import {
  blockOf,
  EMPTY,
  type Epoch,
  isOwner,
  makeOwner,
  restore,
  SPENT,
  spend,
  watchedBlock,
} from '../../src/buffers/owner.js'
import { Pins } from '../../src/buffers/pins.js'

const EPOCH: Epoch = { arena: { name: 'subject' } }

function pinsWithOwners() {
  const ended: [unknown, number][] = []
  const pins = new Pins(setImmediate, (owner, block) => ended.push([owner, block]))
  const owner: Uint8Array = makeOwner(new ArrayBuffer(64), 0, 64, EPOCH, 5)
  const empty: Uint8Array = makeOwner(new ArrayBuffer(0), 0, 0, EPOCH, EMPTY)
  if (!isOwner(owner) || !isOwner(empty)) throw new Error('makeOwner makes owners')
  const live = new Set([5])
  const check = () => pins.check(block => live.has(block))
  return { pins, ended, owner, empty, live, check }
}

describe('add and remove', () => {
  it('count, and end nothing that was not freed', () => {
    const { pins, ended, owner, check } = pinsWithOwners()
    pins.add(owner)
    pins.add(owner)
    check()
    expect([pins.blockCount, pins.has(owner), watchedBlock(blockOf(owner))]).toEqual([1, true, 5])
    expect([pins.remove(owner), pins.remove(owner), pins.remove(owner)]).toEqual([true, true, false])
    expect([pins.blockCount, pins.has(owner), ended.length]).toEqual([0, false, 0])
    check()
  })

  it('leave a loan alone', () => {
    const { pins, owner } = pinsWithOwners()
    pins.lend(owner, () => {
      expect([pins.remove(owner), pins.isLent(owner), pins.blockCount]).toEqual([false, true, 1])
      pins.add(owner)
      expect([pins.isLent(owner), pins.remove(owner), pins.isLent(owner)]).toEqual([false, true, true])
    })
    expect(pins.blockCount).toBe(0)
  })
})

describe('defer', () => {
  it('spends at once and ends at the last remove', () => {
    const { pins, ended, owner, check } = pinsWithOwners()
    expect(pins.defer(owner)).toBe(false)
    expect(blockOf(owner)).toBe(5)
    pins.add(owner)
    pins.add(owner)
    expect(pins.defer(owner)).toBe(true)
    expect(blockOf(owner)).toBe(SPENT)
    pins.remove(owner)
    check()
    expect(ended).toEqual([])
    pins.remove(owner)
    expect(ended).toEqual([[owner, 5]])
  })

  it('of all says which blocks stay, and their sizes', () => {
    const { pins, ended, owner, empty, check } = pinsWithOwners()
    pins.add(owner)
    pins.add(empty)
    expect(pins.deferAll()).toEqual(new Map([[5, 64]]))
    check()
    pins.remove(empty)
    pins.remove(owner)
    expect(ended).toEqual([
      [empty, EMPTY],
      [owner, 5],
    ])
  })
})

describe('whenNone', () => {
  it('runs now, or at the last remove, after what was put off', () => {
    const { pins, ended, owner } = pinsWithOwners()
    let runs = 0
    pins.whenNone(() => runs++)
    expect(runs).toBe(1)
    pins.add(owner)
    pins.defer(owner)
    pins.whenNone(() => {
      expect(ended.length).toBe(1)
      runs++
    })
    expect(runs).toBe(1)
    pins.remove(owner)
    expect(runs).toBe(2)
  })
})

describe('check', () => {
  it('says when the heap or an owner disagrees', () => {
    const { pins, owner, live, check } = pinsWithOwners()
    pins.add(owner)
    check()
    live.clear()
    expect(check).toThrow('2: pinned block 5 is live')
    live.add(5)
    check()
    restore(owner, 5)
    expect(check).toThrow('3: the owner of pinned block 5 holds 5')
    spend(owner)
    expect(check).toThrow('3: the owner of pinned block 5 holds -1')
  })
})
