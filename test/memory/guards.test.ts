/** Guard pages, by either call. What happens to who touches one is in test/arena/debug-native.test.ts. */
import { readFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Guards, MAX_PROTECTED_PAGES } from '../../src/memory/guards.js'
import type { MappingId } from '../../src/memory/kernel.js'
import { FaultyKernel } from '../support/faulty-kernel.js'
import { thrownBy } from '../support/world.js'

let kernel: FaultyKernel
let guards: Guards
let mapping: MappingId
let page: number
/** Where `mapping` is. */
let region: Extent
const PAGES = 2 * MAX_PROTECTED_PAGES + 10

beforeEach(() => {
  kernel = new FaultyKernel()
  guards = new Guards(kernel)
  page = kernel.pageBytes
  const old = new Set(extents().map(({ start }) => start))
  mapping = kernel.map(PAGES * page)
  // It does not merge with V8's mappings then.
  kernel.advise(mapping, 0, PAGES * page, 'nohugepage')
  const found = extents().filter(({ start, end }) => end - start === PAGES * page && !old.has(start))
  expect(found).toHaveLength(1)
  region = found[0]
})

afterEach(() => {
  guards.forgetRange(0, PAGES)
  guards.check()
  kernel.unmap(mapping)
})

interface Extent {
  start: number
  end: number
}

/** What is mapped in this process. */
function extents(): Extent[] {
  const lines = readFileSync('/proc/self/maps', 'latin1').matchAll(/^([0-9a-f]+)-([0-9a-f]+) /gm)
  return Array.from(lines, ([, start, end]) => ({
    start: Number.parseInt(start, 16),
    end: Number.parseInt(end, 16),
  }))
}

/** How many kernel mappings `mapping` is split into. Those of V8 and malloc come and go at any time, and are not counted. */
const mappings = (): number =>
  extents().filter(({ start, end }) => end > region.start && start < region.end).length
const install = (index: number): boolean => guards.install(index, mapping, index * page)
const remove = (index: number): void => guards.remove(index, mapping, index * page)

describe('install', () => {
  it('takes the memory of a page, splits no kernel mapping, and leaves the neighbours', () => {
    kernel.fill(mapping, 0, 3 * page, 7)
    const before = mappings()
    // Where the kernel has no such advice, the other call splits: that is tested below.
    const hasAdvice = thrownBy(() => kernel.advise(mapping, 9 * page, page, 'guard')) === undefined
    expect(install(1)).toBe(true)
    expect(kernel.counts.protect).toBe(hasAdvice ? 0 : 1)
    if (hasAdvice) {
      expect(mappings()).toBe(before)
      expect([...kernel.residentPages(mapping).subarray(0, 3)]).toEqual([1, 0, 1])
    }
    expect(kernel.firstOther(mapping, 0, page, 7)).toBe(-1)
    expect(kernel.firstOther(mapping, 2 * page, page, 7)).toBe(-1)
    remove(1)
    kernel.fill(mapping, page, page, 8)
    expect(kernel.firstOther(mapping, page, page, 8)).toBe(-1)
  })

  it('protects the page where the kernel knows no guards, and asks no more', () => {
    kernel.hasNoGuards = true
    const before = mappings()
    expect([install(1), install(3)]).toEqual([true, true])
    expect([kernel.counts.guard, kernel.counts.protect]).toEqual([1, 2])
    expect(mappings()).toBe(before + 4)
    remove(1)
    remove(3)
    kernel.fill(mapping, 0, 4 * page, 8)
    expect(mappings()).toBe(before)
  })

  it.each(['guard', 'protect'] as const)('says no where %s is refused', kind => {
    kernel.hasNoGuards = kind === 'protect'
    kernel.refuse(kind)
    expect(install(1)).toBe(false)
    kernel.fill(mapping, 0, 3 * page, 8)
    kernel.allow()
    expect(install(1)).toBe(true)
    remove(1)
  })

  it('protects no more pages than its bound says, over all arenas, and more once some are free', () => {
    kernel.hasNoGuards = true
    for (let index = 0; index < MAX_PROTECTED_PAGES; index++) expect(install(2 * index)).toBe(true)
    const last = 2 * MAX_PROTECTED_PAGES
    expect(install(last)).toBe(false)
    const other = new Guards(kernel)
    expect(other.install(last, mapping, last * page)).toBe(false)
    remove(0)
    expect(other.install(last, mapping, last * page)).toBe(true)
    expect(install(0)).toBe(false)
    other.remove(last, mapping, last * page)
    guards.forgetRange(0, 100)
    expect(install(last)).toBe(true)
  })
})

describe('remove', () => {
  it.each(['unguard', 'protect'] as const)('throws what %s does, and can be called again', kind => {
    kernel.hasNoGuards = kind === 'protect'
    install(1)
    kernel.refuse(kind)
    expect(thrownBy(() => remove(1))).toMatchObject({ code: 'ENOMEM' })
    kernel.allow()
    remove(1)
    kernel.fill(mapping, page, page, 8)
  })
})
