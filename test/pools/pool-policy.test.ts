import { describe, expect, it } from 'vitest'
import { PoolPolicy } from '../../src/pools/pool-policy.js'

const PROMISE_MS = 1_000

/**
 * What a pool does with its idle Buffers, over `lengthMs`: traffic wants `demand(ms)` Buffers at once. Returns how many the pool has at
 * each millisecond.
 */
function heldOver(lengthMs: number, demand: (ms: number) => number, promiseMs = PROMISE_MS): number[] {
  let nowMs = 0
  const policy = new PoolPolicy(
    () => nowMs,
    () => promiseMs,
  )
  let held = 0
  let low = 0
  const helds: number[] = []
  policy.start()
  for (nowMs = 0; nowMs <= lengthMs; nowMs++) {
    held = Math.max(held, demand(nowMs))
    const idle = held - demand(nowMs)
    low = Math.min(low, idle)
    if (policy.isOver) {
      held -= policy.surplus(idle, low)
      policy.start()
      low = held - demand(nowMs)
    }
    policy.check()
    helds.push(held)
  }
  return helds
}

describe('idle Buffers', () => {
  it('that nobody needs any more are gone nine tenths of the promise after traffic', () => {
    for (const stopMs of [0, 1, 300, 450, 451, 700]) {
      const held = heldOver(3_000, ms => (ms <= stopMs ? 100 : 0))
      expect(held[stopMs]).toBe(100)
      expect(held[stopMs + 0.91 * PROMISE_MS]).toBe(0)
    }
  })

  it('that steady traffic needs stay', () => {
    const held = heldOver(20_000, ms => 50 + Math.round(50 * Math.sin(ms / 30)))
    expect(Math.min(...held.slice(200))).toBe(100)
  })

  it('follow traffic that becomes less', () => {
    const held = heldOver(10_000, ms => (ms < 5_000 ? ms % 100 : ms % 10))
    expect(held[4_999]).toBe(99)
    expect(held[6_000]).toBe(9)
    expect(held[9_999]).toBe(9)
  })

  it('between waves stay if the waves come within a period, and go if they come more rarely', () => {
    const wavesEvery = (everyMs: number) => heldOver(20_000, ms => (ms % everyMs < 20 ? 80 : 0)).slice(10_000)
    expect(Math.min(...wavesEvery(200))).toBe(80)
    expect(Math.min(...wavesEvery(2_000))).toBe(0)
  })

  it('do not end by time if nothing does', () => {
    const held = heldOver(20_000, ms => (ms < 100 ? 10 : 0), Number.POSITIVE_INFINITY)
    expect(held[20_000]).toBe(10)
  })
})
