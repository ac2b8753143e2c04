/**
 * Runs functions later, mostly without keeping the process alive. It is given to its users as an argument, so
 * that tests can hold the clock still.
 *
 * The first arena loads the addon. From then on the addon's clock says what is due. Timers, immediates and
 * clocks that a test runner or an imitation of a browser replaces have no effect here. Until then Node's own
 * functions serve, as they were when this module was loaded. They may return values of any kind.
 */
import { performance } from 'node:perf_hooks'
import { clearTimeout, setImmediate, setTimeout } from 'node:timers'
import { TimerQueue } from './timer-queue.js'

/** A function that is due later. */
export interface Timer {
  /** Ends the timer: its function will not run. Does nothing if it has run. */
  cancel(): void
}

/** Runs functions later. */
export interface Deferral {
  /** Runs `run` on the next turn of the event loop. */
  nextTurn(run: () => void): void
  /**
   * Runs `run` on the next turn of the event loop, and keeps the process alive until then. For a caller that
   * waits for it.
   */
  awaitedTurn(run: () => void): void
  /**
   * Runs `run` after `delayMs` milliseconds. `sliceStartMs` is the time at which the work of this turn of the
   * event loop began, in the milliseconds of `performance.now()`. All functions that run by timer in one turn
   * share one slice of time.
   */
  after(delayMs: number, run: (sliceStartMs: number) => void): Timer
}

const applyFunction = Reflect.apply

/**
 * Returns a function that reads the clock of `performance`, or that of the process where `performance` is
 * missing or has no clock.
 */
function clockOf(given: typeof performance | undefined): () => number {
  const { uptime } = process
  const upMs = () => uptime() * 1_000
  if (given === undefined || given === null) return upMs
  // The method of the prototype, because `performance.now` may be an own property that a program has put
  // there.
  const read = Object.getPrototypeOf(given)?.now ?? given.now
  if (typeof read !== 'function') return upMs
  return () => applyFunction(read, given, [])
}

// Copies. As an ES module, this one would look an imported name up in Node's module at each use, where
// `syncBuiltinESMExports` may have changed it.
const startTimeout = setTimeout
const endTimeout = clearTimeout
const startImmediate = setImmediate
const nodeNow: () => number = clockOf(performance)
const startMicrotask: (run: () => void) => void = globalThis.queueMicrotask ?? process.nextTick

/**
 * A clock, a timer and turns of the event loop that script cannot replace: the addon's (`native/turns.h`).
 * They stay whole if a call is terminated. Node keeps timers and immediates in lists. If `setImmediate` is
 * terminated in the middle, Node may run through a circle for ever.
 */
export interface Clock {
  /** The milliseconds of a clock that never goes back. */
  now(): number
  /** Sets the only timer to `delayMs` milliseconds from now. It may be set already. */
  setTimer(delayMs: number): void
  /** Ends the timer, if it is set. */
  clearTimer(): void
  /** Asks for one turn of the event loop. `isAwaited`: the process stays alive until then. */
  requestTurn(isAwaited: boolean): void
}

/** The addon's clock, once there is one. */
let clock: Clock | undefined
/** The milliseconds to add to the clock's, to make them those of `performance.now()`. */
let offsetMs = 0

/**
 * Uses the clock that `make` returns for everything that is due from now on. The clock calls `onTimer` when
 * its timer is due, and `onTurn` on each turn that was asked for. Does nothing if there is a clock.
 */
export function useClock(make: (onTimer: () => void, onTurn: () => void) => Clock): void {
  if (clock !== undefined) return
  const made = make(() => onTimer?.(), runTurns)
  offsetMs = now() - made.now()
  clock = made
}

/**
 * The milliseconds of a clock that never goes back. They are those of `performance.now()`, also after a
 * program has replaced that.
 */
export const now = (): number => (clock === undefined ? nodeNow() : clock.now() + offsetMs)

/**
 * Runs `run` after the present call of script has ended. An error that it throws is an uncaught exception.
 */
export const soon = (run: () => void): void => startMicrotask(run)

/** Lets a timer or immediate keep nothing alive, if it has an `unref` method. */
function unref(handle: unknown): void {
  const { unref } = Object(handle) as { unref?: unknown }
  if (typeof unref === 'function') applyFunction(unref, handle, [])
}

/** What runs when the clock's timer is due. */
let onTimer: (() => void) | undefined

/** Sets the clock's timer. Returns a function that ends it. */
function setClockTimer(given: Clock, delayMs: number, run: () => void): () => void {
  onTimer = run
  given.setTimer(delayMs)
  return () => {
    if (onTimer !== run) return
    onTimer = undefined
    given.clearTimer()
  }
}

/** Sets a timer of Node, for the time before there is a clock. Returns a function that ends it. */
function setNodeTimer(delayMs: number, run: () => void): () => void {
  const timeout = startTimeout(run, delayMs)
  unref(timeout)
  return () => endTimeout(timeout)
}

/** The timers of all arenas of this thread. A thousand arenas need only one timer of the event loop. */
const timers = new TimerQueue(now, (delayMs, run) =>
  clock === undefined ? setNodeTimer(delayMs, run) : setClockTimer(clock, delayMs, run),
)

/** The functions that run in the next turn of the clock. */
let due: (() => void)[] = []

/** Runs the functions that were due in this turn. */
function runTurns(): void {
  const running = due
  due = []
  let next = 0
  try {
    while (next < running.length) running[next++]()
  } finally {
    // Comes here also when a function has thrown. The error is the process's, and the rest runs in the next
    // turn.
    for (; next < running.length; next++) inTurn(running[next], false)
  }
}

/** Runs `run` in the next turn of the clock. */
function inTurn(run: () => void, isAwaited: boolean): void {
  due[due.length] = run
  clock?.requestTurn(isAwaited)
}

/** Runs `run` in the next turn of Node's event loop, for the time before there is a clock. */
function inTurnOfNode(run: () => void): void {
  try {
    unref(startImmediate(run))
  } catch {
    // There was no `setImmediate` when this module was loaded.
    timers.add(0, run)
  }
}

/** The deferral of the event loop. Only `awaitedTurn` keeps the process alive. */
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
