/**
 * Guard pages: pages of which any access is a fault. By `MADV_GUARD_INSTALL` where the kernel knows it, which costs no
 * kernel mapping; else by `mprotect`, of which each costs two of the 65,530 that a process has, so that there is a bound
 * for all arenas of a thread.
 *
 * Invariant, checked by `check()`:
 *  1. never more pages are protected than the bound says
 */
import { invariant } from '../base/assert.js'
import { SafeSet } from '../base/primordials.js'
import type { PageCount, PageNumber } from '../base/units.js'
import type { Kernel, MappingId, SystemError } from './kernel.js'

/** By `mprotect`, in one thread: a sixteenth of the kernel mappings of a process. */
export const MAX_PROTECTED_PAGES = 2_048

let protectedPages = 0

export class Guards {
  readonly #kernel: Kernel
  /** Cleared by the first `EINVAL`: a kernel before 6.13, or locked memory. */
  #hasAdvice = true
  /** Pages that are guarded by `mprotect`. */
  readonly #protected = new SafeSet<PageNumber>()

  constructor(kernel: Kernel) {
    this.#kernel = kernel
  }

  /** Guards one page, `page` by its arena's number. Returns whether it is one now: the kernel, or the bound, may refuse. */
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
      // No room for more kernel mappings. Guards are a help, not a promise: the caller does without.
      return false
    }
    this.#protected.add(page)
    protectedPages++
    return true
  }

  /** The page can be used again; its contents are undefined. Throws a `SystemError`; it is still a guard then. */
  remove(page: PageNumber, mapping: MappingId, offsetBytes: number): void {
    if (!this.#protected.has(page)) {
      this.#kernel.advise(mapping, offsetBytes, this.#kernel.pageBytes, 'unguard')
      return
    }
    this.#kernel.protect(mapping, offsetBytes, this.#kernel.pageBytes, true)
    this.#forget(page)
  }

  /** These pages are going to be unmapped, guards and all. */
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
