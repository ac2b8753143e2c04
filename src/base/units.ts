/**
 * The kinds of number in this library. A byte offset, a page number and a granule index are all integers, and mixing
 * them up is the classic bug of allocators, so each kind has a type of its own at module borders. Plain numbers may
 * flow in (hot loops compute with plain locals); one kind never flows into another.
 */

const { log2 } = Math

type Unit<Kind extends string> = number & { readonly __unit?: Kind }

/** A page in a heap's page-number space. Ranges of pages are half-open. */
export type PageNumber = Unit<'page number'>

/** A count of pages. */
export type PageCount = Unit<'page count'>

/**
 * What a heap hands out: the index of the block's first granule. Opaque to users. Always below 2^31, so that V8 keeps
 * it as a small integer: 16-byte granules reach 32 GiB.
 */
export type Block = Unit<'granule index'>

/** Every block starts at a multiple of this: what C's `malloc` promises on 64-bit systems, enough for any SIMD type of 128 bits. */
export const GRANULE_BYTES = 16
export const GRANULE_SHIFT = 4

/** "No such page, block or gap". The only sentinel. */
export const NONE = -1

/** The bytes that 31-bit granule indices can address: 32 GiB. */
export const MAX_SPACE_BYTES = 2 ** 31 * GRANULE_BYTES

export const KIB = 1024
export const MIB = 1024 * KIB
export const GIB = 1024 * MIB

/** A power of two, 1 included. Exact for every safe integer. */
export function isPowerOfTwo(n: number): boolean {
  return n >= 1 && Number.isInteger(log2(n)) && 2 ** log2(n) === n
}
