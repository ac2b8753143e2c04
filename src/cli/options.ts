/**
 * Command-line arguments, on top of `node:util` `parseArgs`: the same strict rules, but every fault is a `UsageError`
 * of one line that names the command. Also the number options, which `parseArgs` knows only as text.
 */
import { type ParseArgsConfig, parseArgs } from 'node:util'
import { nearest } from '../base/known-keys.js'
import { UsageError } from '../replay/errors.js'

type Options = NonNullable<ParseArgsConfig['options']>
type Parsed<O extends Options> = ReturnType<
  typeof parseArgs<{ args: string[]; options: O; allowPositionals: true; strict: true }>
>

/** Parses the arguments of `command` strictly: an unknown or incomplete option is a `UsageError`. */
export function parseOptions<const O extends Options>(
  command: string,
  args: string[],
  options: O,
): Parsed<O> {
  try {
    return parseArgs({ args, options, allowPositionals: true, strict: true })
  } catch (error) {
    // parseArgs explains at length; its first sentence names the option and the fault.
    const sentence = (error as Error).message.split(/\.\s|\n/)[0].replace(/\.$/, '')
    const unknown = /^Unknown option '(--[^']+)'/.exec(sentence)?.[1]
    const meant = unknown === undefined ? undefined : nearest(unknown, Object.keys(options))
    throw new UsageError(meant === undefined ? sentence : `${sentence}; did you mean '--${meant}'?`, command)
  }
}

/** One of `names`; anything else is a `UsageError`. */
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

/** A whole number `>= least`, or `Infinity` where `orInfinity`; anything else is a `UsageError`. */
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
