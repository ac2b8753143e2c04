/** Running things later without keeping the process alive. Injected, so that tests can hold the clock still. */
import { TimerQueue } from './timer-queue.js'

/** Something that is due later. */
export interface Timer {
  /** It will not run. Does nothing once it ran. */
  cancel(): void
}

export interface Deferral {
  /** On the next turn of the event loop. */
  nextTurn(run: () => void): void
  /**
   * After that many milliseconds. `run` is told when the work of this turn of the event loop began, in the milliseconds
   * of `performance.now()`: everything that runs by timer in one turn shares one slice of time.
   */
  after(delayMs: number, run: (sliceStartMs: number) => void): Timer
}

/** One for all arenas of this thread: a thousand of them make one timer of the event loop. */
const timers = new TimerQueue(
  () => performance.now(),
  (delayMs, run) => {
    const timeout = setTimeout(run, delayMs).unref()
    return () => clearTimeout(timeout)
  },
)

/** The event loop's own, unref'd. */
export const eventLoop: Deferral = {
  nextTurn(run) {
    setImmediate(run).unref()
  },
  after(delayMs, run) {
    return timers.add(delayMs, run)
  },
}
