/**
 * Tells when the event loop of this thread has been active, to anybody who sleeps until then. All sleepers share one
 * watch. Where there is no watch, it looks by a timer while somebody sleeps.
 */
import { performance } from 'node:perf_hooks'
import type { Deferral, Timer } from '../base/deferral.js'
import type { LoopWatch } from '../memory/runtime.js'

/** How often to look where the runtime does not tell. Such a look takes a few microseconds. */
const LOOK_EVERY_MS = 10_000

// Copied at load: a program may replace them later.
const loopUtilization =
  typeof performance?.eventLoopUtilization === 'function'
    ? performance.eventLoopUtilization.bind(performance)
    : undefined
const cpuUsage = process.cpuUsage.bind(process)

/**
 * How long the event loop of this thread ever was active, in milliseconds. Where the runtime does not tell (Bun,
 * Deno), it is the time of the CPU that the whole process used.
 */
export function loopActiveMs(): number {
  const { active, idle } = loopUtilization?.() ?? { active: 0, idle: 0 }
  if (active + idle > 0) return active
  const { user, system } = cpuUsage()
  return (user + system) / 1_000
}

export class LoopActivity {
  readonly #deferral: Deferral
  readonly #activeMs: () => number
  readonly #makeWatch: (onActive: () => void) => LoopWatch | null
  readonly #sleepers = new Set<() => void>()
  /** Undefined until somebody sleeps for the first time. */
  #watch: LoopWatch | null | undefined
  #timer: Timer | null = null

  constructor(
    deferral: Deferral,
    activeMs: () => number,
    makeWatch: (onActive: () => void) => LoopWatch | null,
  ) {
    this.#deferral = deferral
    this.#activeMs = activeMs
    this.#makeWatch = makeWatch
  }

  /**
   * Calls `wake` once, when the loop has been active for `afterActiveMs`, or earlier if somebody else sleeps
   * already. Returns a function that ends this.
   */
  sleep(afterActiveMs: number, wake: () => void): () => void {
    // Each call makes an entry of its own.
    const sleeper = (): void => wake()
    this.#sleepers.add(sleeper)
    if (this.#sleepers.size === 1) this.#start(afterActiveMs)
    return () => {
      if (this.#sleepers.delete(sleeper) && this.#sleepers.size === 0) this.#stop()
    }
  }

  #start(afterActiveMs: number): void {
    if (this.#watch === undefined) this.#watch = this.#makeWatch(() => this.#wakeAll())
    if (this.#watch === null) this.#lookLater(this.#activeMs() + afterActiveMs)
    else this.#watch.start(afterActiveMs)
  }

  #stop(): void {
    this.#watch?.stop()
    this.#timer?.cancel()
    this.#timer = null
  }

  #lookLater(untilActiveMs: number): void {
    this.#timer = this.#deferral.after(LOOK_EVERY_MS, () => {
      if (this.#activeMs() < untilActiveMs) this.#lookLater(untilActiveMs)
      else this.#wakeAll()
    })
  }

  #wakeAll(): void {
    this.#stop()
    const sleepers = [...this.#sleepers]
    this.#sleepers.clear()
    for (const wake of sleepers) wake()
  }
}
