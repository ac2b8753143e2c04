/**
 * What the kernel says this process holds: `Rss` of `/proc/self/smaps_rollup`, which is summed from the page
 * tables at the moment of reading. (`statm` and `VmHWM` are batched per CPU and lag by megabytes.) And how
 * much of that is V8's own heap, so that a reader can tell blocks from the JavaScript objects that stand for
 * them.
 */
import { closeSync, openSync, readSync } from 'node:fs'
import { getHeapStatistics } from 'node:v8'
import { RunError } from './errors.js'

const ROLLUP = '/proc/self/smaps_rollup'
// The file has 25 lines of at most 80 bytes.
const ROLLUP_BYTES = 4096

/** Resident bytes, or their growth over a baseline. */
export interface Resident {
  /** All that the process holds. */
  residentBytes: number
  /** The part of it that is V8's own heap, as V8 accounts for it. */
  v8HeapBytes: number
}

/**
 * Measures growth over a baseline. Its file and buffer are opened once, so that measuring adds nothing to the
 * result.
 */
export class ResidentMeter {
  readonly #file: number
  readonly #text = Buffer.alloc(ROLLUP_BYTES, ' ')
  #baseline: Resident = { residentBytes: 0, v8HeapBytes: 0 }

  /** Throws `RunError` if the kernel does not tell. */
  constructor() {
    try {
      this.#file = openSync(ROLLUP, 'r')
    } catch (error) {
      throw new RunError(`cannot measure resident memory: ${(error as Error).message}`)
    }
    this.rebase()
  }

  /** Makes the present state the baseline of `growth`. */
  rebase(): void {
    this.#baseline = this.now()
  }

  /** Returns the present state. */
  now(): Resident {
    const length = readSync(this.#file, this.#text, 0, ROLLUP_BYTES, 0)
    const kilobytes = /^Rss:\s+(\d+) kB$/m.exec(this.#text.toString('latin1', 0, length))?.[1]
    if (kilobytes === undefined) throw new RunError(`no Rss in ${ROLLUP}`)
    return { residentBytes: Number(kilobytes) * 1024, v8HeapBytes: getHeapStatistics().total_physical_size }
  }

  /** Returns the growth since the baseline; negative if the process has shrunk. */
  growth(): Resident {
    const { residentBytes, v8HeapBytes } = this.now()
    return {
      residentBytes: residentBytes - this.#baseline.residentBytes,
      v8HeapBytes: v8HeapBytes - this.#baseline.v8HeapBytes,
    }
  }

  close(): void {
    closeSync(this.#file)
  }
}
