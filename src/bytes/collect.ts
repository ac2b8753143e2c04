/** Reads a source into one block. */
import { types } from 'node:util'
import { invalidArgType } from '../base/errors.js'
import { reachOf } from '../buffers/view-reach.js'
import type { Allocating } from './allocating.js'
import { Body } from './body.js'
import { abortError } from './errors.js'
import { type CollectOptions, resolveCollect } from './options.js'
import { type Intake, type Source, sourceOf } from './sources.js'

// Taken once at load, as in `primordials`.
const Bytes = Uint8Array
const { isAnyArrayBuffer, isUint8Array } = types

/**
 * Reads all bytes of `source`. Resolves to a body that is complete. Whatever it throws, the source was ended and the body
 * discarded; only after a fault in the arguments the source is as it was.
 */
export function collect(allocating: Allocating, source: unknown, options: CollectOptions): Promise<Body> {
  const { maxBytes, sizeHint, signal } = resolveCollect(options)
  const from = sourceOf(source)
  const body = new Body(allocating, 'collect', maxBytes, sizeHint)
  return new Promise((resolve, reject) => {
    const collecting = new Collecting(from, body, signal, resolve, reject)
    try {
      allocating.requireGiving('collect')
      collecting.start()
    } catch (error) {
      collecting.fail(error)
    }
  })
}

class Collecting implements Intake {
  readonly #source: Source
  readonly #body: Body
  readonly #signal: AbortSignal | undefined
  readonly #resolve: (body: Body) => void
  readonly #reject: (error: unknown) => void
  #isSettled = false

  constructor(
    source: Source,
    body: Body,
    signal: AbortSignal | undefined,
    resolve: (body: Body) => void,
    reject: (error: unknown) => void,
  ) {
    this.#source = source
    this.#body = body
    this.#signal = signal
    this.#resolve = resolve
    this.#reject = reject
  }

  start(): void {
    const signal = this.#signal
    if (signal?.aborted === true) throw abortError(signal)
    signal?.addEventListener('abort', this.#onAbort)
    this.#source.start(this)
  }

  take(chunk: unknown): boolean {
    if (this.#isSettled) return false
    try {
      this.#body.append(bytesOf(chunk))
      return true
    } catch (error) {
      this.fail(error)
      return false
    }
  }

  end(): void {
    if (this.#isSettled) return
    this.#settle()
    this.#source.release()
    this.#resolve(this.#body)
  }

  fail(error: unknown): void {
    if (this.#isSettled) return
    this.#settle()
    this.#reject(error)
    this.#body.discard()
    try {
      this.#source.giveUp(error)
    } catch {
      // The source is other code. That it cannot be ended either says less than the first error.
    }
  }

  readonly #onAbort = (): void => {
    this.fail(abortError(this.#signal as AbortSignal))
  }

  #settle(): void {
    this.#isSettled = true
    this.#signal?.removeEventListener('abort', this.#onAbort)
  }
}

/** The bytes of a chunk, not copied. */
function bytesOf(chunk: unknown): Uint8Array {
  if (isUint8Array(chunk)) return chunk
  if (isAnyArrayBuffer(chunk)) return new Bytes(chunk)
  const reach = reachOf(chunk)
  if (reach !== null) return new Bytes(reach.memory, reach.offsetBytes, reach.lengthBytes)
  const expected =
    typeof chunk === 'string'
      ? 'bytes, not text: read the stream without an encoding, or encode each chunk by Buffer.from(chunk)'
      : 'a Uint8Array, an ArrayBuffer or another view'
  throw invalidArgType('chunk', expected, chunk)
}
