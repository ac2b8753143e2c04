/**
 * A cache behind HTTP: `PUT /key`, `GET /key`, `DELETE /key`. It holds a number of bytes at most, and drops what was not used for the longest
 * time. Entries are blocks of an arena, so what is dropped goes back to the kernel, and not into the heap of the process.
 *
 *   PORT=8080 node cache.mjs
 */
import { createServer } from 'node:http'
import { fileURLToPath } from 'node:url'
import { Arena, onPressure } from 'offheap'
import { answering, HttpError, lengthOf, readBody, run, send } from './http.mjs'
import { Lru } from './lru.mjs'

const MIB = 2 ** 20

/**
 * @param {object} options
 * @param {Arena} options.arena its limit leaves room for the budget and for the bodies under way
 * @param {number} [options.budgetBytes] of all entries together
 * @param {number} [options.maxBytes] of one entry
 * @param {number} [options.ttlMs] an entry that was not used for so long is dropped
 */
export function createCache({ arena, budgetBytes = 64 * MIB, maxBytes = 4 * MIB, ttlMs = 60_000 }) {
  // An entry that is being sent is lent: its block ends with the last loan.
  const entries = new Lru(block => arena.free(block))

  // #region answer
  const server = createServer(
    answering(async (request, response) => {
      const key = request.url ?? '/'
      if (request.method === 'PUT') {
        // Room first: otherwise the arena would hold the old entries and the new one.
        entries.evictTo(budgetBytes - lengthOf(request, maxBytes))
        entries.put(key, await readBody(arena, request, maxBytes))
        entries.evictTo(budgetBytes)
        response.writeHead(204).end()
        return
      }
      if (request.method === 'DELETE') {
        response.writeHead(entries.delete(key) ? 204 : 404).end()
        return
      }
      if (request.method !== 'GET') throw new HttpError(405, 'there are GET, PUT and DELETE')
      const block = entries.get(key)
      if (block === undefined) throw new HttpError(404, 'no such entry')
      await arena.lend(block, bytes => send(response, [bytes]))
    }),
  )
  // #endregion

  const sweep = setInterval(() => entries.expire(Date.now() - ttlMs), ttlMs / 4).unref()
  // When the container runs out of memory, the cache is the first to give way.
  const stop = onPressure(({ missingBytes }) => entries.evictTo(Math.max(0, entries.bytes - missingBytes)))
  server.on('close', () => {
    clearInterval(sweep)
    stop()
    entries.clear()
  })
  return server
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const arena = new Arena({ name: 'cache', limitBytes: 128 * MIB })
  run(createCache({ arena }), arena)
}
