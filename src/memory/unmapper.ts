/**
 * Removes mappings on a later turn of the event loop.
 *
 * A mapping is never removed at once. Node's own C++ may be on the stack with a pointer into the memory,
 * because it called the script that frees the buffer (`buf.fill({ valueOf() { arena.close() } })`). A mapping
 * also stays while a buffer over it waits for its finalizer, which runs by the next turn after the buffer was
 * detached. If the kernel refuses to remove a mapping, it is tried again.
 *
 * Memory over which users had Buffers is not unmapped at all. Its pages go back, and its addresses are kept:
 * for a thread or the kernel, which may still hold one, and for the arena that had them (see native/kept.h).
 *
 * Unmapping resident pages takes the kernel time. Many of them go in slices, so that no turn takes long.
 */
import type { Deferral } from '../base/deferral.js'
import type { Kernel, MappingId, OwnerId } from './kernel.js'

const { min } = Math

// The finalizers have run by the next turn. Further tries at once are for finalizers that were queued after
// this run.
const EAGER_TRIES = 3
const RETRY_MS = 100
const MAX_RETRY_MS = 10_000
/** The most resident bytes that one run gives up: a quarter to half a millisecond of the kernel's time. */
const SLICE_BYTES = 2 * 2 ** 20
const SLICE_PAUSE_MS = 1

interface Waiting {
  readonly mapping: MappingId
  /** Bytes at the start of the mapping that may be resident. */
  residentBytes: number
  readonly end: End | undefined
}

/** A condition for the end of a mapping, and a call that follows it. */
export interface End {
  /**
   * Whether a buffer may still show bytes of the mapping. While it is true, nothing is purged or unmapped.
   */
  isReached(): boolean
  /** Is called when the mapping is gone. */
  whenGone(): void
}

/** The calls of the kernel that it makes. */
type UnmappingKernel = Pick<Kernel, 'unmap' | 'advise' | 'disown'>

export class Unmapper {
  readonly #kernel: UnmappingKernel
  readonly #deferral: Deferral
  #waiting: Waiting[] = []
  #tries = 0
  /** Resident bytes that the run under way may still give up. */
  #budgetBytes = 0
  /**
   * Whether a run is due on the next turn, and whether one is due by timer. Both may be; the later one finds
   * less to do.
   */
  #isNextTurnDue = false
  #isRetryDue = false
  #hasKept = false

  #owner: OwnerId | undefined

  /**
   * `owner` may have the addresses again (0: no arena may). Leave it out where users never had Buffers over
   * the mappings; these are unmapped.
   */
  constructor(kernel: UnmappingKernel, deferral: Deferral, owner?: OwnerId) {
    this.#kernel = kernel
    this.#deferral = deferral
    this.#owner = owner
  }

  /** Says that the owner will not ask for the addresses any more. */
  disown(): void {
    if (this.#owner === undefined || this.#owner === 0) return
    if (this.#hasKept) this.#kernel.disown(this.#owner)
    this.#owner = 0
  }

  /**
   * Adds a mapping to remove. `residentBytes`: bytes at its start, in whole pages, that were not purged
   * before.
   */
  add(mapping: MappingId, residentBytes = 0, end?: End): void {
    this.#waiting[this.#waiting.length] = { mapping, residentBytes, end }
    this.#tries = 0
    this.#schedule()
  }

  #schedule(): void {
    if (this.#tries < EAGER_TRIES) {
      if (this.#isNextTurnDue) return
      this.#deferral.nextTurn(() => {
        this.#isNextTurnDue = false
        this.#run()
      })
      this.#isNextTurnDue = true
    } else {
      this.#runAfter(min(MAX_RETRY_MS, RETRY_MS * 2 ** (this.#tries - EAGER_TRIES)))
    }
  }

  #runAfter(delayMs: number): void {
    if (this.#isRetryDue) return
    this.#isRetryDue = true
    this.#deferral.after(delayMs, () => {
      this.#isRetryDue = false
      this.#run()
    })
  }

  #run(): void {
    this.#tries++
    this.#budgetBytes = SLICE_BYTES
    const waiting = this.#waiting
    // The new array takes the mappings that stay, and those that are added meanwhile.
    this.#waiting = []
    for (let i = 0; i < waiting.length; i++) {
      if (!this.#remove(waiting[i])) this.#waiting[this.#waiting.length] = waiting[i]
    }
    if (this.#waiting.length === 0) return
    if (this.#budgetBytes > 0) {
      this.#schedule()
    } else {
      this.#tries = 0
      this.#runAfter(SLICE_PAUSE_MS)
    }
  }

  /** Removes a mapping, or a slice of its pages. Returns whether the mapping is gone. */
  #remove(waiting: Waiting): boolean {
    const { mapping, residentBytes, end } = waiting
    if (end?.isReached() === true) return false
    if (residentBytes > 0 && residentBytes >= this.#budgetBytes) {
      waiting.residentBytes -= this.#budgetBytes
      this.#purge(mapping, waiting.residentBytes, this.#budgetBytes)
      this.#budgetBytes = 0
      return false
    }
    this.#budgetBytes -= residentBytes
    const isGone = this.#unmap(mapping)
    if (isGone) end?.whenGone()
    return isGone
  }

  #purge(mapping: MappingId, offsetBytes: number, lengthBytes: number): void {
    if (lengthBytes === 0) return
    try {
      this.#kernel.advise(mapping, offsetBytes, lengthBytes, 'dontneed')
    } catch {
      // Then these pages go back when the mapping is unmapped, in one piece.
    }
  }

  #unmap(mapping: MappingId): boolean {
    try {
      const isGone = this.#kernel.unmap(mapping, this.#owner)
      if (isGone) this.#hasKept = true
      return isGone
    } catch {
      // At `vm.max_map_count` even `munmap` fails where it would split a kernel mapping. The pages are purged
      // already; the addresses follow when there is room. No caller is left to throw to.
      return false
    }
  }
}
