/**
 * The runtime's own functions, as they were when this module was loaded.
 *
 * Programs replace methods of built-in prototypes, and own properties hide them: what looks like a plain read may run script,
 * and that may call the arena. Between the first and the last change of the books nothing may be used that script can replace,
 * so what is needed there is taken from here. Functions of `Math` each module takes for itself when it is loaded.
 */

const { apply, getOwnPropertyDescriptor, getPrototypeOf, ownKeys } = Reflect
const { defineProperties: defineAll, defineProperty, freeze } = Object
const { bind, call } = Function.prototype

export { apply }
export const defineProperties: (target: object, properties: PropertyDescriptorMap) => unknown = defineAll

/** A function of its `this` and arguments. V8 compiles such a call as it does a call of the method. */
export function uncurryThis<T, A extends unknown[], R>(
  method: (this: T, ...args: A) => R,
): (self: T, ...args: A) => R {
  return apply(bind, call, [method]) as (self: T, ...args: A) => R
}

/** The getter of a property of that prototype, as a function of the object. */
function getterOf<T, R>(prototype: object, name: string): (self: T) => R {
  const getter = getOwnPropertyDescriptor(prototype, name)?.get as (this: T) => R
  return uncurryThis(getter)
}

const bytes = Uint8Array.prototype
const views = getPrototypeOf(bytes) as object

export const fillBytes: (self: Uint8Array, byte: number) => Uint8Array = uncurryThis(bytes.fill)
export const copyBytes: (self: Uint8Array, from: Uint8Array) => void = uncurryThis(bytes.set)
/** The same for typed arrays of any kind. */
export const copyElements = copyBytes as unknown as (
  self: ArrayBufferView,
  from: ArrayBufferView,
  offset: number,
) => void
/** Elements of a typed array of any kind; 0 where its buffer was detached. */
export const lengthOf = getterOf<ArrayBufferView, number>(views, 'length')
export const bufferOf = getterOf<ArrayBufferView, ArrayBuffer>(views, 'buffer')
export const byteLengthOfView = getterOf<ArrayBufferView, number>(views, 'byteLength')
export const byteOffsetOf = getterOf<ArrayBufferView, number>(views, 'byteOffset')
/** Of an `ArrayBuffer`; 0 where it was detached. */
export const byteLengthOf = getterOf<ArrayBuffer, number>(ArrayBuffer.prototype, 'byteLength')

/** A copy of an array, with `deleteCount` elements at `start` replaced by `items`. It asks nobody of what class it is. */
export const spliced = uncurryThis(Array.prototype.toSpliced) as <T>(
  self: readonly T[],
  start: number,
  deleteCount: number,
  ...items: T[]
) => T[]
/** A copy of an array, its last element first. */
export const reversed = uncurryThis(Array.prototype.toReversed) as <T>(self: readonly T[]) => T[]
export const indexIn = uncurryThis(Array.prototype.indexOf) as <T>(self: readonly T[], item: T) => number

export const lastIndexIn = uncurryThis(Array.prototype.lastIndexOf) as <T>(
  self: readonly T[],
  item: T,
) => number

/** What a `WeakRef` refers to, if that is left. */
export const targetOf = uncurryThis(WeakRef.prototype.deref) as <T extends object>(
  self: WeakRef<T>,
) => T | undefined
export const register = uncurryThis(FinalizationRegistry.prototype.register) as <T>(
  self: FinalizationRegistry<T>,
  target: object,
  held: T,
  token?: object,
) => void
export const unregister = uncurryThis(FinalizationRegistry.prototype.unregister) as <T>(
  self: FinalizationRegistry<T>,
  token: object,
) => boolean

/** Gives a class its own, frozen copy of all that it inherits from the built-in class that it extends. */
function makeSafe<C extends { readonly prototype: object }>(kind: C): C {
  const { prototype } = kind
  const inherited = getPrototypeOf(prototype) as object
  for (const name of ownKeys(inherited)) {
    if (name === 'constructor') continue
    defineProperty(prototype, name, getOwnPropertyDescriptor(inherited, name) as PropertyDescriptor)
  }
  freeze(prototype)
  return kind
}

/** A `Map` whose methods nobody replaces. Iterating it by `for` is left to the prototypes of the runtime: use `forEach`. */
export const SafeMap: new <K, V>() => Map<K, V> = makeSafe(class SafeMap<K, V> extends Map<K, V> {})
export type SafeMap<K, V> = Map<K, V>
export const SafeSet: new <T>() => Set<T> = makeSafe(class SafeSet<T> extends Set<T> {})
export type SafeSet<T> = Set<T>
