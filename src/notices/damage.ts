/**
 * Reports damage that code outside JavaScript did to memory while `debug` is on: on a channel of
 * `node:diagnostics_channel`, or, if the channel has no subscriber, as a warning of the process. It is
 * reported after the call that found it, never by throwing, because the caller did not cause it.
 */
import { channel } from 'node:diagnostics_channel'
import { soon } from '../base/deferral.js'

export type DamageKind = 'write-after-free' | 'overrun'

/**
 * The message on `offheap:write-after-free`: memory of a freed block was written to. And the message on
 * `offheap:overrun`: memory around a block was written to before the block was freed.
 */
export interface DamageMessage {
  /** The arena's name. */
  arena: string
  /** The bytes that the block was asked for. */
  sizeBytes: number
  /**
   * The offset of the first byte that was changed, counted from the block's first byte. Negative if it lies
   * before the block.
   */
  offsetBytes: number
  /** The stack of the call that allocated the block, a line for each frame. */
  allocatedAt: string
  /**
   * The stack of the call that freed the block, a line for each frame. Empty if the block is still live,
   * which only `check()` finds.
   */
  freedAt: string
}

/**
 * Where a call was made. `frames` is the text of its stack, a line for each frame. It is read once the call
 * has ended.
 */
interface CallSite {
  readonly frames: string
}

/** What a message is made from, once the call has ended. */
export interface Damage {
  readonly sizeBytes: number
  readonly offsetBytes: number
  readonly allocatedAt: CallSite
  readonly freedAt: CallSite | null
}

const CODES = { 'write-after-free': 'OFFHEAP_WRITE_AFTER_FREE', overrun: 'OFFHEAP_OVERRUN' } as const
const channels = {
  'write-after-free': channel('offheap:write-after-free'),
  overrun: channel('offheap:overrun'),
}
/**
 * Most warnings of one arena. A program that damages one block often damages a thousand, and the first few
 * tell where.
 */
export const MAX_WARNINGS = 10

export class DamageReports {
  readonly #arenaName: string
  #warnings = 0

  constructor(arenaName: string) {
    this.#arenaName = arenaName
  }

  report(kind: DamageKind, { sizeBytes, offsetBytes, allocatedAt, freedAt }: Damage): void {
    soon(() => {
      const message: DamageMessage = {
        arena: this.#arenaName,
        sizeBytes,
        offsetBytes,
        allocatedAt: allocatedAt.frames,
        freedAt: freedAt?.frames ?? '',
      }
      if (channels[kind].hasSubscribers) channels[kind].publish(message)
      else this.#warn(kind, message)
    })
  }

  #warn(kind: DamageKind, message: DamageMessage): void {
    if (this.#warnings === MAX_WARNINGS) return
    this.#warnings++
    const { sizeBytes, offsetBytes, allocatedAt, freedAt } = message
    const what =
      kind === 'overrun'
        ? `memory around a block of ${sizeBytes} bytes was written to`
        : `a block of ${sizeBytes} bytes was written to after free`
    const last =
      this.#warnings === MAX_WARNINGS
        ? `. This is the last of ${MAX_WARNINGS} warnings: subscribe to 'offheap:${kind}' to be told of all`
        : ''
    const freed = freedAt === '' ? '' : `\nfreed\n${freedAt}`
    process.emitWarning(
      `arena '${this.#arenaName}': ${what}, at offset ${offsetBytes}, from outside JavaScript${last}`,
      {
        type: 'ArenaWarning',
        code: CODES[kind],
        detail: `allocated\n${allocatedAt}${freed}`,
      },
    )
  }
}
