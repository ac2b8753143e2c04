/** Reads the text of /proc/PID/smaps: proc(5) and the kernel's Documentation/filesystems/proc.rst describe it. */
import { KIB } from '../base/units.js'

/** One mapping of the kernel. Neighbours of a kind are one mapping. */
export interface Mapping {
  /** The first address, and the one behind the last. */
  readonly start: number
  readonly end: number
  /** As `rw-p`: readable, writable, executable, private (or shared: `s`). */
  readonly permissions: string
  /** The path of a file, a name such as `[heap]`, or nothing for anonymous memory. */
  readonly path: string
  readonly residentBytes: number
  readonly swappedBytes: number
  /** The two letters of each flag, with spaces between them: `VmFlags`. Empty where the kernel tells none. */
  readonly flags: string
}

/** The line that begins a mapping: addresses, permissions, offset, device, inode, path. */
const HEAD = /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) [0-9a-f]+ [0-9a-f]+:[0-9a-f]+ \d+ *(.*)$/

/**
 * Returns the mappings in the text of an smaps file, in the order of their addresses. Fields that are missing, as on
 * older kernels, are 0 or empty.
 *
 * The kernel writes such a file some mappings at a time. A mapping that grew meanwhile is in it twice: up to where
 * the first part ended, and then whole. The whole one counts.
 */
export function parseSmaps(text: string): Mapping[] {
  const mappings: Mapping[] = []
  let at = 0
  while (at < text.length) {
    const endOfHead = endOfLine(text, at)
    const head = HEAD.exec(text.slice(at, endOfHead))
    at = endOfHead + 1
    if (head === null) continue
    const next = startOfNext(text, at)
    const fields = text.slice(at, next)
    at = next
    append(mappings, {
      start: Number.parseInt(head[1], 16),
      end: Number.parseInt(head[2], 16),
      permissions: head[3],
      path: head[4],
      residentBytes: bytesOf(fields, 'Rss:'),
      swappedBytes: bytesOf(fields, '\nSwap:'),
      flags: /^VmFlags: (.*?) *$/m.exec(fields)?.[1] ?? '',
    })
  }
  return mappings
}

function append(mappings: Mapping[], mapping: Mapping): void {
  let last = mappings.at(-1)
  while (last !== undefined && last.start >= mapping.start) {
    mappings.pop()
    last = mappings.at(-1)
  }
  // Another mapping ended and this one began within its addresses: what lay below is as it was.
  if (last !== undefined && last.end > mapping.start)
    mappings[mappings.length - 1] = cutAt(last, mapping.start)
  mappings.push(mapping)
}

function cutAt(mapping: Mapping, end: number): Mapping {
  const share = (end - mapping.start) / (mapping.end - mapping.start)
  const kept = (bytes: number) => Math.round((bytes * share) / KIB) * KIB
  return {
    ...mapping,
    end,
    residentBytes: kept(mapping.residentBytes),
    swappedBytes: kept(mapping.swappedBytes),
  }
}

function endOfLine(text: string, from: number): number {
  const end = text.indexOf('\n', from)
  return end === -1 ? text.length : end
}

/** Fields begin with a capital letter, the line of a mapping with a digit or a small letter. */
function startOfNext(text: string, from: number): number {
  let at = from
  while (at < text.length && text[at] >= 'A' && text[at] <= 'Z') at = endOfLine(text, at) + 1
  return at
}

function bytesOf(fields: string, name: string): number {
  const at = fields.indexOf(name)
  return at === -1 ? 0 : Number.parseInt(fields.slice(at + name.length, at + name.length + 24), 10) * KIB
}

/** Whether a mapping has that flag. */
export function hasFlag({ flags }: Mapping, flag: string): boolean {
  return flags.includes(flag) && flags.split(' ').includes(flag)
}
