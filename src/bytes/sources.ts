/**
 * What bytes can be read from: streams of Node, streams of the web, and async iterables. Each class hands its chunks to an
 * intake, and knows how to leave its source behind: at its end with no listener and no lock, after a failure ended.
 */
// Not the global: there is none in some test environments, and tests of users replace it.
import { setImmediate } from 'node:timers'
import { invalidArgType } from '../base/errors.js'
import { prematureCloseError } from './errors.js'

/** Bytes that a source hands over in one piece. */
export type BytesChunk = Uint8Array | ArrayBuffer | ArrayBufferView

/** A stream of the web, as far as it is used: `response.body`, `blob.stream()`. */
export interface WebStream {
  /** Locks the stream, and returns what reads it. */
  getReader(): WebStreamReader
}

/** What reads a stream of the web. */
export interface WebStreamReader {
  /** Resolves to the next chunk, or says that there is none. */
  read(): Promise<{
    /** Whether there are no more chunks. */
    done: boolean
    /** The chunk. */
    value?: unknown
  }>
  /** Ends the stream because of `reason`. */
  cancel(reason?: unknown): Promise<void>
  /** Unlocks the stream. */
  releaseLock(): void
}

/** What `collect` reads: a stream of Node, a stream of the web, or any async iterable of bytes. */
export type ByteStream = NodeJS.ReadableStream | WebStream | AsyncIterable<BytesChunk>

/** Where chunks go. */
export interface Intake {
  /** Takes a chunk. Returns false if the reading is over: it has failed, and the source was given up. */
  take(chunk: unknown): boolean
  /** There are no more chunks. */
  end(): void
  /** The source failed. */
  fail(error: unknown): void
}

export interface Source {
  /** Begins to hand chunks to `intake`, in this turn or later. */
  start(intake: Intake): void
  /** After its end: leaves the source as it is. */
  release(): void
  /** Ends the source because of `reason`. Nothing is handed over any more. */
  giveUp(reason: unknown): void
}

/** The stream of Node, as far as it is used. Each property may be missing: streams of old packages lack some. */
interface NodeStream {
  on(event: string, listener: (...args: never[]) => void): unknown
  removeListener(event: string, listener: (...args: never[]) => void): unknown
  resume?(): unknown
  destroy?(error?: unknown): unknown
  readonly destroyed?: boolean
  readonly closed?: boolean
  readonly errored?: unknown
  readonly readableEnded?: boolean
  readonly writable?: boolean
  listenerCount?(event: string): number
}

/** Finds out how to read `source`. Throws `ERR_INVALID_ARG_TYPE` if it cannot be read. */
export function sourceOf(source: unknown): Source {
  if ((typeof source === 'object' || typeof source === 'function') && source !== null) {
    if (hasMethod(source, 'getReader')) return new WebSource(source as WebStream)
    if (isFlowing(source)) return new NodeSource(source)
    if (hasMethod(source, Symbol.asyncIterator)) return new IterableSource(source as AsyncIterable<unknown>)
  }
  const expected =
    'a Readable, a ReadableStream (such as response.body) or an async iterable of bytes; concat() takes an array of Buffers'
  throw invalidArgType('source', expected, source)
}

/** Whether this is a stream of Node that hands out its chunks by 'data', which it does not while it has 'readable' listeners. */
function isFlowing(source: object): source is NodeStream {
  if (!hasMethod(source, 'on') || !hasMethod(source, 'removeListener') || !hasMethod(source, 'pipe'))
    return false
  return !hasMethod(source, 'listenerCount') || (source as NodeStream).listenerCount?.('readable') === 0
}

function hasMethod(object: object, name: PropertyKey): boolean {
  return typeof (object as Record<PropertyKey, unknown>)[name] === 'function'
}

function ignore(): void {}

class NodeSource implements Source {
  readonly #stream: NodeStream
  #intake: Intake | undefined

  constructor(stream: NodeStream) {
    this.#stream = stream
  }

  start(intake: Intake): void {
    const stream = this.#stream
    if (stream.errored !== undefined && stream.errored !== null) intake.fail(stream.errored)
    else if (stream.readableEnded === true) intake.end()
    else if (stream.destroyed === true || stream.closed === true) intake.fail(prematureCloseError())
    else this.#listen(intake)
  }

  #listen(intake: Intake): void {
    const stream = this.#stream
    this.#intake = intake
    stream.on('error', this.#onError)
    stream.on('end', this.#onEnd)
    stream.on('close', this.#onClose)
    stream.on('data', this.#onData)
    // A stream that was paused before does not flow for a listener alone.
    stream.resume?.()
  }

  release(): void {
    this.#stopListening()
    // What has ended is destroyed next, and that may fail. The writable side of a duplex stream is of no concern here.
    if (this.#stream.closed === false && this.#stream.writable !== true) this.#ignoreErrors()
  }

  giveUp(reason: unknown): void {
    const stream = this.#stream
    this.#stopListening()
    if (stream.destroy === undefined) return
    // Also for a stream that is destroyed: its error may not have been emitted yet.
    this.#ignoreErrors()
    if (stream.destroyed === true) return
    keepSocket(stream)
    stream.destroy(reason)
  }

  #stopListening(): void {
    this.#intake = undefined
    this.#stream.removeListener('data', this.#onData)
    this.#stream.removeListener('end', this.#onEnd)
    this.#stream.removeListener('close', this.#onClose)
    this.#stream.removeListener('error', this.#onError)
  }

  /**
   * Until the stream closes, an error of it ends no process. Whoever called `collect` is told of the error, or has all bytes
   * already.
   */
  #ignoreErrors(): void {
    const stream = this.#stream
    const onClose = () => {
      stream.removeListener('error', ignore)
      stream.removeListener('close', onClose)
    }
    stream.on('error', ignore)
    stream.on('close', onClose)
    // It is closed already, and tells so within this turn of the event loop, unless it has done so before.
    if (stream.closed === true) setImmediate(onClose)
  }

  readonly #onData = (chunk: unknown): void => {
    this.#intake?.take(chunk)
  }

  readonly #onEnd = (): void => {
    this.#intake?.end()
  }

  readonly #onError = (error: unknown): void => {
    this.#intake?.fail(error)
  }

  readonly #onClose = (): void => {
    this.#intake?.fail(prematureCloseError())
  }
}

/**
 * Takes its socket from a request that a server received, so that destroying the request leaves the socket open. The server
 * can then answer, with status 413 for example. The iterators and pipelines of Node do the same.
 */
function keepSocket(stream: object): void {
  const { _consuming, _dumped, req } = stream as {
    _consuming?: unknown
    _dumped?: unknown
    req?: { upgradeOrConnect?: unknown }
  }
  const isMessage = typeof _consuming === 'boolean' && typeof _dumped === 'boolean'
  // A response that a client received has a `req`.
  if (isMessage && req?.upgradeOrConnect === undefined) (stream as { socket: unknown }).socket = null
}

class WebSource implements Source {
  readonly #reader: WebStreamReader
  #isOver = false

  /** Throws the error of the stream if it is locked. */
  constructor(stream: WebStream) {
    this.#reader = stream.getReader()
  }

  start(intake: Intake): void {
    this.#run(intake)
  }

  async #run(intake: Intake): Promise<void> {
    try {
      for (;;) {
        const { done, value } = await this.#reader.read()
        if (this.#isOver) return
        if (done) return intake.end()
        if (!intake.take(value)) return
      }
    } catch (error) {
      if (!this.#isOver) intake.fail(error)
    }
  }

  release(): void {
    this.#isOver = true
    try {
      this.#reader.releaseLock()
    } catch {
      // Older streams refuse while a read is under way.
    }
  }

  giveUp(reason: unknown): void {
    this.#isOver = true
    Promise.resolve(this.#reader.cancel(reason)).catch(ignore)
    this.release()
  }
}

class IterableSource implements Source {
  readonly #iterable: AsyncIterable<unknown>
  #iterator: AsyncIterator<unknown> | undefined
  #hasThrown = false
  #isOver = false

  constructor(iterable: AsyncIterable<unknown>) {
    this.#iterable = iterable
  }

  start(intake: Intake): void {
    this.#run(intake)
  }

  async #run(intake: Intake): Promise<void> {
    try {
      this.#iterator = this.#iterable[Symbol.asyncIterator]()
      for (;;) {
        const { done, value } = await this.#iterator.next()
        if (this.#isOver) return
        if (done) return intake.end()
        if (!intake.take(value)) return
      }
    } catch (error) {
      // What has thrown is at its end, and is not asked to return.
      this.#hasThrown = true
      if (!this.#isOver) intake.fail(error)
    }
  }

  release(): void {
    this.#isOver = true
  }

  giveUp(): void {
    this.#isOver = true
    this.#return().catch(ignore)
  }

  /** Has a generator run its `finally`, as a loop does that is left. */
  async #return(): Promise<void> {
    if (this.#hasThrown) return
    const iterator = this.#iterator ?? this.#iterable[Symbol.asyncIterator]()
    await iterator.return?.()
  }
}
