/** A load of HTTP requests by autocannon, and what it sends. */
import autocannon from 'autocannon'
import { quantile } from './heap/statistics.mjs'

/** @import { Options, Result } from 'autocannon' */

/** Times are of whole requests, in milliseconds. @typedef {{ requests: number, requestsPerSecond: number, p50Ms: number, p99Ms: number }} Load */

const WORDS =
  'a quick brown fox jumps over the lazy dog and then it sleeps until noon in a field of barley'.split(' ')

/**
 * Text of words and numbers, the same each time. gzip makes it three to four times shorter, about as it does logs.
 * @param {number} sizeBytes
 */
export function makeText(sizeBytes) {
  const text = Buffer.alloc(sizeBytes)
  let state = 1
  for (let length = 0; length < sizeBytes; ) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    length += text.write(`${WORDS[(state >>> 8) % WORDS.length]} ${state >>> 20} `, length)
  }
  return text
}

/**
 * Rejects if an answer was wrong, or an error if its status is not among `statuses`.
 * @param {Options} options of autocannon
 * @param {number[]} [statuses] that are right besides those from 200 to 299
 * @returns {Promise<Load>}
 */
export async function loadFor(options, statuses = []) {
  /** @type {number[]} */
  const times = []
  let lastMs = 0
  let refused = 0
  const startMs = performance.now()
  /** @type {Result} */
  const { errors, timeouts, mismatches } = await new Promise((resolve, reject) => {
    const running = autocannon({ sampleInt: 100, timeout: 60, ...options }, (error, result) =>
      error ? reject(error) : resolve(result),
    )
    // Its own percentiles are in whole milliseconds.
    running.on('response', (_client, statusCode, _bytes, timeMs) => {
      if ((statusCode < 200 || statusCode > 299) && !statuses.includes(statusCode)) refused++
      times.push(timeMs)
      lastMs = performance.now()
    })
  })
  if (errors + timeouts + mismatches + refused > 0)
    throw new Error(`the load failed: ${JSON.stringify({ errors, timeouts, mismatches, refused })}`)
  if (times.length === 0) throw new Error(`no answer within ${options.duration} s`)
  return {
    requests: times.length,
    requestsPerSecond: (1000 * times.length) / (lastMs - startMs),
    p50Ms: quantile(times, 0.5),
    p99Ms: quantile(times, 0.99),
  }
}
