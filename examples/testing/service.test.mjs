import { inflateSync } from 'node:zlib'
import { assertNoLiveBlocks, assertResidentBelow } from 'offheap/testing'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { startService } from './service.mjs'

let service
beforeAll(async () => {
  // For tests: each forgotten Buffer is found, wrong uses of memory are errors, and memory goes back soon.
  service = await startService({ leaks: 'all', debug: true, releaseAfterMs: 100 })
})
afterAll(() => service.close())
// After each test: all that it allocated is freed.
afterEach(() => assertNoLiveBlocks())

const post = body => fetch(service.url, { method: 'POST', body })

test('compresses what it is sent', async () => {
  const response = await post('text '.repeat(100_000))
  expect(inflateSync(Buffer.from(await response.arrayBuffer())).length).toBe(500_000)
})

test('gives its memory back after a burst', async () => {
  const body = Buffer.alloc(4 * 2 ** 20, 'x')
  const responses = await Promise.all(Array.from({ length: 8 }, () => post(body)))
  expect(new Set(responses.map(({ status }) => status))).toEqual(new Set([200]))
  for (const response of responses) await response.arrayBuffer()
  await assertResidentBelow(2 * 2 ** 20, { arenas: [service.arena] })
})
