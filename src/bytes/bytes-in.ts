/** How bytes get into blocks: the methods that an arena and a scope have in common. */
import { undefinedIfRefused } from '../base/errors.js'
import { MadeOf } from '../base/made-of.js'
import type { ArenaBuffer } from '../buffers/owner.js'
import type { Allocating } from './allocating.js'
import { collect } from './collect.js'
import { concat } from './concat.js'
import { copyOf } from './from.js'
import type { ReadableFile } from './open-file.js'
import type { CollectOptions, ReadFileOptions } from './options.js'
import { readFile } from './read-file.js'
import type { ByteStream } from './sources.js'

/** What `from` copies: all that `Buffer.from` takes, and iterables of bytes. */
export type BytesLike =
  | string
  | ArrayBuffer
  | SharedArrayBuffer
  | ArrayBufferView
  | ArrayLike<number>
  | Iterable<number>
  | {
      /** The `type` of what `buffer.toJSON()` returns. */
      type: 'Buffer'
      /** The bytes, as numbers. */
      data: readonly number[]
    }
  | {
      /** Returns the text. */
      valueOf(): string
    }
  | {
      /** Returns the text. `hint` is `'string'`. */
      [Symbol.toPrimitive](hint: 'string'): string
    }

/** The base class of `Arena` and `Scope`. */
export abstract class BytesIn<Parts> extends MadeOf<Parts> {
  /**
   * Who hands out the blocks.
   *
   * @internal
   */
  protected abstract allocating(): Allocating

  /**
   * Copies `data` into a new block, whose bytes are those of `Buffer.from(data, encoding)`. Returns its `Buffer`. It is always
   * a copy, also of an `ArrayBuffer`.
   *
   * - A string is encoded by `encoding`, which is `'utf8'` by default.
   * - Of an `ArrayBuffer` or `SharedArrayBuffer` the copy has `lengthBytes` bytes from `byteOffset` on, or all.
   * - Of a typed array or an array-like object each element becomes one byte, as in a `Uint8Array`. To copy the memory of a
   *   `Float64Array`, pass `view.buffer, view.byteOffset, view.byteLength`.
   * - Of a `DataView` the bytes are copied. (`Buffer.from` returns an empty Buffer.)
   * - An iterable (a `Set`, a generator) gives one byte at a time. (`Buffer.from` throws.)
   *
   * Throws the errors of `alloc`, those of `Buffer.from` (`ERR_INVALID_ARG_TYPE`, `ERR_UNKNOWN_ENCODING`,
   * `ERR_BUFFER_OUT_OF_BOUNDS`), and what script of `data` throws. After a throw no block is left.
   *
   * ```ts
   * const text = arena.from('grüezi')
   * const key = arena.from('3q2+7w==', 'base64')
   * const part = arena.from(response.buffer, 16, 1024)
   * ```
   */
  from(data: ArrayBuffer | SharedArrayBuffer, byteOffset?: number, lengthBytes?: number): ArenaBuffer
  from(data: BytesLike, encoding?: BufferEncoding): ArenaBuffer
  from(data: unknown, second?: unknown, third?: unknown): ArenaBuffer {
    return copyOf(this.#giving('from'), data, second, third)
  }

  /**
   * Does what `from` does with `data`, `encoding`, `byteOffset` and `lengthBytes`, but returns `undefined` if memory is refused
   * (`ERR_ARENA_LIMIT`, `ERR_ARENA_OUT_OF_MEMORY`). It throws the other errors of `from`.
   *
   * ```ts
   * const text = arena.tryFrom(message)
   * if (text === undefined) return response.writeHead(503).end()
   * ```
   */
  tryFrom(
    data: ArrayBuffer | SharedArrayBuffer,
    byteOffset?: number,
    lengthBytes?: number,
  ): ArenaBuffer | undefined
  tryFrom(data: BytesLike, encoding?: BufferEncoding): ArenaBuffer | undefined
  tryFrom(data: unknown, second?: unknown, third?: unknown): ArenaBuffer | undefined {
    try {
      return copyOf(this.#giving('tryFrom'), data, second, third)
    } catch (error) {
      return undefinedIfRefused(error)
    }
  }

  /**
   * Copies the bytes of all Buffers or `Uint8Array`s of `list`, one behind the other, into a new block. Returns its `Buffer`.
   * It has `totalBytes` bytes: what does not fit is left out, and what is missing is zero. Without `totalBytes` it has as many
   * as the list. `list` is an array or any other iterable.
   *
   * Throws the errors of `alloc`, and `ERR_INVALID_ARG_TYPE` if something else is in the list. After a throw no block is left.
   *
   * ```ts
   * const message = arena.concat([header, body])
   * ```
   */
  concat(list: Iterable<Uint8Array>, totalBytes?: number): ArenaBuffer {
    return concat(this.#giving('concat'), list, totalBytes)
  }

  /**
   * Does what `concat` does with `list` and `totalBytes`, but returns `undefined` if memory is refused (`ERR_ARENA_LIMIT`,
   * `ERR_ARENA_OUT_OF_MEMORY`). It throws the other errors of `concat`.
   *
   * ```ts
   * const message = arena.tryConcat([header, body])
   * ```
   */
  tryConcat(list: Iterable<Uint8Array>, totalBytes?: number): ArenaBuffer | undefined {
    try {
      return concat(this.#giving('tryConcat'), list, totalBytes)
    } catch (error) {
      return undefinedIfRefused(error)
    }
  }

  /**
   * Reads `source` to its end, into one block. Resolves to the `Buffer`, which has exactly as many bytes as came. `source` is a
   * `Readable` of Node (a request, a socket, a file), a `ReadableStream` of the web (`response.body`) or an async iterable. Its
   * chunks are Buffers, `ArrayBuffer`s or views. Text is refused, so set no encoding.
   *
   * The block grows as bytes come, and nobody else sees it before it is complete. No memory is taken before the first bytes.
   *
   * Rejects with
   * - `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE` or `ERR_OUT_OF_RANGE` for bad arguments. Then `source` is as it was
   * - `ERR_ARENA_TOO_LARGE` if there are more than `options.maxBytes` bytes
   * - `ERR_INVALID_ARG_TYPE` for a chunk that is not bytes
   * - the errors of `alloc`, also if the arena is closed, or reset (`ERR_ARENA_DOUBLE_FREE`), or the scope ends meanwhile
   * - an `AbortError` (code `ABORT_ERR`) if `options.signal` is aborted; `cause` is its reason
   * - the error of the source, or `ERR_STREAM_PREMATURE_CLOSE` if it closes before its end
   *
   * If it rejects, no block is left and the source has been ended: a stream of Node is destroyed with the error, a stream of the
   * web cancelled, an iterator asked to return. Only the socket of a request that a server received stays open, for the answer.
   *
   * ```ts
   * const body = await scope.collect(request, { maxBytes: 10 * 2 ** 20 })
   * ```
   */
  async collect(source: ByteStream, options: CollectOptions): Promise<ArenaBuffer> {
    // The last step is here, behind an await: so the stack of the allocation, which leaks are reported with, has the caller.
    const body = await collect(this.allocating(), source, options)
    return body.finish()
  }

  /**
   * Does what `collect` does with `source`, but resolves to `undefined` if memory is refused (`ERR_ARENA_LIMIT`,
   * `ERR_ARENA_OUT_OF_MEMORY`). The source has been ended then, too. It rejects with the other errors of `collect`.
   *
   * ```ts
   * const body = await scope.tryCollect(request, { maxBytes: 10 * 2 ** 20 })
   * if (body === undefined) return response.writeHead(503, { connection: 'close' }).end()
   * ```
   */
  async tryCollect(source: ByteStream, options: CollectOptions): Promise<ArenaBuffer | undefined> {
    try {
      const body = await collect(this.allocating(), source, options)
      return body.finish()
    } catch (error) {
      return undefinedIfRefused(error)
    }
  }

  /**
   * Reads a file into a new block. Resolves to its `Buffer`. The kernel writes into the block itself, so there is no other copy
   * in memory. `file` is a path (a string, a Buffer, a URL) or a `FileHandle`, as in `readFile` of `node:fs/promises`: a handle
   * is read from its position on, and stays open.
   *
   * A file that grows while it is read is read as far as it was long at the start. For pipes, and files of `/proc`, which do not
   * say how long they are, the block grows.
   *
   * Rejects with
   * - `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE` or `ERR_OUT_OF_RANGE` for bad arguments
   * - `ERR_ARENA_TOO_LARGE` if there are more than `options.maxBytes` bytes, or than a block can have
   * - the errors of `alloc`, also if the arena is closed, or reset, or the scope ends meanwhile
   * - an `AbortError` (code `ABORT_ERR`) if `options.signal` is aborted; `cause` is its reason
   * - the system error, such as `ENOENT` or `EISDIR`
   *
   * If it rejects, no block is left. A read that is under way then holds its memory until it comes back.
   *
   * ```ts
   * const image = await arena.readFile('image.png')
   * ```
   */
  async readFile(file: ReadableFile, options?: ReadFileOptions): Promise<ArenaBuffer> {
    const body = await readFile(this.allocating(), file, options)
    return body.finish()
  }

  /**
   * Does what `readFile` does with `file`, but resolves to `undefined` if memory is refused (`ERR_ARENA_LIMIT`,
   * `ERR_ARENA_OUT_OF_MEMORY`). It rejects with the other errors of `readFile`.
   *
   * ```ts
   * const image = await arena.tryReadFile('image.png')
   * ```
   */
  async tryReadFile(file: ReadableFile, options?: ReadFileOptions): Promise<ArenaBuffer | undefined> {
    try {
      const body = await readFile(this.allocating(), file, options)
      return body.finish()
    } catch (error) {
      return undefinedIfRefused(error)
    }
  }

  /** Says at once, and by the right name, if no blocks are handed out any more. */
  #giving(method: string): Allocating {
    const allocating = this.allocating()
    allocating.requireGiving(method)
    return allocating
  }
}
