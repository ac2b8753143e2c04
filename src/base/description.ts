/**
 * How arenas, scopes and pools look in a log: one line of plain facts for `util.inspect` and `console.log`. For
 * `JSON.stringify` see their `toJSON`. It runs no script but what the caller passes in.
 */
import type { InspectOptionsStylized, inspect } from 'node:util'

export type Facts = Record<string, unknown>

/**
 * Returns the text for `[util.inspect.custom]`: `label { fact: value, … }`, or `[label]` if that is nested
 * too deep.
 */
export function describe(
  label: string,
  facts: Facts,
  depth: number,
  options: InspectOptionsStylized,
  show: typeof inspect,
): string {
  if (depth < 0) return options.stylize(`[${label}]`, 'special')
  return `${label} ${show(facts, { ...options, depth, breakLength: Number.POSITIVE_INFINITY })}`
}
