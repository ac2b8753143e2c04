/**
 * Hands a recording that was read and checked in one process to another, through the standard input of the
 * other. The receiver reads the columns straight into arrays of their exact lengths. A process that measures
 * its own memory must not unpack and parse a file just before: memory left over from that would be reused, or
 * given back, during the measurement.
 */
import { readSync } from 'node:fs'
import type { Writable } from 'node:stream'
import type { Trace } from './trace.js'

type Column = 'operations' | 'slots' | 'sizes'

/** A trace without its columns: small, and JSON. */
export interface TraceHeader extends Omit<Trace, Column> {
  /** Whether `sizes` is a `Float64Array`. */
  wideSizes: boolean
}

const STDIN = 0

export function headerOf({ operations, slots, sizes, ...rest }: Trace): TraceHeader {
  return { ...rest, wideSizes: sizes instanceof Float64Array }
}

/** Writes the columns of `trace` to the receiver's standard input and ends it. */
export function sendColumns(stream: Writable, { operations, slots, sizes }: Trace): void {
  for (const column of [operations, slots, sizes]) {
    stream.write(new Uint8Array(column.buffer, column.byteOffset, column.byteLength))
  }
  stream.end()
}

/**
 * Returns the trace that `header` belongs to, with the columns read from standard input. Returns `undefined`
 * if the sender went away before all was there. It blocks until then.
 */
export function receiveTrace({ wideSizes, ...header }: TraceHeader): Trace | undefined {
  const count = header.operationCount
  const operations = new Uint8Array(count)
  const slots = new Int32Array(count)
  const sizes = wideSizes ? new Float64Array(count) : new Int32Array(count)
  for (const column of [operations, slots, sizes]) {
    const bytes = new Uint8Array(column.buffer)
    let at = 0
    while (at < bytes.length) {
      const length = readSync(STDIN, bytes, at, bytes.length - at, null)
      if (length === 0) return undefined
      at += length
    }
  }
  return { ...header, operations, slots, sizes }
}
