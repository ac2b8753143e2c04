/**
 * Regions: memory of fixed length for the books of many arenas. One arena after the other uses the same
 * region. Regions lie in long mappings (chunks), so that an arena needs neither a mapping nor an
 * `ArrayBuffer` of its own for them.
 *
 * A region holds no data of a user. A bounded number of free regions stays resident; all further ones are
 * purged. A chunk without a region in use is dropped, if another chunk has free regions.
 *
 * All arenas of a thread share this object. So nothing that script can replace runs between the first and the
 * last step of a change here.
 *
 * Invariants, checked by `check()`:
 *  1. A chunk is in `#open` exactly if it has a free region.
 *  2. `#warmCount` is the number of free regions that may be resident.
 */
import { invariant } from '../base/assert.js'
import type { Deferral } from '../base/deferral.js'
import { SafeMap } from '../base/primordials.js'
import type { Kernel, MappingId } from './kernel.js'
import type { Addon, Runtime } from './runtime.js'
import { Unmapper } from './unmapper.js'

const { ceil } = Math

const CHUNK_REGIONS = 64
/** The most free regions that are not purged. */
const MAX_WARM = 64

interface Chunk {
  readonly mapping: MappingId
  readonly buffer: ArrayBuffer
  /** The indices of its free regions. The last one is taken next. */
  readonly free: number[]
  /** Whether each region may be resident. */
  readonly isWarm: boolean[]
}

export interface BookRegion {
  readonly buffer: ArrayBuffer
  readonly offsetBytes: number
}

export class BookRegions {
  readonly #kernel: Kernel
  readonly #runtime: Runtime
  readonly #unmapper: Unmapper
  readonly #regionBytes: number
  readonly #chunks = new SafeMap<ArrayBuffer, Chunk>()
  /** The chunks with free regions. The last one is taken from next. */
  readonly #open: Chunk[] = []
  #warmCount = 0

  /** `regionBytes`: the bytes that a user needs. They are rounded up to whole pages here. */
  constructor(addon: Addon, deferral: Deferral, regionBytes: number) {
    this.#kernel = addon
    this.#runtime = addon
    this.#unmapper = new Unmapper(addon, deferral)
    this.#regionBytes = ceil(regionBytes / addon.pageBytes) * addon.pageBytes
  }

  /** Returns a region that reads as zero, or null where there is no memory for one. */
  take(): BookRegion | null {
    if (this.#open.length === 0 && !this.#addChunk()) return null
    const open = this.#open
    const chunk = open[open.length - 1]
    const { buffer, free, isWarm } = chunk
    const index = free[free.length - 1]
    free.length--
    if (free.length === 0) open.length--
    if (isWarm[index]) this.#warmCount--
    isWarm[index] = true
    return { buffer, offsetBytes: index * this.#regionBytes }
  }

  /** Takes back a region that `take` returned. It must be zeroed. */
  give({ buffer, offsetBytes }: BookRegion): void {
    const chunk = this.#chunks.get(buffer)
    // This memory is the heap's own: there was no memory for a region when the heap was made.
    if (chunk === undefined) return
    const { free } = chunk
    const open = this.#open
    const index = offsetBytes / this.#regionBytes
    if (free.length === 0) open[open.length] = chunk
    free[free.length] = index
    this.#warmCount++
    if (this.#warmCount > MAX_WARM) this.#purge(chunk, index)
    if (free.length === CHUNK_REGIONS && open.length > 1) this.#drop(chunk)
  }

  /** Returns whether there was memory for a chunk. */
  #addChunk(): boolean {
    const lengthBytes = CHUNK_REGIONS * this.#regionBytes
    let mapping: MappingId | undefined
    try {
      mapping = this.#kernel.map(lengthBytes)
      this.#kernel.advise(mapping, 0, lengthBytes, 'nohugepage')
      const buffer = this.#runtime.wrap(mapping, 0, lengthBytes, this.#runtime.newWrapId())
      const free: number[] = []
      const isWarm: boolean[] = []
      for (let i = 0; i < CHUNK_REGIONS; i++) {
        free[i] = CHUNK_REGIONS - 1 - i
        isWarm[i] = false
      }
      const chunk = { mapping, buffer, free, isWarm }
      this.#chunks.set(buffer, chunk)
      this.#open[this.#open.length] = chunk
      return true
    } catch {
      if (mapping !== undefined) this.#unmapper.add(mapping)
      return false
    }
  }

  #purge(chunk: Chunk, index: number): void {
    try {
      this.#kernel.advise(chunk.mapping, index * this.#regionBytes, this.#regionBytes, 'dontneed')
      chunk.isWarm[index] = false
      this.#warmCount--
    } catch {
      // Then the region stays resident.
    }
  }

  #drop(chunk: Chunk): void {
    const open = this.#open
    let at = 0
    while (open[at] !== chunk) at++
    for (; at + 1 < open.length; at++) open[at] = open[at + 1]
    open.length--
    this.#chunks.delete(chunk.buffer)
    for (let i = 0; i < CHUNK_REGIONS; i++) if (chunk.isWarm[i]) this.#warmCount--
    try {
      this.#runtime.detach(chunk.buffer)
    } catch {
      // Then the garbage collector frees the buffer, and the mapping goes after it.
    }
    this.#unmapper.add(chunk.mapping)
  }

  check(): void {
    let warm = 0
    this.#chunks.forEach(chunk => {
      const isOpen = this.#open.includes(chunk)
      invariant(isOpen === chunk.free.length > 0, '1: chunks with free regions are open')
      for (const index of chunk.free) if (chunk.isWarm[index]) warm++
    })
    invariant(warm === this.#warmCount, `2: ${this.#warmCount} warm regions, found ${warm}`)
  }
}
