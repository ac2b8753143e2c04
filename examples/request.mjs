// A server with an arena. All blocks that a request allocates end with the request.
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { promisify } from 'node:util'
import { deflate } from 'node:zlib'
import { Arena } from 'offheap'

const MIB = 2 ** 20
const compress = promisify(deflate)
const arena = new Arena({ name: 'requests', limitBytes: 64 * MIB })

const server = createServer(async (request, response) => {
  // With TypeScript, or Node 24 and later: `using scope = arena.scope()`, and no try.
  const scope = arena.scope()
  try {
    const body = await scope.collect(request, { maxBytes: 8 * MIB })
    // zlib works in another thread. Lent memory stays valid until zlib has finished, even if the scope ends before.
    const packed = await arena.lend(body, bytes => compress(bytes))
    response.end(`${createHash('sha256').update(body).digest('hex')} ${body.length} ${packed.length}`)
  } catch (error) {
    response.statusCode = error.code === 'ERR_ARENA_LIMIT' ? 503 : 500
    response.end(error.message)
  } finally {
    scope.end()
  }
})

server.listen(0)
await once(server, 'listening')
const url = `http://localhost:${server.address().port}/`

const answers = await Promise.all(
  Array.from({ length: 8 }, async (_, i) => {
    const response = await fetch(url, { method: 'POST', body: Buffer.alloc((i + 1) * 100_000, 'x') })
    return response.text()
  }),
)
console.log(answers.join('\n'))

const { allocations, liveBlocks } = arena.stats()
console.log(`${allocations} blocks allocated, ${liveBlocks} live; ${arena.trim() / MIB} MiB given back`)

server.close()
server.closeAllConnections()
await arena.closeWhenIdle()
