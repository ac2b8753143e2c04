/** Which bytes of which buffer a view covers, whatever script has put onto the view itself. */

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

// Taken once, so that no accessor of somebody else's is run.
const OF_ARRAYS = gettersOf(Object.getPrototypeOf(Uint8Array.prototype))
const OF_DATA_VIEWS = gettersOf(DataView.prototype)
const isView = ArrayBuffer.isView
const tagOf = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag)
  ?.get as Getter<string | undefined>

/** Null for what is no view, and for a view of memory that was taken away. */
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
    // A DataView of a detached buffer throws.
    return null
  }
}
