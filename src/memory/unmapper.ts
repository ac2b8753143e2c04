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
  #isScheduled = false
  #tries = 0

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
    if (this.#isScheduled) return
    this.#isScheduled = true
    const run = (): void => this.#run()
    if (this.#tries < EAGER_TRIES) this.#deferral.nextTurn(run)
    else this.#deferral.after(Math.min(MAX_RETRY_MS, RETRY_MS * 2 ** (this.#tries - EAGER_TRIES)), run)
  }

  #run(): void {
    this.#isScheduled = false
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
