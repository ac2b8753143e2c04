/**
 * Removes mappings on a later turn of the event loop.
 *
 * Never at once: Node's own C++ may be on the stack with a pointer into the memory, when script that it called freed the
 * buffer (`buf.fill({ valueOf() { arena.close() } })`). And never while a buffer over the mapping awaits its finalizer,
 * which runs by the next turn after the buffer was detached. A mapping that the kernel will not let go of is tried again.
 *
 * Nor while requests of this thread are under way, for a minute at most: a Buffer that was freed under `zlib` is read on by a
 * thread, and that would fault. Purged pages cost nothing meanwhile but their addresses, and read as zero.
 *
 * Unmapping resident pages takes the kernel time. Where there are many they go in slices, so that no turn takes long.
 */
import type { Deferral } from '../base/deferral.js'
import type { Kernel, MappingId } from './kernel.js'

// By the next turn the finalizers have run; a second try covers those that were queued behind us.
const EAGER_TRIES = 3
const RETRY_MS = 100
const MAX_RETRY_MS = 10_000
/** Of resident pages, a quarter to half a millisecond of the kernel's time. */
const SLICE_BYTES = 2 * 2 ** 20
const SLICE_PAUSE_MS = 1

/** No request is thought to take longer. A service that is never without one unmaps after that. */
const PATIENCE_MS = 60_000

interface Waiting {
  readonly mapping: MappingId
  /** What may be resident at its start. */
  residentBytes: number
  readonly end: End | undefined
  /** Requests were under way; and have been for too long. */
  isHeldUp: boolean
  isOverdue: boolean
}

/** What must be before a mapping goes, and what follows. */
export interface End {
  /** Whether some buffer may still show its bytes: nothing is purged or unmapped then. */
  isReached(): boolean
  /** Called when the mapping is gone. */
  whenGone(): void
}

export class Unmapper {
  readonly #kernel: Kernel
  readonly #deferral: Deferral
  #waiting: Waiting[] = []
  #tries = 0
  /** Of the run under way. */
  #budgetBytes = 0
  /** Runs that are due: what one of them does, a later one finds done. */
  #isNextTurnDue = false
  #isRetryDue = false

  readonly #isShared: boolean

  /** `isShared`: whether users had Buffers over the mappings, which requests may work on. */
  constructor(kernel: Kernel, deferral: Deferral, isShared = true) {
    this.#kernel = kernel
    this.#deferral = deferral
    this.#isShared = isShared
  }

  /** `residentBytes`: how much at the start of the mapping was not purged before; whole pages. */
  add(mapping: MappingId, residentBytes = 0, end?: End): void {
    this.#waiting.push({ mapping, residentBytes, end, isHeldUp: false, isOverdue: false })
    this.#tries = 0
    this.#schedule()
  }

  #schedule(): void {
    if (this.#tries < EAGER_TRIES) {
      if (this.#isNextTurnDue) return
      this.#isNextTurnDue = true
      this.#deferral.nextTurn(() => {
        this.#isNextTurnDue = false
        this.#run()
      })
    } else {
      this.#runAfter(Math.min(MAX_RETRY_MS, RETRY_MS * 2 ** (this.#tries - EAGER_TRIES)))
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
    this.#waiting = this.#waiting.filter(waiting => !this.#remove(waiting))
    if (this.#waiting.length === 0) return
    if (this.#budgetBytes > 0) {
      this.#schedule()
    } else {
      this.#tries = 0
      this.#runAfter(SLICE_PAUSE_MS)
    }
  }

  /** Returns whether the mapping is gone. */
  #remove(waiting: Waiting): boolean {
    const { mapping, residentBytes, end } = waiting
    if (end?.isReached() === true) return false
    if (residentBytes > 0 && residentBytes >= this.#budgetBytes) {
      waiting.residentBytes -= this.#budgetBytes
      this.#purge(mapping, waiting.residentBytes, this.#budgetBytes)
      this.#budgetBytes = 0
      return false
    }
    if (this.#isInUse(waiting)) return false
    this.#budgetBytes -= residentBytes
    const isGone = this.#unmap(mapping)
    if (isGone) end?.whenGone()
    return isGone
  }

  /** Whether a request may be working on the memory. */
  #isInUse(waiting: Waiting): boolean {
    if (!this.#isShared || waiting.isOverdue || !this.#kernel.hasRequests()) return false
    if (!waiting.isHeldUp) {
      waiting.isHeldUp = true
      this.#deferral.after(PATIENCE_MS, () => {
        waiting.isOverdue = true
      })
    }
    return true
  }

  #purge(mapping: MappingId, offsetBytes: number, lengthBytes: number): void {
    if (lengthBytes === 0) return
    try {
      this.#kernel.advise(mapping, offsetBytes, lengthBytes, 'dontneed')
    } catch {
      // Then unmapping gives these pages back, if in one piece.
    }
  }

  #unmap(mapping: MappingId): boolean {
    try {
      return this.#kernel.unmap(mapping)
    } catch {
      // At vm.max_map_count even munmap fails where it would split a kernel mapping. The pages are purged already; the
      // addresses follow when there is room. There is no caller to tell.
      return false
    }
  }
}
