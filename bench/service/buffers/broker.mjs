/** The broker of `examples/services`, with batches in Buffers. */
import { createServer } from 'node:http'
import { answering, HttpError, send } from '../../../examples/services/http.mjs'
import { ANSWER_BYTES, countFrames, cursorOf, headersOf, Topic } from '../../../examples/services/topic.mjs'
import { readBody } from './body.mjs'

const KIB = 2 ** 10
const MIB = 2 ** 20

/**
 * @param {object} options
 * @param {number} [options.maxBytes] of one batch
 * @param {number} [options.retainBytes] of each topic
 * @param {number} [options.retainMs] a batch is held for so long
 * @param {number} [options.waitMs] a subscriber waits for so long at most
 */
export function createBroker({
  maxBytes = 256 * KIB,
  retainBytes = 32 * MIB,
  retainMs = 60_000,
  waitMs = 10_000,
}) {
  /** @type {Map<string, Topic>} */
  const topics = new Map()

  /** @param {string} name */
  function topicNamed(name) {
    const topic = topics.get(name) ?? new Topic(() => {})
    topics.set(name, topic)
    return topic
  }

  const server = createServer(
    answering(async (request, response) => {
      const { name, after } = cursorOf(request)
      const topic = topicNamed(name)
      if (request.method === 'POST') {
        const batch = await readBody(request, maxBytes)
        const frameCount = countFrames(batch)
        if (frameCount < 1) throw new HttpError(400, 'a batch is made of whole frames')
        const last = topic.append(batch, frameCount)
        topic.retain(0, retainBytes)
        response.writeHead(201, { 'x-last': last }).end()
        return
      }
      if (request.method !== 'GET') throw new HttpError(405, 'there are GET and POST')
      if (topic.read(after, 0).length === 0) await topic.wait(waitMs)
      const batches = topic.read(after, ANSWER_BYTES)
      response.setHeaders(headersOf(batches, after))
      await send(
        response,
        batches.map(({ bytes }) => bytes),
      )
    }),
  )
  const sweep = setInterval(() => {
    for (const topic of topics.values()) topic.retain(Date.now() - retainMs, retainBytes)
  }, retainMs / 4).unref()
  server.on('close', () => {
    clearInterval(sweep)
    for (const topic of topics.values()) topic.retain(Infinity, 0)
  })
  return server
}
