/**
 * Running things later, mostly without keeping the process alive. Injected, so that tests can hold the clock still.
 *
 * The event loop's own functions are taken when this module is loaded, from Node's modules and not from `globalThis`: what a test
 * runner or an imitation of a browser puts there later (timers that return numbers, a clock that stands still, nothing at all)
 * reaches nothing here. Where they were replaced in Node's modules before that, what they return may be anything.
 */
import { performance } from 'node:perf_hooks'
import { clearTimeout, setImmediate, setTimeout } from 'node:timers'
import { TimerQueue } from './timer-queue.js'

/** Something that is due later. */
export interface Timer {
  /** It will not run. Does nothing once it ran. */
  cancel(): void
}

export interface Deferral {
  /** On the next turn of the event loop, after what the present call of script has set for it. */
  nextTurn(run: () => void): void
  /** The same, and the process does not end before: somebody waits for it. */
  awaitedTurn(run: () => void): void
  /**
   * After that many milliseconds. `run` is told when the work of this turn of the event loop began, in the milliseconds
   * of `performance.now()`: everything that runs by timer in one turn shares one slice of time.
   */
  after(delayMs: number, run: (sliceStartMs: number) => void): Timer
}

// Imported names are looked up in a module of Node's at each use, where `syncBuiltinESMExports` may have changed them.
const startTimeout = setTimeout
const endTimeout = clearTimeout
const startImmediate = setImmediate
// Not `performance.now`, which may be an own property that somebody put there.
const readClock: () => number = Object.getPrototypeOf(performance).now ?? performance.now
const applyFunction = Reflect.apply
const startMicrotask: (run: () => void) => void = globalThis.queueMicrotask ?? process.nextTick

/** Milliseconds of a clock that never goes back; as `performance.now()`, whoever replaced that. */
export const now = (): number => applyFunction(readClock, performance, [])

/** When the present call of script has come to its end; what it throws is an uncaught exception. */
export const soon = (run: () => void): void => startMicrotask(run)

/** Has it keep nothing alive, where it can be told so. */
function unref(handle: unknown): void {
  const { unref } = Object(handle) as { unref?: unknown }
  if (typeof unref === 'function') applyFunction(unref, handle, [])
}

/**
 * When the present call of script has come to its end, like `soon`, but by nothing that script can replace, and nothing that is
 * left half done where the call is terminated. Node keeps timers and immediates in linked lists: terminated in the middle of
 * `setImmediate`, it runs through a circle for ever.
 */
async function afterScript(run: () => void): Promise<void> {
  await undefined
  run()
}

/** One for all arenas of this thread: a thousand of them make one timer of the event loop. */
const timers = new TimerQueue(now, (delayMs, run, refused) => {
  let timeout: unknown
  let isCleared = false
  afterScript(() => {
    if (isCleared) return
    try {
      timeout = startTimeout(run, delayMs)
      unref(timeout)
    } catch {
      refused()
    }
  })
  return () => {
    isCleared = true
    if (timeout === undefined) return
    afterScript(() => {
      try {
        endTimeout(timeout as NodeJS.Timeout)
      } catch {
        // Then it runs, and finds nothing to do.
      }
    })
  }
})

/** The event loop's own, unref'd but for `awaitedTurn`. */
export const eventLoop: Deferral = {
  nextTurn(run) {
    afterScript(() => {
      try {
        unref(startImmediate(run))
      } catch {
        // There was none when this module was loaded.
        timers.add(0, run)
      }
    })
  },
  awaitedTurn(run) {
    try {
      startImmediate(run)
    } catch {
      startTimeout(run, 0)
    }
  },
  after(delayMs, run) {
    return timers.add(delayMs, run)
  },
}
