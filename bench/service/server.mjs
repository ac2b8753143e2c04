/**
 * One service, in a process of its own: `node server.mjs VARIANT SERVICE [UPSTREAM]`, as JSON. Tells its parent the port, and what V8 has
 * collected whenever it is asked.
 *
 * It imports `offheap` only where the variant uses it: the others are as they would be without the library.
 */
import { PerformanceObserver } from 'node:perf_hooks'
import { moduleOf } from './services.mjs'

/** @import { Variant } from '../process/variants.mjs' */
/** @import { Service } from './services.mjs' */

/** Collections since the start, and how long the thread stopped for them. @typedef {{ collections: number, pauseMs: number, longestPauseMs: number }} Collected */

/** @type {unknown[]} */
const [variant, service, upstream] = process.argv.slice(2).map(text => JSON.parse(text))
const { holds, idle } = /** @type {Variant} */ (variant)
const { name, create, options } = /** @type {Service} */ (service)

/** @type {Collected} */
let collected = { collections: 0, pauseMs: 0, longestPauseMs: 0 }
const observer = new PerformanceObserver(list => {
  for (const { duration } of list.getEntries()) {
    collected.collections++
    collected.pauseMs += duration
    collected.longestPauseMs = Math.max(collected.longestPauseMs, duration)
  }
})
observer.observe({ entryTypes: ['gc'] })

/** @type {object} */
let memory = {}
if (holds === 'arena') {
  const { Arena, reclaimWhenIdle } = await import('offheap')
  memory = { arena: new Arena({ name }) }
  if (idle !== undefined) reclaimWhenIdle(idle)
}
const { [create]: make } = await import(moduleOf(name, holds))
const server = make({ ...memory, upstream, ...options })
server.listen(0, '127.0.0.1', () => process.send?.({ address: server.address() }))
process.on('message', () => {
  process.send?.(collected)
  // The longest pause is that since the last question.
  collected = { ...collected, longestPauseMs: 0 }
})
process.on('disconnect', () => process.exit())
