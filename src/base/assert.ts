/** Invariants: what can only be false by a defect in this library. */

/** Throws a plain `Error` that names the invariant. Not for arguments, not on hot paths. */
export function invariant(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(`offheap: broken invariant: ${what}`)
}
