/**
 * `arena.stream`: a `Readable` of blocks, which end as their bytes are consumed.
 *
 * When is a chunk consumed? A `Readable` does not learn it: `'end'` comes when the last chunk was handed on, and the
 * receiver may hold all of them. So a chunk is a copy, of at most 64 KiB, and the receiver may keep it. But if the stream is
 * piped to a sink (`sinks.ts`), and to nothing else, it goes there without a copy (`direct-pipe.ts`).
 *
 * Whatever asks for chunks meanwhile, a second `pipe`, a listener, an iterator or `read`, ends the direct pipe. From then on
 * all of them get copies.
 */
import { Readable } from 'node:stream'
// Not the global: there is none in some test environments, and tests of users replace it.
import { setImmediate } from 'node:timers'
import { invalidArgType, invalidArgValue } from '../base/errors.js'
import { register } from '../base/primordials.js'
import { DirectPipe, type Piped } from './direct-pipe.js'
import { type BlockTaker, Outgoing } from './outgoing.js'
import { answersWrites, type Sink } from './sinks.js'

type Listener = (...args: never[]) => void
type Destination = NodeJS.WritableStream

interface PipeOptions {
  end?: boolean | undefined
}

/** How many bytes of copies are made ahead. */
const AHEAD_BYTES = 64 * 1024

/** The streams that the program dropped. What is left of their blocks ends. */
const dropped = new FinalizationRegistry<Outgoing>(outgoing => outgoing.abandon())

/**
 * Makes a `Readable` of blocks, which `taker` takes over. Throws
 * - `ERR_INVALID_ARG_TYPE` if `buffers` is neither a Buffer nor an iterable
 * - `ERR_INVALID_ARG_VALUE` if a Buffer is in it twice
 * - the errors of `takeOver`
 *
 * After a throw no block was taken over.
 */
export function streamBlocks(taker: BlockTaker, buffers: Uint8Array | Iterable<Uint8Array>): Readable {
  const list = listOf(buffers)
  const outgoing = new Outgoing(taker)
  const stream = new BlockStream(outgoing)
  register(dropped, stream, outgoing)
  const taken = taker.takeOver(list)
  outgoing.fill(taken)
  // From here on the stream ends them, or its collection.
  taker.keep(taken)
  return stream
}

function listOf(buffers: unknown): Uint8Array[] {
  if (ArrayBuffer.isView(buffers)) return [buffers as Uint8Array]
  const isIterable = typeof buffers === 'object' && buffers !== null && Symbol.iterator in buffers
  if (!isIterable) throw invalidArgType('buffers', 'a Buffer or an iterable of Buffers', buffers)
  const list = Array.from(buffers as Iterable<Uint8Array>)
  const met = new Set<Uint8Array>()
  for (const buffer of list) {
    if (met.has(buffer)) {
      throw invalidArgValue('buffers', 'must not have the same Buffer twice', buffer)
    }
    met.add(buffer)
  }
  return list
}

class BlockStream extends Readable {
  readonly #outgoing: Outgoing
  #direct: DirectPipe | null = null
  #pipeOptions: PipeOptions | undefined
  /** What tells Node that the stream is destroyed. It waits for the last view that is lent. */
  #whenOver: (() => void) | null = null

  constructor(outgoing: Outgoing) {
    super({ highWaterMark: AHEAD_BYTES })
    this.#outgoing = outgoing
  }

  override _read(): void {
    try {
      this.push(this.#outgoing.copyNext())
    } catch (error) {
      this.destroy(error as Error)
    }
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#direct?.stop()
    this.#direct = null
    this.#endRest()
    // After a normal end, `'close'` says that every block has ended.
    if (error === null && this.readableEnded && !this.#outgoing.isOver) this.#whenOver = () => callback(null)
    else callback(error)
  }

  override pipe<T extends Destination>(destination: T, options?: PipeOptions): T {
    const isDirect = this.#isUntouched && answersWrites(destination) !== false
    this.#leaveDirect()
    if (!isDirect) return this.#pipeCopies(destination, options)
    this.#pipeOptions = options
    this.#direct = new DirectPipe(destination as unknown as Sink, this.#outgoing, this.#piped)
    destination.emit('pipe', this)
    return destination
  }

  override unpipe(destination?: Destination): this {
    const sink = this.#direct?.sink as Destination | undefined
    if (sink === undefined || (destination !== undefined && destination !== sink)) {
      return super.unpipe(destination)
    }
    this.#stopDirect()
    return super.pause()
  }

  override read(size?: number): unknown {
    this.#leaveDirect()
    return super.read(size)
  }

  override pause(): this {
    this.#leaveDirect()
    return super.pause()
  }

  override resume(): this {
    // Under a direct pipe the bytes flow already.
    return this.#direct === null ? super.resume() : this
  }

  override on(event: string | symbol, listener: Listener): this {
    if (event === 'data' || event === 'readable') this.#leaveDirect()
    return super.on(event, listener as never)
  }

  override addListener(event: string | symbol, listener: Listener): this {
    return this.on(event, listener)
  }

  #endRest(): void {
    const outgoing = this.#outgoing
    try {
      outgoing.endRest()
    } catch (error) {
      // The stack was full. What did not end then ends in the next turn.
      setImmediate(() => outgoing.endRest())
      throw error
    }
  }

  /** Whether nobody has asked for chunks so far. */
  get #isUntouched(): boolean {
    return (
      this.#direct === null &&
      this.readableFlowing === null &&
      !this.readableDidRead &&
      !this.destroyed &&
      this.readableLength === 0 &&
      this.listenerCount('readable') === 0
    )
  }

  get #piped(): Piped {
    return {
      written: () => this.#endDirect(),
      sinkGone: error => this.destroy(error),
      sinkChanged: () => this.#leaveDirect(),
      viewDone: () => {
        if (this.#whenOver === null || !this.#outgoing.isOver) return
        const run = this.#whenOver
        this.#whenOver = null
        run()
      },
    }
  }

  /** Pipes as Node does. If the destination closes before all was read, and nobody else reads, the blocks end. */
  #pipeCopies<T extends Destination>(destination: T, options: PipeOptions | undefined): T {
    super.pipe(destination, options)
    const onClose = (): void => {
      const isRead = this.listenerCount('data') > 0 || this.listenerCount('readable') > 0
      if (!isRead) this.destroy()
    }
    destination.once('close', onClose)
    this.once('close', () => destination.off('close', onClose))
    return destination
  }

  /** All was written to the sink. The stream ends, and then the sink, as with `pipe` of Node. */
  #endDirect(): void {
    const { sink } = this.#direct as DirectPipe
    const isStandard = (sink as unknown) === process.stdout || (sink as unknown) === process.stderr
    const endsSink = this.#pipeOptions?.end !== false && !isStandard
    this.#direct = null
    this.once('end', () => {
      if (endsSink) sink.end()
      else sink.emit('unpipe', this, { hasUnpiped: false })
    })
    this.push(null)
    super.resume()
  }

  /** Goes on with copies, because somebody else wants chunks, too. */
  #leaveDirect(): void {
    if (this.#direct === null) return
    const { sink } = this.#direct
    this.#stopDirect()
    this.#pipeCopies(sink as unknown as Destination, this.#pipeOptions)
  }

  #stopDirect(): void {
    const direct = this.#direct as DirectPipe
    this.#direct = null
    direct.stop()
    direct.sink.emit('unpipe', this, { hasUnpiped: false })
  }
}
