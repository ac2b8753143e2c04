/** Random numbers that a seed repeats. */

export interface Random {
  readonly seed: number
  /** An integer in [0, end). */
  below(end: number): number
  /** True once in `n` times. */
  oneIn(n: number): boolean
  pick<T>(items: readonly T[]): T
  /** A size from 0 to `most`, spread evenly over the powers of two, with page borders more often than chance. */
  size(most: number): number
}

/** mulberry32: integers from 0 to 2^32 - 1, the same for the same seed on every machine. */
export function mulberry32(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let bits = Math.imul(state ^ (state >>> 15), state | 1)
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61)
    return (bits ^ (bits >>> 14)) >>> 0
  }
}

export function randomFrom(seed: number): Random {
  const uint32 = mulberry32(seed)
  const next = (): number => uint32() / 2 ** 32
  const below = (end: number): number => Math.floor(next() * end)
  return {
    seed,
    below,
    oneIn: n => below(n) === 0,
    pick: items => items[below(items.length)],
    size(most) {
      const magnitude = 2 ** (next() * Math.log2(most + 1))
      const bytes = below(8) === 0 ? Math.round(magnitude / 4096) * 4096 : Math.floor(magnitude)
      return Math.min(most, bytes)
    },
  }
}

/**
 * The seed to use: `OFFHEAP_FUZZ_SEED`, or another one each time; in a run of continuous integration (`CI`) the same, so that
 * what fails there is what was changed.
 */
export function fuzzSeed(): number {
  const given = process.env.OFFHEAP_FUZZ_SEED
  if (given !== undefined && given !== '') return Number(given)
  return process.env.CI ? 1 : (Date.now() ^ (process.pid << 16)) >>> 0
}
