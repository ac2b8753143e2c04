/**
 * The memory pass: one recording on one allocator in a process of its own, so that the kernel's numbers
 * belong to this run alone. Both sides are here: `runMemory` starts the process and collects its samples,
 * `memoryRun` runs in that process. Nothing is shown here.
 *
 * Every page of every block is written. The kernel is asked at even points and at the most live bytes. Then
 * the allocator is not called any more, and the process is watched for a while.
 *
 *  1. The recording, the tables, the meter and compiled code exist before the baseline, and garbage has been
 *     collected.
 *  2. From the sample right after the last call on, the allocator is not called, except for one question
 *     after the last sample, and for the reclaim that may follow.
 */
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { show } from '../base/errors.js'
import {
  type ArenaSettings,
  type BufferBlocks,
  blocksMaker,
  bufferTable,
  reclaimProcess,
} from '../replay/allocators.js'
import { askProcess } from '../replay/child-process.js'
import { describeFailure, RunError, UsageError } from '../replay/errors.js'
import { liveBytesAt, replayRangeTouching, samplePoints, slotsLiveAtEnd, warmUp } from '../replay/passes.js'
import { type Resident, ResidentMeter } from '../replay/resident.js'
import type { Trace } from '../replay/trace.js'
import { headerOf, receiveTrace, sendColumns, type TraceHeader } from '../replay/trace-pipe.js'

// The name must be that in the table of commands in main.ts.
const MEMORY_RUN = 'internal-memory-run'
const NAME = 'the memory pass'

// V8's helper threads finish giving memory back after a collection has returned.
const SETTLE_MS = 50

/** How a run goes. */
export interface MemorySpec {
  allocator: 'arena' | 'buffer' | 'store'
  settings: ArenaSettings
  /** About how many samples to take during the recording, and how many after it. */
  activeSamples: number
  idleSamples: number
  /**
   * The milliseconds over which the recording is spread, with the event loop idle in between. 0: as fast as
   * possible, one turn of the event loop a sample.
   */
  paceMs: number
  /** Whether to free, after the recording, the blocks that it leaves live. */
  freeRest: boolean
  /** Whether to collect garbage explicitly after the last call. */
  collect: boolean
  /** How many milliseconds to leave the process alone after the last call. */
  idleMs: number
  /** Whether to reclaim what the whole process holds in vain, after the last sample. */
  reclaims: boolean
}

/** The state at one moment. Resident figures are growth over the baseline. */
export interface MemorySample extends Resident {
  timeMs: number
  liveBytes: number
  /**
   * The part of `residentBytes` that is the own pages of the arena or store, as the kernel says; `null` if it
   * was not asked.
   */
  arenaBytes: number | null
}

/** The result of a run. */
export interface MemoryResult {
  /** The oldest first. */
  samples: MemorySample[]
  /**
   * The indices of the sample right after the recording's last operation, and of the one right after the last
   * call of all.
   */
  endIndex: number
  afterIndex: number
  /** The most bytes that the allocator ever held, by its own count; `null` if it does not count. */
  peakCommittedBytes: number | null
  /** What is resident after the reclaim, as growth over the baseline; `null` if none was asked for. */
  reclaimedBytes: number | null
}

type Message =
  | { kind: 'progress'; fraction: number }
  | { kind: 'result'; result: MemoryResult }
  | { kind: 'failure'; message: string }

/**
 * Carries out `spec` on `trace` in a new process. `onProgress` is called with the fraction done. Throws
 * `RunError` if the process fails in whatever way; no process is left then.
 */
export function runMemory(
  trace: Trace,
  spec: MemorySpec,
  onProgress: (fraction: number) => void = () => {},
): Promise<MemoryResult> {
  // `main.cjs` where it is published, `main.js` where it is compiled for tests.
  const extension = import.meta.url.slice(import.meta.url.lastIndexOf('.'))
  const script = fileURLToPath(new URL(`./main${extension}`, import.meta.url))
  const job = JSON.stringify({ spec: withInfinity(spec), header: headerOf(trace) })
  return askProcess<MemoryResult>({
    name: NAME,
    args: [...process.execArgv, '--expose-gc', script, MEMORY_RUN, job],
    feed: stdin => sendColumns(stdin, trace),
    read: value => {
      const message = (typeof value === 'object' ? value : null) as Message | null
      if (message?.kind === 'progress') onProgress(message.fraction)
      else if (message?.kind === 'failure') throw new RunError(`${NAME} failed: ${message.message}`)
      else if (message?.kind === 'result' && isResult(message.result)) return message.result
      else throw new RunError(`${NAME} sent a wrong message: ${show(value)}`)
      return undefined
    },
  })
}

/**
 * Whether `value` has the shape of a result. Another version of this file may have sent it, or a script that
 * Node was told to load.
 */
function isResult(value: MemoryResult | undefined): boolean {
  if (!Array.isArray(value?.samples)) return false
  const { samples, endIndex, afterIndex } = value
  return (
    [endIndex, afterIndex].every(index => samples[index] !== undefined) &&
    samples.every(sample => Number.isFinite(sample?.timeMs) && Number.isFinite(sample.residentBytes))
  )
}

/** Runs `offheap internal-memory-run JOB` in the process that was started. */
export async function memoryRun(args: string[]): Promise<void> {
  if (process.send === undefined || args.length !== 1) {
    throw new UsageError(`only offheap itself may start ${MEMORY_RUN}`)
  }
  const send = (message: Message) => process.send?.(message)
  // Without its parent this process has no use, so it ends. Listening would keep it alive; `unref` prevents
  // that.
  process.once('disconnect', () => process.exit())
  process.channel?.unref()
  try {
    const { spec, header } = JSON.parse(args[0], readInfinity) as { spec: MemorySpec; header: TraceHeader }
    const trace = receiveTrace(header)
    if (trace === undefined) process.exit(1)
    send({
      kind: 'result',
      result: await measure(trace, spec, fraction => send({ kind: 'progress', fraction })),
    })
  } catch (error) {
    // The parent reports the failure, once.
    send({ kind: 'failure', message: describeFailure(error) })
    process.exitCode = 1
  }
}

// JSON has no Infinity, which both number settings of an arena may be.
const INFINITY = 'Infinity'
const withInfinity = (spec: MemorySpec) => ({
  ...spec,
  settings: Object.fromEntries(
    Object.entries(spec.settings).map(([name, value]) => [
      name,
      value === Number.POSITIVE_INFINITY ? INFINITY : value,
    ]),
  ),
})
const readInfinity = (_: string, value: unknown) => (value === INFINITY ? Number.POSITIVE_INFINITY : value)

async function measure(
  trace: Trace,
  spec: MemorySpec,
  onProgress: (fraction: number) => void,
): Promise<MemoryResult> {
  const makeBlocks = await blocksMaker(spec.allocator, spec.settings)
  const stops = samplePoints(trace, spec.activeSamples)
  const liveBytes = liveBytesAt(trace, stops)
  const leftOver = spec.freeRest ? slotsLiveAtEnd(trace) : []
  const table = bufferTable(trace.slotCount)
  const meter = new ResidentMeter()
  await warmUp(makeBlocks, meter)
  await collectGarbage()
  await sleep(SETTLE_MS)
  meter.rebase()

  const blocks = makeBlocks(table)
  const sampler = new Sampler(meter, blocks)
  let from = 0
  sampler.take(0, true)
  for (const [index, stop] of stops.entries()) {
    replayRangeTouching(trace, blocks, from, stop)
    from = stop
    sampler.take(liveBytes[index], true)
    if (spec.paceMs === 0) {
      await nextTurn()
      continue
    }
    const dueMs = (spec.paceMs * stop) / trace.operationCount
    onProgress(dueMs / (spec.paceMs + spec.idleMs))
    await sampler.sleepUntil(dueMs)
  }
  const endIndex = sampler.samples.length - 1
  for (const slot of leftOver) blocks.free(slot)
  if (spec.collect) await collectGarbage()
  const peakCommittedBytes = blocks.peakCommittedBytes() ?? null
  const endLiveBytes = spec.freeRest ? 0 : trace.endLiveBytes
  sampler.take(endLiveBytes, true)
  const afterIndex = sampler.samples.length - 1
  const afterMs = sampler.samples[afterIndex].timeMs
  for (let idle = 1; idle <= spec.idleSamples; idle++) {
    const idleMs = (spec.idleMs * idle) / spec.idleSamples
    await sampler.sleepUntil(afterMs + idleMs)
    sampler.take(endLiveBytes, idle === spec.idleSamples)
    onProgress((spec.paceMs + idleMs) / (spec.paceMs + spec.idleMs))
  }
  const reclaimedBytes = spec.reclaims ? await residentAfterReclaim(meter) : null
  return { samples: sampler.samples, endIndex, afterIndex, peakCommittedBytes, reclaimedBytes }
}

async function residentAfterReclaim(meter: ResidentMeter): Promise<number> {
  await reclaimProcess()
  return meter.growth().residentBytes
}

/** Takes samples on a clock that starts when it is made. */
class Sampler {
  readonly samples: MemorySample[] = []
  readonly #meter: ResidentMeter
  readonly #blocks: BufferBlocks
  readonly #start = performance.now()

  constructor(meter: ResidentMeter, blocks: BufferBlocks) {
    this.#meter = meter
    this.#blocks = blocks
  }

  /** `askArena` is false while the allocator is to be left alone. */
  take(liveBytes: number, askArena: boolean): void {
    const growth = this.#meter.growth()
    const arenaBytes = askArena ? (this.#blocks.residentBytes() ?? null) : null
    this.samples.push({ timeMs: performance.now() - this.#start, liveBytes, arenaBytes, ...growth })
  }

  async sleepUntil(timeMs: number): Promise<void> {
    await sleep(Math.max(0, this.#start + timeMs - performance.now()))
  }
}

async function collectGarbage(): Promise<void> {
  // A collection gives the memory of dead Buffers back in the background. A second one waits for that.
  globalThis.gc?.()
  await nextTurn()
  globalThis.gc?.()
}
