/**
 * Removes mappings on a later turn of the event loop.
 *
 * Never at once: Node's own C++ may be on the stack with a pointer into the memory, when script that it called freed the
 * buffer (`buf.fill({ valueOf() { arena.close() } })`). And never while a buffer over the mapping awaits its finalizer,
 * which runs by the next turn after the buffer was detached. A mapping that the kernel will not let go of is tried again.
 *
 * Nor is anything unmapped over which users had Buffers: its pages go back, its addresses are kept for whoever may still hold one,
 * a thread or the kernel (see native/kept.h), and for the arena that had them.
 *
 * Unmapping resident pages takes the kernel time. Where there are many they go in slices, so that no turn takes long.
 */
import type { Deferral } from '../base/deferral.js'
import type { Kernel, MappingId, OwnerId } from './kernel.js'

const { min } = Math

// By the next turn the finalizers have run; a second try covers those that were queued behind us.
const EAGER_TRIES = 3
const RETRY_MS = 100
const MAX_RETRY_MS = 10_000
/** Of resident pages, a quarter to half a millisecond of the kernel's time. */
const SLICE_BYTES = 2 * 2 ** 20
const SLICE_PAUSE_MS = 1

interface Waiting {
  readonly mapping: MappingId
  /** What may be resident at its start. */
  residentBytes: number
  readonly end: End | undefined
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
  #hasKept = false

  #owner: OwnerId | undefined

  /** `owner`: who may have the addresses again; none where users never had Buffers over the mappings, which then are unmapped. */
  constructor(kernel: Kernel, deferral: Deferral, owner?: OwnerId) {
    this.#kernel = kernel
    this.#deferral = deferral
    this.#owner = owner
  }

  /** The owner asks for nothing any more. */
  disown(): void {
    if (this.#owner === undefined || this.#owner === 0) return
    if (this.#hasKept) this.#kernel.disown(this.#owner)
    this.#owner = 0
  }

  /** `residentBytes`: how much at the start of the mapping was not purged before; whole pages. */
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
    // What is added meanwhile comes behind those that stay.
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
      // Then unmapping gives these pages back, if in one piece.
    }
  }

  #unmap(mapping: MappingId): boolean {
    try {
      const isGone = this.#kernel.unmap(mapping, this.#owner)
      if (isGone) this.#hasKept = true
      return isGone
    } catch {
      // At vm.max_map_count even munmap fails where it would split a kernel mapping. The pages are purged already; the
      // addresses follow when there is room. There is no caller to tell.
      return false
    }
  }
}
