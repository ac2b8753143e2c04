/**
 * The runtime's own functions, as they were when this module was loaded.
 *
 * Programs replace methods of built-in prototypes, and own properties hide them. So a plain read may run
 * script, and that script may call the arena. Between the first and the last step of a change of the books,
 * only functions of this file are used, because script cannot replace them. Each module takes the functions
 * of `Math` that it needs when it is loaded.
 */

const { apply, getOwnPropertyDescriptor, getPrototypeOf, ownKeys } = Reflect
const { defineProperties: defineAll, defineProperty, freeze } = Object
const { bind, call } = Function.prototype

export { apply }
export const defineProperties: (target: object, properties: PropertyDescriptorMap) => unknown = defineAll

/**
 * Makes a method a function that gets its `this` as the first argument. V8 compiles a call of it as it
 * compiles a call of the method.
 */
export function uncurryThis<T, A extends unknown[], R>(
  method: (this: T, ...args: A) => R,
): (self: T, ...args: A) => R {
  return apply(bind, call, [method]) as (self: T, ...args: A) => R
}

/** Makes the getter of a prototype's property a function of the object. */
function getterOf<T, R>(prototype: object, name: string): (self: T) => R {
  const getter = getOwnPropertyDescriptor(prototype, name)?.get as (this: T) => R
  return uncurryThis(getter)
}

const bytes = Uint8Array.prototype
const views = getPrototypeOf(bytes) as object

export const fillBytes: (self: Uint8Array, byte: number, start?: number, end?: number) => Uint8Array =
  uncurryThis(bytes.fill)
/** Copies all bytes of `from` to the start of `self`. */
export const copyBytes: (self: Uint8Array, from: Uint8Array) => void = uncurryThis(bytes.set)
/** Copies all elements of `from` into `self`, from index `offset` on. For typed arrays of any kind. */
export const copyElements = copyBytes as unknown as (
  self: ArrayBufferView,
  from: ArrayBufferView,
  offset: number,
) => void
/** The number of elements of a typed array of any kind; 0 if its buffer was detached. */
export const lengthOf = getterOf<ArrayBufferView, number>(views, 'length')
export const bufferOf = getterOf<ArrayBufferView, ArrayBuffer>(views, 'buffer')
export const byteLengthOfView = getterOf<ArrayBufferView, number>(views, 'byteLength')
export const byteOffsetOf = getterOf<ArrayBufferView, number>(views, 'byteOffset')
/** The length of an `ArrayBuffer` in bytes; 0 if it was detached. */
export const byteLengthOf = getterOf<ArrayBuffer, number>(ArrayBuffer.prototype, 'byteLength')

/**
 * A copy of an array in which `items` replace `deleteCount` elements from `start` on. The copy is always a
 * plain array, because the method does not read the array's class.
 */
export const spliced = uncurryThis(Array.prototype.toSpliced) as <T>(
  self: readonly T[],
  start: number,
  deleteCount: number,
  ...items: T[]
) => T[]
/** A copy of an array in reverse order. */
export const reversed = uncurryThis(Array.prototype.toReversed) as <T>(self: readonly T[]) => T[]
export const indexIn = uncurryThis(Array.prototype.indexOf) as <T>(self: readonly T[], item: T) => number

export const lastIndexIn = uncurryThis(Array.prototype.lastIndexOf) as <T>(
  self: readonly T[],
  item: T,
) => number

/** The object that a `WeakRef` refers to, or undefined if it was collected. */
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

/**
 * Copies all that a class inherits from the built-in class that it extends into its own prototype, and
 * freezes that. Returns the class.
 */
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

/**
 * A `Map` whose methods script cannot replace. Iterate it with `forEach`: a `for` loop uses prototypes of the
 * runtime.
 */
export const SafeMap: new <K, V>() => Map<K, V> = makeSafe(class SafeMap<K, V> extends Map<K, V> {})
export type SafeMap<K, V> = Map<K, V>
/** A `Set` whose methods script cannot replace. Iterate it with `forEach`. */
export const SafeSet: new <T>() => Set<T> = makeSafe(class SafeSet<T> extends Set<T> {})
export type SafeSet<T> = Set<T>
/** A `WeakMap` whose methods script cannot replace. */
export const SafeWeakMap: new <K extends object, V>() => WeakMap<K, V> = makeSafe(
  class SafeWeakMap<K extends object, V> extends WeakMap<K, V> {},
)
