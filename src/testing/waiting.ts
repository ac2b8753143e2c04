/** Waits for something that comes true soon, by timers that a test cannot replace after this module is loaded. */
import { setTimeout } from 'node:timers'
import { requireNumber } from '../base/arguments.js'
import { now } from '../base/deferral.js'

const startTimeout = setTimeout

const LOOK_EVERY_MS = 20
/** The longest delay of a Node timer. */
const MAX_WITHIN_MS = 2 ** 31 - 1

/** Throws unless `withinMs` is a number of milliseconds to wait. */
export function requireWithin(withinMs: unknown): void {
  requireNumber('options.withinMs', withinMs, MAX_WITHIN_MS)
}

/**
 * Looks until what `look` returns passes `isGood`, or `withinMs` milliseconds are over. Returns what it saw
 * last. Looks at least once.
 */
export async function lookUntil<T>(
  look: () => T,
  isGood: (seen: T) => boolean,
  withinMs: number,
): Promise<T> {
  const endMs = now() + withinMs
  for (;;) {
    const seen = look()
    const leftMs = endMs - now()
    if (isGood(seen) || leftMs <= 0) return seen
    await new Promise(resolve => startTimeout(resolve, Math.min(LOOK_EVERY_MS, Math.ceil(leftMs))))
  }
}
