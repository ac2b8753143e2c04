/**
 * Seeded randomness for the fuzz tests: a failure names the seed it ran with and the command that runs it again.
 *
 * `OFFHEAP_FUZZ_SEED` (an integer) fixes the seed; without it every run has a new one, but for those of continuous
 * integration. `OFFHEAP_FUZZ_STEPS` sets how many steps each scenario takes.
 */
import { stepsOf, variablesOf } from '../support/extent.js'
import { mulberry32, fuzzSeed as seedOfThisRun } from '../support/random.js'

/** What a test does next, decided by a seed. */
export class Random {
  /** An integer from 0 to 2^32 - 1. */
  readonly uint32: () => number

  constructor(seed: number) {
    this.uint32 = mulberry32(seed)
  }

  /** From 0 up to but not including 1. */
  fraction(): number {
    return this.uint32() / 2 ** 32
  }

  /** An integer from 0 to `end - 1`. */
  below(end: number): number {
    return Math.floor(this.fraction() * end)
  }

  /** An integer from `first` to `last`, both included. */
  between(first: number, last: number): number {
    return first + this.below(last - first + 1)
  }

  chance(probability: number): boolean {
    return this.fraction() < probability
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]
  }

  /** One of the keys, as often as its weight says. */
  weighted<K extends string>(weights: Readonly<Record<K, number>>): K {
    const keys = Object.keys(weights) as K[]
    let left = this.fraction() * keys.reduce((sum, key) => sum + weights[key], 0)
    for (const key of keys) {
      left -= weights[key]
      if (left < 0) return key
    }
    return keys[keys.length - 1]
  }

  shuffle<T>(items: T[]): T[] {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.below(i + 1)
      const held = items[i]
      items[i] = items[j]
      items[j] = held
    }
    return items
  }
}

function integerFromEnvironment(name: string): number | undefined {
  const text = process.env[name]
  if (text === undefined || text === '') return undefined
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 0)
    throw new Error(`${name} must be a whole number, not ${text}`)
  return value
}

/** The seed that everything in this process derives from. */
export const fuzzSeed: number = integerFromEnvironment('OFFHEAP_FUZZ_SEED') ?? seedOfThisRun()

/** Steps a scenario takes. */
export function fuzzSteps(defaultSteps: number): number {
  return integerFromEnvironment('OFFHEAP_FUZZ_STEPS') ?? stepsOf(defaultSteps, 16)
}

/** A seed of its own for each part of a run, so that one part can be run alone and still do the same. */
export function derivedSeed(...parts: (string | number)[]): number {
  let hash = 0x811c9dc5
  for (const character of parts.join('\0')) {
    hash = Math.imul(hash ^ (character.codePointAt(0) as number), 0x01000193)
  }
  return hash >>> 0
}

/** The command that runs a scenario of `file` again as it ran here. */
export function replayCommand(file: string, scenario: string): string {
  const steps = process.env.OFFHEAP_FUZZ_STEPS
  const stepsPart = steps ? `OFFHEAP_FUZZ_STEPS=${steps} ` : ''
  return `${variablesOf(fuzzSeed)} ${stepsPart}npx vitest run ${file} -t '${scenario}'`
}

/** What a sequence did lately, for the message of the failure that ends it. */
export class Journal {
  static readonly #KEPT = 30
  readonly #lines: string[] = []
  step = 0

  note(line: string): void {
    if (this.#lines.length === Journal.#KEPT) this.#lines.shift()
    this.#lines.push(`  ${this.step}: ${line}`)
  }

  toString(): string {
    return this.#lines.join('\n')
  }
}

/**
 * Runs a scenario as sequences of at most `sequenceSteps` steps, each from a seed of its own, until `steps` are done.
 * A failure is thrown on with the seed, the last operations and the command that replays it.
 */
export function runSequences(
  file: string,
  scenario: string,
  steps: number,
  sequenceSteps: number,
  run: (random: Random, steps: number, journal: Journal) => void,
): void {
  for (let done = 0, sequence = 0; done < steps; done += sequenceSteps, sequence++) {
    const journal = new Journal()
    try {
      run(
        new Random(derivedSeed(fuzzSeed, scenario, sequence)),
        Math.min(sequenceSteps, steps - done),
        journal,
      )
    } catch (cause) {
      const message =
        `${cause instanceof Error ? cause.message : String(cause)}\n` +
        `in sequence ${sequence} of '${scenario}', step ${journal.step}, after\n${journal}\n` +
        `replay: ${replayCommand(file, scenario)}`
      throw new Error(message, { cause })
    }
  }
}
