/**
 * Reads a file into one block. The kernel writes into the block itself. It does so on another thread, so the block is lent for
 * each read: if it ends meanwhile, its memory stays until the read has come back.
 */
import { lengthOf } from '../base/primordials.js'
import type { Allocating } from './allocating.js'
import { Body } from './body.js'
import { abortError } from './errors.js'
import { type OpenFile, openFile, type ReadableFile } from './open-file.js'
import { type ReadFileOptions, resolveReadFile } from './options.js'

const { min } = Math

/** So much is read at a time: enough that the calls cost nothing, and little enough that an abort is noticed soon. */
const READ_BYTES = 8 * 1024 * 1024
/** For so many bytes there is room before each read of a file that does not say how long it is: a pipe, or one of /proc. */
const UNKNOWN_BYTES = 16 * 1024

/** Reads a file. Resolves to a body that is complete. */
export async function readFile(
  allocating: Allocating,
  file: ReadableFile,
  options: ReadFileOptions = {},
): Promise<Body> {
  const { maxBytes, signal } = resolveReadFile(options)
  allocating.requireGiving('readFile')
  requireGoing(signal)
  const body = new Body(allocating, 'readFile', maxBytes)
  const reading = readInto(allocating, body, file, signal)
  return signal === undefined ? reading : untilAborted(signal, body, reading)
}

/** Throws if the signal is aborted. */
function requireGoing(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw abortError(signal)
}

/** Fills `body`, and resolves to it. If that fails, the body is discarded. */
async function readInto(
  allocating: Allocating,
  body: Body,
  file: ReadableFile,
  signal: AbortSignal | undefined,
): Promise<Body> {
  const opened = await openFile(file)
  try {
    try {
      await readAll(allocating, body, opened, signal)
    } finally {
      await opened.close()
    }
    return body
  } catch (error) {
    body.discard()
    throw error
  }
}

async function readAll(
  allocating: Allocating,
  body: Body,
  file: OpenFile,
  signal: AbortSignal | undefined,
): Promise<void> {
  requireGoing(signal)
  const stat = await file.stat()
  const fileBytes = stat.isFile() ? stat.size : 0
  if (file.isAtStart) body.requireRoom(fileBytes)
  // Of pipes, and of the files of /proc, the length is not known. They are read until nothing comes.
  const endBytes = fileBytes > 0 ? fileBytes : Number.POSITIVE_INFINITY
  while (body.lengthBytes < endBytes) {
    requireGoing(signal)
    const start = body.lengthBytes
    const restBytes = endBytes - start
    const block = body.room(fileBytes > 0 ? restBytes : UNKNOWN_BYTES)
    const count = min(READ_BYTES, restBytes, lengthOf(block) - start)
    const bytesRead = await allocating.lend(block, bytes => file.read(bytes, start, count))
    if (bytesRead === 0) return
    body.added(bytesRead)
  }
}

/**
 * Settles as `reading` does, or rejects as soon as the signal is aborted. A read of a pipe may never come back. It holds the
 * memory of the body until then, and the file stays open.
 */
function untilAborted(signal: AbortSignal, body: Body, reading: Promise<Body>): Promise<Body> {
  return new Promise((resolve, reject) => {
    const onAbort = () => {
      body.discard()
      reject(abortError(signal))
    }
    signal.addEventListener('abort', onAbort)
    const settle = () => signal.removeEventListener('abort', onAbort)
    reading.finally(settle).then(resolve, reject)
  })
}
