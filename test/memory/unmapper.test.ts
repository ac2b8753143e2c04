import { beforeEach, describe, expect, it } from 'vitest'
import { Unmapper } from '../../src/memory/unmapper.js'
import { FaultyKernel } from '../support/faulty-kernel.js'
import { ManualDeferral } from '../support/manual-deferral.js'
import { turns } from '../support/world.js'

let kernel: FaultyKernel
let deferral: ManualDeferral
let unmapper: Unmapper
let nextWrapId = 2 ** 30

beforeEach(() => {
  kernel = new FaultyKernel()
  deferral = new ManualDeferral()
  unmapper = new Unmapper(kernel, deferral)
})

describe('add', () => {
  it('never unmaps on the stack of its caller', () => {
    unmapper.add(kernel.map(kernel.pageBytes))
    expect(kernel.counts.unmap).toBe(0)
    deferral.runTurn()
    expect(kernel.mappings.size).toBe(0)
    expect([deferral.pendingTurns, deferral.pendingTimers]).toEqual([0, 0])
  })

  it('asks for one turn, however many mappings there are', () => {
    for (let i = 0; i < 10; i++) unmapper.add(kernel.map(kernel.pageBytes))
    expect(deferral.pendingTurns).toBe(1)
    deferral.runTurn()
    expect(kernel.mappings.size).toBe(0)
    expect(kernel.counts.unmap).toBe(10)
  })

  it('waits for the finalizers of buffers over the mapping, turn by turn and then by timer', async () => {
    const mapping = kernel.map(kernel.pageBytes)
    const buffer = kernel.wrap(mapping, 0, 10, nextWrapId++)
    unmapper.add(mapping)
    for (let i = 0; i < 3; i++) {
      expect(deferral.pendingTurns).toBe(1)
      deferral.runTurn()
    }
    expect([deferral.pendingTurns, deferral.pendingTimers]).toEqual([0, 1])
    const delays = Array.from({ length: 10 }, () => {
      const delay = deferral.nextTimerInMs
      deferral.runTimer()
      return delay
    })
    expect(delays.slice(0, 4)).toEqual([100, 200, 400, 800])
    expect(Math.max(...delays)).toBe(10_000)
    expect(kernel.mappings.size).toBe(1)
    kernel.detach(buffer)
    await turns()
    deferral.runTimer()
    expect(kernel.mappings.size).toBe(0)
    expect(deferral.pendingTimers).toBe(0)
  })

  it('tries again where the kernel refuses, and does not hold up the others', () => {
    const mappings = [1, 2, 3].map(() => kernel.map(kernel.pageBytes))
    for (const mapping of mappings) unmapper.add(mapping)
    kernel.failNth('unmap', 2)
    deferral.runTurn()
    expect([...kernel.mappings.keys()]).toEqual([mappings[1]])
    deferral.runTurn()
    expect(kernel.mappings.size).toBe(0)
  })

  it('is eager again for a new mapping', () => {
    const stuck = kernel.map(kernel.pageBytes)
    const buffer = kernel.wrap(stuck, 0, 10, nextWrapId++)
    unmapper.add(stuck)
    for (let i = 0; i < 3; i++) deferral.runTurn()
    for (let i = 0; i < 5; i++) deferral.runTimer()
    const delayMs = deferral.nextTimerInMs
    unmapper.add(kernel.map(kernel.pageBytes))
    expect(delayMs).toBeGreaterThan(1_000)
    deferral.runTurn()
    expect([...kernel.mappings.keys()], 'the new one does not wait for the one that is stuck').toEqual([
      stuck,
    ])
    kernel.detach(buffer)
  })

  it('takes resident pages in slices, turn by turn, and lets those without go at once', () => {
    const mib = 2 ** 20
    const long = kernel.map(5 * mib)
    const empty = kernel.map(5 * mib)
    const residency = new Uint8Array((5 * mib) / kernel.pageBytes)
    const residentPages = (): number => {
      kernel.residency(long, 0, 5 * mib, residency)
      return residency.reduce((sum, byte) => sum + (byte & 1), 0)
    }
    kernel.advise(long, 0, 5 * mib, 'populate')
    unmapper.add(long, 5 * mib)
    unmapper.add(empty)
    deferral.runTurn()
    expect([...kernel.mappings.keys()]).toEqual([long])
    expect(residentPages()).toBe((3 * mib) / kernel.pageBytes)
    deferral.runTimer()
    expect(residentPages()).toBe(mib / kernel.pageBytes)
    deferral.runTimer()
    expect(kernel.mappings.size).toBe(0)
    expect([deferral.pendingTurns, deferral.pendingTimers]).toEqual([0, 0])
  })

  it('goes on where a slice is refused', () => {
    const mib = 2 ** 20
    unmapper.add(kernel.map(5 * mib), 5 * mib)
    kernel.failNth('dontneed', 1)
    deferral.runTurn()
    for (let i = 0; i < 2; i++) deferral.runTimer()
    expect(kernel.mappings.size).toBe(0)
  })

  it('keeps the addresses of what users had Buffers over, for its owner alone, and those of nothing else', async () => {
    const owner = kernel.newOwner()
    const keeper = new Unmapper(kernel, deferral, owner)
    const before = kernel.kept().bytes
    const lengthBytes = 16 * kernel.pageBytes
    const shared = kernel.map(lengthBytes)
    const buffer = kernel.wrap(shared, 0, lengthBytes, nextWrapId++)
    new Uint8Array(buffer).fill(1)
    kernel.detach(buffer)
    await turns()
    keeper.add(shared)
    keeper.add(kernel.map(lengthBytes))
    unmapper.add(kernel.map(lengthBytes))
    deferral.runTurn()
    expect(kernel.mappings.size).toBe(0)
    expect(kernel.kept().bytes - before).toBe(lengthBytes)
    const others = [kernel.map(lengthBytes, undefined, kernel.newOwner()), kernel.map(lengthBytes)]
    expect(kernel.kept().bytes - before).toBe(lengthBytes)
    const again = kernel.map(lengthBytes / 2, undefined, owner)
    expect(kernel.kept().bytes - before).toBe(lengthBytes / 2)
    expect(kernel.inspect(again, bytes => bytes.every(byte => byte === 0))).toBe(true)
    keeper.disown()
    const afterwards = kernel.map(lengthBytes / 2, undefined, owner)
    expect(kernel.kept().bytes - before).toBe(lengthBytes / 2)
    await turns()
    for (const mapping of [...others, again, afterwards]) expect(kernel.unmap(mapping)).toBe(true)
  })
})
