/**
 * Random operations on an arena over a kernel that refuses calls at random, against a model that only knows which block
 * has which contents. After every step the books are checked, and the statistics against the model; contents when
 * blocks end and, all of them, now and then. `OFFHEAP_FUZZ_SEED` runs one seed again.
 * The sample is fewer steps, and of the times after which pages are released one for each of the other options.
 */
import { subscribe } from 'node:diagnostics_channel'
import { describe, expect, it } from 'vitest'
import { Arena } from '../../src/arena/arena.js'
import type { ArenaOptions } from '../../src/arena/options.js'
import { loadLedger } from '../../src/memory/addon.js'
import { ArenaGroup } from '../../src/process/arena-group.js'
import { hasNoBreak } from '../support/break.js'
import { someOf, stepsOf, variablesOf } from '../support/extent.js'
import { FaultyKernel } from '../support/faulty-kernel.js'
import { ManualDeferral } from '../support/manual-deferral.js'
import { fuzzSeed, type Random, randomFrom } from '../support/random.js'
import { isMarked, isZero, mark, thrownBy, turns } from '../support/world.js'

const MIB = 2 ** 20
const STEPS = stepsOf(3_200, 16)
const TURN_EVERY = 50

interface Block {
  buffer: Buffer
  tag: number
  sizeBytes: number
}

/** Codes that a step may throw when a call failed meanwhile, and those that come of a limit. */
const REFUSALS = new Set(['ERR_ARENA_OUT_OF_MEMORY', 'ERR_ARENA_PURGE_FAILED', 'EAGAIN'])

/** What code outside JavaScript is said to have done: nothing, as there is none. */
const reports: unknown[] = []
subscribe('offheap:write-after-free', message => reports.push(message))
subscribe('offheap:overrun', message => reports.push(message))

class Session {
  readonly arena: Arena
  readonly #options: ArenaOptions
  readonly #random: Random
  readonly #kernel = new FaultyKernel()
  readonly #deferral = new ManualDeferral()
  readonly #blocks: Block[] = []
  readonly #spent: Buffer[] = []
  #liveBytes = 0
  #allocations = 0
  #frees = 0
  #lastTag = 0
  /** Failures come in episodes, so that much of the run is undisturbed. */
  #failOneIn = 0
  readonly refused = new Map<string, number>()

  constructor(options: ArenaOptions, random: Random) {
    this.#options = options
    this.#random = random
    this.#kernel.isRecording = false
    this.#kernel.fails = kind => this.#failOneIn > 0 && kind !== 'detach' && random.oneIn(this.#failOneIn)
    const { now } = this.#deferral
    this.arena = new Arena(options, {
      addon: this.#kernel,
      deferral: this.#deferral,
      now,
      ledger: loadLedger(),
      group: new ArenaGroup(),
    })
  }

  async run(steps: number): Promise<void> {
    for (let step = 0; step < steps; step++) {
      try {
        this.#step()
        this.#verify()
      } catch (error) {
        throw new Error(`step ${step}: ${(error as Error).message}`, { cause: error })
      }
      if (step % TURN_EVERY === 0) {
        this.#verifyContents()
        await turns(1)
        this.#deferral.runTurn()
      }
    }
    await this.#end()
  }

  #step(): void {
    const { arena } = this
    const random = this.#random
    const failuresBefore = this.#kernel.failures
    const choice = random.below(1_000)
    const isOverfull = this.#blocks.length > 300 || this.#liveBytes > 24 * MIB
    let call: () => void
    if (choice < 420 && !isOverfull) call = () => this.#allocate()
    else if (choice < 780) call = () => this.#free()
    else if (choice < 860) call = () => this.#realloc()
    else if (choice < 880) call = () => this.#relocate()
    else if (choice < 920) call = () => this.#misuse()
    else if (choice < 965) call = () => this.#deferral.advance(random.below(1_200))
    else if (choice < 980) call = () => this.#trim()
    else if (choice < 984) call = () => this.#reset()
    else if (choice < 990) call = () => void arena.residentBytes()
    else {
      this.#failOneIn = random.oneIn(2) ? 0 : 1 + random.below(6)
      return
    }
    const error = thrownBy(call)
    if (error === undefined) return
    const code = error.code ?? ''
    this.refused.set(code, (this.refused.get(code) ?? 0) + 1)
    const isRefusal = REFUSALS.has(code) && this.#kernel.failures > failuresBefore
    const isAtLimit = code === 'ERR_ARENA_LIMIT' && this.#options.limitBytes !== undefined
    if (!isRefusal && !isAtLimit) throw error
  }

  #size(): number {
    const random = this.#random
    if (random.oneIn(40)) return random.size(6 * MIB)
    return random.size(random.oneIn(4) ? 300_000 : 30_000)
  }

  #add(buffer: Buffer, sizeBytes: number): void {
    const tag = ++this.#lastTag
    mark(buffer, tag)
    this.#blocks.push({ buffer, tag, sizeBytes })
    this.#liveBytes += sizeBytes
    this.#allocations++
  }

  #allocate(): void {
    const random = this.#random
    const sizeBytes = this.#size()
    const align = random.oneIn(4) ? 2 ** random.below(13) : undefined
    const options = align === undefined ? undefined : { align }
    const method = random.pick(['alloc', 'allocUnsafe', 'tryAlloc', 'tryAllocUnsafe'] as const)
    const failuresBefore = this.#kernel.failures
    const buffer = this.arena[method](sizeBytes, options)
    if (buffer === undefined) {
      const mayRefuse = this.#kernel.failures > failuresBefore || this.#options.limitBytes !== undefined
      expect(mayRefuse && method.startsWith('try')).toBe(true)
      return
    }
    expect(buffer.length).toBe(sizeBytes)
    if (method.endsWith('lloc')) expect(isZero(buffer), 'zero-filled').toBe(true)
    if (sizeBytes > 0) this.#expectAligned(buffer, align ?? 16)
    this.#add(buffer, sizeBytes)
  }

  #expectAligned(buffer: Buffer, align: number): void {
    // An ordinary `ArrayBuffer` begins where V8 puts it. What script sees is the offset in it.
    if (this.#options.source === 'heap') expect(buffer.byteOffset % Math.max(16, align)).toBe(0)
    // Mappings begin on pages, so the offset tells.
    else expect(this.#kernel.placeOf(buffer).offsetBytes % Math.max(16, align)).toBe(0)
  }

  /** Takes a random block out of the model, once its contents have been checked. */
  #pick(): Block | undefined {
    if (this.#blocks.length === 0) return undefined
    const index = this.#random.below(this.#blocks.length)
    const block = this.#blocks[index]
    expect(isMarked(block.buffer, block.tag), 'contents').toBe(true)
    return block
  }

  #remove(block: Block): void {
    const last = this.#blocks.pop() as Block
    if (last !== block) this.#blocks[this.#blocks.indexOf(block)] = last
    this.#liveBytes -= block.sizeBytes
    this.#frees++
    this.#spent.push(block.buffer)
    if (this.#spent.length > 50) this.#spent.shift()
  }

  #free(): void {
    const block = this.#pick()
    if (block === undefined) return
    this.arena.free(block.buffer)
    this.#remove(block)
    const { detachFromBytes = 64 * 1024, debug } = this.#options
    if (block.sizeBytes >= (debug ? 0 : detachFromBytes)) expect(block.buffer.length).toBe(0)
  }

  #realloc(): void {
    const block = this.#pick()
    if (block === undefined) return
    const random = this.#random
    // Near the old size as often as not: in place, shrinking and growing.
    const near = Math.max(0, block.sizeBytes + random.below(40_000) - 20_000)
    const sizeBytes = random.oneIn(2) ? near : this.#size()
    const moved = this.arena.realloc(block.buffer, sizeBytes)
    expect(moved.length).toBe(sizeBytes)
    expect(isMarked(moved, block.tag, Math.min(sizeBytes, block.sizeBytes), block.sizeBytes), 'moved').toBe(
      true,
    )
    this.#remove(block)
    this.#add(moved, sizeBytes)
  }

  /** Frees half of the blocks and walks over the others: few on many pages are what there is to move. */
  #relocate(): void {
    for (const block of [...this.#blocks]) {
      if (!this.#random.oneIn(2)) continue
      this.arena.free(block.buffer)
      this.#remove(block)
    }
    for (const block of [...this.#blocks]) {
      const { buffer, tag, sizeBytes } = block
      const moved = this.arena.relocate(buffer)
      if (moved === buffer) continue
      expect([moved.length, isMarked(moved, tag)], 'relocated').toEqual([sizeBytes, true])
      this.#remove(block)
      this.#add(moved, sizeBytes)
    }
  }

  #trim(): void {
    const { dirtyBytes } = this.arena.stats()
    const given = this.arena.trim()
    // The pages of a slab kept warm count as dirty too: nothing else is given back than what was free, or in quarantine.
    if (this.#options.hugePages !== true) {
      if (this.#options.debug) expect(given).toBeGreaterThanOrEqual(dirtyBytes)
      else expect(given).toBe(dirtyBytes)
      expect(this.arena.stats().dirtyBytes).toBe(0)
    }
  }

  #reset(): void {
    this.arena.reset()
    for (const { buffer, sizeBytes } of this.#blocks) {
      if (sizeBytes > 0) expect(buffer.length).toBe(0)
      this.#spent.push(buffer)
    }
    this.#frees += this.#blocks.length
    this.#blocks.length = 0
    this.#liveBytes = 0
  }

  #misuse(): void {
    const { arena } = this
    const random = this.#random
    const view = this.#blocks.find(({ buffer }) => buffer.length > 0)?.buffer.subarray(0, 1)
    const misuses: [() => unknown, string][] = [
      [() => arena.free(Buffer.alloc(8)), 'ERR_ARENA_FOREIGN_BUFFER'],
      [() => arena.realloc(Buffer.alloc(8), 9), 'ERR_ARENA_FOREIGN_BUFFER'],
      [() => arena.relocate(Buffer.alloc(8)), 'ERR_ARENA_FOREIGN_BUFFER'],
      [() => arena.free({} as Buffer), 'ERR_INVALID_ARG_TYPE'],
      [() => arena.alloc(-1), 'ERR_OUT_OF_RANGE'],
      [() => arena.alloc(random.below(9) + 0.5), 'ERR_OUT_OF_RANGE'],
      [() => arena.alloc('8' as unknown as number), 'ERR_INVALID_ARG_TYPE'],
      [() => arena.alloc(8, { align: 3 }), 'ERR_OUT_OF_RANGE'],
    ]
    if (view !== undefined) misuses.push([() => arena.free(view), 'ERR_ARENA_NOT_OWNER'])
    if (this.#spent.length > 0) {
      const spent = random.pick(this.#spent)
      misuses.push([() => arena.free(spent), 'ERR_ARENA_DOUBLE_FREE'])
      misuses.push([() => arena.realloc(spent, 5), 'ERR_ARENA_DOUBLE_FREE'])
      misuses.push([() => arena.relocate(spent), 'ERR_ARENA_DOUBLE_FREE'])
    }
    const [call, code] = random.pick(misuses)
    expect(thrownBy(call)?.code).toBe(code)
  }

  #verify(): void {
    this.arena.check()
    const stats = this.arena.stats()
    const { limitBytes = Number.POSITIVE_INFINITY } = this.#options
    const isRight =
      stats.usedBytes + stats.dirtyBytes + stats.cleanBytes === stats.mappedBytes &&
      stats.committedBytes === stats.usedBytes + stats.dirtyBytes &&
      stats.committedBytes <= limitBytes &&
      stats.committedBytes <= stats.peakCommittedBytes &&
      stats.usedBytes >= stats.liveBytes &&
      stats.allocations - stats.frees === stats.liveBlocks &&
      stats.liveBlocks === this.#blocks.length &&
      stats.liveBytes === this.#liveBytes &&
      stats.allocations === this.#allocations &&
      stats.frees === this.#frees
    if (!isRight) {
      const model = { liveBlocks: this.#blocks.length, liveBytes: this.#liveBytes }
      throw new Error(`statistics ${JSON.stringify(stats)}, model ${JSON.stringify(model)}`)
    }
  }

  #verifyContents(): void {
    for (const { buffer, tag, sizeBytes } of this.#blocks) {
      expect(buffer.length).toBe(sizeBytes)
      expect(isMarked(buffer, tag), 'contents').toBe(true)
    }
  }

  /** Everything can be freed and given back, and nothing stays mapped. */
  async #end(): Promise<void> {
    this.#failOneIn = 0
    this.#verifyContents()
    for (const block of [...this.#blocks]) {
      this.arena.free(block.buffer)
      this.#remove(block)
    }
    await turns()
    this.arena.trim()
    this.#verify()
    expect(this.arena.stats()).toMatchObject({ usedBytes: 0, dirtyBytes: 0, liveBlocks: 0 })
    expect(this.arena.residentBytes()).toBe(0)
    this.arena.close()
    this.arena.check()
    await turns()
    for (let i = 0; i < 4; i++) this.#deferral.runTurn()
    this.#deferral.advance(60_000)
    expect(this.#kernel.mappings.size).toBe(0)
    expect(reports).toEqual([])
  }
}

async function runSession(options: ArenaOptions): Promise<void> {
  const seed = fuzzSeed()
  const session = new Session({ name: 'fuzz', ...options }, randomFrom(seed))
  try {
    await session.run(STEPS)
  } catch (error) {
    throw new Error(`${variablesOf(seed)}: ${(error as Error).message}`, { cause: error })
  } finally {
    session.arena.close()
  }
}

describe('an arena', () => {
  it.each<[string, ArenaOptions]>([
    ['of huge pages', { hugePages: true }],
    ['of huge pages at a limit', { hugePages: true, limitBytes: 4 * MIB, softLimitBytes: 2 * MIB }],
    ['of huge pages released at once', { hugePages: true, releaseAfterMs: 0 }],
    ['that is prefaulted', { prefault: true }],
    ['that is prefaulted at a limit', { prefault: true, limitBytes: 3 * MIB }],
    ['of prefaulted huge pages', { prefault: true, hugePages: true }],
    ['with debug', { debug: true }],
    ['with debug at a limit', { debug: true, limitBytes: 3 * MIB, softLimitBytes: MIB }],
    ['with debug released at once', { debug: true, releaseAfterMs: 0 }],
    ['with debug released by trim', { debug: true, releaseAfterMs: Number.POSITIVE_INFINITY }],
    ['with debug of huge pages', { debug: true, hugePages: true, limitBytes: 6 * MIB }],
    ['with debug prefaulted', { debug: true, prefault: true }],
    [
      'with a long quarantine',
      { debug: { quarantineBlocks: 1_000, quarantineBytes: 16 * MIB }, limitBytes: 8 * MIB },
    ],
  ])('%s does what the model does', (_, options) => runSession(options))
})

describe.each([0, undefined, MIB, Number.POSITIVE_INFINITY])('detachFromBytes %s', detachFromBytes => {
  describe.each([
    [2 * MIB, undefined],
    [undefined, undefined],
    [3 * MIB, MIB],
  ])('limitBytes %s, softLimitBytes %s', (limitBytes, softLimitBytes) => {
    it.each(someOf([0, 1_000, Number.POSITIVE_INFINITY], 1))(
      'releaseAfterMs %d does what the model does',
      async releaseAfterMs => {
        const options: ArenaOptions = { releaseAfterMs }
        if (detachFromBytes !== undefined) options.detachFromBytes = detachFromBytes
        if (limitBytes !== undefined) options.limitBytes = limitBytes
        if (softLimitBytes !== undefined) options.softLimitBytes = softLimitBytes
        await runSession(options)
      },
    )
  })
})

describe.skipIf(hasNoBreak)('over the program break, with debug', () => {
  it('does what the model does', () => runSession({ source: 'sbrk', debug: true }))
})

describe.skipIf(hasNoBreak).each([0, undefined, Number.POSITIVE_INFINITY])(
  'over the program break, detachFromBytes %s',
  detachFromBytes => {
    it.each(someOf([0, 1_000, Number.POSITIVE_INFINITY], 1))(
      'releaseAfterMs %d does what the model does',
      async releaseAfterMs => {
        const options: ArenaOptions = { name: 'fuzz', source: 'sbrk', releaseAfterMs }
        if (detachFromBytes !== undefined) options.detachFromBytes = detachFromBytes
        await runSession(options)
      },
    )
  },
)

describe("with source: 'heap'", () => {
  it.each<[string, ArenaOptions]>([
    ['as it is', {}],
    ['released at once', { releaseAfterMs: 0 }],
    ['released by trim', { releaseAfterMs: Number.POSITIVE_INFINITY }],
    ['detaching all', { detachFromBytes: 0 }],
    ['detaching from 1 MiB', { detachFromBytes: MIB, wipeOnFree: true }],
    ['detaching none', { detachFromBytes: Number.POSITIVE_INFINITY }],
    ['detaching none, released at once', { detachFromBytes: Number.POSITIVE_INFINITY, releaseAfterMs: 0 }],
    ['at a limit', { limitBytes: 3 * MIB, softLimitBytes: MIB }],
    ['of huge pages, prefaulted', { hugePages: true, prefault: true }],
    ['that wipes', { wipeOnFree: true }],
    ['with debug', { debug: true }],
    ['with debug at a limit', { debug: true, limitBytes: 3 * MIB }],
    ['with debug released by trim', { debug: true, releaseAfterMs: Number.POSITIVE_INFINITY }],
    ['with owners', { trackOwners: true }],
  ])('an arena %s does what the model does', (_, options) => runSession({ source: 'heap', ...options }))
})
