/**
 * The service that is measured, in a process of its own: `node server.mjs VARIANT [GIVEN]`, both as JSON. It takes uploads, collects each into
 * one Buffer, hashes it, and answers with the hash. Tells its parent the port.
 *
 * It imports `offheap` only where the variant uses it: the others are as they would be without the library.
 */
import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import { createGunzip } from 'node:zlib'

/** @import { IncomingMessage } from 'node:http' */
/** @import { Variant } from './variants.mjs' */

/** Resolves to the hash of the bytes that come. @typedef {(body: AsyncIterable<Buffer>) => Promise<string>} Digest */

const [, , variantText, givenText] = process.argv
/** @type {Variant} */
const { holds, idle } = JSON.parse(variantText)
const given = givenText === undefined ? undefined : JSON.parse(givenText)

/** @param {Buffer} body */
const hashOf = body => createHash('sha256').update(body).digest('hex')

/** @type {Digest} */
async function digestInBuffer(body) {
  const chunks = []
  for await (const chunk of body) chunks.push(chunk)
  return hashOf(Buffer.concat(chunks))
}

/** @returns {Promise<Digest>} */
async function makeDigestInArena() {
  const { Arena } = await import('offheap')
  const arena = new Arena({ name: 'uploads' })
  return async body => {
    const scope = arena.scope()
    try {
      let block = scope.allocUnsafe(64 * 1024)
      let length = 0
      for await (const chunk of body) {
        const needed = length + chunk.length
        if (needed > block.length) block = scope.realloc(block, Math.max(needed, 2 * block.length))
        block.set(chunk, length)
        length = needed
      }
      return hashOf(block.subarray(0, length))
    } finally {
      scope.end()
    }
  }
}

const digest = holds === 'arena' ? await makeDigestInArena() : digestInBuffer
if (idle !== undefined) {
  const { functionNamed } = await import('./given.mjs')
  const reclaimWhenIdle = await functionNamed('reclaimWhenIdle', given)
  reclaimWhenIdle(idle)
}

/** @param {IncomingMessage} request */
function bodyOf(request) {
  if (request.headers['content-encoding'] !== 'gzip') return request
  const gunzip = createGunzip()
  request.on('error', error => gunzip.destroy(error))
  return request.pipe(gunzip)
}

const server = createServer(async (request, response) => {
  try {
    response.end(await digest(bodyOf(request)))
  } catch (error) {
    // The load hangs up in the middle of an upload when its time is over. Anything else ends the measurement.
    if (!(error instanceof Error && 'code' in error && error.code === 'ECONNRESET')) throw error
  }
})
server.listen(0, '127.0.0.1', () => process.send?.({ address: server.address() }))
process.on('disconnect', () => process.exit())
