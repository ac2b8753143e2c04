/**
 * The kinds of number in this library. A byte offset, a page number and a granule index are all integers, and
 * a mix-up of them is the classic defect of allocators. So each kind has a type of its own at the borders of
 * modules. A plain `number` can be assigned to each kind, because hot loops compute with plain numbers. One
 * kind cannot be assigned to another.
 */

const { log2 } = Math

type Unit<Kind extends string> = number & { readonly __unit?: Kind }

/** A page in a heap's page-number space. Ranges of pages are half-open. */
export type PageNumber = Unit<'page number'>

/** A count of pages. */
export type PageCount = Unit<'page count'>

/**
 * What a heap hands out: the index of the block's first granule. Opaque to users. It is always below 2^31, so
 * that V8 keeps it as a small integer. With granules of 16 bytes that reaches 32 GiB.
 */
export type Block = Unit<'granule index'>

/**
 * Bytes in a granule. Every block starts at a multiple of this. C's `malloc` promises the same alignment on
 * 64-bit systems, and it is enough for any SIMD type of 128 bits.
 */
export const GRANULE_BYTES = 16
/** log2 of `GRANULE_BYTES`. */
export const GRANULE_SHIFT = 4

/** Means that there is no such page, block or gap. The only such value. */
export const NONE = -1

/** The bytes that granule indices below 2^31 can address: 32 GiB. */
export const MAX_SPACE_BYTES = 2 ** 31 * GRANULE_BYTES

export const KIB = 1024
export const MIB = 1024 * KIB
export const GIB = 1024 * MIB

/** Whether a number is a power of two, 1 included. Exact for every safe integer. */
export function isPowerOfTwo(n: number): boolean {
  return n >= 1 && Number.isInteger(log2(n)) && 2 ** log2(n) === n
}
