/** What `--delay` fills malloc with: 500 MiB of free blocks, each between two that are in use. */

/** @typedef {{ name: string, freeBytes: number, minBytes: number, maxBytes: number }} DelayCase */

const KIB = 1024
const FREE_BYTES = 500 * KIB * KIB

/** malloc gives blocks of 128 KiB mappings of their own, which go back at once: the longest are just shorter. @type {DelayCase[]} */
export const DELAY_CASES = [
  { name: 'mixed', freeBytes: FREE_BYTES, minBytes: 4 * KIB, maxBytes: 127 * KIB },
  { name: 'all-64k', freeBytes: FREE_BYTES, minBytes: 64 * KIB, maxBytes: 64 * KIB },
  { name: 'all-8k', freeBytes: FREE_BYTES, minBytes: 8 * KIB, maxBytes: 8 * KIB },
]
