/**
 * Checks that an allocator keeps its blocks apart and intact, in a pass of its own that is not timed.
 *
 * A block that is memory gets a pattern that belongs to its allocation alone. The pattern must still be there
 * when the block is resized (up to the shorter size) and when it is freed. An overlap, a block moved without
 * its contents or one purged while live shows as a foreign byte. Blocks that are only numbers are drawn on a
 * map of granules, where no two may meet.
 *
 *  1. Blocks of up to `WHOLE_BYTES` are written wholly. In longer ones the pattern is a word at each page's
 *     length and the last word, so that every page of a block holds some of it.
 */
import type { BufferBlocks, HeapBlocks } from './allocators.js'
import { RunError } from './errors.js'
import { ALLOCATE, FREE, type Trace } from './trace.js'

const PAGE_BYTES = 4096
const WORD_BYTES = 4
const WHOLE_BYTES = PAGE_BYTES
const GRANULE_BYTES = 16
const NONE = -1

/**
 * Returns the byte that the allocation numbered `seed` has at `offset`. Two odd multipliers mix both into the
 * top bits.
 */
function patternByte(seed: number, offset: number): number {
  return Math.imul(seed ^ Math.imul(offset, 0x85ebca6b), 0x9e3779b1) >>> 24
}

/**
 * Returns the patterned offset after `offset` in a block of `sizeBytes` (invariant 1). Not bitwise: offsets
 * may pass 2^31.
 */
function nextOffset(offset: number, sizeBytes: number): number {
  const next = offset + 1
  if (sizeBytes <= WHOLE_BYTES || next > sizeBytes - WORD_BYTES) return next
  const inPage = next % PAGE_BYTES
  return inPage < WORD_BYTES ? next : Math.min(next - inPage + PAGE_BYTES, sizeBytes - WORD_BYTES)
}

/** Writes the pattern of allocation `seed` over `block`. */
export function writePattern(block: Uint8Array, seed: number): void {
  const sizeBytes = block.length
  for (let at = 0; at < sizeBytes; at = nextOffset(at, sizeBytes)) block[at] = patternByte(seed, at)
}

/**
 * Returns the first offset below `keptBytes` at which `block` lacks the pattern of allocation `seed`, or -1.
 * `writtenBytes` is the size that the block had when the pattern was written.
 */
export function findMismatch(
  block: Uint8Array,
  seed: number,
  writtenBytes: number,
  keptBytes: number,
): number {
  for (let at = 0; at < keptBytes; at = nextOffset(at, writtenBytes)) {
    if (block[at] !== patternByte(seed, at)) return at
  }
  return NONE
}

function fail(operation: number, message: string): never {
  throw new RunError(`verification failed at operation ${operation + 1}: ${message}`)
}

/**
 * Replays `trace` on `blocks` and checks each block's length and contents. Every block is free afterwards.
 * Returns the number of checks. Throws `RunError` at the first difference.
 */
export function verifyContents(trace: Trace, blocks: BufferBlocks): number {
  const { operations, slots, sizes, operationCount, slotCount } = trace
  const seeds = new Int32Array(slotCount).fill(NONE)
  const writtenBytes = new Float64Array(slotCount)
  let checks = 0
  const check = (operation: number, slot: number, keptBytes: number) => {
    checks++
    const at = findMismatch(blocks.bufferOf(slot), seeds[slot], writtenBytes[slot], keptBytes)
    if (at !== NONE) fail(operation, `byte ${at} of a block of ${writtenBytes[slot]} bytes has changed`)
  }
  for (let index = 0; index < operationCount; index++) {
    const slot = slots[index]
    const sizeBytes = sizes[index]
    if (operations[index] === FREE) {
      check(index, slot, writtenBytes[slot])
      blocks.free(slot)
      seeds[slot] = NONE
      continue
    }
    if (operations[index] === ALLOCATE) {
      blocks.allocate(slot, sizeBytes)
      seeds[slot] = index
    } else {
      blocks.resize(slot, sizeBytes)
      check(index, slot, Math.min(writtenBytes[slot], sizeBytes))
    }
    const block = blocks.bufferOf(slot)
    if (block.length !== sizeBytes) fail(index, `asked for ${sizeBytes} bytes, got ${block.length}`)
    writePattern(block, seeds[slot])
    writtenBytes[slot] = sizeBytes
  }
  for (let slot = 0; slot < slotCount; slot++) {
    if (seeds[slot] === NONE) continue
    check(operationCount, slot, writtenBytes[slot])
    blocks.free(slot)
  }
  return checks
}

/**
 * Replays `trace` on `blocks` and checks that live blocks lie within the capacity, are long enough and never
 * overlap. Then frees them all and checks that the whole capacity can be allocated as one block. Returns how
 * many blocks were checked. Throws `RunError` at the first fault.
 */
export function verifyOverlap(trace: Trace, blocks: HeapBlocks): number {
  const { operations, slots, sizes, operationCount, slotCount } = trace
  const taken = new Uint8Array(blocks.capacityBytes / GRANULE_BYTES)
  const firsts = new Float64Array(slotCount).fill(NONE)
  const ends = new Float64Array(slotCount)
  let checks = 0
  const erase = (slot: number) => {
    taken.fill(0, firsts[slot], ends[slot])
    firsts[slot] = NONE
  }
  for (let index = 0; index < operationCount; index++) {
    const slot = slots[index]
    const operation = operations[index]
    if (operation === FREE) {
      blocks.free(slot)
      erase(slot)
      continue
    }
    if (operation === ALLOCATE) blocks.allocate(slot, sizes[index])
    else blocks.resize(slot, sizes[index])
    const offset = blocks.offsetOf(slot)
    const end = offset + blocks.sizeOf(slot)
    checks++
    if (offset % GRANULE_BYTES !== 0) fail(index, `offset ${offset} is not a multiple of ${GRANULE_BYTES}`)
    if (end - offset < sizes[index]) fail(index, `asked for ${sizes[index]} bytes, got ${end - offset}`)
    if (offset < 0 || end > blocks.capacityBytes)
      fail(index, `bytes ${offset} to ${end} are outside the heap`)
    const first = offset / GRANULE_BYTES
    const endGranule = Math.ceil(end / GRANULE_BYTES)
    // A resized block is drawn before its old place is erased, because the two were live together.
    if (taken.subarray(first, endGranule).includes(1))
      fail(index, `bytes ${offset} to ${end} overlap a live block`)
    if (operation !== ALLOCATE) erase(slot)
    taken.fill(1, first, endGranule)
    firsts[slot] = first
    ends[slot] = endGranule
  }
  for (let slot = 0; slot < slotCount; slot++) if (firsts[slot] !== NONE) blocks.free(slot)
  const whole = blocks.heap.allocate(blocks.capacityBytes)
  if (whole < 0)
    fail(operationCount, 'every block is free, but the whole capacity cannot be allocated as one block')
  blocks.heap.free(whole)
  return checks
}
