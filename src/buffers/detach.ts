/** Detaches buffers of this library. */
import { byteLengthOf } from '../base/primordials.js'
import type { PageSource } from '../memory/page-source.js'

// Read once at load, so that a later replacement has no effect here.
const Overflow = RangeError

/**
 * Detaches a buffer. Returns false where the runtime refuses, because the buffer was marked as not
 * detachable. Its views then stay, as those of a moved buffer do. Throws a `RangeError` where the stack is
 * full: the call can be tried again. `isCold`: see `PageSource.detach`.
 */
export function tryDetach(source: PageSource, buffer: ArrayBuffer, isCold = false): boolean {
  try {
    source.detach(buffer, isCold)
  } catch (error) {
    if (error instanceof Overflow) throw error
  }
  return byteLengthOf(buffer) === 0
}
