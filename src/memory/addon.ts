/**
 * The interfaces to the kernel, the runtime, malloc and the places of memory (`kernel.ts`, `runtime.ts`, `malloc.ts`,
 * `places.ts`) as the addon implements them. It also chooses how to detach a buffer, which depends on the Node line.
 * It knows neither segments nor blocks.
 *
 * The binary is loaded at the first `loadAddon()`, never at import.
 */
import { constants } from 'node:buffer'
import { type Clock, useClock } from '../base/deferral.js'
import { ArenaError, outOfRange } from '../base/errors.js'
import type { PageCount, PageNumber } from '../base/units.js'
import { bindingOfEnvironment, loadBinary } from './binary.js'
import type { Advice, Kernel, MappingId, OwnerId, ProgramBreak, SystemError } from './kernel.js'
import type { Ledger } from './ledger.js'
import type { BellNumber, Bells, Malloc, MallocName, MallocStats } from './malloc.js'
import type { PlaceOwner, PlacePart, Places } from './places.js'
import { requirePlatform, unsupportedPlatform } from './platform.js'
import type { Addon, LoopWatch, Runtime, WrapId } from './runtime.js'
import { ThreadLedger } from './thread-ledger.js'

/** What the addon exports: see the `*_face` files and `turns.h` in native/. */
interface NativeAddon
  extends Omit<Kernel, 'advise'>,
    Omit<Runtime, 'newWrapId'>,
    Malloc,
    Bells,
    Omit<Places, 'placesIn'> {
  /** Four numbers for each part: those of `PlacePart`, with -1 for what is null there. */
  placesIn(bounds: Float64Array): Float64Array
  /** Reserves that many numbers for wraps, which nobody else gets. Returns the first of them. */
  newWrapIds(count: number): WrapId
  readonly MADV_DONTNEED: number
  readonly MADV_NOHUGEPAGE: number
  readonly MADV_HUGEPAGE: number
  readonly MADV_POPULATE_WRITE: number
  readonly MADV_GUARD_INSTALL: number
  readonly MADV_GUARD_REMOVE: number
  readonly MADV_DONTDUMP: number
  advise(mapping: MappingId, offsetBytes: number, lengthBytes: number, advice: number): void
  makeClock(onTimer: () => void, onTurn: () => void): Clock
  makeLoopWatch(onActive: () => void): LoopWatch | null
  processLimit(): number
  setProcessLimit(limitBytes: number): void
  processTaken(): number
  take(lengthBytes: number): boolean
  give(lengthBytes: number): void
}

/** All that the binary does. */
export type WholeAddon = Addon & Malloc & Bells & Places

// Read once at load, before other code can replace it. Node 20 has no such method, and its types do not know
// it.
const transfer = (ArrayBuffer.prototype as { transfer?: (this: ArrayBuffer, length: number) => ArrayBuffer })
  .transfer
const applyFunction = Reflect.apply

/** Error codes where advice about huge pages is not taken: by this kernel, or because of a filter. */
const NO_ADVICE = ['EINVAL', 'EPERM', 'EACCES', 'ENOSYS']

/** How many numbers for wraps are reserved at a time, so that hardly any wrap takes a call for its number. */
const WRAP_IDS = 1024

/** The binary behind these interfaces. */
class LoadedAddon implements Addon, Malloc, Bells, Places {
  readonly programBreak: ProgramBreak
  readonly pageBytes: number
  readonly #native: NativeAddon
  #nextWrapId: WrapId = 0
  #endWrapId: WrapId = 0

  constructor(native: NativeAddon) {
    this.#native = native
    this.pageBytes = native.pageBytes
    this.programBreak = native.programBreak
  }

  map(lengthBytes: number, alignBytes?: number, owner?: OwnerId): MappingId {
    return this.#native.map(lengthBytes, alignBytes, owner)
  }

  mapPiece(lengthBytes: number, owner?: OwnerId): MappingId {
    return this.#native.mapPiece(lengthBytes, owner)
  }

  unmap(mapping: MappingId, owner?: OwnerId): boolean {
    return this.#native.unmap(mapping, owner)
  }

  newOwner(name?: string): OwnerId {
    return this.#native.newOwner(name)
  }

  closeOwner(owner: OwnerId): void {
    this.#native.closeOwner(owner)
  }

  disown(owner: OwnerId): void {
    this.#native.disown(owner)
  }

  kept(): { bytes: number; entries: number } {
    return this.#native.kept()
  }

  advise(mapping: MappingId, offsetBytes: number, lengthBytes: number, advice: Advice): void {
    try {
      this.#native.advise(mapping, offsetBytes, lengthBytes, this.#numberOf(advice))
    } catch (error) {
      // The range was checked, so `EINVAL` means that this kernel has no huge pages. Then there are none to
      // use or to prevent. The other codes come from filters (seccomp); the memory can be used without the
      // advice.
      const isForHugePages = advice === 'hugepage' || advice === 'nohugepage'
      if (!isForHugePages || !NO_ADVICE.includes((error as SystemError).code)) throw error
    }
  }

  #numberOf(advice: Advice): number {
    const native = this.#native
    if (advice === 'dontneed') return native.MADV_DONTNEED
    if (advice === 'populate') return native.MADV_POPULATE_WRITE
    if (advice === 'hugepage') return native.MADV_HUGEPAGE
    if (advice === 'nohugepage') return native.MADV_NOHUGEPAGE
    if (advice === 'dontdump') return native.MADV_DONTDUMP
    return advice === 'guard' ? native.MADV_GUARD_INSTALL : native.MADV_GUARD_REMOVE
  }

  purge(
    mapping: MappingId,
    firstPage: PageNumber,
    stretches: Uint32Array,
    from: number,
    end: number,
  ): PageCount {
    return this.#native.purge(mapping, firstPage, stretches, from, end)
  }

  purgesToZero(): boolean {
    return this.#native.purgesToZero()
  }

  protect(mapping: MappingId, offsetBytes: number, lengthBytes: number, isAccessible: boolean): void {
    this.#native.protect(mapping, offsetBytes, lengthBytes, isAccessible)
  }

  fill(mapping: MappingId, offsetBytes: number, lengthBytes: number, byte: number): void {
    this.#native.fill(mapping, offsetBytes, lengthBytes, byte)
  }

  firstOther(mapping: MappingId, offsetBytes: number, lengthBytes: number, byte: number): number {
    return this.#native.firstOther(mapping, offsetBytes, lengthBytes, byte)
  }

  move(moves: Float64Array, count: number): void {
    this.#native.move(moves, count)
  }

  residency(mapping: MappingId, offsetBytes: number, lengthBytes: number, residency: Uint8Array): void {
    this.#native.residency(mapping, offsetBytes, lengthBytes, residency)
  }

  newWrapId(): WrapId {
    if (this.#nextWrapId === this.#endWrapId) {
      const first = this.#native.newWrapIds(WRAP_IDS)
      this.#nextWrapId = first
      this.#endWrapId = first + WRAP_IDS
    }
    return this.#nextWrapId++
  }

  allowsWraps(): boolean {
    return this.#native.allowsWraps()
  }

  wrap(mapping: MappingId, offsetBytes: number, lengthBytes: number, wrapId: WrapId): ArrayBuffer {
    // Node 20 refuses a longer buffer only after it ran its finalizer. So a clear error comes before that.
    if (lengthBytes > constants.MAX_LENGTH) {
      throw outOfRange('lengthBytes', `<= ${constants.MAX_LENGTH}`, lengthBytes)
    }
    return this.#native.wrap(mapping, offsetBytes, lengthBytes, wrapId)
  }

  detach(buffer: ArrayBuffer): void {
    // `napi_detach_arraybuffer` aborts the process where a detach key is set (Node 26, after
    // `markAsUntransferable`). `transfer` throws there.
    if (transfer) applyFunction(transfer, buffer, [0])
    else this.#native.detach(buffer)
  }

  isWrapped(wrapId: WrapId): boolean {
    return this.#native.isWrapped(wrapId)
  }

  mallocName(): MallocName {
    return this.#native.mallocName()
  }

  readsChunks(): boolean {
    return this.#native.readsChunks()
  }

  beginChunks(): boolean {
    return this.#native.beginChunks()
  }

  takeChunks(budgetUs: number): boolean {
    return this.#native.takeChunks(budgetUs)
  }

  purgeMalloc(hasBegun: boolean, asksMalloc: boolean): Promise<number> {
    return this.#native.purgeMalloc(hasBegun, asksMalloc)
  }

  giveChunks(budgetUs: number): boolean {
    return this.#native.giveChunks(budgetUs)
  }

  processResidentBytes(): Promise<number> {
    return this.#native.processResidentBytes()
  }

  flushMallocThread(): void {
    this.#native.flushMallocThread()
  }

  hangBell(onRing: () => void): BellNumber {
    return this.#native.hangBell(onRing)
  }

  ringOthers(bell: BellNumber): void {
    this.#native.ringOthers(bell)
  }

  mallocStats(): MallocStats {
    return this.#native.mallocStats()
  }

  mallocBytesIn(bounds: Float64Array): Float64Array {
    return this.#native.mallocBytesIn(bounds)
  }

  placesIn(bounds: Float64Array): PlacePart[] {
    const numbers = this.#native.placesIn(bounds)
    const parts: PlacePart[] = []
    for (let i = 0; i < numbers.length; i += 4) {
      const [stretch, owner, bytes, residentBytes] = numbers.subarray(i, i + 4)
      parts.push({
        stretch,
        owner: owner < 0 ? null : owner,
        bytes,
        residentBytes: residentBytes < 0 ? null : residentBytes,
      })
    }
    return parts
  }

  placeOwners(): PlaceOwner[] {
    return this.#native.placeOwners()
  }
}

/** The one sum of the process. Native code keeps it, for all threads. */
class AddonLedger implements Ledger {
  readonly #native: NativeAddon

  constructor(native: NativeAddon) {
    this.#native = native
  }

  get limitBytes(): number {
    return this.#native.processLimit()
  }

  set limitBytes(limitBytes: number) {
    this.#native.setProcessLimit(limitBytes)
  }

  get takenBytes(): number {
    return this.#native.processTaken()
  }

  take(lengthBytes: number): boolean {
    return this.#native.take(lengthBytes)
  }

  give(lengthBytes: number): void {
    this.#native.give(lengthBytes)
  }
}

/** The ledger of this thread. Once the addon is loaded, it counts for the process. It never loads the addon. */
export const threadLedger = new ThreadLedger()

interface Loaded {
  readonly addon: WholeAddon
  readonly ledger: Ledger
  readonly native: NativeAddon
  /** The path of the binary, if somebody named it. */
  readonly binding: string | undefined
}

let loaded: Loaded | undefined

/** `binding` is the path of the binary, or undefined for any. */
function load(binding?: string): Loaded {
  if (loaded !== undefined) {
    if (binding !== undefined && binding !== loaded.binding) throw otherBinding(binding, loaded.binding)
    return loaded
  }
  requirePlatform()
  const named = binding ?? bindingOfEnvironment()
  const native = loadBinary(named) as NativeAddon
  const addon = new LoadedAddon(native)
  useClock((onTimer, onTurn) => native.makeClock(onTimer, onTurn))
  requireWraps(addon)
  threadLedger.join(new AddonLedger(native))
  loaded = { addon, ledger: threadLedger, native, binding: named }
  return loaded
}

function otherBinding(binding: string, present: string | undefined): ArenaError {
  const found = present ?? 'the one of the package'
  return new ArenaError(
    'ERR_ARENA_NOT_SUPPORTED',
    `Cannot load the native addon from ${binding}: this thread has loaded another binary, ${found}. ` +
      'Name one path in all arenas, or set OFFHEAP_NATIVE_BINDING',
  )
}

/**
 * Throws `ERR_ARENA_UNSUPPORTED_PLATFORM` if this runtime does not let an addon make an `ArrayBuffer` over
 * memory of its own: a V8 with a sandbox, as in Electron. So that is known before any arena is made.
 */
export function requireWraps(runtime: Pick<Runtime, 'allowsWraps'>): void {
  if (!runtime.allowsWraps()) throw unsupportedPlatform('a runtime whose V8 has a sandbox, such as Electron')
}

/**
 * Returns the kernel and the runtime of this environment. The first call loads the addon; later calls return
 * the same object. Throws an `ArenaError` that says what to do: `ERR_ARENA_UNSUPPORTED_PLATFORM` where there
 * can be no addon, `ERR_ARENA_NOT_SUPPORTED` when the binary is missing, may not be loaded, or is not the one
 * at the path `binding`. A later call tries again.
 */
export function loadAddon(binding?: string): WholeAddon {
  return load(binding).addon
}

/** Returns the limit of the process over all arenas. Throws the errors of `loadAddon`. */
export function loadLedger(): Ledger {
  return load().ledger
}

/**
 * Returns a new watch over this thread's event loop, which calls `onActive`. It lasts as long as the thread. Null
 * where there is none: on Bun, and where the addon cannot be loaded.
 */
export function makeLoopWatch(onActive: () => void): LoopWatch | null {
  try {
    return load().native.makeLoopWatch(onActive)
  } catch (error) {
    if (error instanceof ArenaError) return null
    throw error
  }
}

/**
 * Returns the limit of the process over all arenas, or the limit of this thread where the addon cannot be
 * loaded. Then no other thread can have an arena with pages of the addon.
 */
export function availableLedger(): Ledger {
  try {
    return loadLedger()
  } catch (error) {
    if (error instanceof ArenaError) return threadLedger
    throw error
  }
}
