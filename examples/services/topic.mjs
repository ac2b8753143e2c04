/** What a broker holds of one topic, and for how long. It does not know what memory that lies in. */
import { HttpError } from './http.mjs'

/** @import { IncomingMessage } from 'node:http' */

/** The most that one answer has, unless a single batch has more. */
export const ANSWER_BYTES = 64 * 1024

/**
 * The number of frames in a batch; -1 if it is not made of whole frames.
 * @param {Buffer} batch
 */
export function countFrames(batch) {
  let count = 0
  let offset = 0
  while (offset + 4 <= batch.length) {
    offset += 4 + batch.readUInt32BE(offset)
    count++
  }
  return offset === batch.length ? count : -1
}

/**
 * The batches of a topic, the oldest first. Frames are numbered from 1.
 * @typedef {{ first: number, next: number, bytes: Buffer, atMs: number }} Batch
 */
export class Topic {
  /** @type {Batch[]} */
  #batches = []
  #next = 1
  #bytes = 0
  /** @type {Set<() => void>} subscribers that wait */
  #waiting = new Set()
  #drop

  /** @param {(bytes: Buffer) => void} drop is told of each batch that goes */
  constructor(drop) {
    this.#drop = drop
  }

  get bytes() {
    return this.#bytes
  }

  /**
   * Takes a batch over.
   * @param {Buffer} bytes
   * @param {number} frameCount
   */
  append(bytes, frameCount) {
    const first = this.#next
    this.#next += frameCount
    this.#batches.push({ first, next: this.#next, bytes, atMs: Date.now() })
    this.#bytes += bytes.length
    for (const wake of this.#waiting) wake()
    return this.#next - 1
  }

  /**
   * Batches with what came after frame `after`: as many as fit into `maxBytes`, and at least one if there is any.
   * @param {number} after
   * @param {number} maxBytes
   */
  read(after, maxBytes) {
    let from = this.#batches.length
    while (from > 0 && this.#batches[from - 1].next - 1 > after) from--
    const found = []
    for (let length = 0; from < this.#batches.length; from++) {
      length += this.#batches[from].bytes.length
      if (found.length > 0 && length > maxBytes) break
      found.push(this.#batches[from])
    }
    return found
  }

  /**
   * Resolves when a batch comes, or after `waitMs`.
   * @param {number} waitMs
   * @returns {Promise<void>}
   */
  wait(waitMs) {
    return new Promise(resolve => {
      const wake = () => {
        clearTimeout(timer)
        this.#waiting.delete(wake)
        resolve()
      }
      const timer = setTimeout(wake, waitMs)
      this.#waiting.add(wake)
    })
  }

  /**
   * Drops the oldest batches: those from before `timeMs`, and then as many as it takes until the others have `maxBytes` at most.
   * @param {number} timeMs as of `Date.now()`
   * @param {number} maxBytes
   */
  retain(timeMs, maxBytes) {
    while (this.#batches.length > 0) {
      const [{ atMs, bytes }] = this.#batches
      if (atMs >= timeMs && this.#bytes <= maxBytes) return
      this.#batches.shift()
      this.#bytes -= bytes.length
      this.#drop(bytes)
    }
  }
}

/**
 * What a subscriber asks with, and the most that it waits.
 * @param {IncomingMessage} request
 */
export function cursorOf(request) {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost')
  const after = Number(searchParams.get('after') ?? 0)
  if (!(after >= 0)) throw new HttpError(400, 'after must be the number of a frame')
  return { name: pathname, after }
}

/**
 * Where a subscriber is after these batches.
 * @param {Batch[]} batches
 * @param {number} after what it asked with
 */
export function headersOf(batches, after) {
  const first = batches.at(0)?.first ?? after + 1
  const next = batches.at(-1)?.next ?? after + 1
  return new Map([
    ['x-first', `${first}`],
    ['x-next', `${next - 1}`],
  ])
}
