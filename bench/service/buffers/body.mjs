/** Bodies as most services read them: chunks in a list, then one Buffer. */
import { lengthOf } from '../../../examples/services/http.mjs'

/** @import { IncomingMessage } from 'node:http' */

/**
 * Reads the body of a request into one Buffer.
 * @param {IncomingMessage} request
 * @param {number} maxBytes
 * @returns {Promise<Buffer>}
 */
export async function readBody(request, maxBytes) {
  const isChunked = request.headers['transfer-encoding'] !== undefined
  const length = isChunked ? undefined : lengthOf(request, maxBytes)
  return await new Promise((resolve, reject) => {
    /** @type {Buffer[]} */
    const chunks = []
    request.on('data', chunk => chunks.push(chunk))
    // Most short bodies come in one chunk. There is nothing to copy then.
    request.on('end', () => resolve(chunks.length === 1 ? chunks[0] : Buffer.concat(chunks, length)))
    request.on('error', reject)
  })
}
