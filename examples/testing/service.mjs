/** The service under test: it compresses what it is sent. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { promisify } from 'node:util'
import { deflate } from 'node:zlib'
import { Arena } from 'offheap'

const compress = promisify(deflate)

export async function startService(options) {
  const arena = new Arena({ name: 'service', ...options })
  const server = createServer(async (request, response) => {
    const scope = arena.scope()
    try {
      let body = scope.allocUnsafe(0)
      for await (const chunk of request) {
        const { length } = body
        body = scope.realloc(body, length + chunk.length)
        body.set(chunk, length)
      }
      response.end(await arena.lend(body, bytes => compress(bytes)))
    } catch (error) {
      response.writeHead(500).end(error.message)
    } finally {
      scope.end()
    }
  })
  server.listen(0)
  await once(server, 'listening')
  return {
    arena,
    url: `http://localhost:${server.address().port}/`,
    async close() {
      server.close()
      server.closeAllConnections()
      await arena.closeWhenIdle()
    },
  }
}
