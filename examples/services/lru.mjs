/** The entries of a cache, and which of them go. It does not know what memory they lie in. */

/** Values by key. It owns them: `put` takes a value over, and whatever drops one hands it to `drop`. */
export class Lru {
  #bytes = 0
  /** @type {Map<string, { value: Buffer, usedMs: number }>} the one that was not used for the longest time first */
  #entries = new Map()
  #drop

  /** @param {(value: Buffer) => void} drop */
  constructor(drop) {
    this.#drop = drop
  }

  get bytes() {
    return this.#bytes
  }

  /** @param {string} key */
  get(key) {
    const entry = this.#entries.get(key)
    if (entry === undefined) return undefined
    // A Map lists its keys in the order in which they were set: this one is the newest now.
    this.#entries.delete(key)
    this.#entries.set(key, entry)
    entry.usedMs = Date.now()
    return entry.value
  }

  /**
   * @param {string} key
   * @param {Buffer} value
   */
  put(key, value) {
    this.delete(key)
    this.#entries.set(key, { value, usedMs: Date.now() })
    this.#bytes += value.length
  }

  /** @param {string} key */
  delete(key) {
    const entry = this.#entries.get(key)
    if (entry === undefined) return false
    this.#entries.delete(key)
    this.#bytes -= entry.value.length
    this.#drop(entry.value)
    return true
  }

  /**
   * Drops the oldest entries until the others have `bytes` at most.
   * @param {number} bytes
   */
  evictTo(bytes) {
    for (const key of this.#entries.keys()) {
      if (this.#bytes <= bytes) return
      this.delete(key)
    }
  }

  /** Drops all entries. */
  clear() {
    for (const key of this.#entries.keys()) this.delete(key)
  }

  /**
   * Drops what was not used since then.
   * @param {number} timeMs as of `Date.now()`
   */
  expire(timeMs) {
    for (const [key, { usedMs }] of this.#entries) {
      if (usedMs >= timeMs) return
      this.delete(key)
    }
  }
}
