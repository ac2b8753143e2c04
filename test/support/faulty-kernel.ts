/**
 * The real kernel and runtime with an observer in between: counts and records every call, knows where each `ArrayBuffer` lies,
 * and fails calls on demand as the system or the runtime would. A call that is not failed goes through: memory is
 * never imitated.
 */
import { loadAddon } from '../../src/memory/addon.js'
import type { Advice, MappingId, OwnerId, ProgramBreak, SystemError } from '../../src/memory/kernel.js'
import type { Addon, WrapId } from '../../src/memory/runtime.js'

/** `advise` counts under its advice, and each stretch of `purge` as a `'dontneed'` too; `'booksDontneed'`: `'dontneed'` of memory that holds an arena's books, not blocks. */
export type CallKind =
  | 'map'
  | 'unmap'
  | 'purge'
  | 'dontneed'
  | 'booksDontneed'
  | 'nohugepage'
  | 'hugepage'
  | 'populate'
  | 'guard'
  | 'unguard'
  | 'dontdump'
  | 'protect'
  | 'move'
  | 'residency'
  | 'wrap'
  | 'detach'
  | 'isWrapped'
  | 'take'
  | 'openFence'
  | 'sbrk'
  | 'closeFence'

/** The calls that may be made to fail. */
export type FailingKind = Exclude<CallKind, 'isWrapped' | 'purge'>

/** Those that an arena over the program break survives unharmed; after a refused `detach` its break rests. */
export const FAILING_BREAK_KINDS: readonly FailingKind[] = [
  'openFence',
  'sbrk',
  'closeFence',
  'nohugepage',
  'dontneed',
  'residency',
  'wrap',
  'unmap',
]

export const FAILING_KINDS: readonly FailingKind[] = [
  'map',
  'unmap',
  'dontneed',
  'booksDontneed',
  'nohugepage',
  'hugepage',
  'populate',
  'guard',
  'unguard',
  'protect',
  'residency',
  'wrap',
  'detach',
]

/** `args` as passed, but for buffers, which are left out so that a record keeps nothing alive. */
export interface Call {
  readonly kind: CallKind
  readonly args: readonly (number | string)[]
}

/** Where a Buffer's first byte lies. */
export interface Place {
  readonly mapping: MappingId
  readonly offsetBytes: number
}

const SYSTEM_FAILURES = {
  map: ['mmap', 'ENOMEM', -12],
  unmap: ['munmap', 'ENOMEM', -12],
  dontneed: ['madvise', 'EAGAIN', -11],
  booksDontneed: ['madvise', 'EAGAIN', -11],
  nohugepage: ['madvise', 'ENOMEM', -12],
  hugepage: ['madvise', 'ENOMEM', -12],
  populate: ['madvise', 'ENOMEM', -12],
  guard: ['madvise', 'ENOMEM', -12],
  unguard: ['madvise', 'ENOMEM', -12],
  dontdump: ['madvise', 'ENOMEM', -12],
  protect: ['mprotect', 'ENOMEM', -12],
  residency: ['mincore', 'EAGAIN', -11],
  take: ['sbrk', 'ENOMEM', -12],
  openFence: ['munmap', 'ENOMEM', -12],
  sbrk: ['sbrk', 'ENOMEM', -12],
  closeFence: ['mmap', 'ENOMEM', -12],
} as const

// What no arena names its own wraps by: they count up from 1.
let probeWrapId = 2 ** 40

export class FaultyKernel implements Addon {
  readonly programBreak: ProgramBreak
  readonly pageBytes: number
  readonly #real: Addon
  /** Calls made, failed ones included. */
  readonly counts: Record<CallKind, number> = {
    map: 0,
    unmap: 0,
    purge: 0,
    dontneed: 0,
    booksDontneed: 0,
    nohugepage: 0,
    hugepage: 0,
    populate: 0,
    guard: 0,
    unguard: 0,
    dontdump: 0,
    protect: 0,
    move: 0,
    residency: 0,
    wrap: 0,
    detach: 0,
    isWrapped: 0,
    take: 0,
    openFence: 0,
    sbrk: 0,
    closeFence: 0,
  }
  /** Every call while `isRecording`, in order. */
  readonly calls: Call[] = []
  isRecording = true
  /** What is mapped now: bytes of each mapping. */
  readonly mappings = new Map<MappingId, number>()
  readonly #segments = new Set<MappingId>()
  readonly #places = new WeakMap<ArrayBufferLike, Place>()
  readonly #refused = new Set<FailingKind>()
  readonly #failAt = new Map<FailingKind, number>()
  /** The stretch before which the last `purge` stopped. */
  #refusedStretch: { readonly page: number; readonly error: unknown } | null = null
  /** Asked before each call: true makes it fail. */
  fails: ((kind: FailingKind) => boolean) | undefined
  /** As a kernel before Linux 6.13: there are no guards but by `protect`. Such an answer does not count as a failure. */
  hasNoGuards = false
  /** Calls that were made to fail. */
  failures = 0
  /** Mappings with a buffer that a failed `detach` left attached. */
  readonly stillReached = new Set<MappingId>()

  constructor(real = loadAddon()) {
    this.#real = real
    this.pageBytes = real.pageBytes
    this.programBreak = this.#observe(real.programBreak)
  }

  /** All calls of all kinds. */
  get callCount(): number {
    return Object.values(this.counts).reduce((sum, count) => sum + count, 0)
  }

  /** From now on every call of that kind fails, until `allow`. */
  refuse(...kinds: FailingKind[]): void {
    for (const kind of kinds) this.#refused.add(kind)
  }

  /** Nothing fails any more. */
  allow(): void {
    this.#refused.clear()
    this.#failAt.clear()
    this.fails = undefined
  }

  /** The `n`-th call of that kind from now on fails, once: 1 is the next. */
  failNth(kind: FailingKind, n: number): void {
    this.#failAt.set(kind, this.counts[kind] + n)
  }

  map(lengthBytes: number, alignBytes?: number, owner?: OwnerId): MappingId {
    this.#enter('map', [lengthBytes])
    const mapping = this.#real.map(lengthBytes, alignBytes, owner)
    this.mappings.set(mapping, lengthBytes)
    return mapping
  }

  mapPiece(lengthBytes: number, owner?: OwnerId): MappingId {
    this.#enter('map', [lengthBytes])
    const mapping = this.#real.mapPiece(lengthBytes, owner)
    this.mappings.set(mapping, lengthBytes)
    this.#segments.add(mapping)
    return mapping
  }

  unmap(mapping: MappingId, owner?: OwnerId): boolean {
    this.#enter('unmap', [mapping])
    const isGone = this.#real.unmap(mapping, owner)
    if (isGone) this.mappings.delete(mapping)
    return isGone
  }

  advise(mapping: MappingId, offsetBytes: number, lengthBytes: number, advice: Advice): void {
    if (advice === 'nohugepage' || advice === 'hugepage') this.#segments.add(mapping)
    const isForBooks = advice === 'dontneed' && !this.#segments.has(mapping)
    this.#enter(isForBooks ? 'booksDontneed' : advice, [mapping, offsetBytes, lengthBytes])
    if (advice === 'guard' && this.hasNoGuards) throw unknownAdvice()
    this.#real.advise(mapping, offsetBytes, lengthBytes, advice)
  }

  /** A stretch that is made to fail leaves those behind it undone, and the next call, which begins there, throws: as the real one. */
  purge(mapping: MappingId, firstPage: number, stretches: Uint32Array, from: number, end: number): number {
    this.counts.purge++
    if (this.isRecording) this.calls.push({ kind: 'purge', args: [mapping, end - from] })
    const refused = this.#refusedStretch
    this.#refusedStretch = null
    if (refused?.page === stretches[2 * from]) throw refused.error
    let allowed = from
    try {
      for (; allowed < end; allowed++) {
        const offsetBytes = (stretches[2 * allowed] - firstPage) * this.pageBytes
        this.#enter('dontneed', [mapping, offsetBytes, stretches[2 * allowed + 1] * this.pageBytes])
      }
    } catch (error) {
      if (allowed === from) throw error
      this.#refusedStretch = { page: stretches[2 * allowed], error }
    }
    return this.#real.purge(mapping, firstPage, stretches, from, allowed)
  }

  /** As an emulator's kernel, where false: pages that went back keep their bytes. Only says so. */
  isPurgingToZero = true

  purgesToZero(): boolean {
    return this.isPurgingToZero && this.#real.purgesToZero()
  }

  protect(mapping: MappingId, offsetBytes: number, lengthBytes: number, isAccessible: boolean): void {
    this.#enter('protect', [mapping, offsetBytes, lengthBytes, Number(isAccessible)])
    this.#real.protect(mapping, offsetBytes, lengthBytes, isAccessible)
  }

  /** Not counted, like `firstOther`: neither can fail. */
  fill(mapping: MappingId, offsetBytes: number, lengthBytes: number, byte: number): void {
    this.#real.fill(mapping, offsetBytes, lengthBytes, byte)
  }

  firstOther(mapping: MappingId, offsetBytes: number, lengthBytes: number, byte: number): number {
    return this.#real.firstOther(mapping, offsetBytes, lengthBytes, byte)
  }

  move(moves: Float64Array, count: number): void {
    this.#enter('move', [count])
    this.#real.move(moves, count)
  }

  residency(mapping: MappingId, offsetBytes: number, lengthBytes: number, residency: Uint8Array): void {
    this.#enter('residency', [mapping, offsetBytes, lengthBytes])
    this.#real.residency(mapping, offsetBytes, lengthBytes, residency)
  }

  newWrapId(): WrapId {
    return this.#real.newWrapId()
  }

  allowsWraps(): boolean {
    return this.#real.allowsWraps()
  }

  wrap(mapping: MappingId, offsetBytes: number, lengthBytes: number, wrapId: WrapId): ArrayBuffer {
    this.#enter('wrap', [mapping, offsetBytes, lengthBytes, wrapId])
    const buffer = this.#real.wrap(mapping, offsetBytes, lengthBytes, wrapId)
    this.#places.set(buffer, { mapping, offsetBytes })
    return buffer
  }

  detach(buffer: ArrayBuffer): void {
    try {
      this.#enter('detach', [])
    } catch (error) {
      const place = this.#places.get(buffer)
      if (place !== undefined) this.stillReached.add(place.mapping)
      throw error
    }
    this.#real.detach(buffer)
  }

  newOwner(name?: string): OwnerId {
    return this.#real.newOwner(name)
  }

  closeOwner(owner: OwnerId): void {
    this.#real.closeOwner(owner)
  }

  disown(owner: OwnerId): void {
    this.#real.disown(owner)
  }

  kept(): { bytes: number; entries: number } {
    return this.#real.kept()
  }

  isWrapped(wrapId: WrapId): boolean {
    this.#enter('isWrapped', [wrapId])
    return this.#real.isWrapped(wrapId)
  }

  #observe(real: ProgramBreak): ProgramBreak {
    return {
      take: (name, owner) => {
        this.#enter('take', [name])
        const mapping = real.take(name, owner)
        this.mappings.set(mapping, 0)
        return mapping
      },
      isOurs: mapping => real.isOurs(mapping),
      openFence: (mapping, lengthBytes) => {
        this.#enter('openFence', [mapping, lengthBytes])
        real.openFence(mapping, lengthBytes)
      },
      sbrk: (mapping, incrementBytes) => {
        this.#enter('sbrk', [mapping, incrementBytes])
        return real.sbrk(mapping, incrementBytes)
      },
      closeFence: (mapping, reachBytes) => {
        this.#enter('closeFence', [mapping, reachBytes])
        real.closeFence(mapping, reachBytes)
        this.mappings.set(mapping, Math.max(reachBytes, this.mappings.get(mapping) as number))
      },
      heldBytes: mapping => real.heldBytes(mapping),
      canMoveViewed: mapping => real.canMoveViewed(mapping),
      leave: (mapping, keeps) => real.leave(mapping, keeps),
    }
  }

  /** Where a Buffer of an arena over this kernel lies. */
  placeOf(buffer: Uint8Array): Place {
    const place = this.#places.get(buffer.buffer)
    if (place === undefined) throw new Error('not over memory of this kernel')
    return { mapping: place.mapping, offsetBytes: place.offsetBytes + buffer.byteOffset }
  }

  /** Lengths of the mappings that hold blocks: those that huge pages are kept off. The others hold an arena's books. */
  get segments(): Map<MappingId, number> {
    return new Map([...this.mappings].filter(([mapping]) => this.#segments.has(mapping)))
  }

  /** One byte for each page of a mapping, 1 where it is resident. Not counted. */
  residentPages(mapping: MappingId): Uint8Array {
    return this.#residency(mapping, 0, this.mappings.get(mapping) as number)
  }

  /** Whether every page is resident that holds a byte of a Buffer of an arena over this kernel. Not counted. */
  isResident(buffer: Uint8Array): boolean {
    const { mapping, offsetBytes } = this.placeOf(buffer)
    const start = offsetBytes - (offsetBytes % this.pageBytes)
    const pageCount = Math.ceil((offsetBytes + buffer.length - start) / this.pageBytes)
    return this.#residency(mapping, start, pageCount * this.pageBytes).every(byte => (byte & 1) === 1)
  }

  #residency(mapping: MappingId, offsetBytes: number, lengthBytes: number): Uint8Array {
    const residency = new Uint8Array(lengthBytes / this.pageBytes)
    this.#real.residency(mapping, offsetBytes, lengthBytes, residency)
    return residency
  }

  /** Runs `look` on the bytes of a whole mapping, past everything that knows of blocks. Not counted. */
  inspect<T>(mapping: MappingId, look: (bytes: Uint8Array) => T): T {
    const lengthBytes = this.mappings.get(mapping) as number
    const buffer = this.#real.wrap(mapping, 0, lengthBytes, probeWrapId++)
    try {
      return look(new Uint8Array(buffer))
    } finally {
      this.#real.detach(buffer)
    }
  }

  #enter(kind: CallKind, args: (number | string)[]): void {
    const count = ++this.counts[kind]
    if (this.isRecording) this.calls.push({ kind, args })
    if (kind === 'isWrapped' || kind === 'purge') return
    if (this.#failAt.get(kind) === count || this.#refused.has(kind) || this.fails?.(kind)) {
      this.failures++
      throw failureOf(kind)
    }
  }
}

function unknownAdvice(): SystemError {
  return Object.assign(new Error('madvise: Invalid argument (EINVAL)'), {
    code: 'EINVAL',
    errno: -22,
    syscall: 'madvise',
  })
}

/** What the system, or the runtime, would throw. */
function failureOf(kind: FailingKind): Error {
  if (kind === 'wrap') return new RangeError('Array buffer allocation failed')
  if (kind === 'move') return Object.assign(new RangeError('moves: refused'), { code: 'ERR_OUT_OF_RANGE' })
  if (kind === 'detach')
    return new TypeError('Cannot perform %ArrayBuffer.prototype.transfer on this ArrayBuffer')
  const [syscall, code, errno] = SYSTEM_FAILURES[kind]
  const error: SystemError = Object.assign(new Error(`${syscall}: refused by the test (${code})`), {
    code,
    errno,
    syscall,
  })
  return error
}
