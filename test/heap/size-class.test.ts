import { describe, expect, it } from 'vitest'
import {
  CLASS_SHIFT,
  GRANULES,
  LIVE_COUNTS,
  MAX_SLAB_BYTES,
  NO_CLASS,
  PAGES,
  RECIPROCAL,
  SHIFT,
  SizeClasses,
  SLOTS,
} from '../../src/heap/size-class.js'
import { BITMAP, recordWords } from '../../src/heap/slab-records.js'

const PAGE_SIZES = [4096, 8192, 16384, 32768, 65536]

interface Row {
  sizeClass: number
  bytes: number
  slots: number
  pages: number
}

function rowsOf(classes: SizeClasses): Row[] {
  return Array.from({ length: classes.count }, (_, i) => {
    const column = (i + 1) << CLASS_SHIFT
    return {
      sizeClass: i + 1,
      bytes: classes.columns[column + GRANULES] * 16,
      slots: classes.columns[column + SLOTS],
      pages: classes.columns[column + PAGES],
    }
  })
}

describe.each(PAGE_SIZES)('SizeClasses of pages of %i bytes', pageBytes => {
  const classes = new SizeClasses(pageBytes)
  const rows = rowsOf(classes)

  const wholePagesOf = (size: number) => Math.max(1, Math.ceil(size / pageBytes)) * pageBytes

  it('are in strictly ascending order, of two slots a slab and more', () => {
    for (let c = 1; c < rows.length; c++) expect(rows[c].bytes).toBeGreaterThan(rows[c - 1].bytes)
    expect(rows[0].bytes).toBe(16)
    expect(rows[rows.length - 1].bytes).toBeLessThanOrEqual(MAX_SLAB_BYTES)
    for (const { slots } of rows) expect(slots).toBeGreaterThan(1)
  })

  it('map every size to the smallest class that holds it, or to none where whole pages are smaller', () => {
    for (let size = 0; size <= MAX_SLAB_BYTES; size++) {
      const smallest = rows.find(row => row.bytes >= size && row.bytes <= wholePagesOf(size))
      if (classes.ofGranules[Math.ceil(size / 16)] !== (smallest?.sizeClass ?? NO_CLASS)) {
        expect.fail(`${size} bytes get class ${classes.ofGranules[Math.ceil(size / 16)]}`)
      }
    }
  })

  it('waste less than a sixth of a slot', () => {
    // Above 256 bytes a class is an eighth of a doubling from the one before it, and widened by up to 1/16 of a slab.
    let worst = 0
    for (let granules = 17; granules <= MAX_SLAB_BYTES / 16; granules++) {
      const sizeClass = classes.ofGranules[granules]
      if (sizeClass === NO_CLASS) continue
      const { bytes } = rows[sizeClass - 1]
      worst = Math.max(worst, 1 - (granules * 16) / bytes)
    }
    expect(worst).toBeLessThan(1 / 6)
  })

  it('have slabs of whole slots with little behind them', () => {
    for (const { bytes, slots, pages } of rows) {
      expect(slots).toBeGreaterThanOrEqual(1)
      expect(pages).toBeLessThanOrEqual(8)
      const tail = pages * pageBytes - slots * bytes
      expect(tail).toBeGreaterThanOrEqual(0)
      expect(tail).toBeLessThan(bytes)
      expect(tail / (pages * pageBytes)).toBeLessThanOrEqual(1 / 16)
    }
    expect(classes.longestSlabPages).toBe(Math.max(...rows.map(row => row.pages)))
  })

  it('fit a class number into a byte, and the bitmap and the counts of every slab into a record', () => {
    expect(classes.count).toBeLessThan(256)
    for (const { sizeClass, slots, pages } of rows) {
      const counts = classes.columns[(sizeClass << CLASS_SHIFT) + LIVE_COUNTS]
      expect(counts).toBeGreaterThanOrEqual(BITMAP + Math.ceil(slots / 32))
      const end = pages === 1 ? BITMAP + Math.ceil(slots / 32) : counts + pages
      expect(end).toBeLessThanOrEqual(recordWords(pageBytes))
    }
  })

  it('divide every granule of a slab by the slot size exactly', () => {
    for (const { sizeClass, bytes, pages, slots } of rows) {
      const column = sizeClass << CLASS_SHIFT
      const granules = bytes / 16
      const reciprocal = classes.columns[column + RECIPROCAL]
      const shift = classes.columns[column + SHIFT]
      for (let into = 0; into < (pages * pageBytes) / 16; into++) {
        const slot = Math.imul(into, reciprocal) >>> shift
        if (slot !== Math.floor(into / granules)) {
          expect.fail(`granule ${into} of class ${sizeClass} lies in slot ${slot}`)
        }
        if (slot > slots) expect.fail(`class ${sizeClass} has no slot ${slot}`)
      }
    }
  })

  it('have for every alignment the smallest class whose every slot is aligned', () => {
    for (let align = 16; align <= pageBytes; align *= 2) {
      for (let size = 0; size <= MAX_SLAB_BYTES + 16; size += 8) {
        const smallest = rows.find(
          row => row.bytes >= size && row.bytes <= wholePagesOf(size) && row.bytes % align === 0,
        )
        if (classes.aligned(size, align) !== (smallest?.sizeClass ?? NO_CLASS)) {
          expect.fail(`${size} bytes aligned to ${align} get class ${classes.aligned(size, align)}`)
        }
      }
    }
  })
})

describe('SizeClasses', () => {
  it('serve the first 16-byte block from a single small page', () => {
    for (const pageBytes of PAGE_SIZES) expect(rowsOf(new SizeClasses(pageBytes))[0].pages).toBe(1)
  })
})
