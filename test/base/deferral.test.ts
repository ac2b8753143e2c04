import { beforeAll, describe, expect, it } from 'vitest'
import { eventLoop, now } from '../../src/base/deferral.js'
import { loadAddon } from '../../src/memory/addon.js'

/** What keeps the process alive, of one kind. Only what is ref'd is listed. */
function keepingAlive(kind: string): number {
  return process.getActiveResourcesInfo().filter(name => name === kind).length
}

// The second time by the addon's clock, which serves from its loading on.
describe.each([
  ['before there is a clock', () => {}],
  ['with the clock of the addon', () => loadAddon()],
])('eventLoop, %s', (_, load) => {
  beforeAll(() => {
    load()
  })

  it('runs things on the next turn, not at once', async () => {
    const order: string[] = []
    const ran = new Promise<void>(resolve => {
      eventLoop.nextTurn(() => {
        order.push('next turn')
        resolve()
      })
    })
    order.push('now')
    // The test must not depend on an unref'd immediate being the only thing to do.
    const held = setInterval(() => {}, 1)
    await ran
    clearInterval(held)
    expect(order).toEqual(['now', 'next turn'])
  })

  it('runs things after a delay', async () => {
    const held = setInterval(() => {}, 1)
    await new Promise<void>(resolve => eventLoop.after(1, () => resolve()))
    clearInterval(held)
  })

  it('does not keep the process alive', () => {
    const immediates = keepingAlive('Immediate')
    const timeouts = keepingAlive('Timeout')
    eventLoop.nextTurn(() => {})
    eventLoop.after(1000, () => {})
    expect(keepingAlive('Immediate')).toBe(immediates)
    expect(keepingAlive('Timeout')).toBe(timeouts)
  })

  it('has the milliseconds of performance.now()', () => {
    const before = performance.now()
    const at = now()
    const after = performance.now()
    // The two clocks were compared once, by calls that take time.
    expect(at).toBeGreaterThan(before - 5)
    expect(at).toBeLessThan(after + 5)
  })

  it('runs all that is due in one turn, and what is asked for in it in another', async () => {
    const order: string[] = []
    await new Promise<void>(resolve => {
      eventLoop.awaitedTurn(() => {
        order.push('first')
        eventLoop.awaitedTurn(() => {
          order.push('third')
          resolve()
        })
      })
      eventLoop.awaitedTurn(() => order.push('second'))
    })
    expect(order).toEqual(['first', 'second', 'third'])
  })

  it('runs timers in the order of time, but those that were cancelled', async () => {
    const held = setInterval(() => {}, 1)
    const order: string[] = []
    const late = new Promise<void>(resolve => {
      eventLoop.after(30, () => {
        order.push('30')
        resolve()
      })
    })
    const timer = eventLoop.after(10, () => order.push('10'))
    timer.cancel()
    eventLoop.after(20, () => order.push('20'))
    await late
    clearInterval(held)
    expect(order).toEqual(['20', '30'])
  })
})
