/**
 * Memory for the books of an arena. It is given back as promptly as the memory of blocks.
 *
 * Large columns have mappings of their own. V8 takes memory from `malloc`, where a column that was outgrown
 * leaves a hole that stays resident: `malloc`'s threshold for mappings grows with every large column that is
 * freed, up to 32 MiB.
 */

import type { Deferral } from '../base/deferral.js'
import { byteLengthOf, SafeMap } from '../base/primordials.js'
import { KIB } from '../base/units.js'
import type { BookRegion, BookRegions } from './book-regions.js'
import { HUGE_PAGE_BYTES } from './huge-pages.js'
import type { Kernel, MappingId } from './kernel.js'
import type { Addon, Runtime } from './runtime.js'
import { Unmapper } from './unmapper.js'

const { ceil, floor } = Math

/**
 * Below this, `malloc` never maps, and holes are small. From this length on the heap begins each column on a
 * page.
 */
export const MAPPED_FROM_BYTES = 64 * KIB

export class BookStorage {
  readonly #kernel: Kernel
  readonly #runtime: Runtime
  readonly #unmapper: Unmapper
  readonly #mappings = new SafeMap<ArrayBuffer, MappingId>()

  readonly #regions: BookRegions | undefined

  /** `regions`: the regions that all arenas of the thread share. */
  constructor(addon: Addon, deferral: Deferral, regions?: BookRegions) {
    this.#kernel = addon
    this.#runtime = addon
    this.#regions = regions
    this.#unmapper = new Unmapper(addon, deferral)
  }

  get pageBytes(): number {
    return this.#kernel.pageBytes
  }

  /**
   * Returns a buffer of that many zeroed bytes. Throws a `SystemError` or a `RangeError` where there is no
   * memory.
   */
  allocate(lengthBytes: number): ArrayBuffer {
    if (lengthBytes < MAPPED_FROM_BYTES) return new ArrayBuffer(lengthBytes)
    const mapping = this.#kernel.map(this.#wholePages(lengthBytes))
    try {
      // With huge pages, the first touch would make 2 MiB resident, of books that are mostly empty.
      if (lengthBytes >= HUGE_PAGE_BYTES) {
        this.#kernel.advise(mapping, 0, this.#wholePages(lengthBytes), 'nohugepage')
      }
      const buffer = this.#runtime.wrap(mapping, 0, lengthBytes, this.#runtime.newWrapId())
      this.#mappings.set(buffer, mapping)
      return buffer
    } catch (error) {
      this.#unmapper.add(mapping)
      throw error
    }
  }

  /** Returns a region for the fixed part of an arena's books, or null where there is none. */
  takeRegion(): BookRegion | null {
    return this.#regions?.take() ?? null
  }

  giveRegion(region: BookRegion): void {
    this.#regions?.give(region)
  }

  /**
   * Gives back the whole pages within a range of bytes that are not needed for now. They read as zero then.
   */
  purge(storage: ArrayBuffer, offsetBytes: number, lengthBytes: number): void {
    const mapping = this.#mappings.get(storage)
    if (mapping === undefined) return
    const { pageBytes } = this.#kernel
    const first = ceil(offsetBytes / pageBytes) * pageBytes
    const end = floor((offsetBytes + lengthBytes) / pageBytes) * pageBytes
    if (first >= end) return
    try {
      this.#kernel.advise(mapping, first, end - first, 'dontneed')
    } catch {
      // Then they stay resident until they are used and purged again.
    }
  }

  /**
   * Detaches at once a buffer that `allocate` returned. Its mapping goes on the next turn, a long one in
   * slices.
   */
  dispose(storage: ArrayBuffer): void {
    const mapping = this.#mappings.get(storage)
    const lengthBytes = byteLengthOf(storage)
    this.#mappings.delete(storage)
    try {
      this.#runtime.detach(storage)
    } catch {
      // Then the garbage collector frees the buffer, and the mapping goes after it.
    }
    if (mapping !== undefined) this.#unmapper.add(mapping, this.#wholePages(lengthBytes))
  }

  /** Calls `dispose` for all buffers with a mapping that are left. The books must not be read any more. */
  disposeAll(): void {
    for (const storage of [...this.#mappings.keys()]) this.dispose(storage)
  }

  #wholePages(lengthBytes: number): number {
    const { pageBytes } = this.#kernel
    return ceil(lengthBytes / pageBytes) * pageBytes
  }
}
