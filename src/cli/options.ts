/**
 * Command-line arguments, on top of `parseArgs` of `node:util`. The rules are as strict, but every fault is a
 * `UsageError` of one line that names the command. Options that are numbers are read here, too: `parseArgs`
 * knows only text.
 */
import { type ParseArgsConfig, parseArgs } from 'node:util'
import { nearest } from '../base/known-keys.js'
import { UsageError } from '../replay/errors.js'

type Options = NonNullable<ParseArgsConfig['options']>
type Parsed<O extends Options> = ReturnType<
  typeof parseArgs<{ args: string[]; options: O; allowPositionals: true; strict: true }>
>

/** Parses the arguments of `command` strictly. Throws a `UsageError` for an unknown or incomplete option. */
export function parseOptions<const O extends Options>(
  command: string,
  args: string[],
  options: O,
): Parsed<O> {
  try {
    return parseArgs({ args, options, allowPositionals: true, strict: true })
  } catch (error) {
    // The first sentence of the long message of parseArgs names the option and the fault.
    const sentence = (error as Error).message.split(/\.\s|\n/)[0].replace(/\.$/, '')
    const unknown = /^Unknown option '(--[^']+)'/.exec(sentence)?.[1]
    const meant = unknown === undefined ? undefined : nearest(unknown, Object.keys(options))
    throw new UsageError(meant === undefined ? sentence : `${sentence}; did you mean '--${meant}'?`, command)
  }
}

/** Returns `text` if it is one of `names`. Throws a `UsageError` otherwise. */
export function oneOf<const Name extends string>(
  command: string,
  option: string,
  text: string,
  names: readonly Name[],
): Name {
  const found = names.find(name => name === text)
  if (found !== undefined) return found
  throw new UsageError(`--${option} takes one of ${names.join(', ')}; got ${JSON.stringify(text)}`, command)
}

/**
 * Returns the whole number in `text`, which must be at least `least`, or `Infinity` if `orInfinity` is set.
 * Throws a `UsageError` otherwise.
 */
export function wholeNumber(
  command: string,
  option: string,
  text: string,
  { least = 0, orInfinity = false }: { least?: number; orInfinity?: boolean } = {},
): number {
  if (orInfinity && text === 'Infinity') return Number.POSITIVE_INFINITY
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (Number.isSafeInteger(value) && value >= least) return value
  const allowed = `a whole number of at least ${least}${orInfinity ? ', or Infinity' : ''}`
  throw new UsageError(`--${option} takes ${allowed}; got ${JSON.stringify(text)}`, command)
}
