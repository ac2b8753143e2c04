/** Running things later without keeping the process alive. Injected, so that tests can hold the clock still. */
export interface Deferral {
  /** On the next turn of the event loop. */
  nextTurn(run: () => void): void
  /** After that many milliseconds. */
  after(delayMs: number, run: () => void): void
}

/** The event loop's own, unref'd. */
export const eventLoop: Deferral = {
  nextTurn(run) {
    setImmediate(run).unref()
  },
  after(delayMs, run) {
    setTimeout(run, delayMs).unref()
  },
}
