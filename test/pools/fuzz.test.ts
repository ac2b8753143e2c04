/**
 * Random use of several pools of one arena, against a model that knows which Buffers are acquired. After every step the books are
 * checked, and the statistics against the model. Each acquired Buffer has contents of its own, so a Buffer that is handed out twice
 * shows. `OFFHEAP_FUZZ_SEED` runs one seed again.
 */
import { describe, expect, it } from 'vitest'
import type { Arena } from '../../src/arena/arena.js'
import type { ArenaOptions } from '../../src/arena/options.js'
import type { BufferPool } from '../../src/pools/pool.js'
import { stepsOf, variablesOf } from '../support/extent.js'
import type { FaultyKernel } from '../support/faulty-kernel.js'
import type { ManualDeferral } from '../support/manual-deferral.js'
import { fuzzSeed, type Random, randomFrom } from '../support/random.js'
import { giveBack, takeAway } from '../support/taking.js'
import { isMarked, mark, thrownBy, worldWith } from '../support/world.js'

const MIB = 2 ** 20
const STEPS = stepsOf(2_000, 4)
const SIZES = [1, 64, 1_000, 10_000, 70_000, 300_000]
const REFUSALS = new Set(['ERR_ARENA_OUT_OF_MEMORY', 'ERR_ARENA_LIMIT', 'ERR_ARENA_PURGE_FAILED'])

interface ModelPool {
  readonly pool: BufferPool
  readonly maxIdle: number
  readonly acquired: Map<Buffer, number>
  /** Came back, and nobody has them. */
  readonly released: Buffer[]
  handedOut: number
  isClosed: boolean
}

class Session {
  readonly #random: Random
  readonly #arena: Arena
  readonly #kernel: FaultyKernel
  readonly #deferral: ManualDeferral
  readonly #options: ArenaOptions
  #pools: ModelPool[] = []
  /** Of an earlier epoch. */
  #spent: { pool: BufferPool; buffer: Buffer }[] = []
  #others: Buffer[] = []
  #lastTag = 0
  #hasTaken = false

  constructor(options: ArenaOptions, random: Random) {
    const { arena, kernel, deferral } = worldWith({ name: 'fuzz', ...options })
    this.#arena = arena
    this.#kernel = kernel
    this.#deferral = deferral
    this.#random = random
    this.#options = options
    kernel.isRecording = false
  }

  async run(): Promise<void> {
    for (let step = 0; step < STEPS; step++) {
      try {
        await this.#step()
        this.#verify()
      } catch (error) {
        throw new Error(`step ${step}: ${(error as Error).message}`, { cause: error })
      }
    }
    this.#kernel.fails = () => false
    this.#arena.reset()
    for (const { pool } of this.#pools) pool.close()
    this.#arena.check()
    expect(this.#arena.stats()).toMatchObject({ liveBlocks: 0, pools: 0, idleBlocks: 0 })
    this.#arena.close()
    this.#deferral.advance(100_000)
    expect(this.#deferral.pendingTimers).toBe(0)
  }

  async #step(): Promise<void> {
    const random = this.#random
    const choice = random.below(1_000)
    const pool = this.#pools.length === 0 ? undefined : random.pick(this.#pools)
    if (pool === undefined || (choice < 15 && this.#pools.length < 8)) this.#make()
    else if (choice < 400) this.#acquire(pool)
    else if (choice < 760) this.#release(pool)
    else if (choice < 800) this.#use(pool)
    else if (choice < 860) this.#misuse(pool)
    else if (choice < 900) this.#deferral.advance(random.below(random.oneIn(5) ? 2_000 : 300))
    else if (choice < 920) this.#tolerate(() => void this.#arena.trim())
    else if (choice < 960) this.#alloc()
    else if (choice < 970) await this.#take(pool)
    else if (choice < 980) this.#reset()
    else if (choice < 990) this.#close(pool)
    else this.#kernel.fails = random.oneIn(2) ? () => false : kind => kind !== 'detach' && random.oneIn(5)
  }

  #tolerate(call: () => void): boolean {
    const error = thrownBy(call)
    if (error !== undefined && !REFUSALS.has(error.code ?? '')) throw error
    return error === undefined
  }

  #make(): void {
    const { pageBytes } = { pageBytes: 4_096 }
    const maxIdle = this.#random.oneIn(2) ? Number.POSITIVE_INFINITY : this.#random.below(10)
    const align = this.#random.oneIn(3) ? pageBytes : 1
    const pool = this.#arena.pool(this.#random.pick(SIZES), { maxIdle, align })
    this.#pools.push({ pool, maxIdle, acquired: new Map(), released: [], handedOut: 0, isClosed: false })
  }

  #acquire(model: ModelPool): void {
    const { pool, acquired, released } = model
    // The books of much memory take long to check.
    if (acquired.size > 40 || acquired.size * pool.sizeBytes > MIB) return
    for (let count = 1 + this.#random.below(4); count > 0; count--) {
      const got = this.#random.oneIn(4)
        ? () => pool.tryAcquire()
        : (): Buffer | undefined => {
            let buffer: Buffer | undefined
            this.#tolerate(() => {
              buffer = pool.acquire()
            })
            return buffer
          }
      if (model.isClosed) {
        expect(thrownBy(got)?.code).toBe('ERR_ARENA_POOL_CLOSED')
        return
      }
      const buffer = got()
      if (buffer === undefined) return
      expect(acquired.has(buffer), 'handed out twice').toBe(false)
      expect(buffer.length).toBe(pool.sizeBytes)
      if (released.includes(buffer)) released.splice(released.indexOf(buffer), 1)
      mark(buffer, ++this.#lastTag)
      acquired.set(buffer, this.#lastTag)
      model.handedOut++
    }
  }

  #release({ pool, acquired, released }: ModelPool): void {
    for (let count = 1 + this.#random.below(4); count > 0 && acquired.size > 0; count--) {
      const [buffer, tag] = this.#random.pick([...acquired])
      if (buffer.length > 0) expect(isMarked(buffer, tag), 'contents').toBe(true)
      acquired.delete(buffer)
      const isPinned = buffer.length > 0 && this.#random.oneIn(6)
      if (isPinned) this.#arena.pin(buffer)
      pool.release(buffer)
      if (isPinned) {
        if (buffer.length > 0) expect(isMarked(buffer, tag), 'pinned contents').toBe(true)
        this.#arena.unpin(buffer)
      } else released.push(buffer)
      if (released.length > 20) released.shift()
    }
  }

  #use(model: ModelPool): void {
    if (model.isClosed) return
    const fault = new Error('mine')
    const fails = this.#random.oneIn(2)
    const error = thrownBy(() =>
      model.pool.use(buffer => {
        model.handedOut++
        expect(model.acquired.has(buffer), 'handed out twice').toBe(false)
        mark(buffer, 3)
        expect(thrownBy(() => model.pool.release(buffer))?.code).toBe('ERR_ARENA_POOLED')
        if (fails) throw fault
      }),
    )
    if (error !== undefined && error !== fault && !REFUSALS.has(error.code ?? '')) throw error
  }

  #misuse(model: ModelPool): void {
    const { pool, acquired, released } = model
    const other = this.#pools.find(each => each !== model)
    const cases: [unknown, string][] = [
      [Buffer.alloc(pool.sizeBytes), 'ERR_ARENA_FOREIGN_BUFFER'],
      [null, 'ERR_INVALID_ARG_TYPE'],
    ]
    for (const buffer of released.slice(-1)) cases.push([buffer, 'ERR_ARENA_DOUBLE_FREE'])
    for (const buffer of this.#others.slice(-1)) cases.push([buffer, 'ERR_ARENA_FOREIGN_BUFFER'])
    const [first] = [...(other?.acquired.keys() ?? [])]
    if (first !== undefined) cases.push([first, 'ERR_ARENA_FOREIGN_BUFFER'])
    const [mine] = [...acquired.keys()]
    if (mine !== undefined && mine.length > 0) cases.push([mine.subarray(0), 'ERR_ARENA_NOT_OWNER'])
    const old = this.#spent.find(each => each.pool === pool)
    if (old !== undefined) cases.push([old.buffer, 'ERR_ARENA_DOUBLE_FREE'])
    const [buffer, code] = this.#random.pick(cases)
    expect(thrownBy(() => pool.release(buffer as Buffer))?.code).toBe(code)
    if (mine !== undefined) expect(thrownBy(() => this.#arena.free(mine))?.code).toBe('ERR_ARENA_POOLED')
  }

  /** Other blocks between those of pools. */
  #alloc(): void {
    this.#tolerate(() => {
      this.#others.push(this.#arena.allocUnsafe(1 + this.#random.size(300_000)))
    })
    while (this.#others.length > 10) this.#arena.free(this.#others.shift() as Buffer)
  }

  /** Other code takes an `ArrayBuffer` away. */
  async #take({ acquired, released }: ModelPool): Promise<void> {
    const buffers = [...acquired.keys(), ...released].filter(({ length }) => length > 0)
    if (buffers.length === 0) return
    // Tens of thousands of small blocks are set aside while somebody has their window, and each step looks at them.
    if (buffers[0].length < 64 * 1_024) return
    const taken = await takeAway(this.#random.pick(buffers).buffer as ArrayBuffer)
    this.#hasTaken = true
    if (this.#random.oneIn(2)) await giveBack(taken, this.#kernel)
  }

  #reset(): void {
    this.#arena.reset()
    this.#others = []
    this.#spent = []
    for (const model of this.#pools) {
      for (const buffer of model.acquired.keys()) this.#spent.push({ pool: model.pool, buffer })
      model.acquired.clear()
      model.released.length = 0
    }
  }

  #close(model: ModelPool): void {
    model.pool.close()
    model.isClosed = true
    if (model.acquired.size === 0) this.#pools.splice(this.#pools.indexOf(model), 1)
  }

  #verify(): void {
    this.#arena.check()
    const stats = this.#arena.stats()
    let acquiredBlocks = 0
    for (const { pool, acquired, maxIdle, handedOut } of this.#pools) {
      const found = pool.stats()
      acquiredBlocks += acquired.size
      expect(found).toMatchObject({ acquiredBuffers: acquired.size, handedOut })
      // What was taken away while it was idle waits for its end besides.
      if (!this.#hasTaken) expect(found.idleBuffers).toBeLessThanOrEqual(maxIdle)
      if (this.#options.debug === true || this.#options.releaseAfterMs === 0) {
        expect(found.idleBuffers).toBe(0)
      }
    }
    expect(stats).toMatchObject({
      acquiredBlocks,
      liveBlocks: acquiredBlocks + stats.idleBlocks + this.#others.length,
    })
    expect(stats.allocations - stats.frees).toBe(stats.liveBlocks)
  }
}

async function runSession(options: ArenaOptions): Promise<void> {
  const seed = fuzzSeed()
  try {
    await new Session(options, randomFrom(seed)).run()
  } catch (error) {
    throw new Error(`${variablesOf(seed)}: ${(error as Error).message}`, { cause: error })
  }
}

describe('pools', () => {
  it.each<[string, ArenaOptions]>([
    ['released by timer', {}],
    ['released at once', { releaseAfterMs: 0 }],
    ['released by trim', { releaseAfterMs: Number.POSITIVE_INFINITY }],
    ['at a limit', { limitBytes: 4 * MIB }],
    ['detached all', { detachFromBytes: 0 }],
    ['detached never', { detachFromBytes: Number.POSITIVE_INFINITY }],
    ['with debug', { debug: true }],
    ['all sampled', { leaks: 'all' }],
    ['with trackOwners', { trackOwners: true }],
    ['with wipeOnFree', { wipeOnFree: true }],
    ['of huge pages', { hugePages: true }],
    ["with source: 'heap'", { source: 'heap' }],
  ])('hand out each Buffer once: %s', (_, options) => runSession(options))
})
