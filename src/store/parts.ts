/**
 * The parts of a store and how they are joined: those of an arena, with records in place of Buffers, and what moves them.
 * Nothing here refers to the store itself, because some parts outlive a store that is collected without `close()`.
 */
import { assembleWith, type Parts } from '../arena/parts.js'
import { NONE, type PageCount } from '../base/units.js'
import { DebugRecordBuffers } from '../buffers/records/debug-record-buffers.js'
import { RecordBuffers } from '../buffers/records/record-buffers.js'
import type { Records } from '../buffers/records/records.js'
import type { Surroundings } from '../process/environment.js'
import { CompactionPolicy, GAIN_AT_ONCE } from '../release/compaction-policy.js'
import { Compactor, type CompactorParts } from './compactor.js'
import type { ResolvedStoreOptions } from './options.js'
import { Slots } from './slots.js'
import { shortageIn, Ticks } from './ticks.js'

const { floor, max } = Math

/** What happened to records so far. Warm paths of the store count here. */
export interface Tally {
  allocations: number
  liveBytes: number
  liveGranules: number
}

/** What a store is made of. */
export interface StoreParts {
  readonly options: ResolvedStoreOptions
  readonly arena: Parts<Records>
  readonly slots: Slots
  readonly tally: Tally
  readonly policy: CompactionPolicy
  readonly compaction: Compaction
}

/** After a limit has compacted, this share of it is free, so that the next records need not. */
const SPARE_SHARE = 1 / 16
/** Before a limit refuses, records are moved if at least this share of the used pages is waste. */
const LEAST_WASTE_SHARE = 1 / 32
/** The least waste for which a compaction is begun that somebody else asks for. */
const LEAST_WASTE_PAGES = 16
/** After a compaction that made no room, as many calls for each live record must come before the next one. */
const RETRY_SHARE = 1 / 64
/** From one store to the next. Odd, so that it comes to all generations, and far, as those of a store go up. */
const FIRST_GENERATION_STEP = 23
/** How long one slice runs where nobody waits for the event loop. */
const LONG_SLICE_MS = 50

let storeCount = 0

/** The pins, which refer to the store and so are made later. */
type Pinned = CompactorParts['pins'] & { readonly endedCount: number }

/** Compacts when asked: by timer, at limits, and all at once. */
export class Compaction {
  readonly compactor: Compactor
  readonly ticks: Ticks
  readonly #parts: Parts<Records>
  readonly #policy: CompactionPolicy
  readonly #tally: Tally
  readonly #isManual: boolean
  readonly #slots: Slots
  /** The calls until which a limit does not try again. */
  #retryAt = 0
  /** The calls before the last compaction that somebody else asked for. */
  #askedAt = NONE
  /** The pins of the store. */
  pins: Pinned = { isPinned: () => false, forEach: () => {}, endedCount: 0 }

  constructor(
    parts: Parts<Records>,
    slots: Slots,
    tally: Tally,
    policy: CompactionPolicy,
    isManual: boolean,
  ) {
    this.#parts = parts
    this.#policy = policy
    this.#tally = tally
    this.#isManual = isManual
    this.#slots = slots
    const { heap, source, buffers, limits, releaser, gate, environment } = parts
    this.compactor = new Compactor({
      storeName: parts.options.name,
      heap,
      source,
      records: buffers,
      slots,
      limits,
      releaser,
      now: environment.now,
      liveGranules: () => tally.liveGranules,
      pins: {
        isPinned: block => this.pins.isPinned(block),
        forEach: visit => this.pins.forEach(visit),
      },
    })
    this.ticks = new Ticks(
      {
        policy,
        compactor: this.compactor,
        gate,
        deferral: environment.deferral,
        now: environment.now,
        counts: () => this.counts,
        mend: () => {
          if (releaser.isUnfinished) releaser.mend()
        },
        rest: () => slots.shrink(),
        flush: () => heap.flush(),
      },
      isManual,
    )
  }

  get counts() {
    const { allocations, liveGranules } = this.#tally
    const { heap, policy } = this.#parts
    // Records allocated and freed, and those that may move again.
    const calls = 2 * allocations - this.#slots.liveCount + this.pins.endedCount
    return { calls, usedPages: heap.usedPages, liveGranules, warmPages: policy.warmPages }
  }

  /** Runs one slice, for `maxMs` at most, within a change. Returns whether nothing more is to be gained. */
  slice(maxMs: number, gain: number, isAnew: boolean): boolean {
    const { now } = this.#parts.environment
    if (!this.compactor.isActive || isAnew) this.compactor.begin(gain)
    const isDone = this.ticks.run(now() + maxMs)
    if (isDone) this.#policy.compacted(this.counts)
    return isDone
  }

  /** Compacts all, within a change. */
  all(): void {
    this.compactor.begin(GAIN_AT_ONCE)
    while (!this.slice(LONG_SLICE_MS, GAIN_AT_ONCE, false));
  }

  /**
   * Whether a compaction that somebody else asks for can free something: there is waste, and calls since the last one.
   * Otherwise each sign of pressure, and each reclaim, would walk over all records in vain.
   */
  get isWorthIt(): boolean {
    const { calls, usedPages, liveGranules } = this.counts
    const wastePages = usedPages - liveGranules / this.#parts.heap.pageGranules
    return calls !== this.#askedAt && wastePages >= max(LEAST_WASTE_PAGES, LEAST_WASTE_SHARE * usedPages)
  }

  /** Begins a compaction on the next turn of the event loop, because memory is short. */
  startSoon(): void {
    if (!this.isWorthIt) return
    this.#askedAt = this.counts.calls
    this.ticks.startSoon(GAIN_AT_ONCE)
  }

  /** Runs one slice of a compaction for `reclaim`. Returns whether nothing more is to be gained. */
  reclaimSlice(maxMs: number): boolean {
    if (!this.compactor.isActive && !this.isWorthIt) return true
    let isDone = true
    this.ticks.attempt(() => {
      shortageIn(() => {
        isDone = this.slice(maxMs, GAIN_AT_ONCE, false)
      })
    })
    if (isDone) this.#askedAt = this.counts.calls
    return isDone
  }

  /** See `LimitActions.compact`. */
  makeRoom(pageCount: PageCount): boolean {
    const { heap, limits } = this.#parts
    const { calls, usedPages, liveGranules } = this.counts
    const wastePages = usedPages - liveGranules / heap.pageGranules
    const isHopeless = wastePages < max(pageCount, LEAST_WASTE_SHARE * usedPages)
    if (this.#isManual || isHopeless || calls < this.#retryAt) return false
    const wanted = pageCount + floor(heap.limitPages * SPARE_SHARE)
    const fits = (pages: PageCount): boolean => {
      const isWithin = () => heap.committedPages + pages <= heap.limitPages
      if (heap.committedPages + pages > limits.hardPages || isWithin()) return isWithin()
      // As pages went back, so did the bound and the share. Neither may refuse what came free.
      limits.makeRoomUnseen(pages)
      return isWithin()
    }
    // Without memory for it there is less room, or none.
    shortageIn(() => {
      this.compactor.begin(GAIN_AT_ONCE)
      while (!this.slice(1, GAIN_AT_ONCE, false)) {
        if (fits(wanted)) break
      }
    })
    this.compactor.stop()
    this.#policy.compacted(this.counts)
    const hasRoom = fits(pageCount)
    if (!hasRoom) this.#retryAt = calls + max(1, floor(RETRY_SHARE * (heap.liveBlocks + 1)))
    return hasRoom
  }
}

/** Makes the parts of a store. Throws what `assembleWith` throws; nothing is left behind then. */
export function assembleStore(options: ResolvedStoreOptions, environment: Surroundings): StoreParts {
  // The limits are made before what compacts.
  const late: { compaction: Compaction | undefined } = { compaction: undefined }
  const arena = assembleWith<Records>(
    options.arena,
    environment,
    (resolved, _, heap, source) => ({
      buffers: new (options.isDebug ? DebugRecordBuffers : RecordBuffers)(heap, source, resolved.name),
      debug: null,
      compact: pageCount => late.compaction?.makeRoom(pageCount) ?? false,
    }),
    'store',
  )
  const { storage, heap } = arena
  const slots = new Slots(
    storage ?? { allocate: lengthBytes => new ArrayBuffer(lengthBytes), dispose: () => {} },
    FIRST_GENERATION_STEP * ++storeCount,
  )
  const tally: Tally = { allocations: 0, liveBytes: 0, liveGranules: 0 }
  const policy = new CompactionPolicy(options.arena.releaseAfterMs, environment.now, heap.pageBytes)
  const compaction = new Compaction(arena, slots, tally, policy, options.isManual)
  late.compaction = compaction
  return { options, arena, slots, tally, policy, compaction }
}
