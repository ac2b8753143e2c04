/**
 * Random operations on a store, against a model that only knows which record has which contents. A compaction runs to its
 * end every 500 steps, and slices of others come between all operations. The contents of a record are checked when it is
 * used or ends, and those of all after each compaction; the books often. `OFFHEAP_FUZZ_SEED` runs one seed again.
 *
 * All scenarios together take two million steps. The sample takes a few of each.
 */
import { describe, expect, it } from 'vitest'
import { loadLedger } from '../../src/memory/addon.js'
import { ArenaGroup } from '../../src/process/arena-group.js'
import type { StoreOptions } from '../../src/store/options.js'
import type { Ref } from '../../src/store/slots.js'
import { Store } from '../../src/store/store.js'
import { hasNoBreak } from '../support/break.js'
import { variablesOf } from '../support/extent.js'
import { FaultyKernel } from '../support/faulty-kernel.js'
import { ManualDeferral } from '../support/manual-deferral.js'
import { fuzzSeed, type Random, randomFrom } from '../support/random.js'
import { isMarked, isZero, mark, thrownBy, turns } from '../support/world.js'
import { fuzzSteps } from './random.js'

const MIB = 2 ** 20
const KIB = 2 ** 10
const COMPACT_EVERY = 500
const CHECK_EVERY = 100
const TURN_EVERY = 50

interface Record {
  readonly ref: Ref
  tag: number
  sizeBytes: number
}

interface Pin {
  readonly record: Record
  readonly bytes: Buffer
  /** Ends a loan. A pin has none. */
  readonly settle?: () => void
}

interface Scenario extends StoreOptions {
  /** Calls to the kernel fail at random, in episodes. */
  fails?: boolean
  /** The most live bytes and records. */
  mostBytes?: number
  mostRecords?: number
}

/** Codes that a step may throw while calls fail. */
const REFUSALS = new Set(['ERR_ARENA_OUT_OF_MEMORY', 'ERR_ARENA_PURGE_FAILED', 'EAGAIN'])

/** Steps that look at a record which is there. */
const SEEING = new Set(['write', 'access', 'read', 'pin', 'lend'])

class Session {
  readonly store: Store
  readonly #options: Scenario
  readonly #random: Random
  readonly #kernel = new FaultyKernel()
  readonly #deferral = new ManualDeferral()
  readonly #records: Record[] = []
  readonly #pins: Pin[] = []
  /** Records whose loans were settled in this turn: they stay pinned to its end. */
  readonly #settling = new Set<Record>()
  readonly #spent: Ref[] = []
  #liveBytes = 0
  #lastTag = 0
  #failOneIn = 0
  /** What the last steps did, for the message of a failure. */
  readonly #journal: string[] = []
  refused = 0

  constructor(options: Scenario, random: Random) {
    this.#options = options
    this.#random = random
    this.#kernel.isRecording = false
    this.#kernel.fails = kind =>
      this.#failOneIn > 0 && kind !== 'detach' && kind !== 'move' && random.oneIn(this.#failOneIn)
    const { now } = this.#deferral
    const { fails: _, mostBytes: __, mostRecords: ___, ...storeOptions } = options
    this.store = new Store(
      { name: 'fuzz', ...storeOptions },
      { addon: this.#kernel, deferral: this.#deferral, now, ledger: loadLedger(), group: new ArenaGroup() },
    )
  }

  async run(steps: number): Promise<void> {
    for (let step = 1; step <= steps; step++) {
      try {
        this.#step()
        if (step % CHECK_EVERY === 0) this.#verify()
        if (step % COMPACT_EVERY === 0) this.#compactAll()
        if (step % TURN_EVERY === 0) await this.#turn()
      } catch (error) {
        const message = `step ${step}: ${(error as Error).message}\nafter\n${this.#journal.join('\n')}`
        throw new Error(message, { cause: error })
      }
    }
    await this.#end()
  }

  async #turn(): Promise<void> {
    await turns(1)
    this.#settling.clear()
    this.#deferral.runTurn()
    const random = this.#random
    if (random.oneIn(4)) {
      this.#deferral.readCostMs = random.pick([0, 0.001, 0.01])
      this.#deferral.advance(random.below(400))
    }
    if (this.#options.fails === true && random.oneIn(10)) this.#failOneIn = random.pick([0, 0, 2, 10])
  }

  #step(): void {
    const random = this.#random
    const failuresBefore = this.#kernel.failures
    const choice = random.below(1_000)
    const { mostBytes = 6 * MIB, mostRecords = 3_000 } = this.#options
    const isOverfull = this.#records.length > mostRecords || this.#liveBytes > mostBytes
    const [name, operation] = this.#operation(isOverfull ? 500 + random.below(500) : choice)
    this.#note(name)
    try {
      operation()
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      const isLimit = code === 'ERR_ARENA_LIMIT' && this.#options.limitBytes !== undefined
      const hasFailed = this.#kernel.failures > failuresBefore
      // A view for which the runtime has no ArrayBuffer.
      const isUnseen = (error as Error).message === 'Array buffer allocation failed'
      const isRefusal = isUnseen ? SEEING.has(name) : code !== undefined && REFUSALS.has(code)
      if (!isLimit && !(hasFailed && isRefusal)) throw error
      this.refused++
      this.#note(`refused: ${code}`)
    }
  }

  /** Looks at a record while nothing fails. */
  #view(ref: Ref): Buffer {
    return this.#undisturbed(() => this.store.view(ref))
  }

  #undisturbed<T>(call: () => T): T {
    const fails = this.#failOneIn
    this.#failOneIn = 0
    try {
      return call()
    } finally {
      this.#failOneIn = fails
    }
  }

  #note(line: string): void {
    this.#journal.push(line)
    if (this.#journal.length > 30) this.#journal.shift()
  }

  #operation(choice: number): [string, () => void] {
    if (choice < 200) return ['put', () => this.#put()]
    if (choice < 300) return ['alloc', () => this.#alloc()]
    if (choice < 430) return ['allocUnsafe', () => this.#allocUnsafe()]
    if (choice < 450) return ['putOwn', () => this.#putOwn()]
    if (choice < 500) return ['realloc', () => this.#realloc()]
    if (choice < 790) return ['free', () => this.#free()]
    if (choice < 830) return ['write', () => this.#write()]
    if (choice < 860) return ['access', () => this.#access()]
    if (choice < 900) return ['read', () => this.#read()]
    if (choice < 925) return ['pin', () => this.#pin()]
    if (choice < 935) return ['lend', () => this.#lend()]
    if (choice < 960) return ['unpin', () => this.#unpin()]
    if (choice < 980) return ['slice', () => this.#slice()]
    if (choice < 990) return ['misuse', () => this.#misuse()]
    if (choice < 993) return ['trim', () => this.#trim()]
    if (choice < 995) return ['burst', () => this.#burst()]
    if (choice < 997) return ['thin', () => this.#thin()]
    if (choice < 998) return ['sweep', () => this.#sweep()]
    if (choice === 998) return ['refs', () => this.#refs()]
    return this.#random.oneIn(20) ? ['reset', () => this.#reset()] : ['refs', () => this.#refs()]
  }

  #size(): number {
    const random = this.#random
    if (random.oneIn(400)) return random.pick([0, 64 * KIB, 64 * KIB + 1, MIB])
    return random.oneIn(100)
      ? random.size(300 * KIB)
      : random.oneIn(10)
        ? random.size(20_000)
        : random.size(1_000)
  }

  #add(ref: Ref, sizeBytes: number, tag: number): void {
    if (this.#records.some(other => other.ref === ref)) throw new Error(`ref ${ref} was given twice`)
    this.#records.push({ ref, sizeBytes, tag })
    this.#liveBytes += sizeBytes
  }

  #bytes(sizeBytes: number, tag: number): Buffer {
    const bytes = Buffer.alloc(sizeBytes)
    mark(bytes, tag)
    return bytes
  }

  #put(): void {
    const tag = ++this.#lastTag
    const sizeBytes = this.#size()
    this.#add(this.store.put(this.#bytes(sizeBytes, tag)), sizeBytes, tag)
  }

  #alloc(): void {
    const sizeBytes = this.#size()
    const ref = this.store.alloc(sizeBytes)
    this.#addUnfilled(ref, sizeBytes, true)
  }

  #allocUnsafe(): void {
    const sizeBytes = this.#size()
    this.#addUnfilled(this.store.allocUnsafe(sizeBytes), sizeBytes, false)
  }

  #addUnfilled(ref: Ref, sizeBytes: number, isZeroed: boolean): void {
    const tag = ++this.#lastTag
    const view = this.#view(ref)
    if (isZeroed && !isZero(view)) throw new Error('alloc gives zeros')
    mark(view, tag)
    this.#add(ref, sizeBytes, tag)
  }

  /** Puts the bytes of a record of the same store. */
  #putOwn(): void {
    const record = this.#pick()
    if (record === undefined) return
    const view = this.#view(record.ref)
    this.#add(this.store.put(view), record.sizeBytes, record.tag)
  }

  #pick(): Record | undefined {
    return this.#records.length === 0 ? undefined : this.#records[this.#random.below(this.#records.length)]
  }

  #verifyRecord({ ref, sizeBytes, tag }: Record): void {
    const { store } = this
    if (store.sizeOf(ref) !== sizeBytes)
      throw new Error(`ref ${ref} has ${store.sizeOf(ref)} of ${sizeBytes}`)
    if (!isMarked(this.#view(ref), tag)) throw new Error(`contents of ref ${ref}, ${sizeBytes} bytes`)
  }

  #isPinned(record: Record): boolean {
    return this.#settling.has(record) || this.#pins.some(pin => pin.record === record)
  }

  #free(): void {
    const record = this.#pick()
    if (record === undefined) return
    this.#verifyRecord(record)
    this.store.free(record.ref)
    this.#remove(record)
  }

  #remove(record: Record): void {
    const last = this.#records.pop() as Record
    if (last !== record) this.#records[this.#records.indexOf(record)] = last
    this.#liveBytes -= record.sizeBytes
    this.#spent.push(record.ref)
    if (this.#spent.length > 100) this.#spent.shift()
  }

  #realloc(): void {
    const record = this.#pick()
    if (record === undefined) return
    const random = this.#random
    const near = Math.max(0, record.sizeBytes + random.below(2_000) - 1_000)
    const sizeBytes = random.oneIn(2) ? near : this.#size()
    if (this.#isPinned(record)) {
      this.#expectCode('ERR_ARENA_PINNED', () => this.store.realloc(record.ref, sizeBytes))
      return
    }
    const before = record.sizeBytes
    if (this.store.realloc(record.ref, sizeBytes) !== record.ref) throw new Error('realloc keeps the ref')
    this.#liveBytes += sizeBytes - before
    record.sizeBytes = sizeBytes
    const view = this.#view(record.ref)
    if (!isMarked(view, record.tag, Math.min(before, sizeBytes), before))
      throw new Error('realloc keeps contents')
    record.tag = ++this.#lastTag
    mark(view, record.tag)
  }

  #write(): void {
    const record = this.#pick()
    if (record === undefined) return
    const tag = ++this.#lastTag
    const bytes = this.#bytes(record.sizeBytes, tag)
    const middle = this.#random.below(record.sizeBytes + 1)
    this.store.write(record.ref, bytes.subarray(middle), middle)
    record.tag = tag
    this.#undisturbed(() => this.store.write(record.ref, bytes.subarray(0, middle)))
  }

  #access(): void {
    const record = this.#pick()
    if (record === undefined || record.sizeBytes < 8) return
    const { store } = this
    const at = this.#random.below(record.sizeBytes - 7)
    const { ref } = record
    const whole = store.readBigUInt64LE(ref, at)
    const value = this.#random.below(2 ** 31)
    store.writeUInt32LE(ref, value, at)
    store.writeInt32LE(ref, ~value, at + 4)
    const is = store.readUInt32LE(ref, at) === value && store.readInt32LE(ref, at + 4) === ~value
    if (!is || store.readUInt8(ref, at) !== (value & 255)) throw new Error('accessors read what they wrote')
    store.writeBigUInt64LE(ref, whole, at)
    this.#verifyRecord(record)
  }

  #read(): void {
    const record = this.#pick()
    if (record === undefined) return
    this.#verifyRecord(record)
    const copy = this.store.copy(record.ref)
    if (!isMarked(copy, record.tag)) throw new Error('a copy has the contents')
    if (this.store.compare(record.ref, copy) !== 0) throw new Error('a record is as its copy')
  }

  #pin(): void {
    const record = this.#pick()
    if (record === undefined || this.#pins.length > 40) return
    this.#pins.push({ record, bytes: this.store.pin(record.ref) })
  }

  #lend(): void {
    const record = this.#pick()
    if (record === undefined || this.#pins.length > 40) return
    this.store.lend(
      record.ref,
      bytes => new Promise<void>(settle => this.#pins.push({ record, bytes, settle })),
    )
  }

  #unpin(): void {
    if (this.#pins.length === 0) return
    const [pin] = this.#pins.splice(this.#random.below(this.#pins.length), 1)
    this.#verifyPin(pin)
    if (pin.settle === undefined) {
      this.store.unpin(pin.record.ref)
      return
    }
    pin.settle()
    this.#settling.add(pin.record)
  }

  #verifyPin({ record, bytes }: Pin): void {
    if (bytes.length !== record.sizeBytes || !isMarked(bytes, record.tag)) {
      throw new Error(
        `the Buffer of a pin of ref ${record.ref}: ${bytes.length} of ${record.sizeBytes} bytes`,
      )
    }
  }

  /** A slice of a compaction. A view made before has the record's bytes, or none. */
  #slice(): void {
    const record = this.#pick()
    const view = record === undefined ? undefined : this.#view(record.ref)
    const { random, gain } = { random: this.#random, gain: this.#random.pick([undefined, 0.15, 1]) }
    this.store.compact({ maxMs: random.pick([0, 0.01, 1]), ...(gain !== undefined && { gain }) })
    if (record === undefined || view === undefined || view.length === 0) return
    // The buffer of a window has the only bytes of a pinned record in it. So it stays, with all its views.
    if (this.#options.source === 'heap' && this.#pins.length > 0) return
    if (!isMarked(view, record.tag)) throw new Error(`a stale view of ref ${record.ref} shows other bytes`)
  }

  #compactAll(): void {
    this.#note('compaction')
    let calls = 0
    this.#undisturbed(() => {
      while (!this.store.compact({ maxMs: this.#random.pick([0, 1]) }).isDone) {
        if (++calls > 100_000) throw new Error('a compaction does not come to its end')
      }
    })
    this.#verifyAll()
  }

  #trim(): void {
    this.store.trim()
    if (this.#options.hugePages !== true) expect(this.store.stats().dirtyBytes).toBe(0)
  }

  /** Many records of one size at once. */
  #burst(): void {
    const sizeBytes = 16 + this.#random.below(200)
    for (let i = 0; i < 300; i++) this.#addUnfilled(this.store.allocUnsafe(sizeBytes), sizeBytes, false)
  }

  /** Most records end. */
  #thin(): void {
    const keepOneIn = this.#random.pick([2, 8, 30])
    for (const record of [...this.#records]) {
      if (this.#random.oneIn(keepOneIn)) continue
      this.#verifyRecord(record)
      this.store.free(record.ref)
      this.#remove(record)
    }
  }

  /** Of the records, one in ten is not held. */
  #sweep(): void {
    const dropped = this.#records
      .filter(() => this.#random.oneIn(10))
      .filter(record => !this.#isPinned(record))
    const refs = new Set(dropped.map(({ ref }) => ref))
    expect(this.store.sweep(ref => !refs.has(ref))).toBe(dropped.length)
    for (const record of dropped) this.#remove(record)
  }

  #refs(): void {
    const refs = [...this.store.refs()].sort((a, b) => a - b)
    expect(refs).toEqual(this.#records.map(({ ref }) => ref).sort((a, b) => a - b))
  }

  #reset(): void {
    this.store.reset()
    for (const record of [...this.#records]) this.#remove(record)
  }

  #expectCode(code: string, call: () => unknown): void {
    const error = this.#undisturbed(() => thrownBy(call))
    if (error?.code !== code) throw error ?? new Error(`nothing was thrown, not ${code}`)
  }

  #misuse(): void {
    const { store } = this
    const random = this.#random
    const misuses: [() => unknown, string][] = [
      [() => store.free(-1 as Ref), 'ERR_ARENA_DOUBLE_FREE'],
      [() => store.view(0.5 as Ref), 'ERR_ARENA_DOUBLE_FREE'],
      [() => store.copy('1' as unknown as Ref), 'ERR_INVALID_ARG_TYPE'],
      [() => store.alloc(-1), 'ERR_OUT_OF_RANGE'],
      [() => store.alloc(random.below(9) + 0.5), 'ERR_OUT_OF_RANGE'],
      [() => store.put('8' as unknown as Buffer), 'ERR_INVALID_ARG_TYPE'],
      [() => store.compact({ gain: 0 }), 'ERR_OUT_OF_RANGE'],
    ]
    const record = this.#pick()
    if (record !== undefined) {
      const { ref, sizeBytes } = record
      misuses.push([() => store.readUInt8(ref, sizeBytes), 'ERR_OUT_OF_RANGE'])
      misuses.push([() => store.write(ref, Buffer.alloc(1), sizeBytes), 'ERR_OUT_OF_RANGE'])
      if (!this.#isPinned(record)) misuses.push([() => store.unpin(ref), 'ERR_ARENA_NOT_PINNED'])
    }
    for (const spent of this.#spent.slice(0, 3)) {
      if (store.has(spent)) {
        if (!this.#records.some(({ ref }) => ref === spent)) throw new Error(`ref ${spent} was freed`)
        continue
      }
      misuses.push([() => store.free(spent), 'ERR_ARENA_DOUBLE_FREE'])
      misuses.push([() => store.realloc(spent, 5), 'ERR_ARENA_DOUBLE_FREE'])
    }
    const [call, code] = random.pick(misuses)
    this.#expectCode(code, call)
  }

  #verify(): void {
    const { store } = this
    store.check()
    const stats = store.stats()
    const { limitBytes = Number.POSITIVE_INFINITY } = this.#options
    const pinned = new Set(this.#pins.map(({ record }) => record)).size
    const isRight =
      stats.usedBytes + stats.dirtyBytes + stats.cleanBytes === stats.mappedBytes &&
      stats.committedBytes === stats.usedBytes + stats.dirtyBytes &&
      stats.peakCommittedBytes <= limitBytes &&
      stats.committedBytes <= stats.peakCommittedBytes &&
      stats.usedBytes >= stats.liveBytes &&
      stats.records === this.#records.length &&
      stats.liveBytes === this.#liveBytes &&
      // A loan ends a microtask after its promise is settled.
      stats.pinnedRecords >= pinned
    if (!isRight) {
      const model = { records: this.#records.length, liveBytes: this.#liveBytes, pinned }
      throw new Error(`statistics ${JSON.stringify(stats)}, model ${JSON.stringify(model)}`)
    }
    if (store.lostBlocks !== 0) throw new Error(`${store.lostBlocks} blocks are lost`)
  }

  #verifyAll(): void {
    this.#verify()
    for (const record of this.#records) this.#verifyRecord(record)
    for (const pin of this.#pins) this.#verifyPin(pin)
  }

  /** All records can end, and nothing stays mapped. */
  async #end(): Promise<void> {
    this.#failOneIn = 0
    this.#verifyAll()
    while (this.#pins.length > 0) this.#unpin()
    await turns(1)
    for (const record of [...this.#records]) this.store.free(record.ref)
    await turns()
    this.store.trim()
    this.store.check()
    const left = { usedBytes: 0, dirtyBytes: 0, records: 0, liveBytes: 0, pinnedRecords: 0 }
    expect(this.store.stats()).toMatchObject(left)
    expect(this.store.residentBytes()).toBe(0)
    this.store.close()
    this.store.check()
    await turns()
    for (let i = 0; i < 4; i++) this.#deferral.runTurn()
    this.#deferral.advance(60_000)
    expect(this.#kernel.mappings.size).toBe(0)
  }

  /** After a failure. */
  dispose(): void {
    for (const { record, settle } of this.#pins)
      if (settle === undefined) thrownBy(() => this.store.unpin(record.ref))
    thrownBy(() => this.store.close())
  }
}

const SCENARIOS: [string, Scenario][] = [
  ['by default', {}],
  ['with many small records', { mostRecords: 20_000, mostBytes: 3 * MIB }],
  ['compacted by hand', { compact: 'manual' }],
  ['released at once', { releaseAfterMs: 0 }],
  ['released by trim', { releaseAfterMs: Number.POSITIVE_INFINITY }],
  ['at a limit', { limitBytes: MIB, mostBytes: 2 * MIB }],
  ['at a limit, compacted by hand', { limitBytes: MIB, compact: 'manual', mostBytes: 2 * MIB }],
  ['at a small limit', { limitBytes: 128 * KIB, mostBytes: MIB }],
  ['at two limits', { limitBytes: 2 * MIB, softLimitBytes: MIB, releaseAfterMs: 10, mostBytes: 4 * MIB }],
  ['of huge pages', { hugePages: true }],
  ['of huge pages at a limit', { hugePages: true, limitBytes: 4 * MIB }],
  ['with debug', { debug: true }],
  ['with debug at a limit', { debug: true, limitBytes: MIB, mostBytes: 2 * MIB }],
  ['whose kernel refuses', { fails: true }],
  [
    'whose kernel refuses, at a limit',
    { fails: true, limitBytes: MIB, releaseAfterMs: 20, mostBytes: 2 * MIB },
  ],
  ['whose kernel refuses, with debug', { fails: true, debug: true }],
  ["with source 'heap'", { source: 'heap' }],
  ["with source 'heap' at a limit", { source: 'heap', limitBytes: MIB, mostBytes: 2 * MIB }],
  ["with source 'heap' and debug", { source: 'heap', debug: true }],
]
const BREAK_SCENARIOS: [string, Scenario][] = [
  ["with source 'sbrk'", { source: 'sbrk' }],
  ["with source 'sbrk' at a limit", { source: 'sbrk', limitBytes: MIB, mostBytes: 2 * MIB }],
  ["with source 'sbrk' and debug", { source: 'sbrk', debug: true }],
]
const STEPS = fuzzSteps(Math.ceil(2_000_000 / (SCENARIOS.length + BREAK_SCENARIOS.length)))

async function runSession(options: Scenario): Promise<void> {
  const seed = fuzzSeed()
  const session = new Session(options, randomFrom(seed))
  try {
    await session.run(STEPS)
  } catch (error) {
    session.dispose()
    throw new Error(`${variablesOf(seed)}: ${(error as Error).message}`, { cause: error })
  }
}

describe('a store', () => {
  it.each(SCENARIOS)('%s does what the model does', (_, options) => runSession(options), 600_000)
})

describe.skipIf(hasNoBreak)('a store', () => {
  it.each(BREAK_SCENARIOS)('%s does what the model does', (_, options) => runSession(options), 600_000)
})
