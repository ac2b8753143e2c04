/** The blocks that no ref names, because a call that made, moved or ended them was interrupted. */
import { lengthOf, uncurryThis } from '../base/primordials.js'
import type { Block } from '../base/units.js'
import type { RecordPins } from '../buffers/records/record-pins.js'
import type { Records } from '../buffers/records/records.js'
import type { BlockHeap } from '../heap/block-heap.js'
import type { Ref, Slots } from './slots.js'

/** What lost blocks are found by. */
export interface LostParts {
  readonly heap: BlockHeap
  readonly slots: Slots
  readonly records: Records
  readonly pins: Pick<RecordPins, 'forEach'>
}

const Blocks = Int32Array
const sortNumbers = uncurryThis(Int32Array.prototype.sort)

/**
 * Ends the lost blocks of a store, within a change and while no move is queued. If there are none, it only counts.
 * Otherwise it reads all slots.
 */
export function endLost({ heap, slots, records, pins }: LostParts): void {
  let endingCount = 0
  pins.forEach((_, __, ref) => {
    if (slots.isEnding(ref as Ref)) endingCount++
  })
  const count = slots.liveCount + endingCount
  if (heap.liveBlocks - count - records.setAsideBlocks <= 0) return
  const named = new Blocks(count)
  let next = 0
  const { end } = slots
  for (let slot = slots.nextLive(0, end); slot < end; slot = slots.nextLive(slot + 1, end)) {
    named[next++] = slots.blockOf(slots.refAt(slot) as Ref)
  }
  pins.forEach((block, _, ref) => {
    if (slots.isEnding(ref as Ref)) named[next++] = block
  })
  sortNumbers(named)
  endOthers(heap.listLive(), named, block => {
    if (!records.isSetAside(block)) records.end(block, heap.sizeOf(block))
  })
}

/** Calls `end` for each block in `live` that is not in `named`. Both ascend. */
function endOthers(live: Int32Array, named: Int32Array, end: (block: Block) => void): void {
  const liveCount = lengthOf(live)
  const namedCount = lengthOf(named)
  for (let i = 0, next = 0; i < liveCount; i++) {
    while (next < namedCount && named[next] < live[i]) next++
    if (named[next] !== live[i]) end(live[i])
  }
}
