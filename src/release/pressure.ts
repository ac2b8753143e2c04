/**
 * Whether memory is short around this process, and by how much. It is pure: a reader reads the kernel's
 * files, and the caller gives the time. What follows from it is decided above.
 *
 * There is pressure in three cases: a cgroup uses nine tenths of its limit (file cache that the kernel would
 * drop first does not count); the kernel has held it up at its limits since the last look, and it uses three
 * quarters; tasks waited for memory for a tenth of the time.
 *
 * Invariant, checked by `check()`:
 *  1. the source fits the files that were found
 */
import { invariant } from '../base/assert.js'
import {
  type CgroupReading,
  type FileReader,
  findPressureFiles,
  type PressureFiles,
  readCgroup,
  readStall,
  readSystem,
} from './pressure-files.js'

// Taken once at load. A program may replace the globals later; its replacement must not run within a change.
const { ceil, max } = Math

/**
 * Which files of the kernel tell of memory pressure:
 * - `'cgroup'`: the use and the limits of the container, and how often it was held up at them (cgroup v2)
 * - `'poll'`: the use and the limits of the container only
 * - `'psi'`: how long tasks wait for memory
 * - `'none'`: nothing can be read
 */
export type PressureSource = 'cgroup' | 'psi' | 'poll' | 'none'

export interface Shortage {
  readonly reason: 'near-limit' | 'held-up' | 'stalled'
  /** The limit, in bytes, of the cgroup that is nearest to its limit; `Infinity` if no cgroup has one. */
  readonly limitBytes: number
  /** Bytes that this cgroup uses, or the system if no cgroup has a limit. */
  readonly usedBytes: number
  /** Bytes that have to be given back to end the pressure; 0 if the files do not tell. */
  readonly missingBytes: number
}

const NEAR = 0.9
const HELD_UP_NEAR = 0.75
const STALLED_SHARE = 0.1
/** Two looks that are closer than this say little about how long tasks wait. */
const MIN_LOOK_US = 50_000
/** The share of memory that a system should have free when tasks wait for memory. */
const SYSTEM_FREE_SHARE = 0.1

export class Pressure {
  readonly #read: FileReader
  readonly #files: PressureFiles
  readonly source: PressureSource
  #events = 0
  #stallUs = 0
  #stallAtMs = 0

  constructor(read: FileReader, nowMs: number) {
    this.#read = read
    this.#files = findPressureFiles(read)
    this.source = sourceOf(this.#files)
    // Events and waiting times from before the first look do not count.
    this.#takeEvents(this.#readCgroups())
    this.#takeStall(nowMs)
  }

  /** Returns the shortage that there is now, or null. */
  look(nowMs: number): Shortage | null {
    const cgroups = this.#readCgroups()
    const wasHeldUp = this.#takeEvents(cgroups)
    const isStalled = this.#takeStall(nowMs)
    const nearest = nearestToLimit(cgroups)
    if (nearest !== undefined) {
      const { limitBytes, usedBytes } = nearest
      const isFull = usedBytes >= NEAR * limitBytes
      if (isFull || (wasHeldUp && usedBytes >= HELD_UP_NEAR * limitBytes)) {
        const goalBytes = (isFull ? NEAR : HELD_UP_NEAR) * limitBytes
        const missingBytes = ceil(usedBytes - goalBytes)
        return { reason: isFull ? 'near-limit' : 'held-up', limitBytes, usedBytes, missingBytes }
      }
    }
    return isStalled ? this.#stalled(nearest) : null
  }

  #readCgroups(): CgroupReading[] {
    return this.#files.cgroups
      .map(folder => readCgroup(this.#read, folder))
      .filter(reading => reading !== undefined)
  }

  /** Returns whether the kernel has held a cgroup up since the last call. */
  #takeEvents(cgroups: CgroupReading[]): boolean {
    const events = cgroups.reduce((sum, reading) => sum + (reading.events ?? 0), 0)
    const hasRisen = events > this.#events
    this.#events = events
    return hasRisen
  }

  /** Returns whether tasks have waited for memory for a tenth of the time since the last call. */
  #takeStall(nowMs: number): boolean {
    const { stall } = this.#files
    const stallUs = stall === undefined ? undefined : readStall(this.#read, stall)
    const tookUs = (nowMs - this.#stallAtMs) * 1_000
    if (stallUs === undefined || tookUs < MIN_LOOK_US) return false
    const share = (stallUs - this.#stallUs) / tookUs
    this.#stallUs = stallUs
    this.#stallAtMs = nowMs
    return share >= STALLED_SHARE
  }

  #stalled(nearest: CgroupReading | undefined): Shortage {
    const system = readSystem(this.#read)
    const usedBytes = nearest?.usedBytes ?? (system ? system.totalBytes - system.availableBytes : 0)
    const goalBytes = system ? SYSTEM_FREE_SHARE * system.totalBytes : 0
    return {
      reason: 'stalled',
      limitBytes: nearest?.limitBytes ?? Number.POSITIVE_INFINITY,
      usedBytes,
      missingBytes: system ? max(0, ceil(goalBytes - system.availableBytes)) : 0,
    }
  }

  check(): void {
    invariant(this.source === sourceOf(this.#files), '1: a source for what can be read')
  }
}

function sourceOf({ cgroups, hasEvents, stall }: PressureFiles): PressureSource {
  if (cgroups.length > 0) return hasEvents ? 'cgroup' : 'poll'
  return stall === undefined ? 'none' : 'psi'
}

function nearestToLimit(cgroups: CgroupReading[]): CgroupReading | undefined {
  const limited = cgroups.filter(reading => reading.limitBytes < Number.POSITIVE_INFINITY)
  return limited.sort((a, b) => b.usedBytes / b.limitBytes - a.usedBytes / a.limitBytes)[0]
}
