/** Choices that a seed repeats. */
export class Random {
  #state

  constructor(seed) {
    this.#state = seed | 0
  }

  /** mulberry32: from 0 up to but not including 1. */
  fraction() {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let bits = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61)
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32
  }

  /** An integer from 0 to `end - 1`. */
  below(end) {
    return Math.floor(this.fraction() * end)
  }

  oneIn(count) {
    return this.below(count) === 0
  }

  pick(items) {
    return items[this.below(items.length)]
  }

  /** Bytes, evenly over the powers of two: mostly below 256 KiB, now and then up to 2 MiB. */
  size() {
    return Math.floor(2 ** (this.fraction() * (this.oneIn(20) ? 21 : 18)))
  }
}
