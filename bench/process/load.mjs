/**
 * The load, in a process of its own: `node load.mjs TASK`, as JSON. Prints what it measured, as JSON. Fails if an answer was wrong.
 */
import { createHash } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { loadFor, makeText } from '../http-load.mjs'

/** @import { Load } from '../http-load.mjs' */
/** @import { Body } from './variants.mjs' */

/** @typedef {{ url: string, body: Body, connections: number, seconds: number }} Task */

/**
 * @param {Task} task
 * @returns {Promise<Load>}
 */
function run({ url, body, connections, seconds }) {
  const text = makeText(body.sizeBytes)
  return loadFor({
    url,
    method: 'POST',
    headers: body.isGzip ? { 'content-encoding': 'gzip' } : {},
    body: body.isGzip ? gzipSync(text) : text,
    expectBody: createHash('sha256').update(text).digest('hex'),
    connections,
    duration: seconds,
  })
}

console.log(JSON.stringify(await run(JSON.parse(process.argv[2]))))
