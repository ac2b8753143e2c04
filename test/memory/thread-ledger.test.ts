import { describe, expect, it } from 'vitest'
import { ThreadLedger } from '../../src/memory/thread-ledger.js'

describe('ThreadLedger', () => {
  it('counts and compares by itself while there is no addon', () => {
    const ledger = new ThreadLedger()
    expect(ledger.limitBytes).toBe(Number.POSITIVE_INFINITY)
    expect(ledger.take(2 ** 40)).toBe(true)
    ledger.give(2 ** 40 - 100)
    ledger.limitBytes = 150
    expect([ledger.take(51), ledger.take(50), ledger.take(1)]).toEqual([false, true, false])
    expect(ledger.takenBytes).toBe(150)
  })

  it('joins the sums of the process, with its limit and beyond it', () => {
    const [process, first, second] = [new ThreadLedger(), new ThreadLedger(), new ThreadLedger()]
    first.limitBytes = 100
    first.take(70)
    second.take(60)
    first.join(process)
    second.join(process)
    // What is held counts. Nobody gets more.
    expect([process.takenBytes, process.limitBytes]).toEqual([130, 100])
    expect(first.take(1)).toBe(false)
    second.give(60)
    expect(first.take(30)).toBe(true)
    expect(second.takenBytes).toBe(100)
    second.limitBytes = 200
    expect([first.limitBytes, process.limitBytes]).toEqual([200, 200])
  })

  it('leaves the limit of the process as it is, if it has none of its own', () => {
    const [process, thread] = [new ThreadLedger(), new ThreadLedger()]
    process.limitBytes = 10
    thread.join(process)
    expect(thread.limitBytes).toBe(10)
  })
})
