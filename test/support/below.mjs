/** Random numbers that a seed repeats, for child programs. What it needs is taken at load: they replace the runtime's functions. */
const { floor, imul } = Math

/** A function that returns an integer from 0 to `end - 1` (mulberry32). */
export function belowFrom(seed) {
  let state = seed | 0
  return end => {
    state = (state + 0x6d2b79f5) | 0
    let bits = imul(state ^ (state >>> 15), state | 1)
    bits ^= bits + imul(bits ^ (bits >>> 7), bits | 61)
    return floor((((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32) * end)
  }
}
