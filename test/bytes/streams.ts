/** Things that `collect` reads, of each kind, which hand out given chunks, and then end, fail, close or never do anything more. */
import { Readable } from 'node:stream'
import type { ByteStream } from '../../src/bytes/sources.js'
import type { Random } from '../support/random.js'

export type Ending = 'end' | 'fail' | 'close' | 'hang'

export interface Feed {
  readonly source: ByteStream
  /** Whether the source has been ended by whoever read it, and why. */
  readonly givenUp: () => { isGivenUp: boolean; reason: unknown }
  /** Throws if the source is still held: it has listeners, or is locked. */
  readonly requireReleased: () => void
}

export const SOURCE_FAULT = new Error('the source has failed')

type MakeFeed = (chunks: readonly unknown[], ending: Ending, isLazy?: boolean) => Feed

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

/** The chunks, each in a turn of its own if it is lazy, and then the end. */
async function* sequence(
  chunks: readonly unknown[],
  ending: Ending,
  isLazy: boolean,
): AsyncGenerator<unknown> {
  for (const chunk of chunks) {
    if (isLazy) await turn()
    yield chunk
  }
  if (ending === 'fail' || ending === 'close') throw SOURCE_FAULT
  if (ending === 'hang') await new Promise(() => {})
}

const ofNode: MakeFeed = (chunks, ending, isLazy = false) => {
  let next = 0
  let reason: unknown
  let isGivenUp = false
  const isObjects = chunks.some(chunk => !(chunk instanceof Uint8Array) && typeof chunk !== 'string')
  const source = new Readable({
    objectMode: isObjects,
    read() {
      const push = () => {
        if (next < chunks.length) this.push(chunks[next++])
        else if (ending === 'end') this.push(null)
        else if (ending === 'fail') this.destroy(SOURCE_FAULT)
        else if (ending === 'close') this.destroy()
      }
      if (isLazy) setImmediate(push)
      else push()
    },
    destroy(error, callback) {
      // At its own end it is destroyed, too.
      isGivenUp = !this.readableEnded
      reason = error
      callback(error)
    },
  })
  return {
    source,
    givenUp: () => ({ isGivenUp, reason }),
    requireReleased() {
      const left = ['data', 'end', 'close', 'error', 'readable'].filter(
        event => source.listenerCount(event) > 0,
      )
      if (left.length > 0) throw new Error(`listeners are left: ${left}`)
    },
  }
}

const ofWeb: MakeFeed = (chunks, ending, isLazy = false) => {
  let next = 0
  let reason: unknown
  let isGivenUp = false
  const source = new ReadableStream({
    async pull(controller) {
      if (isLazy) await turn()
      if (next < chunks.length) controller.enqueue(chunks[next++])
      else if (ending === 'end') controller.close()
      else if (ending === 'fail' || ending === 'close') controller.error(SOURCE_FAULT)
      else await new Promise(() => {})
    },
    cancel(because) {
      isGivenUp = true
      reason = because
    },
  })
  return {
    source,
    givenUp: () => ({ isGivenUp, reason }),
    requireReleased() {
      if (source.locked) throw new Error('the stream is still locked')
    },
  }
}

const ofIterable: MakeFeed = (chunks, ending, isLazy = false) => {
  const generator = sequence(chunks, ending, isLazy)
  let isGivenUp = false
  const source = {
    [Symbol.asyncIterator]: () => ({
      next: () => generator.next(),
      return: () => {
        isGivenUp = true
        return Promise.resolve({ done: true as const, value: undefined })
      },
    }),
  } as unknown as AsyncIterable<Uint8Array>
  return { source, givenUp: () => ({ isGivenUp, reason: undefined }), requireReleased() {} }
}

export const FEEDS: [string, MakeFeed][] = [
  ['a Readable', ofNode],
  ['a ReadableStream', ofWeb],
  ['an async iterable', ofIterable],
]

/** Random bytes, cut into chunks at random. */
export function randomChunks(random: Random, mostBytes: number): Buffer[] {
  const whole = Buffer.alloc(random.size(mostBytes))
  for (let i = 0; i < whole.length; i += 1 + (i >>> 6)) whole[i] = random.below(256)
  const chunks: Buffer[] = []
  // Not too many, since each may take a turn of the event loop.
  const mostChunk = 1 + random.size(70_000) + Math.ceil(whole.length / 200)
  for (let start = 0; start < whole.length; ) {
    const end = Math.min(whole.length, start + (random.oneIn(3) ? 1 + random.below(mostChunk) : mostChunk))
    chunks.push(whole.subarray(start, end))
    start = end
  }
  return chunks
}
