/**
 * Refuses a call of `transfer` or `transferToFixedLength` on an `ArrayBuffer` that other blocks share now or
 * will use later.
 *
 * Own properties of the buffer hide the two methods. This does not stop a call of the prototype's method, nor
 * the runtime's own streams; `block-buffers` says what happens to a buffer that was taken. A block of
 * `detachFromBytes` or more has its buffer to itself. It is not protected, because its buffer is made anew
 * each time and hiding would cost time each time.
 */
import { ArenaError } from '../base/errors.js'
import { defineProperties } from '../base/primordials.js'

const NAMES = ['transfer', 'transferToFixedLength'].filter(name => name in ArrayBuffer.prototype)

/** Hides the methods of a buffer. */
export type Refusal = (buffer: ArrayBuffer) => void

/** Returns the `Refusal` for the buffers of the arena with that name. */
export function transferRefusal(arenaName: string): Refusal {
  return refusalOf(method => refusedError(arenaName, method))
}

/**
 * Returns a `Refusal` whose methods throw what `errorOf` returns for their name. It does nothing where the runtime has
 * no such methods.
 */
export function refusalOf(errorOf: (method: string) => Error): Refusal {
  if (NAMES.length === 0) return () => {}
  // These objects have no prototype, so that nothing is inherited from a changed `Object.prototype`.
  const properties: PropertyDescriptorMap = Object.create(null)
  for (const name of NAMES) {
    properties[name] = Object.assign(Object.create(null), {
      configurable: true,
      value: () => {
        throw errorOf(name)
      },
    })
  }
  return buffer => defineProperties(buffer, properties)
}

function refusedError(arenaName: string, method: string): ArenaError {
  return new ArenaError(
    'ERR_ARENA_NOT_TRANSFERABLE',
    `arena '${arenaName}': ${method}(): other blocks of the arena use this ArrayBuffer too. ${method}() would take their ` +
      'memory away. Copy the bytes: Uint8Array.from(buffer).buffer',
  )
}
