/**
 * `offheap replay`: one recording on one allocator in three separate passes: memory in a process of its own,
 * then the verification and the time in this one. This file has the options and the order of the passes. The
 * passes are in `memory-run.ts`, `verify.ts` and `passes.ts`; their results become text in
 * `replay-result.ts`.
 */
import {
  ALLOCATOR_NAMES,
  type AllocatorName,
  type ArenaSettings,
  blocksMaker,
  bufferTable,
  HeapBlocks,
  SOURCE_NAMES,
} from '../replay/allocators.js'
import { UsageError } from '../replay/errors.js'
import { replayRange, timePasses } from '../replay/passes.js'
import type { Trace } from '../replay/trace.js'
import { readTrace } from '../replay/trace-file.js'
import { verifyContents, verifyOverlap } from '../replay/verify.js'
import { type MemorySpec, runMemory } from './memory-run.js'
import { oneOf, parseOptions, wholeNumber } from './options.js'
import {
  describeReplay,
  memoryFields,
  NO_MEMORY_FIELDS,
  type ReplayResult,
  ratio,
  timeFields,
  traceFields,
} from './replay-result.js'

const COMMAND = 'replay'
const DEFAULT_PASSES = 9
const DEFAULT_RELEASE_AFTER_MS = 1000
// The kernel is asked this long after the pages are due, because timers may be late.
const GRACE_MS = 250
const MAX_WAIT_MS = 60_000
const ACTIVE_SAMPLES = 150

export const replayHelp = `Usage: offheap replay FILE [options]

Replays a recording of allocations. Shows the time that it takes, and the memory
that the kernel reports. FILE may be compressed with gzip. If FILE is -, the
recording is read from standard input. Each line is one operation:
  a ID SIZE    allocate        r ID SIZE    resize        f ID    free
Blank lines and lines that begin with # are ignored.

Options:
  --allocator NAME       arena (default), buffer (Buffer.allocUnsafeSlow) or
                         heap (the bookkeeping alone, without memory)
  --source NAME          arena only: where it gets its pages, mmap (default) or
                         sbrk (the program break)
  --passes N             timed passes after one warm-up (default ${DEFAULT_PASSES}; 0: none)
  --release-after-ms N   arena only: its releaseAfterMs, a number or Infinity
  --detach-from-bytes N  arena only: its detachFromBytes, a number or Infinity
  --json                 print one JSON object instead of a table
  -h, --help             show this help

There are three separate passes:
  memory        in a process of its own; writes every page of every block
  verification  checks contents at each resize and free (heap: checks that live
                blocks never overlap)
  time          writes and checks nothing

Fields of the JSON object. They are in bytes unless they say otherwise, and null
if the allocator has no such figure. Resident bytes are the growth of Rss in
/proc/self/smaps_rollup since a warm-up.
  trace, allocator, source   what was replayed, and on what
  operations, allocations, resizes, frees
  peakLiveBytes              most bytes live at once, in the requested sizes
  endLiveBytes, endLiveBlocks  still live after the last operation
  checkedBlocks              checks of the verification; all of them passed
  passes, nsPerOperation     timed passes, and the median over them
  peakCommittedBytes         most bytes committed, as the allocator counts them
  peakResidentBytes          most bytes resident in the memory pass
  endResidentBytes           after the last operation
  afterFreeResidentBytes     after freeing (buffer: dropping) the rest
  afterWaitResidentBytes     waitedMs later, without a call in between
  ...ArenaBytes              the same four for the arena's own pages
  ...V8HeapBytes             the same four for V8's own heap, as V8 counts it
  utilisation                peakLiveBytes / peakResidentBytes
                             (heap: / peakCommittedBytes)
  arenaUtilisation           peakLiveBytes / peakArenaBytes
  waitedMs                   releaseAfterMs + ${GRACE_MS}
  garbageCollected           whether garbage was collected explicitly after
                             the last call: only with node --expose-gc

Exit codes: 0 success, 1 a failure while running (also of the verification),
2 wrong usage or a wrong recording.
`

interface ReplayOptions {
  path: string
  allocator: AllocatorName
  settings: ArenaSettings
  passCount: number
  json: boolean
}

/** Runs `offheap replay` with the arguments after the command's name. */
export async function replay(args: string[]): Promise<void> {
  const options = readOptions(args)
  if (options === undefined) {
    process.stdout.write(replayHelp)
    return
  }
  const trace = await readTrace(options.path)
  const result =
    options.allocator === 'heap'
      ? await replayOnHeap(trace, options)
      : await replayOnBuffers(trace, options, options.allocator)
  process.stdout.write(options.json ? `${JSON.stringify(result)}\n` : `${describeReplay(result)}\n`)
}

function readOptions(args: string[]): ReplayOptions | undefined {
  const { values, positionals } = parseOptions(COMMAND, args, {
    allocator: { type: 'string', default: 'arena' },
    source: { type: 'string' },
    passes: { type: 'string', default: String(DEFAULT_PASSES) },
    'release-after-ms': { type: 'string' },
    'detach-from-bytes': { type: 'string' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  })
  if (values.help) return undefined
  const allocator = oneOf(COMMAND, 'allocator', values.allocator, ALLOCATOR_NAMES)
  if (positionals.length !== 1) {
    throw new UsageError(
      `replay takes one FILE (or - for standard input); got ${positionals.length}`,
      COMMAND,
    )
  }
  const settings: ArenaSettings = {}
  for (const [option, setting] of [
    ['release-after-ms', 'releaseAfterMs'],
    ['detach-from-bytes', 'detachFromBytes'],
  ] as const) {
    const text = values[option]
    if (text === undefined) continue
    if (allocator !== 'arena') throw new UsageError(`--${option} is for --allocator arena only`, COMMAND)
    settings[setting] = wholeNumber(COMMAND, option, text, { orInfinity: true })
  }
  if (values.source !== undefined) {
    if (allocator !== 'arena') throw new UsageError('--source is for --allocator arena only', COMMAND)
    settings.source = oneOf(COMMAND, 'source', values.source, SOURCE_NAMES)
  }
  const passCount = wholeNumber(COMMAND, 'passes', values.passes)
  return { path: positionals[0], allocator, settings, passCount, json: values.json }
}

async function replayOnBuffers(
  trace: Trace,
  { path, settings, passCount }: ReplayOptions,
  allocator: 'arena' | 'buffer',
): Promise<ReplayResult> {
  const makeBlocks = await blocksMaker(allocator, settings)
  const releaseAfterMs = settings.releaseAfterMs ?? DEFAULT_RELEASE_AFTER_MS
  // With Infinity nothing is ever due.
  const dueMs = releaseAfterMs === Number.POSITIVE_INFINITY ? 0 : Math.min(releaseAfterMs, MAX_WAIT_MS)
  const spec: MemorySpec = {
    allocator,
    settings,
    activeSamples: ACTIVE_SAMPLES,
    idleSamples: 1,
    paceMs: 0,
    freeRest: true,
    collect: globalThis.gc !== undefined,
    idleMs: dueMs + GRACE_MS,
    reclaims: false,
  }
  const memory = await runMemory(trace, spec)

  const verified = makeBlocks(bufferTable(trace.slotCount))
  const checkedBlocks = verifyContents(trace, verified)
  verified.close()

  const timed = makeBlocks(bufferTable(trace.slotCount))
  const nsPerOperation = await timePasses(trace, timed, passCount)
  timed.close()
  return {
    ...traceFields(trace, path, allocator),
    source: allocator === 'arena' ? (settings.source ?? 'mmap') : null,
    ...memoryFields(trace, memory, spec),
    checkedBlocks,
    ...timeFields(passCount, nsPerOperation),
  }
}

async function replayOnHeap(trace: Trace, { path, passCount }: ReplayOptions): Promise<ReplayResult> {
  const counted = new HeapBlocks(trace)
  replayRange(trace, counted, 0, trace.operationCount)
  const { peakCommittedBytes } = counted.heap.stats()
  const checkedBlocks = verifyOverlap(trace, new HeapBlocks(trace))
  const nsPerOperation = await timePasses(trace, new HeapBlocks(trace), passCount)
  return {
    ...traceFields(trace, path, 'heap'),
    source: null,
    ...NO_MEMORY_FIELDS,
    checkedBlocks,
    ...timeFields(passCount, nsPerOperation),
    peakCommittedBytes,
    utilisation: ratio(trace.peakLiveBytes, peakCommittedBytes),
  }
}
