/**
 * `offheap demo`: three cases, each with plain Buffers, with an Arena and, where blocks are small, with a Store;
 * each run in a process of its own (`memory-run.ts`). Then it shows a table and, for each run, the memory over
 * time. This file has the cases, the progress and the words. Every number that is shown was measured in this
 * very run.
 */
import { existsSync } from 'node:fs'
import { relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type ArenaSettings, blocksMaker, SOURCE_NAMES } from '../replay/allocators.js'
import { UsageError } from '../replay/errors.js'
import { type Trace, TraceReader } from '../replay/trace.js'
import { readTrace } from '../replay/trace-file.js'
import { type MemoryResult, type MemorySample, type MemorySpec, runMemory } from './memory-run.js'
import { oneOf, parseOptions } from './options.js'
import { formatBytes, formatTable, resample, sparkline } from './report.js'

const COMMAND = 'demo'

type DemoCase = 'service' | 'sparse' | 'records'
type DemoAllocator = 'buffer' | 'arena' | 'store'

/** The runs, in this order. A Store gains nothing by moving long blocks. */
const STEPS: [DemoCase, DemoAllocator[]][] = [
  ['service', ['buffer', 'arena']],
  ['sparse', ['buffer', 'arena']],
  ['records', ['buffer', 'arena', 'store']],
]

/** Where the recorded service is: in the published package, and in a clone. */
const SERVICE_TRACES = ['./service.trace', '../../bench/traces/node-json-scope.trace.gz'].map(path =>
  fileURLToPath(new URL(path, import.meta.url)),
)
const SERVICE_TRACE = SERVICE_TRACES.find(path => existsSync(path)) ?? SERVICE_TRACES[0]

/**
 * The cases `sparse` and `records`: this many blocks of this size are written, then all but one in
 * `KEEP_ONE_IN` are freed.
 */
const SPARSE = { blocks: 2048, blockBytes: 64 * 1024 }
const RECORDS = { blocks: 65_536, blockBytes: 256 }
const KEEP_ONE_IN = 64

const PACE_MS: Record<DemoCase, number> = { service: 2000, sparse: 1000, records: 500 }
/**
 * How long the process is left alone before its last sample: the 1 s of an arena or store, and a grace for
 * late timers.
 */
const IDLE_MS = 1250

export const demoHelp = `Usage: offheap demo [options]

Runs three cases: a recording of a real Node service, and two that free all
blocks except one in ${KEEP_ONE_IN}: large blocks, and small records. Each case runs with
Buffers and with an Arena, the records also in a Store, each time in a process
of its own. Shows how much memory was live, and how much the process held, as
the kernel reports it. Takes about 20 seconds.

Options:
  --source NAME  where the Arena and the Store get their pages: mmap (default)
                 or sbrk (the program break)
  -h, --help     show this help
`

const CASE_NAMES: Record<DemoCase, string> = {
  service: 'recorded service',
  sparse: `keep 1 block in ${KEEP_ONE_IN}`,
  records: `keep 1 record in ${KEEP_ONE_IN}`,
}
const ALLOCATOR_NAMES: Record<DemoAllocator, string> = { buffer: 'Buffer', arena: 'Arena', store: 'Store' }
const CHART_COLUMNS = 56

interface Run {
  demoCase: DemoCase
  allocator: DemoAllocator
  peakLiveBytes: number
  result: MemoryResult
}

/** Runs `offheap demo` with the arguments after the command's name. */
export async function demo(args: string[]): Promise<void> {
  const { values, positionals } = parseOptions(COMMAND, args, {
    source: { type: 'string', default: 'mmap' },
    help: { type: 'boolean', short: 'h', default: false },
  })
  if (values.help) {
    process.stdout.write(demoHelp)
    return
  }
  if (positionals.length > 0)
    throw new UsageError(`demo takes no arguments; got ${JSON.stringify(positionals[0])}`, COMMAND)
  const settings: ArenaSettings = { source: oneOf(COMMAND, 'source', values.source, SOURCE_NAMES) }
  // If no arena can be made here, this throws in this process, with a plain message.
  await blocksMaker('arena', settings)
  if (settings.source === 'sbrk') process.stdout.write(BREAK_NOTE)
  const traces = {
    service: await readTrace(SERVICE_TRACE),
    sparse: sparseTrace(SPARSE),
    records: sparseTrace(RECORDS),
  }
  const runs: Run[] = []
  const stepCount = STEPS.flatMap(([, allocators]) => allocators).length
  for (const [demoCase, allocators] of STEPS) {
    for (const allocator of allocators) {
      const trace = traces[demoCase]
      const onProgress = progressOf(
        `[${runs.length + 1}/${stepCount}] ${CASE_NAMES[demoCase]}, ${ALLOCATOR_NAMES[allocator]}`,
      )
      const result = await runMemory(trace, specOf(demoCase, allocator, settings), onProgress)
      runs.push({ demoCase, allocator, peakLiveBytes: trace.peakLiveBytes, result })
    }
  }
  if (process.stdout.isTTY) process.stdout.write(CLEAR_LINE)
  process.stdout.write(`${describe(runs)}\n`)
}

const BREAK_NOTE = "The pages of the Arena and the Store come from the program break (source: 'sbrk').\n"

// Carriage return, then "erase to the end of the line".
const CLEAR_LINE = '\r\u001b[K'

/**
 * Shows the progress of a step: in place on a terminal, elsewhere as one line when the step begins. Returns a
 * function that takes the fraction done.
 */
function progressOf(step: string): (fraction: number) => void {
  const { stdout } = process
  if (!stdout.isTTY) {
    stdout.write(`${step} …\n`)
    return () => {}
  }
  stdout.write(`${CLEAR_LINE}${step} …`)
  return fraction => stdout.write(`${CLEAR_LINE}${step} … ${Math.round(fraction * 100)} %`)
}

function sparseTrace({ blocks, blockBytes }: { blocks: number; blockBytes: number }): Trace {
  const reader = new TraceReader('sparse')
  for (let id = 0; id < blocks; id++) reader.push(Buffer.from(`a ${id} ${blockBytes}\n`))
  for (let id = 0; id < blocks; id++) {
    if (id % KEEP_ONE_IN !== 0) reader.push(Buffer.from(`f ${id}\n`))
  }
  return reader.finish()
}

function specOf(demoCase: DemoCase, allocator: DemoAllocator, settings: ArenaSettings): MemorySpec {
  return {
    allocator,
    settings,
    activeSamples: 80,
    idleSamples: 25,
    paceMs: PACE_MS[demoCase],
    freeRest: false,
    // Garbage is collected explicitly for Buffers. The others need no such help.
    collect: allocator === 'buffer',
    idleMs: IDLE_MS,
    reclaims: true,
  }
}

/** Returns how many bytes more than at the baseline the process holds. */
function heldBytes(sample: MemorySample): number {
  return Math.max(0, sample.residentBytes)
}

/** Returns how many bytes more than at the baseline the process holds after `reclaim()`. */
function reclaimedBytes({ result }: Run): number {
  return Math.max(0, result.reclaimedBytes ?? Number.NaN)
}

/** Returns what is resident of the pages of an arena or store. */
function ownPages({ arenaBytes }: MemorySample): string {
  return arenaBytes === null ? '-' : formatBytes(arenaBytes)
}

function lastSample(run: Run): MemorySample {
  return run.result.samples[run.result.samples.length - 1]
}

function describe(runs: readonly Run[]): string {
  const header = [
    'case',
    'allocator',
    'peak live',
    'live now',
    'most held',
    'held right after',
    `${IDLE_MS / 1000} s later`,
    'own pages',
    'after reclaim()',
  ]
  const rows = runs.map(run => [
    CASE_NAMES[run.demoCase],
    ALLOCATOR_NAMES[run.allocator],
    formatBytes(run.peakLiveBytes),
    formatBytes(lastSample(run).liveBytes),
    formatBytes(Math.max(...run.result.samples.map(heldBytes))),
    formatBytes(heldBytes(run.result.samples[run.result.afterIndex])),
    formatBytes(heldBytes(lastSample(run))),
    ownPages(lastSample(run)),
    formatBytes(reclaimedBytes(run)),
  ])
  const written = ({ blocks, blockBytes }: typeof SPARSE) =>
    `${blocks} of ${formatBytes(blockBytes)} (${formatBytes(blocks * blockBytes)})`
  return [
    '',
    formatTable([header, ...rows], [0, 1]),
    '',
    'recorded service: a Node JSON API under load. Each of its Buffers is freed when its response closes.',
    `keep 1 block in ${KEEP_ONE_IN}: writes blocks, ${written(SPARSE)}, then frees all but 1 in ${KEEP_ONE_IN}.`,
    `keep 1 record in ${KEEP_ONE_IN}: the same with ${written(RECORDS)}. A Store moves what is left together.`,
    'held: blocks, books and JavaScript objects, as the kernel reports them (Rss in /proc/self/smaps_rollup).',
    'It is the growth since a warm-up. "Held right after": after the last call. Nothing is called after that.',
    'own pages: the part of the figure before that is pages of the Arena or Store, as the kernel reports it (mincore).',
    "after reclaim(): what is held after reclaim({ collectGarbage: 'major' }), which has malloc and V8 give back, too.",
    'It can be less than what is live, because memory that was held at the start goes back as well.',
    'To be fair to Buffer, its garbage was collected explicitly (twice) right after the last block was dropped.',
    ...STEPS.flatMap(([demoCase]) => charts(runs.filter(run => run.demoCase === demoCase))),
    '',
    conclusion(runs),
  ].join('\n')
}

/**
 * Returns two lines for each run of one case, one for live bytes and one for held bytes, all on one scale.
 */
function charts(runs: readonly Run[]): string[] {
  const most = Math.max(...runs.flatMap(run => run.result.samples.flatMap(s => [s.liveBytes, heldBytes(s)])))
  const rows = runs.flatMap(run =>
    [
      { name: 'live', bytesOf: (sample: MemorySample) => sample.liveBytes },
      { name: 'held', bytesOf: heldBytes },
    ].map(({ name, bytesOf }) => {
      const moments = run.result.samples.map(sample => ({ timeMs: sample.timeMs, value: bytesOf(sample) }))
      const line = sparkline(resample(moments, CHART_COLUMNS), most)
      const [first, last] = [moments[0], moments[moments.length - 1]].map(moment => formatBytes(moment.value))
      return [`  ${ALLOCATOR_NAMES[run.allocator]}`, name, first, line, last]
    }),
  )
  const seconds = (Math.max(...runs.map(run => lastSample(run).timeMs)) / 1000).toFixed(1)
  const title = `${CASE_NAMES[runs[0].demoCase]}, over ${seconds} s; full height is ${formatBytes(most)}:`
  return ['', title, formatTable(rows, [0, 1, 3])]
}

function conclusion(runs: readonly Run[]): string {
  const runOf = (demoCase: DemoCase, allocator: DemoAllocator) =>
    runs.find(run => run.demoCase === demoCase && run.allocator === allocator) as Run
  const last = (demoCase: DemoCase, allocator: DemoAllocator) => lastSample(runOf(demoCase, allocator))
  const held = (demoCase: DemoCase, allocator: DemoAllocator) =>
    formatBytes(heldBytes(last(demoCase, allocator)))
  const arena = last('sparse', 'arena')
  const reclaimed = (allocator: DemoAllocator) => formatBytes(reclaimedBytes(runOf('sparse', allocator)))
  const trace = relative(process.cwd(), SERVICE_TRACE)
  return (
    `With ${formatBytes(arena.liveBytes)} still live, Buffers held ${held('sparse', 'buffer')}, an Arena held ` +
    `${held('sparse', 'arena')} (${ownPages(arena)} of that in pages). reclaim() left ` +
    `${reclaimed('buffer')} and ${reclaimed('arena')}. With ${formatBytes(last('records', 'store').liveBytes)} left ` +
    `of small records, the pages of an Arena had ${ownPages(last('records', 'arena'))}, those of a Store ` +
    `${ownPages(last('records', 'store'))}. Next, try: npx offheap replay ${trace}`
  )
}
