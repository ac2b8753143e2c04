import { describe, expect, it } from 'vitest'
import { PAUSE_MS, TimerQueue } from '../../src/base/timer-queue.js'

/** A queue over a clock that stands still, and the one timer of the event loop that it may have set. */
function open() {
  const world = { nowMs: 0, sets: 0, clears: 0, dueMs: Number.POSITIVE_INFINITY, run: () => {} }
  const queue = new TimerQueue(
    () => world.nowMs,
    (delayMs, run) => {
      world.sets++
      world.dueMs = world.nowMs + delayMs
      world.run = run
      return () => {
        world.clears++
        world.dueMs = Number.POSITIVE_INFINITY
      }
    },
  )
  /** The event loop's timer fires. */
  function fire(): void {
    world.nowMs = Math.max(world.nowMs, world.dueMs)
    world.dueMs = Number.POSITIVE_INFINITY
    world.run()
    queue.check()
  }
  return { queue, world, fire }
}

describe('TimerQueue', () => {
  it('runs what is due in order of time, and of being added where that is equal', () => {
    const { queue, world, fire } = open()
    const order: string[] = []
    for (const [name, delayMs] of [
      ['c', 30],
      ['a', 10],
      ['d', 30],
      ['b', 20],
    ] as const) {
      queue.add(delayMs, () => order.push(`${name}${world.nowMs}`))
      queue.check()
    }
    while (queue.size > 0) fire()
    expect(order).toEqual(['a10', 'b20', 'c30', 'd30'])
    expect(world.dueMs).toBe(Number.POSITIVE_INFINITY)
  })

  it('sets one timer for a thousand entries', () => {
    const { queue, world, fire } = open()
    let ran = 0
    for (let i = 0; i < 1_000; i++) queue.add(100, () => ran++)
    expect(world.sets).toBe(1)
    fire()
    expect(ran).toBe(1_000)
    expect(world).toMatchObject({ sets: 1, clears: 0 })
  })

  it('stops after a millisecond and goes on after a pause, telling all when the turn began', () => {
    const { queue, world, fire } = open()
    const starts: number[] = []
    for (let i = 0; i < 10; i++) {
      queue.add(5, sliceStartMs => {
        starts.push(sliceStartMs)
        world.nowMs += 0.4
      })
    }
    fire()
    expect(starts).toEqual([5, 5, 5])
    expect(world.dueMs - world.nowMs).toBeGreaterThan(0)
    expect(world.dueMs - 5).toBeGreaterThanOrEqual(PAUSE_MS)
    let turns = 1
    for (; queue.size > 0; turns++) fire()
    expect([starts.length, turns]).toEqual([10, 4])
  })

  it('does not run what was cancelled, and sets no timer for nothing', () => {
    const { queue, world, fire } = open()
    const order: string[] = []
    const first = queue.add(10, () => order.push('first'))
    queue.add(20, () => order.push('second'))
    first.cancel()
    first.cancel()
    queue.check()
    fire()
    while (queue.size > 0) fire()
    expect(order).toEqual(['second'])
    const third = queue.add(10, () => order.push('third'))
    third.cancel()
    queue.check()
    expect(world.dueMs).toBe(Number.POSITIVE_INFINITY)
    third.cancel()
    expect(order).toEqual(['second'])
  })

  it('brings the timer forward for what is due earlier', () => {
    const { queue, world, fire } = open()
    queue.add(1_000, () => {})
    queue.add(10, () => {})
    expect(world.dueMs).toBe(10)
    fire()
    expect(world.dueMs).toBe(1_000)
  })

  it('runs the rest after one that throws, whose error goes to the event loop', () => {
    const { queue, fire } = open()
    let ran = 0
    queue.add(1, () => {
      throw new Error('of an entry')
    })
    queue.add(1, () => ran++)
    expect(fire).toThrow('of an entry')
    queue.check()
    fire()
    expect([ran, queue.size]).toEqual([1, 0])
  })

  it('may be added to by what it runs', () => {
    const { queue, fire } = open()
    let ran = 0
    const again = (): void => {
      if (++ran < 5) queue.add(1, again)
    }
    queue.add(1, again)
    for (let i = 0; i < 5; i++) fire()
    expect([ran, queue.size]).toEqual([5, 0])
  })
})

describe('a timer of the event loop', () => {
  it('that was taken away is set again when another entry is added', () => {
    const { queue, world, fire } = open()
    const ran: string[] = []
    queue.add(10, () => ran.push('first'))
    world.nowMs += 5_000
    world.dueMs = Number.POSITIVE_INFINITY
    queue.add(100, () => ran.push('second'))
    expect(world.sets).toBe(2)
    world.nowMs = world.dueMs
    fire()
    expect(ran).toEqual(['first'])
    queue.check()
  })

  it('that is refused is set by a later call, and nobody hears of it', () => {
    let isRefusing = true
    let due = (): void => {}
    const queue = new TimerQueue(
      () => 0,
      (_, run) => {
        if (isRefusing) throw new Error('no timers here')
        due = run
        return () => {}
      },
    )
    const ran: string[] = []
    queue.add(0, () => ran.push('first'))
    queue.check()
    isRefusing = false
    queue.add(0, () => ran.push('second'))
    due()
    expect(ran).toEqual(['first', 'second'])
  })

  it('that fires at once, or twice, runs nothing in the middle of a call', () => {
    const queue = new TimerQueue(
      () => 0,
      (_, run) => {
        run()
        return () => {}
      },
    )
    const ran: string[] = []
    queue.add(0, () => ran.push('first'))
    expect(ran).toEqual([])
  })
})
