/** Constants of different rooms, and of native code, that must agree, where one cannot be derived from the other. */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { KIB } from '../src/base/units.js'
import { WINDOW_OVERLAP_BYTES, WINDOW_STRIDE_BYTES } from '../src/buffers/windows.js'
import { Books } from '../src/heap/books.js'
import { plainStorage } from '../src/heap/columns.js'
import { insertRange } from '../src/heap/page-table.js'
import { loadAddon } from '../src/memory/addon.js'
import { MAPPED_FROM_BYTES } from '../src/memory/book-storage.js'
import { FENCE_BYTES, STEP_BYTES } from '../src/memory/break-source.js'
import { HUGE_PAGE_BYTES } from '../src/memory/huge-pages.js'
import { FIRST_SEGMENT_BYTES, SMALL_SEGMENT_BYTES } from '../src/memory/segment-space.js'
import { MAX_CALL_STRETCHES } from '../src/release/policy.js'

/** The longest page of a system that this library runs on. */
const LONGEST_PAGE_BYTES = 64 * KIB

/** The value of a constant in a file of native/, written as a number or as `size_t{number} << number`. */
function nativeConstant(file: string, name: string): number {
  const text = readFileSync(new URL(`../native/${file}`, import.meta.url), 'utf8')
  const [, value, shift = '0'] =
    new RegExp(`\\b${name} = (?:size_t\\{)?(\\d+)\\}?(?: << (\\d+))?;`).exec(text) ?? []
  return Number(value) * 2 ** Number(shift)
}

describe('constants', () => {
  it('are the same in native code', () => {
    expect(nativeConstant('purging.cc', 'kMaxRanges')).toBe(MAX_CALL_STRETCHES)
    expect(nativeConstant('program_break.cc', 'kStepBytes')).toBe(STEP_BYTES)
  })

  it('let a window that begins below the break end within the fence', () => {
    expect(FENCE_BYTES).toBeGreaterThanOrEqual(WINDOW_STRIDE_BYTES + WINDOW_OVERLAP_BYTES)
  })

  it('make the strides of windows whole pages, whatever a page is', () => {
    expect(WINDOW_STRIDE_BYTES % LONGEST_PAGE_BYTES).toBe(0)
  })

  it('make segments whole huge pages', () => {
    expect(FIRST_SEGMENT_BYTES % HUGE_PAGE_BYTES).toBe(0)
  })

  it('let the first segment of a small arena be a piece of a slab, whatever a page is', () => {
    const addon = loadAddon()
    const pieceBytes = Math.max(SMALL_SEGMENT_BYTES, LONGEST_PAGE_BYTES)
    expect(addon.unmap(addon.mapPiece(pieceBytes))).toBe(true)
  })

  it('give columns pages of their own exactly where they have a mapping of their own', () => {
    for (let pageCount = 16; pageCount <= 4_096; pageCount += 16) {
      const books = new Books(4096, plainStorage)
      insertRange(books, 0, pageCount)
      const { bits, occupied, rows } = books
      const isPaged = [bits, occupied, rows].every(({ byteOffset }) => byteOffset % 4096 === 0)
      expect(isPaged, `${pageCount} pages`).toBe(bits.buffer.byteLength >= MAPPED_FROM_BYTES)
    }
  })
})
