/**
 * The patterns by which writes of code outside of JavaScript are found while `debug` is on: one around the
 * bytes of every live block, and one all over a block in quarantine.
 */
import { type Block, GRANULE_BYTES } from '../../base/units.js'
import type { PageSource } from '../../memory/page-source.js'
import type { DamageKind, DamageReports } from '../../notices/damage.js'
import type { Trace } from './trace.js'

/** These bytes make no small number, no text and no plausible address. */
const SLACK_BYTE = 0xfd
const FREED_BYTE = 0xdb

/** What is known of a block, from its allocation until its memory is free. */
export interface DebugBlock {
  readonly block: Block
  readonly sizeBytes: number
  /** The first byte of the owner's bytes, counted from the block's start. */
  readonly startBytes: number
  /** The bytes of the block that can be read: all but its guard. */
  readableBytes: number
  /** Whether the last page is a guard, or will be one in a moment. */
  isGuarded: boolean
  /** Whether the bytes around the owner's bytes have their pattern. */
  isFilled: boolean
  readonly allocatedAt: Trace
  freedAt: Trace | null
  /** Whether the owner was collected without `free`. The pattern around the block is then looked at later. */
  isForgotten: boolean
}

export class Patterns {
  readonly #source: PageSource
  readonly #reports: DamageReports

  constructor(source: PageSource, reports: DamageReports) {
    this.#source = source
    this.#reports = reports
  }

  /** Fills the bytes around the owner's bytes. */
  surround(record: DebugBlock): void {
    for (const [from, length] of slackOf(record)) this.#fill(record, from, length, SLACK_BYTE)
    record.isFilled = true
  }

  /** Fills a block that ended. */
  cover(record: DebugBlock): void {
    // This is first: after an interruption the pattern around the block must not be looked for, because it is
    // overwritten.
    record.isFilled = false
    this.#fill(record, 0, record.readableBytes, FREED_BYTE)
  }

  /** Reports the first write around the owner's bytes, and repairs the pattern there. */
  checkAround(record: DebugBlock): void {
    if (!record.isFilled) return
    for (const [from, length] of slackOf(record)) {
      if (this.#checkBytes(record, 'overrun', from, length, SLACK_BYTE)) return
    }
  }

  /** Reports the first write to a block that `cover` filled, and repairs the pattern. */
  checkCover(record: DebugBlock): void {
    this.#checkBytes(record, 'write-after-free', 0, record.readableBytes, FREED_BYTE)
  }

  /**
   * Reports the first byte of a stretch of the block that is not `byte`, and repairs the pattern, so that
   * damage is reported once. Returns whether there was such a byte.
   */
  #checkBytes(
    record: DebugBlock,
    kind: DamageKind,
    fromBytes: number,
    lengthBytes: number,
    byte: number,
  ): boolean {
    const index = this.#source.firstOther(record.block * GRANULE_BYTES + fromBytes, lengthBytes, byte)
    if (index < 0) return false
    this.#fill(record, fromBytes, lengthBytes, byte)
    this.#reports.report(kind, {
      sizeBytes: record.sizeBytes,
      offsetBytes: fromBytes + index - record.startBytes,
      allocatedAt: record.allocatedAt,
      freedAt: record.freedAt,
    })
    return true
  }

  #fill(record: DebugBlock, fromBytes: number, lengthBytes: number, byte: number): void {
    this.#source.fill(record.block * GRANULE_BYTES + fromBytes, lengthBytes, byte)
  }
}

/**
 * The stretches of a block before and after its owner's bytes: first byte, counted from the block's start,
 * and length.
 */
function slackOf(record: DebugBlock): [fromBytes: number, lengthBytes: number][] {
  const { startBytes, sizeBytes, readableBytes } = record
  const endBytes = startBytes + sizeBytes
  const slack: [number, number][] = []
  if (startBytes > 0) slack.push([0, startBytes])
  if (readableBytes > endBytes) slack.push([endBytes, readableBytes - endBytes])
  return slack
}
