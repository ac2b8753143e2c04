/**
 * Writes the blocks of a stream to one sink (see `sinks.ts`), with no copy: each write gets a view of a block, and
 * its callback says that the view is done. It takes the place of `Readable.pipe` for as long as the sink is the only
 * consumer of the stream.
 *
 * If the sink closes first, nobody wants the rest: the stream is destroyed, and its blocks end.
 */
import type { LentView, Outgoing } from './outgoing.js'
import { answersWrites, type Sink } from './sinks.js'

/** What a direct pipe calls. */
export interface Piped {
  /** The last byte was written. */
  written(): void
  /** The sink has closed, or has refused a write by `error`. */
  sinkGone(error?: Error): void
  /** The destination is no sink any more. The pipe has stopped. */
  sinkChanged(): void
  /** A view was done. */
  viewDone(): void
}

export class DirectPipe {
  readonly sink: Sink
  readonly #outgoing: Outgoing
  readonly #piped: Piped
  readonly #lent = new Set<LentView>()
  #isStopped = false

  constructor(sink: Sink, outgoing: Outgoing, piped: Piped) {
    this.sink = sink
    this.#outgoing = outgoing
    this.#piped = piped
    sink.on('close', this.#onClose)
    sink.on('finish', this.#onFinish)
    // Like `pipe` of Node: the caller can add its listeners first.
    process.nextTick(this.#write)
  }

  /** Writes nothing more. Views that are lent stay so until they are done. */
  stop(): void {
    if (this.#isStopped) return
    this.#isStopped = true
    const { sink } = this
    sink.off('finish', this.#onFinish)
    sink.off('drain', this.#write)
    sink.off('socket', this.#write)
    this.#leaveIfDone()
  }

  readonly #write = (): void => {
    const { sink } = this
    while (!this.#isStopped) {
      if (sink.destroyed) {
        this.#gone()
        return
      }
      const answer = answersWrites(sink)
      if (answer === 'later') {
        sink.once('socket', this.#write)
        return
      }
      if (!answer) {
        this.stop()
        this.#piped.sinkChanged()
        return
      }
      if (!this.#writeNext()) return
    }
  }

  /** Writes the next bytes. Returns whether there may be more and the sink takes more now. */
  #writeNext(): boolean {
    let lent: LentView | null = null
    try {
      lent = this.#outgoing.lendNext()
      if (lent === null) {
        this.stop()
        this.#piped.written()
        return false
      }
      if (this.#writeView(lent)) return true
    } catch (error) {
      if (lent !== null) this.#done(lent)
      this.stop()
      this.#piped.sinkGone(error as Error)
      return false
    }
    if (!this.#isStopped) this.sink.once('drain', this.#write)
    return false
  }

  #writeView(lent: LentView): boolean {
    this.#lent.add(lent)
    return this.sink.write(lent.view, () => this.#done(lent))
  }

  #done(lent: LentView): void {
    if (!this.#lent.delete(lent)) return
    lent.done()
    this.#piped.viewDone()
    this.#leaveIfDone()
  }

  readonly #onClose = (): void => {
    for (const lent of this.#lent) this.#done(lent)
    this.#gone()
  }

  readonly #onFinish = (): void => this.#gone()

  #gone(): void {
    if (this.#isStopped) return
    this.stop()
    this.#piped.sinkGone()
  }

  #leaveIfDone(): void {
    if (this.#isStopped && this.#lent.size === 0) this.sink.off('close', this.#onClose)
  }
}
