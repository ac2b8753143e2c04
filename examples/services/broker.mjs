/**
 * A broker for small frames, over HTTP. A publisher posts frames, many at once: `POST /topic`. A subscriber reads on from where it is:
 * `GET /topic?after=NUMBER`. If there is nothing new, the answer waits until there is. Each subscriber gets each frame, as long as the
 * broker holds it.
 *
 * A body is a batch: for each frame its length (4 bytes, the highest first), then its bytes. The answer to a `GET` is a number of whole
 * batches; `x-first` has the number of its first frame, `x-next` what to ask with next.
 *
 *   PORT=8080 node broker.mjs
 */
import { createServer } from 'node:http'
import { fileURLToPath } from 'node:url'
import { Arena } from 'offheap'
import { answering, HttpError, lendAll, readBody, run, send } from './http.mjs'
import { ANSWER_BYTES, countFrames, cursorOf, headersOf, Topic } from './topic.mjs'

const KIB = 2 ** 10
const MIB = 2 ** 20

/**
 * @param {object} options
 * @param {Arena} options.arena its limit is what all topics and the bodies under way may take
 * @param {number} [options.maxBytes] of one batch
 * @param {number} [options.retainBytes] of each topic
 * @param {number} [options.retainMs] a batch is held for so long
 * @param {number} [options.waitMs] a subscriber waits for so long at most
 */
export function createBroker({
  arena,
  maxBytes = 256 * KIB,
  retainBytes = 32 * MIB,
  retainMs = 60_000,
  waitMs = 10_000,
}) {
  /** @type {Map<string, Topic>} */
  const topics = new Map()

  /** @param {string} name */
  function topicNamed(name) {
    // A batch that is being sent is lent: it ends with the last loan.
    const topic = topics.get(name) ?? new Topic(batch => arena.free(batch))
    topics.set(name, topic)
    return topic
  }

  // #region answer
  const server = createServer(
    answering(async (request, response) => {
      const { name, after } = cursorOf(request)
      const topic = topicNamed(name)
      if (request.method === 'POST') {
        const batch = await readBody(arena, request, maxBytes)
        const frameCount = countFrames(batch)
        if (frameCount < 1) {
          arena.free(batch)
          throw new HttpError(400, 'a batch is made of whole frames')
        }
        const last = topic.append(batch, frameCount)
        topic.retain(0, retainBytes)
        response.writeHead(201, { 'x-last': last }).end()
        return
      }
      if (request.method !== 'GET') throw new HttpError(405, 'there are GET and POST')
      if (topic.read(after, 0).length === 0) await topic.wait(waitMs)
      const batches = topic.read(after, ANSWER_BYTES)
      response.setHeaders(headersOf(batches, after))
      const blocks = batches.map(({ bytes }) => bytes)
      await lendAll(arena, blocks, parts => send(response, parts))
    }),
  )
  // #endregion

  const sweep = setInterval(() => {
    for (const topic of topics.values()) topic.retain(Date.now() - retainMs, retainBytes)
  }, retainMs / 4).unref()
  server.on('close', () => {
    clearInterval(sweep)
    for (const topic of topics.values()) topic.retain(Infinity, 0)
  })
  return server
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const arena = new Arena({ name: 'topics', limitBytes: 128 * MIB })
  run(createBroker({ arena }), arena)
}
