/**
 * The Buffers of one pool: those that are idle, and what is behind the warm paths of `BufferPool`.
 *
 * Buffers that were handed out are not held here, so that the garbage collector finds the forgotten ones. What a Buffer does is
 * said by its state (`PoolState`). All of them have an epoch of their own, so the warm path of `free` does not take them for owners of
 * the arena, and has nothing to ask for it.
 *
 * Each step leaves the pool sound if script is terminated after it. A Buffer is given its new state by the last call of a step; what
 * follows are stores, which nothing interrupts.
 *
 * Invariants, checked by `check()`:
 *  1. the top and the first `idleCount` entries of the stack are live owners that are idle and not watched; no Buffer is there
 *     twice, and all further entries are undefined
 *  2. `room` is no more than the stack has entries, and the low no more than `idleCount`
 *  3. while a Buffer is idle, or may become idle on the warm path, a tick is due
 */
import { invariant } from '../base/assert.js'
import type { Timer } from '../base/deferral.js'
import { fillBytes, lengthOf, spliced } from '../base/primordials.js'
import { PAUSE_MS } from '../base/timer-queue.js'
import type { Block } from '../base/units.js'
import type { Leaks } from '../buffers/leaks.js'
import {
  type ArenaBuffer,
  adopt,
  blockOf,
  EMPTY,
  type Epoch,
  IDLE,
  NO_POOL,
  type Owner,
  PINNED,
  type PoolState,
  poolStateOf,
  restore,
  SPENT,
  setPoolState,
  stampPooled,
  USED,
  watchedBlock,
} from '../buffers/owner.js'
import { poolClosedError, releaseMisuse } from './errors.js'
import type { PoolHost } from './pool-host.js'
import { PoolPolicy } from './pool-policy.js'
import type { PoolCounts, PoolMember } from './pools.js'

// Taken once at load. A program may replace the globals later; its replacement must not run within a change.
const { min } = Math

export type OwnerBuffer = ArenaBuffer & Owner

/** The length of the first stack. Each further one is twice as long. */
const MIN_STACK = 16
/** The most milliseconds between two ticks. `handedOut` must not come round meanwhile. */
const MAX_DELAY_MS = 5_000
/** What `accepted` is while the warm path of `release` may take nothing: no Buffer of a pool has this state. */
const NOTHING: PoolState = NO_POOL - 1
/** More Buffers than there ever are. */
const NEVER = 2 ** 30
/** The most bytes of Buffers that end in one slice. Their pages go back in it, too. */
const SLICE_BYTES = 2 ** 20
/** The clock is read after so many Buffers. */
const LOOKS = 16

/** What a pool is made for. */
export interface PoolSpec {
  readonly sizeBytes: number
  readonly alignBytes: number
  readonly maxIdle: number
}

export class PooledBuffers implements PoolMember {
  readonly #host: PoolHost
  readonly #spec: PoolSpec
  readonly #acquire: (...args: never[]) => unknown
  readonly #leaks: Leaks
  readonly #policy: PoolPolicy
  #weakSelf: WeakRef<PooledBuffers> | undefined

  // ---- what the warm paths read and write -----------------------------------------------------------------

  /** One more idle Buffer, above the stack, or null. */
  top: OwnerBuffer | null = null
  /** The idle Buffers but for the top, the one that came back last at `idleCount - 1`. */
  stack: (ArenaBuffer | undefined)[] = []
  idleCount = 0
  /** How many Buffers the warm path of `release` may put on the stack. */
  room = 0
  /** An `acquire` that leaves fewer Buffers on the stack is no warm one. It is `#lowCount`, or more than there ever are. */
  warmFrom = 0
  /** How many Buffers the warm path of `acquire` has handed out, as 32 bits. */
  handedOut = 0
  /** The state of Buffers that were handed out. */
  acquired: PoolState
  idle: PoolState
  /** The state of Buffers that the warm path of `release` takes: `acquired`, or `NOTHING` while anything else is to be done first. */
  accepted: PoolState = NOTHING

  // ---- the rest -------------------------------------------------------------------------------------------

  #epoch: Epoch
  /** The fewest Buffers that were on the stack since the period of the policy began. */
  #lowCount = 0
  /** Buffers that end soon. They are on no stack any more. */
  #ending: (ArenaBuffer | undefined)[][] = []
  #endingCount = 0
  /** How many Buffers were handed out that `handedOut` does not count. That is begun anew before it comes round. */
  #handedOutBefore = 0
  #made = 0
  #gone = 0
  /** The number of the Buffer that is sampled when it is made. */
  #sampleAt: number
  /** When the period of the policy began: how many were handed out, and whether there was a top. */
  #seenHandedOut = 0
  #hadTop = false
  #isClosed = false
  #timer: Timer | null = null
  #isArmed = false

  /** `acquire` is the method above which the stack of a sampled Buffer begins. */
  constructor(host: PoolHost, spec: PoolSpec, acquire: (...args: never[]) => unknown) {
    this.#host = host
    this.#spec = spec
    this.#acquire = acquire
    this.#leaks = host.makeLeaks(() => this.#left())
    this.#policy = new PoolPolicy(host.now, host.promiseMs)
    this.#epoch = epochIn(host.epoch())
    this.acquired = newState()
    this.idle = this.acquired | IDLE
    this.#sampleAt = this.#leaks.nextAfter(0)
    this.#setLow(0)
  }

  // ---- counts ---------------------------------------------------------------------------------------------

  get counts(): PoolCounts & { made: number; handedOut: number } {
    const idleBuffers = this.#waiting + this.#endingCount
    return {
      sizeBytes: this.#spec.sizeBytes,
      idleBuffers,
      acquiredBuffers: this.#made - this.#gone - idleBuffers,
      made: this.#made,
      handedOut: this.#handedOutBefore + (this.handedOut >>> 0),
    }
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  get #hasTop(): boolean {
    return this.top !== null
  }

  /** Buffers that the next `acquire` may hand out. */
  get #waiting(): number {
    return this.idleCount + (this.#hasTop ? 1 : 0)
  }

  /** Whether Buffers may come and go on the warm paths. */
  get #isPlain(): boolean {
    return !this.#host.wipes && !this.#host.samplesAll && this.#spec.maxIdle > 0
  }

  // ---- behind acquire -------------------------------------------------------------------------------------

  /**
   * Does what `acquire` does, on any path. `method` is the method in error messages.
   *
   * @noinline
   */
  take(method: string): ArenaBuffer {
    if (this.#isClosed) throw poolClosedError(this.#host.arena, method)
    const buffer = this.#takeIdle() ?? this.#make(method)
    this.#handedOutBefore++
    if (this.#host.samplesAll) this.#sample(buffer)
    return buffer
  }

  /** Returns an idle Buffer, or undefined. Those that other code has taken away end soon. */
  #takeIdle(): OwnerBuffer | undefined {
    while (this.#waiting > 0) {
      const isTop = this.#hasTop
      const last = this.idleCount - 1
      const buffer = (isTop ? this.top : this.stack[last]) as OwnerBuffer
      const isTaken = lengthOf(buffer) === 0
      if (!isTop && last < this.#lowCount) this.#setLow(last)
      if (!isTaken) setPoolState(buffer, this.acquired)
      else {
        this.#ending[this.#ending.length] = [buffer]
        this.#endingCount++
      }
      if (isTop) this.top = null
      else {
        this.stack[last] = undefined
        this.idleCount = last
      }
      if (!isTaken) return buffer
      this.#armEnding()
    }
    return undefined
  }

  #make(method: string): OwnerBuffer {
    const buffer = this.#host.make(method, this.#spec.sizeBytes, this.#spec.alignBytes)
    this.#host.pools.add(this)
    if (this.#epoch.pool?.within !== this.#host.epoch()) this.#renew()
    adopt(buffer, this.#epoch)
    stampPooled(buffer, this.acquired)
    if (++this.#made === this.#sampleAt && !this.#host.samplesAll) this.#sample(buffer)
    return buffer
  }

  /**
   * Has the collector watched for a Buffer that is forgotten. Unless each `acquire` samples, that is for as long as it is of this pool,
   * so that no warm path has to know.
   */
  #sample(buffer: OwnerBuffer): void {
    const block = blockOf(buffer)
    this.#leaks.sample(buffer, this.#acquire)
    if (blockOf(buffer) < EMPTY) restore(buffer, block)
    this.#sampleAt = this.#leaks.nextAfter(this.#made)
  }

  // ---- behind release -------------------------------------------------------------------------------------

  /**
   * Does what `release` does, on any path.
   *
   * @noinline
   */
  put(method: string, buffer: unknown): void {
    const state = poolStateOf(buffer)
    const owner = buffer as OwnerBuffer
    const isAcquired = state === this.acquired || state === (this.acquired | PINNED)
    if (!isAcquired || blockOf(owner) === SPENT)
      throw releaseMisuse(this.#host, this.acquired, method, buffer)
    if (!this.#keeps(owner)) {
      this.#end(owner)
      return
    }
    if (this.#host.wipes && lengthOf(owner) > 0) fillBytes(owner, 0)
    // It was pinned.
    if (blockOf(owner) < 0) restore(owner, watchedBlock(blockOf(owner)))
    if (this.#host.samplesAll) this.#leaks.end(blockOf(owner))
    if (!this.#isArmed) this.#arm()
    this.#push(owner)
  }

  #push(owner: OwnerBuffer): void {
    const isPlain = this.#isPlain
    const isTop = isPlain && !this.#hasTop
    if (!isTop && this.idleCount === this.stack.length) this.#lengthen()
    const room = isPlain ? min(this.#spec.maxIdle - 1, this.stack.length) : 0
    setPoolState(owner, this.idle)
    if (isTop) this.top = owner
    else {
      this.stack[this.idleCount] = owner
      this.idleCount++
    }
    this.room = room
    this.accepted = isPlain ? this.acquired : NOTHING
  }

  /** Whether a Buffer that comes back is to wait for the next `acquire`. */
  #keeps(owner: OwnerBuffer): boolean {
    if (this.#isClosed || !this.#host.keepsIdle() || this.#waiting >= this.#spec.maxIdle) return false
    return blockOf(owner) >= 0 || !this.#host.isPinned(owner)
  }

  /** Ends a Buffer that was acquired. If it is pinned, it ends at the last unpin. */
  #end(owner: OwnerBuffer): void {
    const block = watchedBlock(blockOf(owner))
    // First: no warm path may take it once it is spent, wherever this is interrupted.
    setPoolState(owner, this.acquired | PINNED)
    this.#host.end(owner)
    this.#leaks.end(block)
    this.#left()
  }

  /** Notes that a Buffer is of this pool no more. */
  #left(): void {
    this.#gone++
    if (this.#gone === this.#made) this.#host.pools.delete(this)
  }

  #lengthen(): void {
    const { stack } = this
    const length = min(this.#spec.maxIdle, stack.length === 0 ? MIN_STACK : 2 * stack.length)
    const longer: (ArenaBuffer | undefined)[] = []
    for (let i = 0; i < length; i++) longer[i] = i < stack.length ? stack[i] : undefined
    this.stack = longer
  }

  // ---- use ------------------------------------------------------------------------------------------------

  /** Hands a Buffer out that only `endUse` takes back. */
  beginUse(): ArenaBuffer {
    const buffer = this.take('use') as OwnerBuffer
    setPoolState(buffer, this.acquired | USED)
    return buffer
  }

  /** Takes back what `beginUse` handed out. Does nothing if the arena has ended it meanwhile. */
  endUse(buffer: ArenaBuffer): void {
    const owner = buffer as OwnerBuffer
    if (poolStateOf(owner) !== (this.acquired | USED) || blockOf(owner) === SPENT) return
    setPoolState(owner, this.acquired)
    this.put('use', owner)
  }

  // ---- ending idle Buffers --------------------------------------------------------------------------------

  /** Takes the `count` Buffers that have been idle longest off the stack, and the top if it is told to. They end soon. */
  #giveUp(count: number, isTopToo: boolean): void {
    const isTop = isTopToo && this.#hasTop
    if (count === 0 && !isTop) return
    const kept = spliced(this.stack, 0, count)
    const given = spliced(this.stack, count, this.stack.length - count)
    const idleCount = this.idleCount - count
    this.#setLow(min(this.#lowCount, idleCount))
    if (isTop) given[count] = this.top as OwnerBuffer
    this.#ending[this.#ending.length] = given
    this.#endingCount += given.length
    if (isTop) this.top = null
    this.stack = kept
    this.idleCount = idleCount
    this.accepted = NOTHING
  }

  #giveUpAll(): void {
    this.#giveUp(this.idleCount, true)
    this.accepted = NOTHING
  }

  /** Ends a Buffer that was given up, within a change. There must be one. */
  #endOne(): void {
    const list = this.#ending[this.#ending.length - 1]
    if (list.length === 0) {
      this.#ending.length--
      return
    }
    const owner = list[list.length - 1] as OwnerBuffer
    const block = blockOf(owner)
    // It is spent if an interrupted call has ended it.
    if (block !== SPENT) {
      this.#leaks.end(block)
      this.#host.endIdle(owner)
    }
    list.length--
    this.#endingCount--
    this.#left()
  }

  endIdle(): void {
    this.#giveUpAll()
    while (this.#ending.length > 0) this.#endOne()
  }

  endIdleSlice(hasTime: () => boolean, isFirst: boolean): boolean {
    if (isFirst) this.#giveUpAll()
    for (let i = 1; this.#ending.length > 0; i++) {
      if (i % LOOKS === 0 && !hasTime()) return false
      this.#endOne()
    }
    return true
  }

  endAll(): void {
    this.#setLow(0)
    this.accepted = NOTHING
    this.top = null
    this.idleCount = 0
    this.stack = []
    this.#ending = []
    this.#endingCount = 0
    this.#gone = this.#made
    this.#renew()
    this.#leaks.clear()
  }

  /** Begins a new epoch, with other states. Nobody has a live Buffer of the old one. */
  #renew(): void {
    this.#epoch = epochIn(this.#host.epoch())
    this.acquired = newState()
    this.idle = this.acquired | IDLE
    this.accepted = NOTHING
  }

  /** Closes the pool for good. */
  close(): void {
    this.#isClosed = true
    this.stop()
  }

  stop(): void {
    this.#giveUpAll()
    if (this.#ending.length === 0) return
    if (!this.#host.attempt(() => this.endIdle())) this.#armEnding()
  }

  // ---- ticks ----------------------------------------------------------------------------------------------

  /** Begins a period of the policy, and arms its tick. */
  #arm(): void {
    this.#startPeriod()
    this.#armIn(this.#policy.delayMs)
  }

  #startPeriod(): void {
    this.#policy.start()
    this.#setLow(this.idleCount)
    this.#hadTop = this.#hasTop
    this.#seenHandedOut = this.counts.handedOut
  }

  #setLow(count: number): void {
    this.#lowCount = count
    // Where each `acquire` samples, none is a warm one.
    this.warmFrom = this.#host.samplesAll ? NEVER : count
  }

  /** Arms a tick that ends what was given up. */
  #armEnding(): void {
    this.#timer?.cancel()
    this.#armIn(PAUSE_MS)
  }

  #armIn(delayMs: number): void {
    // A weak reference: a pool that nobody refers to is collected with its arena, although a tick is due.
    this.#weakSelf ??= new WeakRef(this)
    const self = this.#weakSelf
    const run = (turnStartMs: number) => self.deref()?.tick(turnStartMs)
    this.#timer = this.#host.after(min(MAX_DELAY_MS, delayMs), run)
    this.#isArmed = true
  }

  /** Ends what recent traffic did not need, in slices. */
  tick(turnStartMs: number): void {
    this.#timer = null
    this.#isArmed = false
    this.accepted = NOTHING
    this.#handedOutBefore += this.handedOut >>> 0
    this.handedOut = 0
    if (this.#policy.isOver) {
      const wasUsed = this.#handedOutBefore !== this.#seenHandedOut
      this.#giveUp(this.#policy.surplus(this.idleCount, this.#lowCount), this.#hadTop && !wasUsed)
      this.#startPeriod()
    }
    this.#host.attempt(() => this.#endSome(turnStartMs))
    if (this.#ending.length > 0) this.#armEnding()
    else if (this.#waiting > 0) this.#armIn(this.#policy.delayMs)
  }

  /** Ends some of the Buffers that were given up, and gives as many pages back, within a change. */
  #endSome(turnStartMs: number): void {
    const dirtyBefore = this.#host.dirtyPages()
    let bytes = 0
    for (let i = 1; this.#ending.length > 0 && bytes < SLICE_BYTES; i++) {
      if (i % LOOKS === 0 && !this.#host.hasTime(turnStartMs)) break
      this.#endOne()
      bytes += this.#spec.sizeBytes
    }
    this.#host.purge(this.#host.dirtyPages() - dirtyBefore)
  }

  check(): void {
    const { stack, idleCount, top } = this
    const seen = new Set<Block>()
    const checkIdle = (buffer: ArenaBuffer | undefined) => {
      invariant(poolStateOf(buffer) === this.idle, '1: what is idle has that state')
      const block = blockOf(buffer as OwnerBuffer)
      invariant(block >= 0 && !seen.has(block), `1: block ${block} is idle, once`)
      seen.add(block)
    }
    for (let i = 0; i < idleCount; i++) checkIdle(stack[i])
    for (let i = idleCount; i < stack.length; i++) {
      invariant(stack[i] === undefined, `1: entry ${i} of ${idleCount} is undefined`)
    }
    if (top !== null) checkIdle(top)
    const isOpen = this.accepted !== NOTHING
    invariant(!isOpen || this.room <= stack.length, '2: the stack has room')
    invariant(this.#lowCount <= idleCount, '2: the low is no more than are idle')
    const isIdle = this.#waiting + this.#endingCount > 0
    invariant(!(isIdle || isOpen) || this.#isArmed, '3: a tick is due while a Buffer is idle')
    this.#policy.check()
  }
}

function epochIn(within: Epoch): Epoch {
  return { arena: within.arena, pool: { within } }
}

/** The most states that are told apart. They are small integers, which V8 compares fastest. */
const STATES = 2 ** 28
let stateCount = 0

/** Returns the state of acquired Buffers of a pool, which no other pool has. */
function newState(): PoolState {
  stateCount = (stateCount + 1) % STATES
  return stateCount * 4
}
