/** What is done with the bytes of an upload: hashed, compressed, sent on. It does not know what memory they lie in. */
import { createHash } from 'node:crypto'
import { request as requestTo } from 'node:http'
import { createGzip } from 'node:zlib'
import { HttpError, lengthOfAll } from './http.mjs'
import { chunkSizeFor, zip } from './zip.mjs'

/** @import { Agent, OutgoingHttpHeaders } from 'node:http' */

/**
 * Compresses on another thread. Resolves to the parts of what comes out.
 * @param {Buffer} bytes
 */
export const pack = bytes => zip(createGzip({ level: 1, chunkSize: chunkSizeFor(bytes.length >>> 1) }), bytes)

/** @param {Buffer} bytes */
export const hashOf = bytes => createHash('sha256').update(bytes).digest('hex')

// #region put
/**
 * Sends `parts` by PUT. Resolves to the status of the answer, once nobody reads them any more.
 * @param {URL} url
 * @param {Buffer[]} parts
 * @param {{ agent: Agent, headers: OutgoingHttpHeaders }} options
 * @returns {Promise<number>}
 */
function put(url, parts, { agent, headers }) {
  return new Promise((resolve, reject) => {
    let failure = new Error('the connection ended without an answer')
    /** @type {number | undefined} */
    let status
    const request = requestTo(url, {
      method: 'PUT',
      agent,
      headers: { ...headers, 'content-length': lengthOfAll(parts) },
    })
    request.on('response', response => {
      status = response.statusCode
      response.resume()
    })
    request.on('error', error => {
      failure = Object.assign(error, { isStale: request.reusedSocket })
    })
    // 'close' is the last event: either all is sent and answered, or the connection is gone.
    request.on('close', () => (status === undefined ? reject(failure) : resolve(status)))
    for (const part of parts) request.write(part)
    request.end()
  })
}

/**
 * The same, once more if the other server had closed a connection that we kept.
 * @param {Parameters<typeof put>} args
 */
export async function forward(...args) {
  try {
    try {
      return await put(...args)
    } catch (/** @type {any} */ error) {
      if (!error.isStale) throw error
      return await put(...args)
    }
  } catch (error) {
    throw new HttpError(502, 'the other server does not answer', { cause: error })
  }
}
// #endregion
