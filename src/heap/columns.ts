/** Columns: typed arrays that grow. */

/**
 * Called with the storage of a column that was replaced by a longer one. Whoever can give memory back at once (by
 * detaching the buffer) does it here; otherwise the garbage collector will.
 */
export type Dispose = (storage: ArrayBufferLike) => void

/** A longer column with the same contents, zeros behind. Throws a `RangeError` where there is no memory. */
export function grow(column: Int32Array, length: number): Int32Array {
  const longer = new Int32Array(length)
  longer.set(column)
  return longer
}
