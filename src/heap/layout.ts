/** Constants that the files of the heap share: which column of the books has what, and where. */

const { clz32 } = Math

/** `granule >>> FRAME_SHIFT` is its frame. */
export const FRAME_SHIFT = 8
export const FRAME_GRANULES = 1 << FRAME_SHIFT

/**
 * In all bitmaps of blocks and gaps, `FIRST_BIT >>> i` is the bit of the `i`-th of a word's 32, and `LATER_BITS >>> i` are
 * those behind it: then the next one set is what `Math.clz32` counts.
 */
export const FIRST_BIT = 1 << 31
export const LATER_BITS = ~FIRST_BIT

/** Words of `bits` before those of the first granules, so that the granule before the first one can be read. */
export const BITS_PREFIX = 2

// Bits of `occupied` for pair 0 of a frame; `>>> w` for pair `w` of 8.
export const ANY = 0x80 // some bit is set there
export const GAP = 0x8000 // a gap starts there
/** What `Math.clz32` says of `ANY`. */
export const FIRST_ANY = clz32(ANY)

// Row of a frame: word `w` of frame `f` is `rows[f * ROW_WORDS + w]`.
export const ROW_WORDS = 5
export const END = 0 // where what starts last in the frame ends, if that is the frame's end or beyond; read with `>>> 0`
export const START = 1 // where what covers the frame's first granule starts, if it ends in the frame and starts before
export const NEXT = 2 // neighbours in its bin, as frames, of the long gap that starts in the frame; before the first is the last
export const PREV = 3
export const EDGE = 4 // of that gap: its clean pages << 8 | where in the frame it starts

/** Levels of the tree over frames in `short-gaps`: one word a bin for 32 of the level below. */
export const BINS = 32

// Sets of bins in `long-gaps`.
export const WARM = 0 // gaps that hold no whole clean page
export const COLD = 1 // all others
export const SETS = 2

// Why a block was refused.
export const REFUSED_SPACE = 1 // no gap is long enough: add pages and try again
export const REFUSED_LIMIT = 2 // it would commit more than `limitPages`: purge and try again
export const REFUSED_GROWTH = 3 // it would take clean pages, and `growthPages` are used up: see what else can be had, and allow more

/** Sizes below this many granules have a stack of their own in `block-cache`. */
export const DIRECT = 256
/** Longer ones share 256, see `BlockCache.sharedOf`. */
export const SHARED_SHIFT = 8
/** Words of `stacks` before the sizes of those: the top of each. */
export const FIRST_SIZE = DIRECT + (1 << SHARED_SHIFT)
/** Stands behind the last slot of a stack that gets no more. */
export const FULL = -(2 ** 31)
/** Blocks of a frame and more have one of 32 lengths a doubling; from 256 KiB on, of more. */
export const LONG_STEPS_SHIFT = 5

// What a heap has of fixed length, in one region. What every heap writes to lies together, on two pages of 4 KiB.
/** Heads of the bins of `long-gaps`: eight bins for each of the 24 doublings from 2^8 to 2^31, twice. */
export const BIN_SHIFT = 8
export const HEADS_AT = 0
export const HEADS_LENGTH = SETS << BIN_SHIFT
export const BIN_BITS_AT = HEADS_AT + HEADS_LENGTH * 4
export const BIN_BITS_LENGTH = SETS << (BIN_SHIFT - 5)
export const SUMMARIES_AT = BIN_BITS_AT + BIN_BITS_LENGTH * 4
/** The bottoms of the stacks of `block-cache`, and its spare rooms. */
export const STACKS = DIRECT + (1 << SHARED_SHIFT)
export const BOTTOMS_AT = SUMMARIES_AT + SETS * 4
export const SPARE_ROOMS_AT = BOTTOMS_AT + STACKS * 2
export const SPARE_ROOMS_LENGTH = 6
/** The first columns of a small heap. */
export const FIRST_COLUMNS_AT = SPARE_ROOMS_AT + SPARE_ROOMS_LENGTH * 4
export const FIRST_COLUMNS_BYTES = 1536
export const STACKS_AT = FIRST_COLUMNS_AT + FIRST_COLUMNS_BYTES
/**
 * Words of all stacks: five times what recordings need. With as many sizes as there are stacks some get less than they could
 * have. Each arena has them, and they count as external memory.
 */
export const STACKS_LENGTH = 2 ** 13
export const REGION_BYTES = Math.ceil((STACKS_AT + STACKS_LENGTH * 4) / 4096) * 4096
