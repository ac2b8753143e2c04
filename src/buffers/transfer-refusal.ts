/**
 * Refuses the honest call of `transfer` and `transferToFixedLength` on an `ArrayBuffer` that other blocks share, or will.
 *
 * Own properties hide the two methods. They stop nobody who calls the prototype's, nor the runtime's own streams: see
 * `block-buffers` for what becomes of a buffer that was taken. A block of `detachFromBytes` and up has its buffer to
 * itself; it is left alone, because hiding costs 0.5 of the 1.4 microseconds that wrapping and detaching take (Node 22 to 26).
 */
import { ArenaError } from '../base/errors.js'
import { defineProperties } from '../base/primordials.js'

const NAMES = ['transfer', 'transferToFixedLength'].filter(name => name in ArrayBuffer.prototype)

/** Hides the methods of a buffer. */
export type Refusal = (buffer: ArrayBuffer) => void

/** For the buffers of an arena of that name. On a runtime without such methods it does nothing. */
export function transferRefusal(arenaName: string): Refusal {
  if (NAMES.length === 0) return () => {}
  // Without prototypes: what others put on `Object.prototype` is no part of them.
  const properties: PropertyDescriptorMap = Object.create(null)
  for (const name of NAMES) {
    properties[name] = Object.assign(Object.create(null), {
      configurable: true,
      value: () => {
        throw refusedError(arenaName, name)
      },
    })
  }
  return buffer => defineProperties(buffer, properties)
}

function refusedError(arenaName: string, method: string): ArenaError {
  return new ArenaError(
    'ERR_ARENA_NOT_TRANSFERABLE',
    `arena '${arenaName}': ${method}() of an ArrayBuffer that other blocks of the arena use too: it would take their memory ` +
      'away. Copy the bytes: Uint8Array.from(buffer).buffer',
  )
}
