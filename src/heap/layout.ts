/**
 * Constants that the files of the heap share: which column of the books holds what, and where.
 *
 * The books of one frame:
 *
 *    bits      | start mark | start mark | ...     8 pairs of words, one for each 32 granules   granule-map
 *    occupied  | gap 0..7   | any 0..7   |         16 bits: two for each pair                   granule-map
 *    rows      | END | START |                     words 0 and 1                                 granule-map
 *              | NEXT | PREV | EDGE |              words 2 to 4                                  long-gaps
 */

const { clz32 } = Math

/** `granule >>> FRAME_SHIFT` is the frame of a granule. */
export const FRAME_SHIFT = 8
export const FRAME_GRANULES = 1 << FRAME_SHIFT

/**
 * Order of the bits in all bitmaps of blocks and gaps. `FIRST_BIT >>> i` is the bit of granule `i` of a
 * word's 32. `LATER_BITS >>> i` are the bits of all granules behind it. In this order `Math.clz32` counts the
 * distance to the next set bit.
 */
export const FIRST_BIT = 1 << 31
export const LATER_BITS = ~FIRST_BIT

/**
 * Words at the start of `bits` that belong to no managed granule. They hold the bits of granules -32 to -1,
 * so that the granule before the first one can be read.
 */
export const BITS_PREFIX = 2

// Bits of `occupied` for pair 0 of a frame. `>>> w` gives those for pair `w` of 8.
export const ANY = 0x80 // some bit of the pair is set
export const GAP = 0x8000 // a gap starts in the pair
/** `Math.clz32(ANY)`, to turn what `Math.clz32` counts in `occupied` into the number of a pair. */
export const FIRST_ANY = clz32(ANY)

// Row of a frame: word `w` of frame `f` is `rows[f * ROW_WORDS + w]`. A *stretch* is a block, a gap or the
// front.
export const ROW_WORDS = 5
/**
 * Where the last stretch that starts in the frame ends. Valid if that is the frame's end or beyond. Read it
 * with `>>> 0`.
 */
export const END = 0
/**
 * Where the stretch starts that covers the frame's first granule. Valid if that stretch starts in an earlier
 * frame and its last granule lies in this one.
 */
export const START = 1
/** Of the long gap that starts in the frame: the frame of the next gap in its bin, or NONE. */
export const NEXT = 2
/**
 * Of that long gap: the frame of the gap before it in its bin. The first gap of a bin has the last one here.
 */
export const PREV = 3
/** Of that long gap: its whole clean pages << 8 | the granule of the frame at which it starts. */
export const EDGE = 4

/**
 * Bins of short gaps. Each level of the tree over frames in `short-gaps` has one word for each bin and each
 * 32 entries of the level below.
 */
export const BINS_SHIFT = 5
export const BINS = 1 << BINS_SHIFT

/**
 * The most frames of one kind that a search for a short gap looks at. Each but the last has a top that is too
 * high, and the search sets it right.
 */
export const MAX_FRAMES = 64

// The two sets of bins in `long-gaps`.
export const WARM = 0 // gaps without a whole clean page
export const COLD = 1 // gaps with at least one whole clean page
export const SETS = 2

// Why a block was refused: values of `refusal`.
export const REFUSED_SPACE = 1 // no gap is long enough: add pages and try again
export const REFUSED_LIMIT = 2 // the block would commit more than `limitPages`: purge and try again
/**
 * The block would take clean pages, and `growthPages` are used up. `takeAgain` allows more, gives up kept
 * blocks if they are many, and tries again.
 */
export const REFUSED_GROWTH = 3

/** Each size below this many granules has a stack of its own in `block-cache`. */
export const DIRECT = 256
/** Longer sizes share 2^8 stacks, see `sharedOf` in `block-cache`. */
export const SHARED_SHIFT = 8
/** Index in `stacks` of the first size of a shared stack. Before it stands the top of each stack. */
export const FIRST_SIZE = DIRECT + (1 << SHARED_SHIFT)
/**
 * The bottom of each stack that has no room. The word behind it is the end: there is nothing to take and no
 * slot to put a block.
 */
export const NO_ROOM = FIRST_SIZE + (1 << SHARED_SHIFT)
/**
 * Stands at the end of a room that can get longer; at the end of any other stands `FULL`. At the bottom
 * stands `NO_BLOCK` less the number of slots.
 */
export const NO_BLOCK = -1
/** Stands behind the last slot of a stack that can get no more room. */
export const FULL = -(2 ** 31)
/**
 * log2 of the lengths in a doubling: blocks of a frame and more have one of 32 lengths a doubling. From
 * 256 KiB on there are more lengths.
 */
export const LONG_STEPS_SHIFT = 5

// Offsets in the region, which holds the books of fixed length. `…_AT` counts bytes, `…_LENGTH` elements. All
// that every heap writes to lies together, on the first two pages of 4 KiB.
/** log2 of the bins of each set in `long-gaps`: eight for each of the 24 doublings from 2^8 to 2^31. */
export const BIN_SHIFT = 8
/** Heads of these bins, for both sets. */
export const HEADS_AT = 0
export const HEADS_LENGTH = SETS << BIN_SHIFT
export const BIN_BITS_AT = HEADS_AT + HEADS_LENGTH * 4
export const BIN_BITS_LENGTH = SETS << (BIN_SHIFT - 5)
export const SUMMARIES_AT = BIN_BITS_AT + BIN_BITS_LENGTH * 4
/** The stacks of `block-cache`, of both kinds. */
export const STACKS = DIRECT + (1 << SHARED_SHIFT)
/** Their bottoms, one half-word each. */
export const BOTTOMS_AT = SUMMARIES_AT + SETS * 4
/** Their spare rooms, one word for each step. */
export const SPARE_ROOMS_AT = BOTTOMS_AT + STACKS * 2
export const SPARE_ROOMS_LENGTH = 6
/** The first columns of a heap, if they are this short. */
export const FIRST_COLUMNS_AT = SPARE_ROOMS_AT + SPARE_ROOMS_LENGTH * 4
export const FIRST_COLUMNS_BYTES = 1536
export const STACKS_AT = FIRST_COLUMNS_AT + FIRST_COLUMNS_BYTES
/**
 * The length of `stacks` in words: five times what the recordings need. If all sizes that have a stack are in
 * use, some stacks get less room than they could have. Each arena has one such array, and it counts as
 * external memory.
 */
export const STACKS_LENGTH = 2 ** 13
export const REGION_BYTES = Math.ceil((STACKS_AT + STACKS_LENGTH * 4) / 4096) * 4096
