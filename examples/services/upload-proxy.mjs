/**
 * A proxy for uploads: it hashes each body, compresses it, and forwards it to another server, with length and hash ahead. So it has to hold the
 * whole body, and can send it a second time if the connection breaks. It answers what the other server answered, as JSON.
 *
 *   PORT=8080 UPSTREAM=http://storage:9000 node upload-proxy.mjs
 *   curl -T file http://localhost:8080/name
 */
import { Agent, createServer } from 'node:http'
import { fileURLToPath } from 'node:url'
import { Arena } from 'offheap'
import { forward, hashOf, pack } from './forward.mjs'
import { answering, HttpError, lengthOfAll, readBody, run } from './http.mjs'
import { discardParts } from './zip.mjs'

const MIB = 2 ** 20

/**
 * @param {object} options
 * @param {Arena} options.arena its limit is what all bodies under way may take
 * @param {string} options.upstream the address of the other server
 * @param {number} [options.maxBytes] of one body
 */
export function createUploadProxy({ arena, upstream, maxBytes = 16 * MIB }) {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 })

  // #region answer
  const server = createServer(
    answering(async (request, response) => {
      const body = await readBody(arena, request, maxBytes)
      const bytes = body.length
      let sha256 = ''
      /** @type {Buffer[]} */
      let packed = []
      try {
        sha256 = hashOf(body)
        // zlib reads the block on another thread: lent, it stays until zlib is done, whatever happens here.
        packed = await arena.lend(body, pack)
      } finally {
        arena.free(body)
      }
      const headers = { 'content-encoding': 'gzip', 'x-sha256': sha256 }
      const status = await forward(new URL(request.url ?? '/', upstream), packed, { agent, headers })
      const packedBytes = lengthOfAll(packed)
      // zlib made them for us alone, and the other server has their bytes.
      discardParts(packed)
      if (status >= 300) throw new HttpError(502, `the other server answered ${status}`)
      response.writeHead(201, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ sha256, bytes, packedBytes }))
    }),
  )
  // #endregion

  server.on('close', () => agent.destroy())
  return server
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const arena = new Arena({ name: 'uploads', limitBytes: 256 * MIB })
  run(createUploadProxy({ arena, upstream: process.env.UPSTREAM ?? 'http://localhost:9000' }), arena)
}
