/**
 * Removes mappings on a later turn of the event loop.
 *
 * Never at once: Node's own C++ may be on the stack with a pointer into the memory, when script that it called freed the
 * buffer (`buf.fill({ valueOf() { arena.close() } })`). And never while a buffer over the mapping awaits its finalizer,
 * which runs by the next turn after the buffer was detached. A mapping that the kernel will not let go of is tried again.
 */
import type { Deferral } from '../base/deferral.js'
import type { Kernel, MappingId } from './kernel.js'

// By the next turn the finalizers have run; a second try covers those that were queued behind us.
const EAGER_TRIES = 3
const RETRY_MS = 100
const MAX_RETRY_MS = 10_000

export class Unmapper {
  readonly #kernel: Kernel
  readonly #deferral: Deferral
  #waiting: MappingId[] = []
  #tries = 0
  /** Runs that are due: what one of them does, a later one finds done. */
  #isNextTurnDue = false
  #isRetryDue = false

  constructor(kernel: Kernel, deferral: Deferral) {
    this.#kernel = kernel
    this.#deferral = deferral
  }

  add(mapping: MappingId): void {
    this.#waiting.push(mapping)
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
    } else if (!this.#isRetryDue) {
      this.#isRetryDue = true
      const delayMs = Math.min(MAX_RETRY_MS, RETRY_MS * 2 ** (this.#tries - EAGER_TRIES))
      this.#deferral.after(delayMs, () => {
        this.#isRetryDue = false
        this.#run()
      })
    }
  }

  #run(): void {
    this.#tries++
    this.#waiting = this.#waiting.filter(mapping => !this.#unmap(mapping))
    if (this.#waiting.length > 0) this.#schedule()
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
