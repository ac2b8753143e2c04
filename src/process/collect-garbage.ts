/**
 * Has V8 collect garbage and give the memory of its heap back. It chooses among what the runtime has; when to
 * collect is decided elsewhere.
 *
 * A plain full collection is not enough. From Node 22 on V8 keeps the pages that it emptied, so `Rss` stays.
 * The last resort, which V8 takes before it gives up for lack of memory, hands them back.
 */
import { clearTimeout, setTimeout } from 'node:timers'
import { getHeapSpaceStatistics } from 'node:v8'
import { type Deferral, eventLoop } from '../base/deferral.js'
import { findGc, type Gc } from '../base/gc.js'

// Taken once at load. A program may replace the globals later.
const { max } = Math
const startTimeout = setTimeout
const endTimeout = clearTimeout

/** The inspector answers in one of the next turns of the event loop, or never. */
const ANSWER_MS = 1_000

/** Which garbage to collect. `'minor'`: of objects that were made lately. `'major'`: all, and give memory back. */
export type Collection = 'minor' | 'major'

/** What was collected, and what V8 gave back. */
export interface CollectionReport {
  /** What ran. `'none'` if nothing was asked for, or if this runtime lets nobody collect. */
  readonly collected: 'none' | Collection
  /** Bytes by which the memory that V8's heap occupies has shrunk. */
  readonly releasedBytes: number
  /** The longest that this thread was kept waiting in one go, in milliseconds. */
  readonly longestPauseMs: number
}

/** Collects in some way, and returns whether it could. */
type Way = () => boolean | Promise<boolean>

/**
 * Collects garbage of this thread, and resolves one turn of the event loop later, when finalizers have run.
 * Never rejects.
 */
export async function collectGarbage(
  collection: 'none' | Collection,
  now: () => number,
  deferral: Deferral = eventLoop,
): Promise<CollectionReport> {
  let longestPauseMs = 0
  if (collection !== 'none') {
    const before = heapBytes()
    for (const way of collection === 'minor' ? MINOR : MAJOR) {
      const startMs = now()
      const didCollect = await attempt(way)
      longestPauseMs = max(longestPauseMs, now() - startMs)
      if (!didCollect) continue
      await turn(deferral)
      return { collected: collection, releasedBytes: max(0, before - heapBytes()), longestPauseMs }
    }
  }
  return { collected: 'none', releasedBytes: 0, longestPauseMs }
}

/** Memory that the spaces of V8's heap occupy. */
function heapBytes(): number {
  try {
    return getHeapSpaceStatistics().reduce((sum, space) => sum + space.physical_space_size, 0)
  } catch {
    // A runtime without V8 has no spaces to tell of.
    return 0
  }
}

function turn(deferral: Deferral): Promise<void> {
  return new Promise(resolve => deferral.awaitedTurn(resolve))
}

async function attempt(way: Way): Promise<boolean> {
  try {
    return await way()
  } catch {
    // The runtime has no such way, or forbids it. The caller tries the next one.
    return false
  }
}

function minorByGc(): boolean {
  return withGc(gc => {
    gc({ type: 'minor', execution: 'sync' })
    return true
  })
}

/** Node 22 and later. V8 collects until a round finds nothing more, and then gives back all that it can. */
function lastResort(): boolean {
  return withGc(gc => {
    let isKnown = false
    gc({
      type: 'major',
      execution: 'sync',
      // A V8 that does not read this has made a minor collection, which takes about a millisecond.
      get flavor() {
        isKnown = true
        return 'last-resort'
      },
    })
    return isKnown
  })
}

/**
 * Node 20, and where flags are frozen. The same as the last resort, through the inspector's protocol: it needs no
 * flag, but the permission model forbids it. The session is connected for this one command only. The timer keeps the
 * process alive until the answer comes.
 */
async function byInspector(): Promise<boolean> {
  const { Session } = await import('node:inspector')
  const session = new Session()
  session.connect()
  return new Promise<boolean>(resolve => {
    const timer = startTimeout(() => resolve(false), ANSWER_MS)
    session.post('HeapProfiler.collectGarbage', error => {
      endTimeout(timer)
      resolve(error === null)
    })
  }).finally(() => session.disconnect())
}

/** Two full collections. The first leaves pages to be swept. V8 keeps the young generation at its full size. */
function twice(): boolean {
  return withGc(gc => {
    gc()
    gc()
    return true
  })
}

/** Bun has a collector of its own, which gives memory back when it collects at once. */
function byBun(): boolean {
  const { Bun } = globalThis as { Bun?: { gc?: (isSync: boolean) => unknown } }
  if (typeof Bun?.gc !== 'function') return false
  Bun.gc(true)
  return true
}

function withGc(use: (gc: Gc) => boolean): boolean {
  const gc = findGc()
  return gc !== undefined && use(gc)
}

/** The strongest first. */
const MAJOR: readonly Way[] = [byBun, lastResort, byInspector, twice]
const MINOR: readonly Way[] = [minorByGc]
