/** Arenas in a world that a test controls, and what makes their contents checkable. */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { afterEach } from 'vitest'
import { Arena } from '../../src/arena/arena.js'
import type { ArenaOptions } from '../../src/arena/options.js'
import { eventLoop } from '../../src/base/deferral.js'
import { FaultyKernel } from './faulty-kernel.js'
import { ManualDeferral } from './manual-deferral.js'

export interface World {
  readonly arena: Arena
  readonly kernel: FaultyKernel
  readonly deferral: ManualDeferral
}

/** An arena over the real kernel, observed, with a clock that stands still. */
export function worldWith(options: ArenaOptions = {}): World {
  const kernel = new FaultyKernel()
  const deferral = new ManualDeferral()
  return { arena: new Arena(options, { addon: kernel, deferral, now: deferral.now }), kernel, deferral }
}

const opened: Arena[] = []
afterEach(() => {
  for (const arena of opened.splice(0)) arena.close()
})

/** `worldWith`, and the arena is closed after the test. */
export function open(options: ArenaOptions = {}): World {
  const world = worldWith(options)
  opened.push(world.arena)
  return world
}

/** An arena over the real kernel, observed, with real turns and timers. */
export function realWorldWith(options: ArenaOptions = {}): { arena: Arena; kernel: FaultyKernel } {
  const kernel = new FaultyKernel()
  return {
    arena: new Arena(options, { addon: kernel, deferral: eventLoop, now: () => performance.now() }),
    kernel,
  }
}

/** Turns of the real event loop: the finalizers of what was detached before have run after two. */
export async function turns(count = 2): Promise<void> {
  for (let i = 0; i < count; i++) await nextTurn()
}

/** Fills a block with a pattern that no other tag has. */
export function mark(bytes: Uint8Array, tag: number): void {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >>> 2)
  words.fill(Math.imul(tag, 0x9e3779b1) | 1)
  for (let i = words.byteLength; i < bytes.length; i++) bytes[i] = tag | 1
}

/** Whether the first `length` bytes, as far as `mark` filled a block of `markedBytes`, still carry the pattern. */
export function isMarked(
  bytes: Uint8Array,
  tag: number,
  length = bytes.length,
  markedBytes = length,
): boolean {
  const expected = (Math.imul(tag, 0x9e3779b1) | 1) >>> 0
  const wordBytes = Math.min(length, markedBytes & ~3)
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, wordBytes >>> 2)
  for (let i = 0; i < words.length; i++) if (words[i] !== expected) return false
  for (let i = words.byteLength; i < length; i++) {
    const byte = i < (markedBytes & ~3) ? (expected >>> ((i & 3) * 8)) & 0xff : (tag | 1) & 0xff
    if (bytes[i] !== byte) return false
  }
  return true
}

/** Whether that is in each byte: in the first, and in each one what is in the one before. */
export function isFilled(bytes: Uint8Array, byte: number): boolean {
  if (bytes.length === 0) return true
  return bytes[0] === byte && Buffer.compare(bytes.subarray(1), bytes.subarray(0, -1)) === 0
}

export function isZero(bytes: Uint8Array): boolean {
  return isFilled(bytes, 0)
}

/** What a call throws, or undefined. */
export function thrownBy(call: () => unknown): (Error & { code?: string }) | undefined {
  try {
    call()
  } catch (error) {
    return error as Error
  }
  return undefined
}
