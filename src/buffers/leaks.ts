/**
 * Finds owners that are collected without `free`: reports where they were allocated, and ends their blocks.
 *
 * Some owners are *sampled*: watched (see `owner.ts`), recorded with the stack of their allocation, and
 * registered with the garbage collector. When a sampled block ends, its record is looked up and dropped. For
 * every other owner the whole cost is one comparison, which finds the next owner to sample.
 *
 * Either all owners are sampled, or 1 in 128. The gaps between samples are random, so that no regular pattern
 * of a program hides a leak. `MAX_SAMPLES_PER_MS` bounds the rate over a long time, because registering an
 * owner and writing its stack down takes much longer than allocating a small block.
 *
 * Nothing here keeps an arena or an owner alive. A stack is kept as text, because V8's own form of a stack
 * refers to the receivers of the calls, and one of them may hold the owner.
 */

import { isOwnFrame } from '../base/own-folder.js'
import { register, SafeMap, targetOf, unregister } from '../base/primordials.js'
import type { Block } from '../base/units.js'
import type { WrapId } from '../memory/runtime.js'
import { blockOf, type Owner, sizeOf, watch } from './owner.js'

/**
 * Which Buffers are watched for being garbage-collected without `free`: none, 1 in 128, or each. See the option
 * `leaks`.
 */
export type LeakMode = 'off' | 'sampled' | 'all'

/** A block whose owner was collected without `free`. */
export interface Leak {
  readonly arenaName: string
  /** Bytes that were asked for. */
  readonly sizeBytes: number
  /** Where the block was allocated: the lines of a stack, the innermost first. */
  readonly stack: string
}

const MEAN_GAP = 128
/** The most samples that may be saved up, for bursts and for programs that end soon. */
const MAX_CREDIT = 256
const MAX_SAMPLES_PER_MS = 0.1

// Read once at load, so that a later replacement by a program cannot stop the sampling.
const { floor, min, random } = Math
const { captureStackTrace } = Error

interface Sample {
  readonly leaks: WeakRef<Leaks>
  readonly arenaName: string
  readonly block: Block
  readonly sizeBytes: number
  /** The wrap under the block. */
  readonly wrapId: WrapId
  readonly stack: string
}

export interface LeakActions {
  /** The wrap under a block that was handed out just now. */
  wrapIdOf(block: Block, sizeBytes: number): WrapId
  /** Is called when the owner of a live block was collected. */
  forget(block: Block, sizeBytes: number, wrapId: WrapId): void
  /** Reports a leak. It must not refer to an arena. */
  readonly report: (leak: Leak) => void
}

const owners = new FinalizationRegistry<{ sample: Sample; report: (leak: Leak) => void }>(
  ({ sample, report }) => {
    const leaks = targetOf(sample.leaks)
    if (leaks !== undefined) leaks.collected(sample)
    // The arena was collected too, without `close()`.
    else report(leakOf(sample))
  },
)

export class Leaks {
  /**
   * Made at first use. V8 keeps the target of a new `WeakRef` alive until the end of the task, so a loop that
   * makes arenas would keep all of them.
   */
  #weakSelf: WeakRef<Leaks> | undefined
  readonly #mode: LeakMode
  readonly #arenaName: string
  readonly #now: () => number
  readonly #actions: LeakActions
  readonly #samples = new SafeMap<Block, Sample>()
  #credit = MAX_CREDIT
  #creditMs = 0
  /** Changes whenever all records are dropped. */
  #generation = 0

  constructor(mode: LeakMode, arenaName: string, now: () => number, actions: LeakActions) {
    this.#mode = mode
    this.#arenaName = arenaName
    this.#now = now
    this.#actions = actions
  }

  /** The number of sampled owners that are live. */
  get size(): number {
    return this.#samples.size
  }

  /**
   * The number of the next allocation to sample, if `allocations` were made so far; -1 if none is to be
   * sampled.
   */
  nextAfter(allocations: number): number {
    if (this.#mode === 'off') return -1
    if (this.#mode === 'all') return allocations + 1
    return allocations + 1 + floor(random() * (2 * MEAN_GAP - 1))
  }

  /** Samples the owner of a block that the function `through` is handing out. Never throws. */
  sample(owner: Owner, through: (...args: never[]) => unknown): void {
    const block = blockOf(owner)
    if (block < 0 || !this.#takeCredit()) return
    const generation = this.#generation
    const stack = stackAbove(through)
    // A formatter of stacks is script of the program. It may have ended the block meanwhile.
    if (generation !== this.#generation || blockOf(owner) !== block) return
    const sizeBytes = sizeOf(owner)
    const wrapId = this.#actions.wrapIdOf(block, sizeBytes)
    const sample = { leaks: this.#self, arenaName: this.#arenaName, block, sizeBytes, wrapId, stack }
    watch(owner)
    this.#samples.set(block, sample)
    register(owners, owner, { sample, report: this.#actions.report }, sample)
  }

  /**
   * Drops the record of a block that ends in the ordinary way: it is no leak. Does nothing if the block was
   * not sampled.
   */
  end(block: Block): void {
    const sample = this.#samples.get(block)
    if (sample === undefined) return
    this.#samples.delete(block)
    unregister(owners, sample)
  }

  /**
   * Drops the record of a block, because something else holds it from now on in place of its owner. Returns what
   * reports the block as a leak; null if it was not sampled.
   */
  handOver(block: Block): (() => void) | null {
    const sample = this.#samples.get(block)
    if (sample === undefined) return null
    this.end(block)
    const { report } = this.#actions
    return () => report(leakOf(sample))
  }

  /** Drops all records, because every block ends. */
  clear(): void {
    this.#generation++
    for (const sample of this.#samples.values()) unregister(owners, sample)
    this.#samples.clear()
  }

  /** Is called when the owner of a sampled block was collected. */
  collected(sample: Sample): void {
    // Another block, perhaps of another epoch, may start there by now.
    if (this.#samples.get(sample.block) !== sample) return
    this.#samples.delete(sample.block)
    this.#actions.forget(sample.block, sample.sizeBytes, sample.wrapId)
    // This is last, because a listener may close the arena.
    this.#actions.report(leakOf(sample))
  }

  get #self(): WeakRef<Leaks> {
    this.#weakSelf ??= new WeakRef(this)
    return this.#weakSelf
  }

  #takeCredit(): boolean {
    if (this.#mode === 'all') return true
    const nowMs = this.#now()
    this.#credit = min(MAX_CREDIT, this.#credit + (nowMs - this.#creditMs) * MAX_SAMPLES_PER_MS)
    this.#creditMs = nowMs
    if (this.#credit < 1) return false
    this.#credit--
    return true
  }
}

/** The text of the stack above the innermost call of `through`. Empty if it cannot be had. */
function stackAbove(through: (...args: never[]) => unknown): string {
  const holder = { stack: '' }
  try {
    captureStackTrace(holder, through)
    const stack = String(holder.stack)
    if (stack.includes('\n')) return stack
    // A block that `realloc` moves may be allocated without a call of `through`. Then V8 gives no frame at all.
    captureStackTrace(holder)
    return String(holder.stack)
  } catch {
    // The program's own formatter of stacks failed. The leak is reported without its place.
    return ''
  }
}

/** The leak of a sample. Stack lines in this package are left out: they do not say who forgot the block. */
function leakOf({ arenaName, sizeBytes, stack }: Sample): Leak {
  const lines = stack.split('\n').slice(1)
  return { arenaName, sizeBytes, stack: lines.filter(line => !isOwnFrame(line)).join('\n') }
}
