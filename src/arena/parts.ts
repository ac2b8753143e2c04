/**
 * The parts of an arena and how they are joined: what each calls when it needs another.
 *
 * Some parts outlive an arena that is collected without `close()` (see `unclosed`). So nothing here refers to
 * the arena itself.
 */
import { invariant } from '../base/assert.js'
import { Gate } from '../base/gate.js'
import { GRANULE_BYTES, type PageCount } from '../base/units.js'
import { BlockBuffers } from '../buffers/block-buffers.js'
import type { Blocks, Debugging, LeftBlocks, SuppliedBlocks } from '../buffers/blocks.js'
import { DebugBuffers } from '../buffers/debug/debug-buffers.js'
import { WINDOW_OVERLAP_BYTES } from '../buffers/windows.js'
import { BlockHeap } from '../heap/block-heap.js'
import { WipingHeap } from '../heap/wiping-heap.js'
import { BookStorage } from '../memory/book-storage.js'
import { BreakSource } from '../memory/break-source.js'
import { HeapSource } from '../memory/heap-source.js'
import { MmapSource } from '../memory/mmap-source.js'
import type { PageSource } from '../memory/page-source.js'
import type { Addon } from '../memory/runtime.js'
import { Notices } from '../notices/notices.js'
import { Pools } from '../pools/pools.js'
import type { Surroundings } from '../process/environment.js'
import { ReleasePolicy } from '../release/policy.js'
import { type ReleasableBuffers, Releaser } from '../release/releaser.js'
import { Scavenger } from '../release/scavenger.js'
import { Limits } from '../supply/limits.js'
import { Share } from '../supply/share.js'
import { type Holder, Supply } from '../supply/supply.js'
import { ArenaMember } from './member.js'
import type { ResolvedOptions } from './options.js'

/**
 * Blocks of this size and up start on a page, and fresh ones read as zero. It is the longest block that a
 * window serves.
 */
export const WHOLE_PAGES_FROM_BYTES = WINDOW_OVERLAP_BYTES

/** What the parts need of the buffers over blocks. */
export type ManagedBuffers = SuppliedBlocks & LeftBlocks & ReleasableBuffers

/** What an arena is made of. `B`: what has the buffers over its blocks. */
export interface Parts<B extends ManagedBuffers = Blocks> {
  readonly options: ResolvedOptions
  readonly environment: Surroundings
  readonly gate: Gate
  readonly notices: Notices
  /** Memory for the books from the addon, or null: then they lie in ordinary `ArrayBuffer`s. */
  readonly storage: BookStorage | null
  readonly heap: BlockHeap
  readonly source: PageSource
  readonly policy: ReleasePolicy
  readonly scavenger: Scavenger
  readonly buffers: B
  /** What only `debug` adds, else null. */
  readonly debug: Debugging | null
  /** The pools that have Buffers. A store has none. */
  readonly pools: Pools
  readonly share: Share
  readonly limits: Limits
  readonly supply: Supply
  readonly releaser: Releaser
  /** What the group of arenas sees. The group refers to it weakly, so the arena must hold it. */
  readonly member: ArenaMember
}

/** The buffers over blocks, and what only `debug` adds to them, else null. */
interface Buffers<B> {
  readonly buffers: B
  readonly debug: Debugging | null
  /** See `Limits`. */
  readonly compact?: (pageCount: PageCount) => boolean
}

/** Makes the buffers over the blocks of a heap. It is called once. */
export type MakeBuffers<B> = (
  options: ResolvedOptions,
  environment: Surroundings,
  heap: BlockHeap,
  source: PageSource,
  late: LateReleaser,
) => Buffers<B>

/** Makes the parts of an arena. Throws as `assembleWith` does. */
export function assemble(options: ResolvedOptions, environment: Surroundings): Parts {
  return assembleWith(options, environment, makeBlocks)
}

/**
 * Makes the parts of an arena whose buffers `makeBuffers` makes. `kind` is what errors call it. Throws what the source of pages throws if it cannot be opened, and a
 * `RangeError` if there is no memory for the books. Nothing is left behind then.
 */
export function assembleWith<B extends ManagedBuffers>(
  options: ResolvedOptions,
  environment: Surroundings,
  makeBuffers: MakeBuffers<B>,
  kind: Holder['kind'] = 'arena',
): Parts<B> {
  const { name } = options
  const { deferral, now, ledger, group, watch } = environment
  const gate = new Gate(deferral)
  const notices = new Notices(name)
  const addon = options.source === 'heap' ? null : requireAddon(environment)
  const storage = addon === null ? null : new BookStorage(addon, deferral, environment.bookRegions)
  const source = openSource(options, environment)
  const { pageBytes } = source
  const policy = new ReleasePolicy(options.releaseAfterMs, now, pageBytes)
  const heap = makeHeap(options, addon?.purgesToZero() ?? true, storage, source)
  const scavenger = new Scavenger(heap, source, policy)
  const pools = new Pools()
  const late: LateReleaser = { releaser: undefined }
  const { buffers, debug, compact } = makeBuffers(options, environment, heap, source, late)
  const share = new Share(ledger, pageBytes)
  const limits = new Limits(heap, options, share, {
    purge: () => (debug?.emptyQuarantine() ?? 0) + pools.endIdle() + releaser.purgeAll('limit'),
    ...(compact !== undefined && { compact }),
    // Prefaulted pages are there to stay.
    boundPages: usedPages => {
      if (options.prefault) return Number.MAX_SAFE_INTEGER
      policy.recordPeak(heap.takePeakUsed())
      return policy.boundPages(usedPages)
    },
    purgeSome: pageCount => releaser.purgeSome(pageCount),
    purgeOthers: () => group?.giveBack('limit', member),
    crossedSoftLimit: pages => notices.crossed(options.softLimitBytes, pages * pageBytes),
  })
  const releaser = new Releaser(policy, {
    gate,
    heap,
    source,
    scavenger,
    buffers,
    debug,
    pools,
    limits,
    notices,
    deferral,
    onArmed: watch?.onArmed,
  })
  const supply = new Supply(
    { kind, name },
    limits,
    ledger,
    notices,
    heap,
    source,
    scavenger,
    releaser,
    buffers,
    options.prefault,
  )
  const member = new ArenaMember({ gate, heap, limits, releaser, source, pools })
  if (options.debug !== null) late.releaser = new WeakRef(releaser)
  return {
    options,
    environment,
    gate,
    notices,
    storage,
    heap,
    source,
    policy,
    scavenger,
    buffers,
    debug,
    pools,
    share,
    limits,
    supply,
    releaser,
    member,
  }
}

function requireAddon({ addon }: Surroundings): Addon {
  invariant(addon !== undefined, 'pages that are mapped need the addon')
  return addon
}

function openSource(options: ResolvedOptions, environment: Surroundings): PageSource {
  const { source, name, hugePages, prefault, debug, wipeOnFree } = options
  const { deferral } = environment
  const startsSmall = environment.startsSmall === true && !prefault && debug === null
  if (source === 'heap') return new HeapSource(deferral, { isSecret: wipeOnFree, startsSmall })
  const addon = requireAddon(environment)
  if (source === 'sbrk') return new BreakSource(addon, deferral, name, wipeOnFree)
  return new MmapSource(addon, deferral, { arenaName: name, hugePages, isSecret: wipeOnFree, startsSmall })
}

/** Makes the heap. If there is no memory for its books, the source is closed. */
function makeHeap(
  { releaseAfterMs, wipeOnFree }: ResolvedOptions,
  purgesToZero: boolean,
  storage: BookStorage | null,
  source: PageSource,
): BlockHeap {
  try {
    const options = {
      wholePagesFromBytes: WHOLE_PAGES_FROM_BYTES,
      hasCache: releaseAfterMs > 0,
      purgesToZero,
      ...(storage !== null && { storage }),
    }
    if (!wipeOnFree) return new BlockHeap(source.pageBytes, options)
    return new WipingHeap(source.pageBytes, options, (block, sizeBytes) =>
      source.fill(block * GRANULE_BYTES, sizeBytes, 0),
    )
  } catch (error) {
    source.close()
    throw error
  }
}

/** Makes the buffers of an arena. */
function makeBlocks(
  { name, debug, detachFromBytes, releaseAfterMs }: ResolvedOptions,
  { deferral }: Surroundings,
  heap: BlockHeap,
  source: PageSource,
  late: LateReleaser,
): Buffers<Blocks> {
  if (debug === null) return { buffers: new BlockBuffers(heap, source, detachFromBytes, name), debug: null }
  const buffers = new DebugBuffers(heap, source, {
    ...debug,
    arenaName: name,
    deferral,
    releaseAfterMs,
    ...releasingBy(late),
  })
  return { buffers, debug: buffers }
}

// Parts that outlive the arena get closures of the function below. Closures made in `assemble` would share
// its context, and so hold the releaser.

/** A releaser that is made later. The reference is weak, for parts that outlive the arena. */
export interface LateReleaser {
  releaser: WeakRef<Releaser> | undefined
}

function releasingBy(late: LateReleaser): { cameFree: () => void; giveBack: () => void } {
  return {
    cameFree: () => {
      late.releaser?.deref()?.noteFree()
    },
    giveBack: () => {
      late.releaser?.deref()?.giveBack('timer')
    },
  }
}
