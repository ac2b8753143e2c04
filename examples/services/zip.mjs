/** Bytes through zlib, on another thread, with nothing copied. */
import { discardAll } from './http.mjs'

/** @import { Deflate, Gzip } from 'node:zlib' */

// #region zip
/**
 * Sends `bytes` through a stream of zlib. Resolves to what comes out, in parts, when zlib has read all of `bytes`.
 * `gzip(bytes, callback)` would do the same and then copy the parts into one Buffer.
 * @param {Gzip | Deflate} stream
 * @param {Buffer} bytes
 * @returns {Promise<Buffer[]>}
 */
export function zip(stream, bytes) {
  return new Promise((resolve, reject) => {
    /** @type {Buffer[]} */
    const parts = []
    stream.on('data', part => parts.push(part))
    stream.on('end', () => resolve(parts))
    stream.on('error', reject)
    stream.end(bytes)
  })
}

/**
 * The `chunkSize` for so much output. The stream makes its output in memory of its own then, since that is too long for Node's pool, and
 * all of it in one go.
 * @param {number} sizeBytes
 */
export const chunkSizeFor = sizeBytes => Buffer.poolSize + 1024 + sizeBytes

/**
 * Gives back the memory of parts that nobody reads any more.
 * @param {Buffer[]} parts all that came out of a stream with such a `chunkSize`
 */
export function discardParts(parts) {
  for (const { buffer } of parts) discardAll(buffer)
}
// #endregion
