/**
 * The result of a replay, as the object that `--json` prints and as the table for people. It only puts
 * figures into words. The figures come from `passes.ts`, `verify.ts` and the allocators.
 */
import type { AllocatorName } from '../replay/allocators.js'
import type { Trace } from '../replay/trace.js'
import type { MemoryResult, MemorySpec } from './memory-run.js'
import { formatBytes, formatCount, formatTable } from './report.js'

/** The JSON object of `--json`. Its fields are explained in the help of `replay.ts`. */
export interface ReplayResult {
  trace: string
  allocator: AllocatorName
  source: 'mmap' | 'sbrk' | null
  operations: number
  allocations: number
  resizes: number
  frees: number
  peakLiveBytes: number
  endLiveBytes: number
  endLiveBlocks: number
  checkedBlocks: number
  passes: number
  nsPerOperation: number | null
  peakCommittedBytes: number | null
  peakResidentBytes: number | null
  peakArenaBytes: number | null
  peakV8HeapBytes: number | null
  utilisation: number | null
  arenaUtilisation: number | null
  endResidentBytes: number | null
  endArenaBytes: number | null
  endV8HeapBytes: number | null
  afterFreeResidentBytes: number | null
  afterFreeArenaBytes: number | null
  afterFreeV8HeapBytes: number | null
  afterWaitResidentBytes: number | null
  afterWaitArenaBytes: number | null
  afterWaitV8HeapBytes: number | null
  waitedMs: number | null
  garbageCollected: boolean
}

/** Returns the fields that say what was replayed. */
export function traceFields(trace: Trace, path: string, allocator: AllocatorName) {
  return {
    trace: path,
    allocator,
    operations: trace.operationCount,
    allocations: trace.allocationCount,
    resizes: trace.resizeCount,
    frees: trace.freeCount,
    peakLiveBytes: trace.peakLiveBytes,
    endLiveBytes: trace.endLiveBytes,
    endLiveBlocks: trace.endLiveBlocks,
  }
}

/** Returns the fields of the memory pass. */
export function memoryFields(trace: Trace, { samples, ...memory }: MemoryResult, spec: MemorySpec) {
  const peak = samples.reduce((most, sample) => (sample.residentBytes > most.residentBytes ? sample : most))
  const end = samples[memory.endIndex]
  const afterFree = samples[memory.afterIndex]
  const afterWait = samples[samples.length - 1]
  const isArena = spec.allocator === 'arena'
  const peakArenaBytes = isArena ? Math.max(...samples.map(sample => sample.arenaBytes ?? 0)) : null
  return {
    peakCommittedBytes: memory.peakCommittedBytes,
    peakResidentBytes: peak.residentBytes,
    peakArenaBytes,
    peakV8HeapBytes: peak.v8HeapBytes,
    utilisation: ratio(trace.peakLiveBytes, peak.residentBytes),
    arenaUtilisation: peakArenaBytes === null ? null : ratio(trace.peakLiveBytes, peakArenaBytes),
    endResidentBytes: end.residentBytes,
    endArenaBytes: end.arenaBytes,
    endV8HeapBytes: end.v8HeapBytes,
    afterFreeResidentBytes: afterFree.residentBytes,
    afterFreeArenaBytes: afterFree.arenaBytes,
    afterFreeV8HeapBytes: afterFree.v8HeapBytes,
    afterWaitResidentBytes: afterWait.residentBytes,
    afterWaitArenaBytes: afterWait.arenaBytes,
    afterWaitV8HeapBytes: afterWait.v8HeapBytes,
    waitedMs: spec.idleMs,
    garbageCollected: spec.collect,
  }
}

/** The fields of the memory pass if there was none. */
export const NO_MEMORY_FIELDS = {
  peakResidentBytes: null,
  peakArenaBytes: null,
  peakV8HeapBytes: null,
  arenaUtilisation: null,
  endResidentBytes: null,
  endArenaBytes: null,
  endV8HeapBytes: null,
  afterFreeResidentBytes: null,
  afterFreeArenaBytes: null,
  afterFreeV8HeapBytes: null,
  afterWaitResidentBytes: null,
  afterWaitArenaBytes: null,
  afterWaitV8HeapBytes: null,
  waitedMs: null,
  garbageCollected: false,
}

/** Returns the fields of the timed passes, to a tenth of a nanosecond. */
export function timeFields(passCount: number, nsPerOperation: number | undefined) {
  return {
    passes: passCount,
    nsPerOperation: nsPerOperation === undefined ? null : Math.round(nsPerOperation * 10) / 10,
  }
}

/** Returns `part / whole` to four decimals, or null if `whole` is not above 0, as after a tiny recording. */
export function ratio(part: number, whole: number): number | null {
  return whole > 0 ? Math.round((part / whole) * 10_000) / 10_000 : null
}

function bytes(value: number | null): string {
  return value === null ? '-' : formatBytes(value)
}

function percent(value: number | null): string {
  return value === null ? '-' : `${(value * 100).toFixed(1)} %`
}

/** Returns the tables for people. */
export function describeReplay(result: ReplayResult): string {
  const source = result.source === 'sbrk' ? ' over the program break' : ''
  const title = `${result.trace} on ${result.allocator}${source}\n`
  const ns = result.nsPerOperation
  const rows = [
    ['operations', formatCount(result.operations)],
    ['time per operation', ns === null ? '-' : `${ns.toFixed(1)} ns`, `median of ${result.passes} passes`],
    ['checked', formatCount(result.checkedBlocks), 'blocks, all intact'],
    ['peak live', bytes(result.peakLiveBytes), 'in the requested sizes'],
    ['live at the end', bytes(result.endLiveBytes), `${formatCount(result.endLiveBlocks)} blocks`],
  ]
  if (result.peakCommittedBytes !== null) {
    rows.push(['peak committed', bytes(result.peakCommittedBytes), 'as the allocator counts it'])
  }
  if (result.peakResidentBytes === null) {
    rows.push(['utilisation', percent(result.utilisation), 'peak live / peak committed'])
    return [title, formatTable(rows, [0, 2])].join('\n')
  }
  return [title, formatTable(rows, [0, 2]), '', memoryTable(result), '', ...memoryNotes(result)].join('\n')
}

/**
 * Returns the table of resident memory at the four moments that count: that of the process, that of the arena
 * and that of V8.
 */
function memoryTable(result: ReplayResult): string {
  const isArena = result.allocator === 'arena'
  const row = (
    name: string,
    residentBytes: number | null,
    arenaBytes: number | null,
    v8Bytes: number | null,
  ) => [name, bytes(residentBytes), ...(isArena ? [bytes(arenaBytes)] : []), bytes(v8Bytes)]
  const { peakResidentBytes, peakArenaBytes, peakV8HeapBytes } = result
  const { endResidentBytes, endArenaBytes, endV8HeapBytes } = result
  const { afterFreeResidentBytes, afterFreeArenaBytes, afterFreeV8HeapBytes } = result
  const { afterWaitResidentBytes, afterWaitArenaBytes, afterWaitV8HeapBytes } = result
  return formatTable([
    ['', 'process', ...(isArena ? ["arena's pages"] : []), "V8's own heap"],
    row('most resident', peakResidentBytes, peakArenaBytes, peakV8HeapBytes),
    ['utilisation', percent(result.utilisation), ...(isArena ? [percent(result.arenaUtilisation)] : [])],
    row('at the end', endResidentBytes, endArenaBytes, endV8HeapBytes),
    row(
      isArena ? 'the rest freed' : 'the rest dropped',
      afterFreeResidentBytes,
      afterFreeArenaBytes,
      afterFreeV8HeapBytes,
    ),
    row(`${result.waitedMs} ms later`, afterWaitResidentBytes, afterWaitArenaBytes, afterWaitV8HeapBytes),
  ])
}

function memoryNotes({ allocator, garbageCollected }: ReplayResult): string[] {
  const arenaNote =
    "arena's pages: the part of it that is memory of blocks, as the kernel reports it (mincore);"
  const bufferNote = garbageCollected
    ? 'Garbage was collected explicitly after dropping.'
    : 'No explicit garbage collection after dropping. To get one, run this with node --expose-gc.'
  return [
    'process: growth of Rss in /proc/self/smaps_rollup since a warm-up;',
    ...(allocator === 'arena' ? [arenaNote] : []),
    "V8's own heap: its growth, as V8 counts it; V8 keeps more memory than that;",
    'utilisation: peak live / most resident.',
    ...(allocator === 'buffer' ? [bufferNote] : []),
  ]
}
