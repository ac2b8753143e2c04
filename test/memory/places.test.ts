import { readFileSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { describe, expect, it } from 'vitest'
import { Arena } from '../../src/index.js'
import { loadAddon } from '../../src/memory/addon.js'
import type { PlacePart } from '../../src/memory/places.js'

const addon = loadAddon()
const PAGE = addon.pageBytes
const MIB = 2 ** 20

function bounds(): Float64Array {
  const lines = readFileSync('/proc/self/maps', 'latin1').matchAll(/^([0-9a-f]+)-([0-9a-f]+) /gm)
  return new Float64Array([...lines].flatMap(([, start, end]) => [parseInt(start, 16), parseInt(end, 16)]))
}

function partsOf(owner: number): PlacePart[] {
  return addon.placesIn(bounds()).filter(part => part.owner === owner)
}

const bytesOf = (owner: number): number => partsOf(owner).reduce((bytes, part) => bytes + part.bytes, 0)
const nameOf = (owner: number): string | undefined =>
  addon.placeOwners().find(each => each.owner === owner)?.name

describe('placesIn', () => {
  it('finds the mappings of an owner, until they are gone', () => {
    const owner = addon.newOwner('found')
    expect(nameOf(owner)).toBeUndefined()
    const mappings = [addon.map(3 * PAGE, undefined, owner), addon.map(5 * MIB, undefined, owner)]
    const piece = addon.mapPiece(PAGE, owner)
    expect(bytesOf(owner)).toBe(4 * PAGE + 5 * MIB)
    expect(nameOf(owner)).toBe('found')
    addon.unmap(mappings[1], owner)
    addon.unmap(piece, owner)
    expect(bytesOf(owner)).toBe(3 * PAGE)
    addon.closeOwner(owner)
    expect(nameOf(owner)).toBe('found')
    addon.unmap(mappings[0])
    expect(bytesOf(owner)).toBe(0)
    expect(nameOf(owner)).toBeUndefined()
  })

  it('counts the resident pages of each part of a mapping of the kernel', () => {
    const owners = [addon.newOwner('a'), addon.newOwner('b')]
    const mappings = owners.map(owner => addon.map(64 * PAGE, undefined, owner))
    addon.fill(mappings[0], 0, 10 * PAGE, 1)
    addon.fill(mappings[1], 0, 20 * PAGE, 1)
    const counts = owners.map(owner => {
      const [part, ...others] = partsOf(owner)
      expect(others).toEqual([])
      return part.residentBytes === null ? null : part.residentBytes / PAGE
    })
    // Neighbours are one mapping of the kernel; where they are not, it counts itself.
    for (const [i, count] of counts.entries()) if (count !== null) expect(count).toBe([10, 20][i])
    for (const [i, mapping] of mappings.entries()) addon.unmap(mapping, owners[i])
  })

  it('says what is books, and what nobody has', () => {
    const before = bytesOf(0)
    const mapping = addon.map(8 * MIB)
    expect(bytesOf(0) - before).toBe(8 * MIB)
    addon.unmap(mapping)
    expect(bytesOf(0)).toBe(before)
    expect(addon.placesIn(new Float64Array([0, PAGE, 1, 2, -5, 4, Number.NaN, 1]))).toEqual([])
    expect(() => addon.placesIn([] as unknown as Float64Array)).toThrow(TypeError)
  })

  it('parts are as long as the stretch where one of them is ours', () => {
    const arena = new Arena({ name: 'adds up' })
    const block = arena.alloc(3 * MIB)
    const all = bounds()
    const parts = addon.placesIn(all)
    const sums = new Map<number, number>()
    for (const { stretch, bytes } of parts) sums.set(stretch, (sums.get(stretch) ?? 0) + bytes)
    expect(sums.size).toBeGreaterThan(0)
    for (const [stretch, bytes] of sums) expect(bytes).toBe(all[2 * stretch + 1] - all[2 * stretch])
    arena.free(block)
    arena.close()
  })
})

describe('placeOwners', () => {
  it('has those of other threads, and says so, until the thread has ended', async () => {
    const index = new URL('../../.compiled/index.js', import.meta.url)
    const worker = new Worker(
      `import('${index}').then(({ Arena }) => {
        globalThis.block = new Arena({ name: 'elsewhere' }).alloc(${MIB})
        require('node:worker_threads').parentPort.postMessage('ready')
        setInterval(() => {}, 1000)
      })`,
      { eval: true },
    )
    await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
    expect(addon.placeOwners().filter(({ name }) => name === 'elsewhere')).toMatchObject([{ isHere: false }])
    await worker.terminate()
    expect(addon.placeOwners().filter(({ name }) => name === 'elsewhere')).toEqual([])
  })

  it('forgets arenas that come and go', async () => {
    const before = addon.placeOwners().length
    for (let i = 0; i < 500; i++) {
      const arena = new Arena({ name: 'brief' })
      arena.alloc(100_000)
      await arena.closeWhenIdle?.()
      arena.close()
    }
    for (let i = 0; i < 50 && addon.placeOwners().length > before; i++)
      await new Promise(resolve => setTimeout(resolve, 20))
    expect(addon.placeOwners().length).toBe(before)
  })
})
