/** The upload proxy of `examples/services`, with bodies in Buffers. */
import { Agent, createServer } from 'node:http'
import { forward, hashOf, pack } from '../../../examples/services/forward.mjs'
import { answering, HttpError, lengthOfAll } from '../../../examples/services/http.mjs'
import { readBody } from './body.mjs'

const MIB = 2 ** 20

/**
 * @param {object} options
 * @param {string} options.upstream the address of the other server
 * @param {number} [options.maxBytes] of one body
 */
export function createUploadProxy({ upstream, maxBytes = 16 * MIB }) {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 })
  const server = createServer(
    answering(async (request, response) => {
      const body = await readBody(request, maxBytes)
      const sha256 = hashOf(body)
      const packed = await pack(body)
      const headers = { 'content-encoding': 'gzip', 'x-sha256': sha256 }
      const status = await forward(new URL(request.url ?? '/', upstream), packed, { agent, headers })
      if (status >= 300) throw new HttpError(502, `the other server answered ${status}`)
      response.writeHead(201, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ sha256, bytes: body.length, packedBytes: lengthOfAll(packed) }))
    }),
  )
  server.on('close', () => agent.destroy())
  return server
}
