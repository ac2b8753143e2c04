/** Columns: typed arrays that grow and shrink. */

/**
 * Called with the storage of a column that was replaced by another. Whoever can give memory back at once (by
 * detaching the buffer) does it here; otherwise the garbage collector will.
 */
export type Dispose = (storage: ArrayBufferLike) => void

/** A column of that length with the same contents as far as they fit, zeros behind. Throws a `RangeError` where there is no memory. */
export function copyTo(column: Int32Array, length: number): Int32Array {
  const copy = new Int32Array(length)
  copy.set(length < column.length ? column.subarray(0, length) : column)
  return copy
}
