/** `assertNoLiveBlocks`: whether code under test has freed all that it allocated. */
import { AssertionError } from 'node:assert/strict'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { ArenaError, invalidArgValue } from '../base/errors.js'
import { keysOf, requireKnownKeys } from '../base/known-keys.js'
import { type Arena, type ArenaStats, arenas, type LeakMessage, type Store } from '../index.js'
import { collectGarbage } from './garbage.js'
import { lookUntil, requireWithin } from './waiting.js'

/** The options of `assertNoLiveBlocks`. */
export interface LiveBlocksOptions {
  /**
   * The arenas to look at: an `Arena`, a `Store`, or the name of open ones of this thread. Default: every open
   * arena and store of this thread.
   */
  arenas?: readonly (Arena | Store | string)[]
  /**
   * Milliseconds to wait for the last blocks to end. A server frees many blocks a moment after its client has
   * the answer. `0`: it looks once. Default 3000.
   */
  withinMs?: number
}

const KNOWN_OPTIONS = keysOf<LiveBlocksOptions>({ arenas: true, withinMs: true })
const DEFAULT_WITHIN_MS = 3_000
/** The most places of allocations that a message shows. */
const MAX_SITES = 5

const ADVICE =
  'A block that is not listed with a stack is still held by the program, or nobody watched its Buffer. ' +
  "With new Arena({ leaks: 'all' }) each forgotten Buffer is listed with the stack of its allocation. " +
  'Of a store, oldest() lists the oldest records with the stacks of their making. ' +
  'A pinned block waits for unpin(), or for the promise of lend().'

/**
 * Asserts that no arena has a live block, and no store a record, so that code under test has freed all that it allocated. Buffers that
 * are idle in a pool do not count, those that a pool has handed out do. Waits up to
 * `withinMs` for the last blocks to end. Works the same in vitest, Jest and node:test. Call it before the arena
 * is closed, because `close` ends every block.
 *
 * Rejects with an `AssertionError` of `node:assert` if blocks are left. It names each arena with its number of
 * blocks and their bytes. It then collects garbage, and lists the Buffers that turn out to be forgotten, with
 * the stacks of their allocations, as far as the option `leaks` of their arena had them watched.
 *
 * Rejects with
 * - `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE` or `ERR_OUT_OF_RANGE` for bad options, also for a name that
 *   no open arena of this thread has
 * - `ERR_ARENA_CLOSED` if one of `arenas` is closed already
 *
 * ```ts
 * afterEach(() => assertNoLiveBlocks())
 * ```
 */
export async function assertNoLiveBlocks(options: LiveBlocksOptions = {}): Promise<void> {
  requireKnownKeys('options', options, KNOWN_OPTIONS)
  const { arenas: chosen, withinMs = DEFAULT_WITHIN_MS } = options
  requireWithin(withinMs)
  requireArenas(chosen)
  const look = () =>
    statsOf(chosen)
      .map(withoutIdle)
      .filter(({ liveBlocks }) => liveBlocks > 0)
  const left = await lookUntil(look, stats => stats.length === 0, withinMs)
  if (left.length === 0) return
  const forgotten = await findForgotten(new Set(left.map(({ name }) => name)))
  throw new AssertionError({
    message: messageOf(left, forgotten, withinMs),
    actual: left.map(({ name, liveBlocks, liveBytes }) => ({ arena: name, liveBlocks, liveBytes })),
    expected: [],
    operator: 'assertNoLiveBlocks',
    stackStartFn: assertNoLiveBlocks,
  })
}

/** What waits in a pool is nobody's to free. What a pool has handed out is to be released. */
function withoutIdle(stats: ArenaStats): ArenaStats {
  const { liveBlocks, liveBytes, idleBlocks, idleBytes } = stats
  return { ...stats, liveBlocks: liveBlocks - idleBlocks, liveBytes: liveBytes - idleBytes }
}

function isArena(value: unknown): value is Arena | Store {
  return typeof value === 'object' && value !== null && 'stats' in value && typeof value.stats === 'function'
}

function kindOf(each: Arena | Store): string {
  return 'records' in each.stats() ? 'store' : 'arena'
}

/** Refuses a choice of arenas with which the assertion would prove nothing. */
function requireArenas(chosen: LiveBlocksOptions['arenas']): void {
  if (chosen === undefined) return
  if (!Array.isArray(chosen) || chosen.length === 0) {
    throw invalidArgValue('options.arenas', 'must be an array of at least one arena or name', chosen)
  }
  const open = arenas().map(({ name }) => name)
  for (const each of chosen) {
    if (typeof each === 'string') {
      if (open.includes(each)) continue
      const reason = `must name open arenas of this thread (open: ${open.join(', ') || 'none'})`
      throw invalidArgValue('options.arenas', reason, each)
    }
    if (!isArena(each)) throw invalidArgValue('options.arenas', 'must hold arenas or names of arenas', each)
    if (each.toJSON().isClosed) {
      throw new ArenaError(
        'ERR_ARENA_CLOSED',
        `${kindOf(each)} '${each.name}': assertNoLiveBlocks(): the ${kindOf(each)} is closed, and close() ends every block. Assert before it`,
      )
    }
  }
}

/** The statistics of the arenas to look at, each once. */
function statsOf(chosen: LiveBlocksOptions['arenas']): ArenaStats[] {
  if (chosen === undefined) return arenas()
  const names = new Set(chosen.filter(each => typeof each === 'string'))
  const named = arenas().filter(({ name }) => names.has(name))
  const given = new Set(chosen.filter(each => typeof each !== 'string'))
  return [...named, ...[...given].filter(({ name }) => !names.has(name)).map(arena => arena.stats())]
}

/** Collects garbage, and returns what the arenas of these names tell of Buffers that nobody holds. */
async function findForgotten(names: ReadonlySet<string>): Promise<LeakMessage[]> {
  const found: LeakMessage[] = []
  const listener = (message: unknown) => {
    const { arena, kind } = message as LeakMessage
    if (kind === 'block' && names.has(arena)) found.push(message as LeakMessage)
  }
  subscribe('offheap:leak', listener)
  try {
    await collectGarbage()
  } finally {
    unsubscribe('offheap:leak', listener)
  }
  return found
}

function messageOf(left: readonly ArenaStats[], forgotten: readonly LeakMessage[], withinMs: number): string {
  const lines = left.map(stats => {
    const { name, liveBlocks, liveBytes, pinnedBlocks } = stats
    const pinned = pinnedBlocks === 0 ? '' : `, ${pinnedBlocks} of them pinned or on loan`
    const isStore = 'records' in stats
    const held = plural(liveBlocks, isStore ? 'record' : 'block')
    return `  ${isStore ? 'store' : 'arena'} '${name}': ${held} of ${liveBytes} bytes${pinned}`
  })
  return [`Blocks are live after ${withinMs} ms:`, ...lines, ...sitesOf(forgotten), ADVICE].join('\n')
}

/** The places where forgotten Buffers were allocated, those of most bytes first. */
function sitesOf(forgotten: readonly LeakMessage[]): string[] {
  const sites = new Map<string, { blocks: number; bytes: number }>()
  for (const { arena, blocks, bytes, stack } of forgotten) {
    const key = `of arena '${arena}', allocated${stack === '' ? ', where is not known' : `\n${stack}`}`
    const site = sites.get(key) ?? { blocks: 0, bytes: 0 }
    sites.set(key, { blocks: site.blocks + blocks, bytes: site.bytes + bytes })
  }
  const sorted = [...sites].sort(([, a], [, b]) => b.bytes - a.bytes)
  const lines = sorted
    .slice(0, MAX_SITES)
    .map(([key, { blocks, bytes }]) => `  ${plural(blocks, 'Buffer')} of ${bytes} bytes ${key}`)
  const rest = sorted.length - lines.length
  if (rest > 0) lines.push(`  and at ${plural(rest, 'other place')}`)
  return lines.length === 0 ? [] : ['Nobody holds these Buffers any more:', ...lines]
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}
