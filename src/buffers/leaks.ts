/**
 * Notices owners that are collected unfreed: says where they were allocated, and has their blocks ended.
 *
 * Some owners are *sampled*: watched (see `owner.ts`), recorded with the stack of their allocation, and registered with the
 * collector. All others cost nothing but the comparison that finds the next one to sample. What an end of a sampled block
 * must do is look its record up, and drop it.
 *
 * How many are sampled: all, or 1 in 128 with gaps that no program's period meets, as long as that is no more than
 * `MAX_SAMPLES_PER_MS` for long: to register an owner and to write its stack down takes about as long as 200 small blocks.
 *
 * Nothing here holds an arena or an owner alive. A stack is kept as text: V8's own form of it refers to the receivers of the
 * calls, and one of them may hold the owner.
 */

import { OWN_FOLDER_URL } from '../base/own-folder.js'
import { register, SafeMap, targetOf, unregister } from '../base/primordials.js'
import type { Block } from '../base/units.js'
import type { WrapId } from '../memory/kernel.js'
import { blockOf, type Owner, sizeOf, watch } from './owner.js'

export type LeakMode = 'off' | 'sampled' | 'all'

/** What was forgotten. */
export interface Leak {
  readonly arenaName: string
  /** Bytes asked for. */
  readonly sizeBytes: number
  /** Where it was allocated: lines of a stack, the innermost first. */
  readonly stack: string
}

const MEAN_GAP = 128
/** Samples that may be saved up, for bursts and for programs that end soon. */
const MAX_CREDIT = 256
const MAX_SAMPLES_PER_MS = 0.1

/** Lines of a stack that begin in this package say nothing of who forgot the block. */
// Taken once: somebody's fake of it must not stop the sampling.
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
  /** The owner of a live block was collected. */
  forget(block: Block, sizeBytes: number, wrapId: WrapId): void
  /** Tells of a leak. Must hold no arena. */
  readonly report: (leak: Leak) => void
}

const owners = new FinalizationRegistry<{ sample: Sample; report: (leak: Leak) => void }>(
  ({ sample, report }) => {
    const leaks = targetOf(sample.leaks)
    if (leaks !== undefined) leaks.collected(sample)
    // Its arena went with it, unclosed.
    else report(leakOf(sample))
  },
)

export class Leaks {
  /** Made at first use: V8 keeps what a new one refers to until the end of the task, in a loop of new arenas all of them. */
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

  /** Owners that are sampled and live. */
  get size(): number {
    return this.#samples.size
  }

  /** The number of the allocation to sample next, `allocations` having been made; one that never comes where none is. */
  nextAfter(allocations: number): number {
    if (this.#mode === 'off') return -1
    if (this.#mode === 'all') return allocations + 1
    return allocations + 1 + floor(random() * (2 * MEAN_GAP - 1))
  }

  /** Samples the owner of a block that is being handed out by the function `through`. Never throws. */
  sample(owner: Owner, through: (...args: never[]) => unknown): void {
    const block = blockOf(owner)
    if (block < 0 || !this.#takeCredit()) return
    const generation = this.#generation
    const stack = stackAbove(through)
    // Whoever formats stacks for this process is script that may have done anything meanwhile.
    if (generation !== this.#generation || blockOf(owner) !== block) return
    const sizeBytes = sizeOf(owner)
    const wrapId = this.#actions.wrapIdOf(block, sizeBytes)
    const sample = { leaks: this.#self, arenaName: this.#arenaName, block, sizeBytes, wrapId, stack }
    watch(owner)
    this.#samples.set(block, sample)
    register(owners, owner, { sample, report: this.#actions.report }, sample)
  }

  /** A block ends in the ordinary way: its owner is no leak. Nothing happens to a block that was not sampled. */
  end(block: Block): void {
    const sample = this.#samples.get(block)
    if (sample === undefined) return
    this.#samples.delete(block)
    unregister(owners, sample)
  }

  /** Every block ends. */
  clear(): void {
    this.#generation++
    for (const sample of this.#samples.values()) unregister(owners, sample)
    this.#samples.clear()
  }

  /** The owner of a sampled block was collected. */
  collected(sample: Sample): void {
    // Another block, perhaps of another epoch, may be there by now.
    if (this.#samples.get(sample.block) !== sample) return
    this.#samples.delete(sample.block)
    this.#actions.forget(sample.block, sample.sizeBytes, sample.wrapId)
    // Last: who hears of it may close the arena.
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

/** The lines of the stack above the innermost call of that function; what the process makes of a stack, in words. */
function stackAbove(through: (...args: never[]) => unknown): string {
  const holder = { stack: '' }
  try {
    captureStackTrace(holder, through)
    return String(holder.stack)
  } catch {
    // A formatter of the process's own failed. The leak is told without its place.
    return ''
  }
}

function leakOf({ arenaName, sizeBytes, stack }: Sample): Leak {
  const lines = stack.split('\n').slice(1)
  return { arenaName, sizeBytes, stack: lines.filter(line => !line.includes(OWN_FOLDER_URL)).join('\n') }
}
