/**
 * What each mapping of a Node process is, as the kernel's list of mappings shows it from inside and outside alike. It
 * knows how Node, V8, glibc and this library map memory:
 *
 * - V8 keeps its heaps from forked children (`MADV_DONTFORK`, flag `dc`), and so does this library. This one also
 *   forbids huge pages, or asks for them (flags `nh`, `hg`).
 * - Stacks of threads lie above a guard, which nobody can read. Since Linux 6.7 they have no huge pages (`nh`) either.
 * - Heaps of glibc's threads, and the memory of other allocators, are reserved without being charged (`nr`).
 * - What a library has besides its file (`.bss`) follows right behind it.
 */
import { KIB } from '../base/units.js'
import { hasFlag, type Mapping } from './smaps.js'

/**
 * - `arena`: memory of arenas and of their books
 * - `kept`: addresses that arenas gave up, which are empty but for late writes
 * - `break`: what malloc has below the program break
 * - `mapping`: anonymous, private, writable memory that is none of the others: malloc's, or of code that maps for itself
 * - `v8`: heaps and compiled code
 * - `file`: programs, libraries and other files
 * - `stack`: of all threads
 */
export type Kind = 'arena' | 'kept' | 'break' | 'mapping' | 'v8' | 'file' | 'stack' | 'rest'

/** The longest guard of a stack that C libraries make without being asked: musl's are two pages, of up to 64 KiB. */
const MAX_GUARD_BYTES = 128 * KIB

/** What names in the list of mappings say. The kernel has them where it was built with names. */
const NAMES: readonly (readonly [RegExp, Kind])[] = [
  [/^\[heap\]/, 'break'],
  [/^\[stack/, 'stack'],
  [/^\[(?:vdso|vvar|vsyscall|vectors|uprobes)/, 'file'],
  [/^\[anon:offheap: /, 'arena'],
  [/^\[anon: glibc: (?:loader )?malloc/, 'mapping'],
  [/^\[anon: glibc: pthread/, 'stack'],
  [/^\[anon:v8/i, 'v8'],
  [/^\/dev\/zero/, 'rest'],
  [/^\//, 'file'],
]

/** Returns the kind of each mapping. They must be in the order of their addresses. */
export function kindsOf(mappings: readonly Mapping[]): Kind[] {
  const kinds: Kind[] = []
  for (const [index, mapping] of mappings.entries()) {
    const before = mappings[index - 1]
    const isAdjacent = before?.end === mapping.start
    kinds.push(kindOf(mapping, isAdjacent ? before : undefined, isAdjacent ? kinds[index - 1] : undefined))
  }
  return kinds
}

function kindOf(mapping: Mapping, below: Mapping | undefined, kindBelow: Kind | undefined): Kind {
  // An arena may have the upper part of what the kernel calls the heap.
  if (mapping.path === '[heap]' && hasFlag(mapping, 'dc')) return 'arena'
  const named = NAMES.find(([pattern]) => pattern.test(mapping.path))
  if (named !== undefined) return named[1]
  const isAnonymous = mapping.path === '' || mapping.path.startsWith('[anon:')
  if (!isAnonymous || mapping.permissions[3] !== 'p') return 'rest'
  if (hasFlag(mapping, 'gd')) return 'stack'
  const isKeptFromChildren = hasFlag(mapping, 'dc')
  const hasHugeAdvice = hasFlag(mapping, 'nh') || hasFlag(mapping, 'hg')
  if (isKeptFromChildren) return hasHugeAdvice ? 'arena' : 'v8'
  const isReserved = hasFlag(mapping, 'nr')
  if (isReserved && hasFlag(mapping, 'nh')) return 'kept'
  if (mapping.permissions[1] !== 'w') return 'rest'
  if (isReserved) return 'mapping'
  if (hasFlag(mapping, 'nh') || isGuard(below)) return 'stack'
  // The second of two such stretches is malloc's: a library has one.
  if (kindBelow === 'file' && below?.path.startsWith('/') === true) return 'file'
  return 'mapping'
}

function isGuard(mapping: Mapping | undefined): boolean {
  if (mapping === undefined || mapping.path !== '' || mapping.permissions !== '---p') return false
  const isOther = hasFlag(mapping, 'nr') || hasFlag(mapping, 'dc')
  return !isOther && mapping.end - mapping.start <= MAX_GUARD_BYTES
}
