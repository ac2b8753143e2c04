/**
 * Gives the resident bytes of each mapping to one part of the process. Where a mapping has several, because the
 * kernel merged neighbours, its bytes are divided by what is resident of each. So the parts always add up.
 */
import type { OwnerId } from '../memory/kernel.js'
import type { Malloc } from '../memory/malloc.js'
import type { PlaceOwner, PlacePart, Places } from '../memory/places.js'
import { type Kind, kindsOf } from './kinds.js'
import type { Mapping } from './smaps.js'

const BOOKS: OwnerId = 0

/** Resident bytes of each part. */
export interface Resident {
  allBytes: number
  swappedBytes: number
  breakBytes: number
  mappingBytes: number
  v8Bytes: number
  fileBytes: number
  stackBytes: number
  restBytes: number
  booksBytes: number
  /** Of arenas, but of no arena that there is. */
  otherBytes: number
  readonly ownerBytes: Map<OwnerId, number>
  readonly owners: readonly PlaceOwner[]
}

/** What the addon knows. */
type Knowledge = Places & Pick<Malloc, 'mallocBytesIn'>

/** Says of the mappings of this process to which part their resident bytes belong. */
export function attribute(mappings: readonly Mapping[], addon: Knowledge): Resident {
  const kinds = kindsOf(mappings)
  const partsOf = partsByMapping(mappings, addon)
  const ofMalloc = mallocShares(mappings, kinds, addon)
  const resident: Resident = {
    allBytes: 0,
    swappedBytes: 0,
    breakBytes: 0,
    mappingBytes: 0,
    v8Bytes: 0,
    fileBytes: 0,
    stackBytes: 0,
    restBytes: 0,
    booksBytes: 0,
    otherBytes: 0,
    ownerBytes: new Map(),
    owners: addon.placeOwners(),
  }
  const known = new Set(resident.owners.map(({ owner }) => owner))
  for (const [index, { residentBytes, swappedBytes }] of mappings.entries()) {
    resident.allBytes += residentBytes
    resident.swappedBytes += swappedBytes
    const parts = partsOf.get(index)
    let left = residentBytes
    if (parts !== undefined) {
      for (const [part, bytes] of divide(residentBytes, parts)) {
        if (part.owner === null) continue
        left -= bytes
        if (part.owner === BOOKS) resident.booksBytes += bytes
        // It was closed between the two questions.
        else if (!known.has(part.owner)) resident.otherBytes += bytes
        else resident.ownerBytes.set(part.owner, (resident.ownerBytes.get(part.owner) ?? 0) + bytes)
      }
    }
    addKind(resident, kinds[index], left, ofMalloc.get(index) ?? 1)
  }
  return resident
}

function addKind(resident: Resident, kind: Kind, bytes: number, mallocShare: number): void {
  if (kind === 'arena' || kind === 'kept') resident.otherBytes += bytes
  else if (kind === 'break') resident.breakBytes += bytes
  else if (kind === 'v8') resident.v8Bytes += bytes
  else if (kind === 'file') resident.fileBytes += bytes
  else if (kind === 'stack') resident.stackBytes += bytes
  else if (kind === 'rest') resident.restBytes += bytes
  else {
    const own = Math.round(bytes * mallocShare)
    resident.mappingBytes += own
    resident.restBytes += bytes - own
  }
}

/** The parts of each mapping in which this library has memory, by the mapping's index. */
function partsByMapping(mappings: readonly Mapping[], addon: Places): Map<number, PlacePart[]> {
  // Memory of ours is private and anonymous, or above the program break.
  const indices = indicesOf(
    mappings,
    ({ path, residentBytes }) => residentBytes > 0 && !path.startsWith('/') && !path.startsWith('[v'),
  )
  const found = new Map<number, PlacePart[]>()
  for (const part of addon.placesIn(boundsOf(mappings, indices))) {
    const index = indices[part.stretch]
    const parts = found.get(index)
    if (parts === undefined) found.set(index, [part])
    else parts.push(part)
  }
  return found
}

/** Which share of the mappings of kind `mapping` is malloc's, by their index. */
function mallocShares(
  mappings: readonly Mapping[],
  kinds: readonly Kind[],
  addon: Knowledge,
): Map<number, number> {
  const indices = indicesOf(
    mappings,
    ({ residentBytes }, index) => residentBytes > 0 && kinds[index] === 'mapping',
  )
  const bytes = addon.mallocBytesIn(boundsOf(mappings, indices))
  return new Map(indices.map((index, i) => [index, bytes[i] / (mappings[index].end - mappings[index].start)]))
}

function indicesOf(
  mappings: readonly Mapping[],
  isWanted: (mapping: Mapping, index: number) => boolean,
): number[] {
  return [...mappings.keys()].filter(index => isWanted(mappings[index], index))
}

function boundsOf(mappings: readonly Mapping[], indices: readonly number[]): Float64Array {
  return new Float64Array(indices.flatMap(index => [mappings[index].start, mappings[index].end]))
}

/**
 * Divides bytes among the parts of a mapping, by what is resident of each. By their length where nothing is: pages went
 * back between the two looks.
 */
function* divide(bytes: number, parts: readonly PlacePart[]): Generator<[PlacePart, number]> {
  const sum = (of: (part: PlacePart) => number) => parts.reduce((total, part) => total + of(part), 0)
  const residentBytes = sum(part => part.residentBytes ?? part.bytes)
  const weight = (part: PlacePart) =>
    residentBytes > 0 ? (part.residentBytes ?? part.bytes) / residentBytes : part.bytes / sum(p => p.bytes)
  let left = bytes
  for (const [index, part] of parts.entries()) {
    const isLast = index === parts.length - 1
    const own = isLast ? left : Math.min(left, Math.round(bytes * weight(part)))
    left -= own
    yield [part, own]
  }
}
