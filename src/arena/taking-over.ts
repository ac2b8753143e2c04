/** Takes blocks over for a stream: their owners are spent at once, and a loan holds their memory until the stream is done. */
import type { Debugging } from '../buffers/blocks.js'
import type { Leaks } from '../buffers/leaks.js'
import { type ArenaIdentity, blockOf, type Owner, sizeOf, watchedBlock } from '../buffers/owner.js'
import type { BlockLoan, Pins } from '../buffers/pins.js'
import type { BlockTaker, TakenBlock } from '../bytes/outgoing.js'
import type { Changes } from './changes.js'
import { closedError, streamDetachedError } from './errors.js'
import type { Ownership } from './ownership.js'

type OwnerBuffer = Uint8Array & Owner

const METHOD = 'stream'

export class TakingOver implements BlockTaker {
  readonly #arena: ArenaIdentity
  readonly #ownership: Ownership
  readonly #pins: Pins
  readonly #leaks: Leaks
  readonly #debug: Debugging | null
  readonly #changes: Changes

  constructor(
    arena: ArenaIdentity,
    ownership: Ownership,
    pins: Pins,
    leaks: Leaks,
    debug: Debugging | null,
    changes: Changes,
  ) {
    this.#arena = arena
    this.#ownership = ownership
    this.#pins = pins
    this.#leaks = leaks
    this.#debug = debug
    this.#changes = changes
  }

  takeOver(buffers: readonly Uint8Array[]): TakenBlock[] {
    if (this.#ownership.isClosed) throw closedError(this.#arena, METHOD)
    const owners = this.#requireAll(buffers)
    if (this.#debug !== null) {
      for (const owner of owners) this.#debug.noteEnd(watchedBlock(blockOf(owner)))
      // Taking stacks may have run script that ended one of the blocks.
      this.#requireAll(buffers)
    }
    // Finishing what was interrupted may end blocks, too.
    const taken = this.#changes.run(METHOD, () =>
      owners.every(owner => this.#ownership.isLive(owner)) ? this.#take(owners) : null,
    )
    if (taken !== null) return taken
    this.#requireAll(buffers)
    throw closedError(this.#arena, METHOD)
  }

  keep(taken: readonly TakenBlock[]): void {
    for (const { loan } of taken) this.#pins.keepLoan(loan)
  }

  end({ loan }: TakenBlock): void {
    this.#pins.endLoan(loan)
  }

  detachedError(): Error {
    return streamDetachedError(this.#arena)
  }

  #requireAll(buffers: readonly Uint8Array[]): OwnerBuffer[] {
    return buffers.map(buffer => {
      this.#ownership.requireOwn(METHOD, buffer)
      return this.#ownership.requireAttached(METHOD, buffer)
    })
  }

  #take(owners: readonly OwnerBuffer[]): TakenBlock[] {
    const loans: BlockLoan[] = []
    try {
      for (const owner of owners) loans.push(this.#pins.beginLoan(owner))
      return owners.map((owner, i) => {
        const reportLeak = this.#leaks.handOver(watchedBlock(blockOf(owner)))
        this.#pins.defer(owner)
        return { buffer: owner, sizeBytes: sizeOf(owner), loan: loans[i], reportLeak }
      })
    } catch (error) {
      // The stack overflowed. Loans that this does not end, because it is full still, end in the next turn.
      for (const loan of loans) this.#pins.endLoan(loan)
      throw error
    }
  }
}
