/**
 * Where records were made: the stack of every 128th, a hundred a second at most if that goes on for long. A ref is a number, so the collector cannot tell that nobody holds it
 * any more; the oldest records, with their stacks, are where a leak shows.
 *
 * Nothing is done when a record ends. A sample of a record that has ended is dropped when samples are looked at, or when
 * they have become twice as many as were left the last time.
 */
import { isOwnFrame } from '../base/own-folder.js'
import type { Ref } from './slots.js'

/** One record in this many is sampled. */
export const SAMPLED_EVERY = 128
/** After as many of them the clock is read again, if there were too many samples lately. */
export const SKIPPED = 16 * SAMPLED_EVERY
const MIN_SAMPLES = 1024
/** A stack takes some microseconds. So many samples at most are taken at once, and a hundred a second after that. */
const MAX_CREDIT = 256
const MAX_SAMPLES_PER_MS = 0.1
const { captureStackTrace } = Error
const { max, min } = Math

/** A record that has been live for long, as `store.oldest()` returns it. */
export interface OldRecord {
  /** The ref of the record. */
  ref: Ref
  /** Bytes of the record, as asked for. */
  sizeBytes: number
  /** Milliseconds since it was made. */
  ageMs: number
  /** Where it was made: the lines of a stack, the innermost call first, without those of this package. */
  stack: string
}

interface Sample {
  readonly atMs: number
  readonly stack: string
}

export class Samples {
  readonly #byRef = new Map<Ref, Sample>()
  readonly #isLive: (ref: Ref) => boolean
  #most = MIN_SAMPLES
  #credit = MAX_CREDIT
  #atMs = 0

  constructor(isLive: (ref: Ref) => boolean) {
    this.#isLive = isLive
  }

  /** Samples a record that was made just now, unless there were too many lately. Returns whether it did. */
  add(ref: Ref, nowMs: number): boolean {
    this.#credit = min(MAX_CREDIT, this.#credit + (nowMs - this.#atMs) * MAX_SAMPLES_PER_MS)
    this.#atMs = nowMs
    if (this.#credit < 1) return false
    this.#credit--
    if (this.#byRef.size >= this.#most) this.#prune()
    const holder: { stack?: string } = {}
    captureStackTrace(holder)
    const lines = (holder.stack ?? '').split('\n').slice(1)
    const stack = lines.filter(line => !isOwnFrame(line)).join('\n')
    // A later record of the slot may have the same ref: it goes to the end.
    this.#byRef.delete(ref)
    this.#byRef.set(ref, { atMs: nowMs, stack })
    return true
  }

  #prune(): void {
    for (const ref of this.#byRef.keys()) if (!this.#isLive(ref)) this.#byRef.delete(ref)
    this.#most = max(MIN_SAMPLES, 2 * this.#byRef.size)
  }

  /** The `count` oldest live records among the sampled ones, the oldest first. */
  oldest(count: number, nowMs: number, sizeOf: (ref: Ref) => number): OldRecord[] {
    this.#prune()
    const list: OldRecord[] = []
    for (const [ref, { atMs, stack }] of this.#byRef) {
      if (list.length >= count) break
      list.push({ ref, sizeBytes: sizeOf(ref), ageMs: nowMs - atMs, stack })
    }
    return list
  }

  clear(): void {
    this.#byRef.clear()
  }
}
