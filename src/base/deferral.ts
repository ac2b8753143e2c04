/**
 * Running things later, mostly without keeping the process alive. Injected, so that tests can hold the clock still.
 *
 * As soon as the addon is loaded, by the first arena, all is due by its clock: whatever a test runner or an imitation of a browser
 * puts in the place of timers, immediates and clocks reaches nothing here. Until then Node's own functions serve, as they were in
 * Node's modules when this one was loaded; what they return may be anything.
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
  /** On the next turn of the event loop. */
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

/**
 * Clock, timer and turns of the event loop that script cannot reach, and that a call which is terminated leaves whole: the
 * addon's (`native/turns.h`). Node keeps timers and immediates in lists: terminated in the middle of `setImmediate`, it may
 * run through a circle for ever.
 */
export interface Clock {
  /** Milliseconds of a clock that never goes back. */
  now(): number
  /** Sets the one timer, whether it is set or not. */
  setTimer(delayMs: number): void
  clearTimer(): void
  /** Asks for one turn. `isAwaited`: the process does not end before. */
  requestTurn(isAwaited: boolean): void
}

let clock: Clock | undefined
/** What is added to the clock's milliseconds to make them those of `performance.now()`. */
let offsetMs = 0

/** From now on all that is due later is due by the clock that `make` returns, which calls those two functions. */
export function useClock(make: (onTimer: () => void, onTurn: () => void) => Clock): void {
  if (clock !== undefined) return
  const made = make(() => onTimer?.(), runTurns)
  offsetMs = now() - made.now()
  clock = made
}

/** Milliseconds of a clock that never goes back; as `performance.now()`, whoever replaced that. */
export const now = (): number =>
  clock === undefined ? applyFunction(readClock, performance, []) : clock.now() + offsetMs

/** When the present call of script has come to its end; what it throws is an uncaught exception. */
export const soon = (run: () => void): void => startMicrotask(run)

/** Has it keep nothing alive, where it can be told so. */
function unref(handle: unknown): void {
  const { unref } = Object(handle) as { unref?: unknown }
  if (typeof unref === 'function') applyFunction(unref, handle, [])
}

let onTimer: (() => void) | undefined

function setClockTimer(given: Clock, delayMs: number, run: () => void): () => void {
  onTimer = run
  given.setTimer(delayMs)
  return () => {
    if (onTimer !== run) return
    onTimer = undefined
    given.clearTimer()
  }
}

/** Before there is a clock. */
function setNodeTimer(delayMs: number, run: () => void): () => void {
  const timeout = startTimeout(run, delayMs)
  unref(timeout)
  return () => endTimeout(timeout)
}

/** One for all arenas of this thread: a thousand of them make one timer of the event loop. */
const timers = new TimerQueue(now, (delayMs, run) =>
  clock === undefined ? setNodeTimer(delayMs, run) : setClockTimer(clock, delayMs, run),
)

/** What runs in the next turn of the clock. */
let due: (() => void)[] = []

function runTurns(): void {
  const running = due
  due = []
  let next = 0
  try {
    while (next < running.length) running[next++]()
  } finally {
    // After one that threw: the error is the process's, the others still run.
    for (; next < running.length; next++) inTurn(running[next], false)
  }
}

function inTurn(run: () => void, isAwaited: boolean): void {
  due[due.length] = run
  clock?.requestTurn(isAwaited)
}

/** Before there is a clock. */
function inTurnOfNode(run: () => void): void {
  try {
    unref(startImmediate(run))
  } catch {
    // There was none when this module was loaded.
    timers.add(0, run)
  }
}

/** The event loop's own. Nothing keeps the process alive but `awaitedTurn`. */
export const eventLoop: Deferral = {
  nextTurn(run) {
    if (clock === undefined) inTurnOfNode(run)
    else inTurn(run, false)
  },
  awaitedTurn(run) {
    if (clock === undefined) startImmediate(run)
    else inTurn(run, true)
  },
  after(delayMs, run) {
    return timers.add(delayMs, run)
  },
}
