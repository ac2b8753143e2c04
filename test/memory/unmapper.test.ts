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

  it('waits while requests are under way, which may be working on the memory', () => {
    kernel.requestsInFlight = true
    unmapper.add(kernel.map(kernel.pageBytes))
    for (let i = 0; i < 3; i++) deferral.runTurn()
    for (let i = 0; i < 3; i++) deferral.runTimer()
    expect(kernel.mappings.size).toBe(1)
    kernel.requestsInFlight = false
    deferral.runTimer()
    expect(kernel.mappings.size).toBe(0)
  })

  it('waits for them a minute, and for no books', () => {
    kernel.requestsInFlight = true
    new Unmapper(kernel, deferral, false).add(kernel.map(kernel.pageBytes))
    deferral.runTurn()
    expect(kernel.mappings.size).toBe(0)
    unmapper.add(kernel.map(kernel.pageBytes))
    for (let i = 0; i < 3; i++) deferral.runTurn()
    deferral.advance(59_000)
    expect(kernel.mappings.size).toBe(1)
    deferral.advance(12_000)
    expect(kernel.mappings.size).toBe(0)
  })
})
