/**
 * The clients of one service, in a process of their own: `node load.mjs SERVICE SECONDS`, as JSON. Tells its parent the address of the server
 * that uploads are forwarded to; then runs a wave for each address that the parent sends, and tells what it measured. Ends at a wrong answer.
 */
import { createServer } from 'node:http'
import { loadFor } from '../http-load.mjs'
import { REQUESTS, randomFrom } from './requests.mjs'

/** @import { Service } from './services.mjs' */

const [, , serviceText, secondsText] = process.argv
/** @type {Service} */
const { name, connections } = JSON.parse(serviceText)

/** Takes what is forwarded. */
const storage = createServer((request, response) => {
  request.resume().on('end', () => response.writeHead(201).end())
})

/** @param {string} url */
async function runWave(url) {
  let client = 0
  const options = { url, connections, duration: Number(secondsText) }
  return await loadFor(
    {
      ...options,
      setupClient: connection => {
        connection.setRequests(REQUESTS[name](randomFrom(client), client))
        client++
      },
    },
    // A key that the cache does not have.
    name === 'cache' ? [404] : [],
  )
}

process.on('message', async url => {
  process.send?.(await runWave(String(url)))
})
process.on('disconnect', () => process.exit())
storage.listen(0, '127.0.0.1', () => process.send?.({ address: storage.address() }))
