/** What mappings of an arena are called, where the kernel can name them. */

/** The kernel takes 79 bytes. */
const MAX_BYTES = 79
const PREFIX = 'offheap: '
/** It takes printable ASCII, but none of these. */
const REFUSED = /[^\x20-\x7e]|[\\`$[\]]/gu

/**
 * Returns the name for mappings of the arena with that name. What the kernel refuses is `_`, and what is too long is
 * cut.
 */
export function mappingName(arenaName: string): string {
  return `${PREFIX}${arenaName.replace(REFUSED, '_')}`.slice(0, MAX_BYTES)
}
