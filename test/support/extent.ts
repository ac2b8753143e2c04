/**
 * How much a run tests. `npm run test:all` runs every test. `npm test` runs tests of every kind, but where a file has many cases of
 * one kind, or does the same thing very often, it takes a sample of them. A file that does so uses this one.
 *
 * Each run takes other samples; with `OFFHEAP_FUZZ_SEED`, and in continuous integration, always the same. A case that the sample
 * left out runs with `OFFHEAP_TESTS=all npx vitest run FILE -t NAME`.
 */
import { fuzzSeed, randomFrom } from './random.js'

export const IS_ALL = process.env.OFFHEAP_TESTS === 'all'

const random = randomFrom(fuzzSeed())

/** So many steps or repetitions, or one in `share` of them. */
export function stepsOf(all: number, share = 5): number {
  return IS_ALL ? all : Math.ceil(all / share)
}

/** These cases, or `count` of them at random, in their order. */
export function someOf<T>(cases: readonly T[], count: number): readonly T[] {
  if (IS_ALL || count >= cases.length) return cases
  const picked = new Set<number>()
  while (picked.size < count) picked.add(random.below(cases.length))
  return cases.filter((_, index) => picked.has(index))
}

/**
 * Which of these cases a Node line runs, by its place in `NODES`: the first line runs all of them, and the others run a part
 * each, so that together they run all once more.
 */
export function partOf<T>(cases: readonly T[], line: number, lines: number): readonly T[] {
  return line === 0 ? cases : cases.filter((_, index) => index % (lines - 1) === line - 1)
}

/** The variables with which a test does again what it did with this seed. */
export function variablesOf(seed: number): string {
  return `${IS_ALL ? 'OFFHEAP_TESTS=all ' : ''}OFFHEAP_FUZZ_SEED=${seed}`
}
