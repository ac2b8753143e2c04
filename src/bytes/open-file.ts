/** A file that is open for reading: one that this library opened, by its descriptor, or the handle of a user. */
import { close, fstat, open, type PathLike, read, type Stats } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'

/** A file that `readFile` of an arena reads: its path, or a handle that is open. */
export type ReadableFile = PathLike | FileHandle

export interface OpenFile {
  /** Whether it is read from its start. Of the handle of a user nobody knows the position. */
  readonly isAtStart: boolean
  stat(): Promise<Stats>
  /** Reads up to `count` bytes to `start` of `bytes`. Resolves to the number of bytes that came; 0 at the end. */
  read(bytes: Uint8Array, start: number, count: number): Promise<number>
  /** Closes a file that this library opened. */
  close(): Promise<void>
}

/** Opens a file, or takes a handle as it is. Rejects with the error of the system. */
export async function openFile(file: ReadableFile): Promise<OpenFile> {
  if (isHandle(file)) return ofHandle(file)
  // The callbacks of `node:fs` take less time than handles, and most programs have not loaded `node:fs/promises`.
  return ofDescriptor(await resultOf<number>(done => open(file, 'r', done)))
}

/** A handle of `node:fs/promises`, also one of a library that imitates it. */
function isHandle(file: ReadableFile): file is FileHandle {
  if (typeof file !== 'object' || file === null) return false
  const { fd, read, stat } = file as FileHandle
  return typeof fd === 'number' && typeof read === 'function' && typeof stat === 'function'
}

function ofHandle(handle: FileHandle): OpenFile {
  return {
    isAtStart: false,
    stat: () => handle.stat(),
    read: async (bytes, start, count) => (await handle.read(bytes, start, count, null)).bytesRead,
    close: async () => {},
  }
}

function ofDescriptor(descriptor: number): OpenFile {
  return {
    isAtStart: true,
    stat: () => resultOf<Stats>(done => fstat(descriptor, done)),
    read: (bytes, start, count) =>
      resultOf<number>(done => read(descriptor, bytes, start, count, null, done)),
    close: () => resultOf<void>(done => close(descriptor, done)),
  }
}

/** What a function hands to its callback, or a rejection with its error. */
function resultOf<T>(
  call: (done: (error: Error | null | undefined, result?: T) => void) => void,
): Promise<T> {
  return new Promise((resolve, reject) => {
    call((error, result) => {
      if (error) reject(error)
      else resolve(result as T)
    })
  })
}
