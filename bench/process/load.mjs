/**
 * The load, in a process of its own: `node load.mjs TASK`, as JSON. Prints what it measured, as JSON. Fails if an answer was wrong.
 */
import { createHash } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import autocannon from 'autocannon'
import { quantile } from '../heap/statistics.mjs'

/** @import { Result } from 'autocannon' */
/** @import { Body } from './variants.mjs' */

/** @typedef {{ url: string, body: Body, connections: number, seconds: number }} Task */
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
 * @param {Task} task
 * @returns {Promise<Load>}
 */
async function run({ url, body, connections, seconds }) {
  const text = makeText(body.sizeBytes)
  const headers = body.isGzip ? { 'content-encoding': 'gzip' } : {}
  /** @type {number[]} */
  const times = []
  let lastMs = 0
  const startMs = performance.now()
  /** @type {Result} */
  const { errors, timeouts, mismatches, non2xx } = await new Promise((resolve, reject) => {
    const running = autocannon(
      {
        url,
        method: 'POST',
        headers,
        body: body.isGzip ? gzipSync(text) : text,
        expectBody: createHash('sha256').update(text).digest('hex'),
        connections,
        duration: seconds,
        sampleInt: 100,
        timeout: 60,
      },
      (error, result) => (error ? reject(error) : resolve(result)),
    )
    // Its own percentiles are in whole milliseconds.
    running.on('response', (_client, _statusCode, _bytes, timeMs) => {
      times.push(timeMs)
      lastMs = performance.now()
    })
  })
  if (errors + timeouts + mismatches + non2xx > 0)
    throw new Error(`the load failed: ${JSON.stringify({ errors, timeouts, mismatches, non2xx })}`)
  if (times.length === 0) throw new Error(`no answer within ${seconds} s`)
  return {
    requests: times.length,
    requestsPerSecond: (1000 * times.length) / (lastMs - startMs),
    p50Ms: quantile(times, 0.5),
    p99Ms: quantile(times, 0.99),
  }
}

console.log(JSON.stringify(await run(JSON.parse(process.argv[2]))))
