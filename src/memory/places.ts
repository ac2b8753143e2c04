/**
 * The interface to what the addon knows of the places of this library's memory, in all threads. It is for reports:
 * script has the addresses from /proc/self/smaps, and the addon says whose they are.
 */
import type { OwnerId } from './kernel.js'

/** A part of one stretch of addresses. */
export interface PlacePart {
  /** The index of the stretch. */
  readonly stretch: number
  /** Whose it is: 0 for books, null for what nobody has now. */
  readonly owner: OwnerId | null
  readonly bytes: number
  /** Pages that are resident, in bytes. Null where the part is the whole stretch. */
  readonly residentBytes: number | null
}

/** An arena that has memory, of any thread, or had it when it was closed or its thread ended. */
export interface PlaceOwner {
  readonly owner: OwnerId
  readonly name: string
  /** Whether it is of this thread. */
  readonly isHere: boolean
}

export interface Places {
  /**
   * Says which parts of stretches of addresses are whose. A stretch in which nothing is ours has no part.
   * `bounds` has starts and ends by turns.
   */
  placesIn(bounds: Float64Array): PlacePart[]

  placeOwners(): PlaceOwner[]
}
