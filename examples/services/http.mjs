/** What the services share: bodies into blocks, answers out of blocks, errors, start and stop. */
import { MessageChannel } from 'node:worker_threads'

/** @import { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http' */
/** @import { Arena } from 'offheap' */

/** An answer that tells the client what is wrong: a status of HTTP, and a sentence. */
export class HttpError extends Error {
  /**
   * @param {number} status
   * @param {string} message
   * @param {ErrorOptions} [options]
   */
  constructor(status, message, options) {
    super(message, options)
    this.status = status
  }
}

/** By the code of an error of an arena: the status, and what the client may do. */
/** @type {Record<string, [number, string]>} */
const REFUSALS = {
  ERR_ARENA_LIMIT: [503, 'all memory for bodies is in use: try again'],
  ERR_ARENA_OUT_OF_MEMORY: [503, 'all memory for bodies is in use: try again'],
  ERR_ARENA_CLOSED: [503, 'the service is stopping'],
}

/**
 * A listener that answers with an error if `handle` rejects. If the client is gone, or has half an answer already, it ends the connection.
 * @param {(request: IncomingMessage, response: ServerResponse) => Promise<void>} handle
 * @returns {RequestListener}
 */
export function answering(handle) {
  return (request, response) => {
    handle(request, response).catch(error => {
      if (response.headersSent || response.destroyed) response.destroy()
      else refuse(response, error)
    })
  }
}

/**
 * @param {ServerResponse} response
 * @param {any} error
 */
function refuse(response, error) {
  const [status, message] =
    error instanceof HttpError
      ? [error.status, error.message]
      : (REFUSALS[error.code] ?? [500, 'a fault of the service'])
  if (status === 500) console.error(error)
  if (status === 503) response.setHeader('retry-after', 1)
  // What is still to come of a body, Node reads and drops.
  response.writeHead(status, { 'content-type': 'text/plain' }).end(`${message}\n`)
}

// #region body
/**
 * Reads the body of a request into one block. The caller frees it.
 * @param {Arena} arena
 * @param {IncomingMessage} request
 * @param {number} maxBytes
 */
export async function readBody(arena, request, maxBytes) {
  if (request.headers['transfer-encoding'] !== undefined) return await arena.collect(request, { maxBytes })
  // The length is a claim of the client. It takes so much of the arena's limit, but memory only for what really comes.
  const block = arena.allocUnsafe(lengthOf(request, maxBytes))
  try {
    await fill(block, request)
    return block
  } catch (error) {
    arena.free(block)
    throw error
  }
}

/**
 * @param {Buffer} block as long as the body
 * @param {IncomingMessage} request
 * @returns {Promise<void>}
 */
function fill(block, request) {
  let length = 0
  return new Promise((resolve, reject) => {
    request.on('data', chunk => {
      block.set(chunk, length)
      length += chunk.length
      discard(chunk)
    })
    request.on('end', resolve)
    request.on('error', reject)
  })
}
// #endregion

/**
 * The length of a body by its `content-length`. Throws 411 if there is none, 413 if it is more than `maxBytes`.
 * @param {IncomingMessage} request
 * @param {number} maxBytes
 */
export function lengthOf({ headers }, maxBytes) {
  if (headers['content-length'] === undefined) throw new HttpError(411, 'a body needs a content-length')
  const length = Number(headers['content-length'])
  if (length > maxBytes) throw new HttpError(413, `a body may have ${maxBytes} bytes at most`)
  return length
}

// #region discard
const nowhere = new MessageChannel().port1
nowhere.close()

/**
 * Gives the memory of an ordinary Buffer back to malloc now. It would stay until V8 collects garbage, which in an idle process may be never.
 * Only for a Buffer that nobody reads any more. Does nothing to one that shares its memory with others.
 * @param {Buffer} buffer
 */
export function discard({ buffer, byteLength }) {
  // For a few bytes it is not worth a microsecond.
  if (byteLength >= 4096 && byteLength === buffer.byteLength) discardAll(buffer)
}

/**
 * The same for all of the memory that a Buffer lies in. Only if nobody reads any part of it.
 * @param {ArrayBufferLike & { transfer?(sizeBytes: number): ArrayBuffer }} memory
 */
export function discardAll(memory) {
  // Node cuts short Buffers out of a pool, which it must keep. Nothing else of ours has that length.
  if (memory.byteLength === 0 || memory.byteLength === Buffer.poolSize) return
  // Node 20 has no `transfer`. What is sent to a closed port leaves its owner, and arrives nowhere.
  if (memory.transfer === undefined) nowhere.postMessage(null, [/** @type {ArrayBuffer} */ (memory)])
  else memory.transfer(0)
}
// #endregion

/** @param {Buffer[]} parts */
export const lengthOfAll = parts => parts.reduce((length, part) => length + part.length, 0)

// #region send
/**
 * Sends `parts` as the whole answer. Resolves when nobody reads them any more: all is sent, or the client is gone.
 * @param {ServerResponse} response
 * @param {Buffer[]} parts
 * @returns {Promise<void>}
 */
export function send(response, parts) {
  return new Promise(resolve => {
    if (response.destroyed) return resolve()
    // 'close' is the last event.
    response.once('close', resolve)
    response.setHeader('content-length', lengthOfAll(parts))
    response.cork()
    for (const part of parts) response.write(part)
    response.end()
    response.uncork()
  })
}

/**
 * Lends blocks to `use`, until its promise settles. One that is freed meanwhile ends after that.
 * @template T
 * @param {Arena} arena
 * @param {Buffer[]} blocks
 * @param {(blocks: Buffer[]) => Promise<T>} use
 * @returns {Promise<T>}
 */
export async function lendAll(arena, blocks, use) {
  for (const block of blocks) arena.pin(block)
  try {
    return await use(blocks)
  } finally {
    for (const block of blocks) arena.unpin(block)
  }
}
// #endregion

/**
 * Serves on the port of the environment, until the process is told to stop. Then it answers what it has begun, and ends.
 * @param {Server} server
 * @param {Arena} arena
 */
export function run(server, arena) {
  server.listen(Number(process.env.PORT ?? 8080), () => {
    console.log(`listening: ${JSON.stringify(server.address())}`)
  })
  const stop = () => {
    server.close(() => arena.closeWhenIdle())
    // Clients keep connections after the last answer.
    setInterval(() => server.closeIdleConnections(), 100).unref()
  }
  process.once('SIGTERM', stop).once('SIGINT', stop)
}
