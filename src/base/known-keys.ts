/**
 * Refuses options that do not exist: `{ limit: 1 }` meant a limit, and would have none.
 *
 * What counts as given is what reading the option would find: own and inherited enumerable keys, whatever their value. Only
 * what somebody put onto `Object.prototype` of this realm was given by nobody. Symbols are no names of options.
 */
import { invalidArgType, unknownOption } from './errors.js'

/** Edits for each letter of a name that still make it a slip of the other. */
const SLIP_EDITS_PER_LETTER = 0.4
const PREFIX_LETTERS = 3

/** The keys of options of that type, all of them: the compiler sees to that. */
export function keysOf<Options extends object>(
  keys: { [Key in keyof Required<Options>]: true },
): Set<string> {
  return new Set(Object.keys(keys))
}

/**
 * Throws `ERR_INVALID_ARG_TYPE` where `options` is no object (an array is none), `ERR_INVALID_ARG_VALUE` where it has a key
 * that is not among `known`; `name` is what messages call it. Reads no value.
 */
export function requireKnownKeys(name: string, options: object, known: ReadonlySet<string>): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw invalidArgType(name, 'an object', options)
  }
  for (const key in options) {
    if (!known.has(key) && !isEverywhere(key, options))
      throw unknownOption(name, key, nearest(key, known), known)
  }
}

function isEverywhere(key: string, options: object): boolean {
  return !Object.hasOwn(options, key) && Object.hasOwn(Object.prototype, key)
}

/** The name that `key` is most likely meant to be, or undefined. */
export function nearest(key: string, known: Iterable<string>): string | undefined {
  let found: string | undefined
  let least = Number.POSITIVE_INFINITY
  for (const name of known) {
    const distance = distanceOf(plain(key), plain(name))
    if (distance >= least) continue
    least = distance
    found = name
  }
  return found
}

/** Letters and digits alone: `limit_bytes` is `limitBytes`. Longer than any option, it is none: cut short. */
function plain(name: string): string {
  return name
    .slice(0, 64)
    .replace(/[^\p{L}\p{N}]/gu, '')
    .toLowerCase()
}

/** From 0, the same, over one that begins or holds the other, to Infinity: nothing alike. */
function distanceOf(key: string, name: string): number {
  if (key === name) return 0
  const [short, long] = key.length < name.length ? [key, name] : [name, key]
  if (short.length >= PREFIX_LETTERS) {
    const share = short.length / long.length
    if (long.startsWith(short)) return 1 - share
    if (long.includes(short)) return 2 - share
  }
  const edits = editsBetween(key, name)
  return edits <= Math.max(1, SLIP_EDITS_PER_LETTER * name.length) && edits < name.length
    ? 1 + edits / name.length
    : Number.POSITIVE_INFINITY
}

/** Letters to insert, remove, replace, or swap with the next, until one is the other. */
function editsBetween(one: string, other: string): number {
  let twoBack: number[] = []
  let previous = Array.from({ length: other.length + 1 }, (_, index) => index)
  for (let i = 1; i <= one.length; i++) {
    const row = [i]
    for (let j = 1; j <= other.length; j++) {
      const isSame = one[i - 1] === other[j - 1]
      row[j] = Math.min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (isSame ? 0 : 1))
      const isSwap = i > 1 && j > 1 && one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1]
      if (isSwap) row[j] = Math.min(row[j], twoBack[j - 2] + 1)
    }
    twoBack = previous
    previous = row
  }
  return previous[other.length]
}
