/** `memoryReport`: where the memory of this process is. */
import { readFileSync } from 'node:fs'
import { getHeapSpaceStatistics } from 'node:v8'
import { ArenaMember } from '../arena/member.js'
import { ArenaError } from '../base/errors.js'
import { loadAddon } from '../memory/addon.js'
import type { OwnerId } from '../memory/kernel.js'
import type { MallocName } from '../memory/malloc.js'
import { group } from '../process/environment.js'
import { attribute, type Resident } from './attribution.js'
import { parseSmaps } from './smaps.js'

export type { MallocName } from '../memory/malloc.js'

/**
 * Where the memory of this process is, as `memoryReport()` returns it. Numbers are bytes, unless a field says
 * otherwise. The parts add up:
 *
 * ```ts
 * const { residentBytes, arenas, malloc, v8, files, stacks, rest } = memoryReport()
 * const parts = [arenas, malloc, v8, files, stacks, rest]
 * parts.reduce((sum, part) => sum + part.residentBytes, 0) === residentBytes // true
 * ```
 */
export interface MemoryReport {
  /** All resident memory of the process: `Rss`. It is the sum of the parts' `residentBytes`. */
  residentBytes: number
  /** Memory of the process that the kernel has swapped out. It is not resident, and in no part. */
  swappedBytes: number
  /** Memory of arenas, of all threads. */
  arenas: ArenasPart
  /** Memory of the allocator that serves `malloc`, `Buffer` and `ArrayBuffer`. */
  malloc: MallocPart
  /** Heaps and compiled code of V8, of all threads. */
  v8: V8Part
  /**
   * Programs, libraries and other files that are mapped, and their variables. Much of it is shared with other
   * processes that run the same program, and the kernel takes it away when it needs room.
   */
  files: MemoryPart
  /** Stacks of all threads. */
  stacks: MemoryPart
  /**
   * What is none of the others: memory that other addons mapped for themselves, memory shared with the kernel
   * (such as the rings of io_uring) or with other processes.
   */
  rest: MemoryPart
}

/** A part of the process's memory. */
export interface MemoryPart {
  /** What the kernel holds resident. */
  residentBytes: number
}

/** The memory of arenas. */
export interface ArenasPart extends MemoryPart {
  /** What is resident of books that have mappings of their own. All arenas of a thread share some of them. */
  booksResidentBytes: number
  /**
   * What is resident at addresses that arenas gave up, because somebody wrote there late, and of pages that no
   * arena has now.
   */
  otherResidentBytes: number
  /** Each arena. Those of this thread come first, in the order in which they were made. */
  list: ArenaPart[]
}

/** The memory of one arena. */
export interface ArenaPart extends MemoryPart {
  /** The arena's name. */
  name: string
  /** Whether it is an arena of this thread. */
  isHere: boolean
  /**
   * Pages that hold live blocks: `usedBytes` of `arena.stats()`. Null for an arena of another thread, and for
   * one that is closed and whose memory is still in use.
   */
  usedBytes: number | null
  /** Free pages that may still be resident: `dirtyBytes` of `arena.stats()`. Null as above. */
  freeBytes: number | null
  /** What its books take: `metadataBytes` of `arena.stats()`. Null as above. */
  booksBytes: number | null
}

/** The memory of malloc. */
export interface MallocPart extends MemoryPart {
  /** The allocator that serves this process. `'none'`: musl's, or one that is not known. */
  name: MallocName
  /** What is resident below the program break. */
  breakResidentBytes: number
  /**
   * What is resident of malloc's mappings: heaps of glibc's threads, and long blocks. If the allocator is another
   * one than glibc, this is all anonymous memory that belongs to nobody else.
   */
  mappingsResidentBytes: number
  /**
   * Bytes of blocks that somebody has, as the allocator counts them. Some of them may never have been touched.
   * Null if it does not tell.
   */
  inUseBytes: number | null
  /**
   * Bytes that the allocator has from the kernel and nobody uses. Some of them may not be resident. Null if it
   * does not tell.
   */
  freeBytes: number | null
  /** All bytes that the allocator has from the kernel. Null if it does not tell. */
  mappedBytes: number | null
}

/** The memory of V8. */
export interface V8Part extends MemoryPart {
  /** Bytes of objects in all spaces of this thread's heap. Some of them may be garbage. */
  usedBytes: number
  /** Bytes of pages of this thread's heap that hold no object. */
  freeBytes: number
  /** The spaces of this thread's heap. Heaps of other threads count in `residentBytes` only. */
  spaces: V8Space[]
}

/** One space of V8's heap, as `v8.getHeapSpaceStatistics()` has it. */
export interface V8Space extends MemoryPart {
  /** V8's name for it, such as `'old_space'`. */
  name: string
  /** Bytes of objects. Some of them may be garbage. */
  usedBytes: number
  /** Bytes of its pages that hold no object. */
  freeBytes: number
}

const SMAPS = '/proc/self/smaps'

/**
 * Returns where the memory of this process is, so that a program can say why its `Rss` is what it is. All parts
 * add up to `Rss`.
 *
 * It reads `/proc/self/smaps` and asks the allocator, without waiting for anything else. One call takes some
 * milliseconds, and more with more memory: docs/process.md has figures. Other threads that map memory wait
 * meanwhile. It looks at the process as it is, and changes nothing.
 *
 * Throws
 * - `ERR_ARENA_NOT_SUPPORTED` if the kernel does not tell, as on systems other than Linux; `cause` is the system
 *   error. Also if the addon cannot be loaded
 * - `ERR_ARENA_UNSUPPORTED_PLATFORM` if there can be no addon
 *
 * ```ts
 * const { residentBytes, malloc, v8, arenas } = memoryReport()
 * log.info({ residentBytes, free: malloc.freeBytes, heap: v8.usedBytes, arenas: arenas.residentBytes })
 * ```
 */
export function memoryReport(): MemoryReport {
  const text = readSmaps()
  const addon = loadAddon()
  const resident = attribute(parseSmaps(text), addon)
  const { breakBytes, mappingBytes } = resident
  return {
    residentBytes: resident.allBytes,
    swappedBytes: resident.swappedBytes,
    arenas: arenasPart(resident),
    malloc: {
      residentBytes: breakBytes + mappingBytes,
      breakResidentBytes: breakBytes,
      mappingsResidentBytes: mappingBytes,
      name: addon.mallocName(),
      ...addon.mallocStats(),
    },
    v8: v8Part(resident.v8Bytes),
    files: { residentBytes: resident.fileBytes },
    stacks: { residentBytes: resident.stackBytes },
    rest: { residentBytes: resident.restBytes },
  }
}

function readSmaps(): string {
  try {
    return readFileSync(SMAPS, 'latin1')
  } catch (cause) {
    throw new ArenaError(
      'ERR_ARENA_NOT_SUPPORTED',
      `memoryReport(): ${SMAPS} cannot be read. Call it on Linux, with /proc mounted`,
      { cause },
    )
  }
}

function arenasPart({ ownerBytes, booksBytes, otherBytes, owners }: Resident): ArenasPart {
  const list: ArenaPart[] = []
  const listed = new Set<OwnerId>()
  for (const member of group.list()) {
    if (!(member instanceof ArenaMember) || member.stats === undefined) continue
    const { name, usedBytes, dirtyBytes, metadataBytes } = member.stats()
    const { owner } = member
    if (owner !== null) listed.add(owner)
    list.push({
      name,
      isHere: true,
      residentBytes: (owner !== null ? ownerBytes.get(owner) : undefined) ?? 0,
      usedBytes,
      freeBytes: dirtyBytes,
      booksBytes: metadataBytes,
    })
  }
  for (const { owner, name, isHere } of owners) {
    if (listed.has(owner)) continue
    const residentBytes = ownerBytes.get(owner) ?? 0
    list.push({ name, isHere, residentBytes, usedBytes: null, freeBytes: null, booksBytes: null })
  }
  let residentBytes = booksBytes + otherBytes
  for (const arena of list) residentBytes += arena.residentBytes
  return { residentBytes, booksResidentBytes: booksBytes, otherResidentBytes: otherBytes, list }
}

function v8Part(residentBytes: number): V8Part {
  const spaces = getHeapSpaceStatistics().map(space => ({
    name: space.space_name,
    residentBytes: space.physical_space_size,
    usedBytes: space.space_used_size,
    freeBytes: Math.max(0, space.space_size - space.space_used_size),
  }))
  let usedBytes = 0
  let freeBytes = 0
  for (const space of spaces) {
    usedBytes += space.usedBytes
    freeBytes += space.freeBytes
  }
  return { residentBytes, usedBytes, freeBytes, spaces }
}
