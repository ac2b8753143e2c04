import { afterEach, describe, expect, it } from 'vitest'
import { BookRegions } from '../../src/memory/book-regions.js'
import { FaultyKernel } from '../support/faulty-kernel.js'
import { ManualDeferral } from '../support/manual-deferral.js'
import { turns } from '../support/world.js'

const REGION_BYTES = 36_000

function make(): { regions: BookRegions; kernel: FaultyKernel; deferral: ManualDeferral } {
  const kernel = new FaultyKernel()
  const deferral = new ManualDeferral()
  const regions = new BookRegions(kernel, deferral, REGION_BYTES)
  made.push(regions)
  return { regions, kernel, deferral }
}

const made: BookRegions[] = []
afterEach(() => {
  for (const regions of made.splice(0)) regions.check()
})

type Taken = NonNullable<ReturnType<BookRegions['take']>>

function take(regions: BookRegions, count: number): Taken[] {
  return Array.from({ length: count }, () => {
    const region = regions.take()
    if (region === null) throw new Error('no region')
    return region
  })
}

function bytesOf({ buffer, offsetBytes }: Taken): Uint8Array {
  return new Uint8Array(buffer, offsetBytes, REGION_BYTES)
}

describe('take', () => {
  it('gives regions that are zero and share nothing, many to a mapping', () => {
    const { regions, kernel } = make()
    const taken = take(regions, 200)
    taken.forEach((region, i) => {
      const bytes = bytesOf(region)
      expect(bytes.every(byte => byte === 0)).toBe(true)
      bytes.fill(1 + (i % 200))
    })
    taken.forEach((region, i) => {
      expect(bytesOf(region).every(byte => byte === 1 + (i % 200))).toBe(true)
    })
    expect(kernel.counts.map).toBe(4)
    regions.check()
  })

  it('gives again what was given back', () => {
    const { regions, kernel } = make()
    for (let i = 0; i < 1_000; i++) {
      const [region] = take(regions, 1)
      regions.give(region)
    }
    expect(kernel.counts.map).toBe(1)
  })

  it.each(['map', 'nohugepage', 'wrap'] as const)(
    'is null where %s is refused, and works again later',
    kind => {
      const { regions, kernel } = make()
      kernel.refuse(kind)
      expect(regions.take()).toBeNull()
      kernel.allow()
      expect(regions.take()).not.toBeNull()
    },
  )
})

describe('give', () => {
  it('keeps few regions resident, and purges the others, which are zero then', () => {
    const { regions, kernel } = make()
    const taken = take(regions, 192)
    // One of each chunk stays in use.
    const given = taken.filter((_, i) => i % 64 !== 0)
    for (const region of given) {
      bytesOf(region).fill(7)
      regions.give(region)
    }
    const purges = kernel.counts.dontneed + kernel.counts.booksDontneed
    expect(purges).toBe(given.length - 64)
    const zero = given.filter(region => bytesOf(region).every(byte => byte === 0))
    expect(zero.length).toBe(purges)
  })

  it('gives up chunks that nothing uses, but for one', async () => {
    const { regions, kernel, deferral } = make()
    for (const region of take(regions, 640)) regions.give(region)
    regions.check()
    await turns()
    for (let i = 0; i < 5; i++) {
      deferral.runTurn()
      await turns()
    }
    expect(kernel.mappings.size).toBe(1)
  })

  it('ignores what it did not make: a heap had memory of its own', () => {
    const { regions } = make()
    regions.give({ buffer: new ArrayBuffer(8), offsetBytes: 0 })
    regions.check()
  })
})
