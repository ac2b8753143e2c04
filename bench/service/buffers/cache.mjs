/** The cache of `examples/services`, with entries in Buffers. */
import { createServer } from 'node:http'
import { answering, HttpError, lengthOf, send } from '../../../examples/services/http.mjs'
import { Lru } from '../../../examples/services/lru.mjs'
import { readBody } from './body.mjs'

const MIB = 2 ** 20

/**
 * @param {object} options
 * @param {number} [options.budgetBytes] of all entries together
 * @param {number} [options.maxBytes] of one entry
 * @param {number} [options.ttlMs] an entry that was not used for so long is dropped
 */
export function createCache({ budgetBytes = 64 * MIB, maxBytes = 4 * MIB, ttlMs = 60_000 }) {
  const entries = new Lru(() => {})
  const server = createServer(
    answering(async (request, response) => {
      const key = request.url ?? '/'
      if (request.method === 'PUT') {
        entries.evictTo(budgetBytes - lengthOf(request, maxBytes))
        entries.put(key, await readBody(request, maxBytes))
        entries.evictTo(budgetBytes)
        response.writeHead(204).end()
        return
      }
      if (request.method === 'DELETE') {
        response.writeHead(entries.delete(key) ? 204 : 404).end()
        return
      }
      if (request.method !== 'GET') throw new HttpError(405, 'there are GET, PUT and DELETE')
      const bytes = entries.get(key)
      if (bytes === undefined) throw new HttpError(404, 'no such entry')
      await send(response, [bytes])
    }),
  )
  const sweep = setInterval(() => entries.expire(Date.now() - ttlMs), ttlMs / 4).unref()
  server.on('close', () => {
    clearInterval(sweep)
    entries.clear()
  })
  return server
}
