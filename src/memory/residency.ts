/** How many pages of a mapping are resident, as the kernel says. */
import type { PageCount } from '../base/units.js'
import type { Kernel, MappingId } from './kernel.js'

const { min } = Math

const CHUNK_PAGES = 16_384

/** How many of the first `pageCount` pages of a mapping are resident now. Throws a `SystemError`. */
export function residentPages(kernel: Kernel, mapping: MappingId, pageCount: PageCount): PageCount {
  const residency = new Uint8Array(min(CHUNK_PAGES, pageCount))
  let pages = 0
  for (let page = 0; page < pageCount; page += CHUNK_PAGES) {
    const chunk = residency.subarray(0, min(CHUNK_PAGES, pageCount - page))
    kernel.residency(mapping, page * kernel.pageBytes, chunk.length * kernel.pageBytes, chunk)
    for (let i = 0; i < chunk.length; i++) pages += chunk[i]
  }
  return pages
}
