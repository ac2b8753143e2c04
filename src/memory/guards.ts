/**
 * Guard pages: any access to such a page is a fault. They are made by `MADV_GUARD_INSTALL` where the kernel
 * knows it, which needs no further kernel mapping. Otherwise they are made by `mprotect`. Each of these costs
 * two of the 65,530 kernel mappings of a process, so their number is bounded, for all arenas of a thread
 * together.
 *
 * Invariant, checked by `check()`:
 *  1. No more pages are protected by `mprotect` than the bound allows.
 */
import { invariant } from '../base/assert.js'
import { SafeSet } from '../base/primordials.js'
import type { PageCount, PageNumber } from '../base/units.js'
import type { Kernel, MappingId, SystemError } from './kernel.js'

/** The most guards by `mprotect` in one thread. They take a sixteenth of the kernel mappings of a process. */
export const MAX_PROTECTED_PAGES = 2_048

let protectedPages = 0

export class Guards {
  readonly #kernel: Kernel
  /**
   * Whether `MADV_GUARD_INSTALL` works. The first `EINVAL` clears it: a kernel before 6.13, or locked memory.
   */
  #hasAdvice = true
  /** The pages that are guarded by `mprotect`. */
  readonly #protected = new SafeSet<PageNumber>()

  constructor(kernel: Kernel) {
    this.#kernel = kernel
  }

  /**
   * Makes one page a guard. `page` is its number in the arena. Returns whether it is a guard now: the kernel,
   * or the bound, may refuse.
   */
  install(page: PageNumber, mapping: MappingId, offsetBytes: number): boolean {
    if (this.#hasAdvice) {
      try {
        this.#kernel.advise(mapping, offsetBytes, this.#kernel.pageBytes, 'guard')
        return true
      } catch (error) {
        if ((error as SystemError).code !== 'EINVAL') return false
        this.#hasAdvice = false
      }
    }
    if (protectedPages >= MAX_PROTECTED_PAGES) return false
    try {
      this.#kernel.protect(mapping, offsetBytes, this.#kernel.pageBytes, false)
    } catch {
      // There is no room for more kernel mappings. A guard is a help and not a promise, so the caller goes on
      // without it.
      return false
    }
    this.#protected.add(page)
    protectedPages++
    return true
  }

  /**
   * Makes a guard an ordinary page again. Its contents are undefined. Throws a `SystemError`; it is still a
   * guard then.
   */
  remove(page: PageNumber, mapping: MappingId, offsetBytes: number): void {
    if (!this.#protected.has(page)) {
      this.#kernel.advise(mapping, offsetBytes, this.#kernel.pageBytes, 'unguard')
      return
    }
    this.#kernel.protect(mapping, offsetBytes, this.#kernel.pageBytes, true)
    this.#forget(page)
  }

  /** Is called before these pages are unmapped together with their guards. */
  forgetRange(firstPage: PageNumber, pageCount: PageCount): void {
    for (const page of this.#protected) {
      if (page >= firstPage && page < firstPage + pageCount) this.#forget(page)
    }
  }

  #forget(page: PageNumber): void {
    this.#protected.delete(page)
    protectedPages--
  }

  check(): void {
    invariant(
      this.#protected.size <= protectedPages && protectedPages <= MAX_PROTECTED_PAGES,
      '1: protected pages within their bound',
    )
  }
}
