/** Detaching a buffer of ours. */
import { byteLengthOf } from '../base/primordials.js'
import type { PageSource } from '../memory/page-source.js'

// Taken once, so that what somebody puts in its place is not asked.
const Overflow = RangeError

/**
 * Detaches a buffer. Returns false where the runtime refuses: somebody marked it as not detachable, and its views stay, as those
 * of a moved one do. Throws a `RangeError` where the stack is full: that is no refusal, and can be tried again.
 */
export function tryDetach(source: PageSource, buffer: ArrayBuffer): boolean {
  try {
    source.detach(buffer)
  } catch (error) {
    if (error instanceof Overflow) throw error
  }
  return byteLengthOf(buffer) === 0
}
