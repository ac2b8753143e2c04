/**
 * Other code in this process that knows nothing of us: it writes where a Buffer was, mallocs, moves the program break, forbids to move it. A native
 * helper (`stranger/stranger.cc`), built here with g++, as the addon was, when it is missing or older than its source.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, renameSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export interface Stranger {
  /** Where a view's memory is. */
  addressOf(bytes: Uint8Array): number
  /** Writes one byte there, whatever is there now. */
  poke(address: number, byte: number): void
  /** Forks, and the child reads a byte there and ends. Returns the signal that ended it, or 0. */
  readInFork(address: number): number
  /** The program break, as libc has it. */
  breakAt(): number
  /** Moves the break up or down as malloc does. Returns 1, or 0 where it cannot. */
  move(lengthBytes: number): number
  /** Raises the break over whatever is in its way, and writes to all it got. Returns where that begins, or 0. */
  seize(lengthBytes: number): number
  /** 1 where seized memory is as it was left. */
  isIntact(start: number, lengthBytes: number): number
  /** libc thinks from now on that the break is so much lower. glibc only. */
  misremember(lengthBytes: number): void
  /** Sets RLIMIT_DATA. Returns errno. */
  limitData(bytes: number): number
  /** A seccomp filter answers every `brk` of this thread with that errno from now on. Returns errno. */
  filterBrk(errno: number): number
  /** Threads that grow and shrink sets of blocks by malloc and free, and check their contents. */
  startMalloc(threadCount: number): void
  /** A thread that reads and writes a byte of each page there, again and again. `stop` returns how many. */
  startUsing(address: number, lengthBytes: number): void
  /** Threads that ask for the break as often as they can, by as much as malloc does. */
  startAsking(threadCount: number): void
  /** malloc gets 32 MiB of free memory right below the break, and a thread has it given back bit by bit. glibc only. */
  startGivingBack(): void
  /** Ends the threads. Returns how many blocks they made, how often they asked, or how often they lowered the break. */
  stop(): number
  /** Blocks that were not as they had been left; or how often who asked got some of the break. */
  damaged(): number
}

const DIRECTORY = fileURLToPath(new URL('../../build/test/', import.meta.url))

function modifiedMs(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0
}

function built(source: string, name: string): string {
  const path = DIRECTORY + name
  const sourcePath = fileURLToPath(new URL(`stranger/${source}`, import.meta.url))
  if (modifiedMs(path) > modifiedMs(sourcePath)) return path
  mkdirSync(DIRECTORY, { recursive: true })
  const flags = ['-std=c++17', '-O2', '-shared', '-fPIC', '-Wall', '-Wextra', '-Werror']
  // Other test files may build it at the same time: it appears whole.
  const own = `${path}.${process.pid}`
  execFileSync(process.env.CXX ?? 'g++', [...flags, '-o', own, sourcePath, '-lpthread', '-ldl'], {
    stdio: 'inherit',
  })
  renameSync(own, path)
  return path
}

/** The path of the built helper: for child processes, which load it by `process.dlopen`. */
export function strangerPath(): string {
  return built('stranger.cc', 'stranger.node')
}

/** The path of a library for `LD_PRELOAD`: every call of `sbrk` that moves the break, but for libc's own, is held up right before. */
export function slowSbrkPath(): string {
  return built('slow_sbrk.cc', 'slow-sbrk.so')
}

/** The path of a library for `LD_PRELOAD`: the break cannot be moved as a number. */
export function noSetMmPath(): string {
  return built('no_set_mm.cc', 'no-set-mm.so')
}

/** The path of a library for `LD_PRELOAD`: it stands between the addon and the kernel, see `stranger/kernel.cc`. */
export function strangeKernelPath(): string {
  return built('kernel.cc', 'kernel.so')
}

/** The helper in this process. */
export function loadStranger(): Stranger {
  const module: { exports: unknown } = { exports: {} }
  process.dlopen(module, strangerPath())
  return module.exports as Stranger
}
