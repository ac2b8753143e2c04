/**
 * Refuses options that do not exist. The caller of `{ limit: 1 }` meant to set a limit, and would have none.
 *
 * A key counts as given if reading the option would find it: own and inherited enumerable keys, with any
 * value. A key of `Object.prototype` of this realm does not count, because no caller gave it. Symbols are no
 * names of options.
 */
import { invalidArgType, unknownOption } from './errors.js'

/** The edits, for each letter of a name, up to which a key counts as a slip of that name. */
const SLIP_EDITS_PER_LETTER = 0.4
/** The fewest letters of a name that count as the beginning or a part of the other name. */
const PREFIX_LETTERS = 3

/** The set of all keys of an options type. The compiler reports a missing or unknown key. */
export function keysOf<Options extends object>(
  keys: { [Key in keyof Required<Options>]: true },
): Set<string> {
  return new Set(Object.keys(keys))
}

/**
 * Throws `ERR_INVALID_ARG_TYPE` if `options` is not an object (an array is refused, too), and
 * `ERR_INVALID_ARG_VALUE` if it has a key that is not in `known`. `name` is the name of the argument in
 * messages. Reads no value of an option.
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

/** Whether a key is only inherited from `Object.prototype`. */
function isEverywhere(key: string, options: object): boolean {
  return !Object.hasOwn(options, key) && Object.hasOwn(Object.prototype, key)
}

/** The name in `known` that `key` was most likely meant to be, or undefined. */
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

/**
 * The letters and digits of a name, in lower case: `limit_bytes` becomes `limitbytes`, as `limitBytes` does.
 * A name is cut after 64 letters, because no option is longer.
 */
function plain(name: string): string {
  return name
    .slice(0, 64)
    .replace(/[^\p{L}\p{N}]/gu, '')
    .toLowerCase()
}

/**
 * How far `key` is from `name`. 0: they are equal. Below 2: one begins with the other or holds it, or a few
 * edits make them equal. Infinity: they are not alike.
 */
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

/**
 * The number of edits that make one name the other. An edit inserts, removes or replaces a letter, or swaps
 * two neighbours.
 */
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
