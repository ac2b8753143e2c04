import { describe, expect, it } from 'vitest'
import { eventLoop } from '../../src/base/deferral.js'

/** What keeps the process alive, of one kind. Only what is ref'd is listed. */
function keepingAlive(kind: string): number {
  return process.getActiveResourcesInfo().filter(name => name === kind).length
}

describe('eventLoop', () => {
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
})
