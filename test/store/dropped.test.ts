/** Stores that the program drops without `close()`. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { expect, it } from 'vitest'
import { Store } from '../../src/store/store.js'
import { collectGarbage } from '../../src/testing/garbage.js'

it('a store that is collected with records in it is reported as a store', async () => {
  const found: unknown[] = []
  const warnings: Error[] = []
  const listener = (message: unknown) => found.push(message)
  const warned = (warning: Error) => warnings.push(warning)
  subscribe('offheap:leak', listener)
  process.on('warning', warned)
  try {
    const drop = () => {
      const store = new Store({ name: 'sessions' })
      for (let i = 0; i < 3; i++) store.put(Buffer.alloc(100, 1))
    }
    drop()
    for (let tries = 0; tries < 20 && (found.length === 0 || warnings.length === 0); tries++) {
      await new Promise(resolve => setImmediate(resolve))
      await collectGarbage()
    }
  } finally {
    unsubscribe('offheap:leak', listener)
    process.off('warning', warned)
  }
  expect(found).toEqual([
    { arena: 'sessions', kind: 'store', blocks: 3, bytes: expect.any(Number), stack: '' },
  ])
  expect(warnings[0]?.message).toMatch(
    /^store 'sessions' was garbage-collected without close\(\), with 3 records in /,
  )
})
