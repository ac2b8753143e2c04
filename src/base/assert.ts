/** Invariants: conditions that are false only because of a defect in this library. */

/**
 * Throws a plain `Error` that names the invariant if it does not hold. Not for arguments, and not on hot
 * paths.
 */
export function invariant(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(`offheap: broken invariant: ${what}`)
}
