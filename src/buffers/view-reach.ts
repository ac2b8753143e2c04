/** Finds which bytes of which buffer a view covers, whatever properties script has put on the view. */

export interface ViewReach {
  readonly memory: ArrayBufferLike
  readonly offsetBytes: number
  readonly lengthBytes: number
}

type Getter<T> = (this: unknown) => T

function gettersOf(prototype: object): readonly [Getter<ArrayBufferLike>, Getter<number>, Getter<number>] {
  const get = (name: string) => Object.getOwnPropertyDescriptor(prototype, name)?.get as Getter<unknown>
  return [
    get('buffer') as Getter<ArrayBufferLike>,
    get('byteOffset') as Getter<number>,
    get('byteLength') as Getter<number>,
  ]
}

// Read once at load, so that no accessor that a program replaced later is run.
const OF_ARRAYS = gettersOf(Object.getPrototypeOf(Uint8Array.prototype))
const OF_DATA_VIEWS = gettersOf(DataView.prototype)
const isView = ArrayBuffer.isView
const tagOf = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag)
  ?.get as Getter<string | undefined>

/** Returns null for a value that is no view, and for a `DataView` of memory that was taken away. */
export function reachOf(view: unknown): ViewReach | null {
  if (!isView(view)) return null
  const isArray = tagOf.call(view) !== undefined
  const [buffer, byteOffset, byteLength] = isArray ? OF_ARRAYS : OF_DATA_VIEWS
  try {
    return {
      memory: buffer.call(view),
      offsetBytes: byteOffset.call(view),
      lengthBytes: byteLength.call(view),
    }
  } catch {
    // A `DataView` of a detached buffer throws.
    return null
  }
}
