/** Every method of a store, with the errors of its docstring. */
import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import type { Ref } from '../../src/store/slots.js'
import type { Store } from '../../src/store/store.js'
import { hasNoBreak } from '../support/break.js'
import { runFunction } from '../support/child.js'
import { compactAll, holds, openStore, putMarked, sparse, storeWorldWith } from '../support/store-world.js'
import { isMarked, isZero, mark, thrownBy, turns } from '../support/world.js'

const KIB = 2 ** 10
const MIB = 2 ** 20
const SIZES = [0, 1, 16, 17, 1000, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, MIB]
const OPTIONS = [{}, { debug: true }, { source: 'heap' as const }, { hugePages: true }, { releaseAfterMs: 0 }]

function bytesWith(sizeBytes: number, tag: number): Buffer {
  const bytes = Buffer.alloc(sizeBytes)
  mark(bytes, tag)
  return bytes
}

describe.each(OPTIONS)('a store with %j', options => {
  it('makes records of every size', () => {
    const { store } = openStore(options)
    const refs = SIZES.flatMap((size, i) => {
      const [made, put] = [store.alloc(size), store.put(bytesWith(size, i))]
      expect(isZero(store.view(made))).toBe(true)
      return [made, put, putMarked(store, size, i)]
    })
    store.check()
    refs.forEach((ref, i) => {
      const size = SIZES[Math.floor(i / 3)]
      expect(store.sizeOf(ref)).toBe(size)
      expect(store.view(ref)).toBeInstanceOf(Buffer)
      expect(store.view(ref).length).toBe(size)
      if (i % 3 > 0) expect(holds(store, ref, Math.floor(i / 3))).toBe(true)
    })
    const liveBytes = SIZES.reduce((sum, size) => sum + 3 * size, 0)
    const records = refs.length
    expect(store.stats()).toMatchObject({ liveBytes, records, allocations: records, frees: 0 })
    for (const ref of refs) store.free(ref)
    store.check()
    expect(store.stats()).toMatchObject({ liveBytes: 0, records: 0, liveBlocks: 0, frees: records })
  })

  it('fills what alloc gives with zeros, also where other records were', () => {
    const { store } = openStore(options)
    for (const size of SIZES) {
      const refs = [1, 2, 3].map(tag => putMarked(store, size, tag))
      for (const ref of refs) store.free(ref)
      for (let i = 0; i < 3; i++) expect(isZero(store.view(store.alloc(size)))).toBe(true)
    }
  })

  it.each(SIZES)('changes the size of a record of %d bytes to every other', from => {
    const { store } = openStore(options)
    for (const to of SIZES) {
      const neighbours = [putMarked(store, 100, 7), putMarked(store, from, 5), putMarked(store, 100, 8)]
      const ref = neighbours[1]
      expect(store.realloc(ref, to)).toBe(ref)
      store.check()
      expect(store.sizeOf(ref)).toBe(to)
      expect(isMarked(store.view(ref), 5, Math.min(from, to), from), `to ${to}`).toBe(true)
      expect(holds(store, neighbours[0], 7) && holds(store, neighbours[2], 8)).toBe(true)
      mark(store.view(ref), 9)
      compactAll(store)
      expect(holds(store, ref, 9)).toBe(true)
      store.reset()
    }
  })

  it('puts the bytes of a view of its own', () => {
    const { store } = openStore(options)
    for (const size of SIZES) {
      const ref = putMarked(store, size, 3)
      const again = store.put(store.view(ref))
      expect(holds(store, again, 3) && holds(store, ref, 3)).toBe(true)
      const part = store.put(store.view(ref).subarray(0, size >> 1))
      expect(isMarked(store.view(part), 3, size >> 1, size)).toBe(true)
    }
  })

  it('copies, writes and compares up to the borders of a record', () => {
    const { store } = openStore(options)
    for (const size of SIZES) {
      const [before, ref, after] = [
        putMarked(store, 50, 1),
        putMarked(store, size, 2),
        putMarked(store, 50, 3),
      ]
      expect(store.copy(ref).equals(bytesWith(size, 2))).toBe(true)
      const target = Buffer.alloc(size + 2, 0xee)
      expect(store.copy(ref, target)).toBe(target)
      expect(target.subarray(0, size).equals(bytesWith(size, 2)) && target[size] === 0xee).toBe(true)
      if (size > 0) {
        expect(thrownBy(() => store.copy(ref, Buffer.alloc(size - 1)))?.code).toBe('ERR_OUT_OF_RANGE')
      }
      store.write(ref, bytesWith(size, 4))
      expect(holds(store, ref, 4)).toBe(true)
      store.write(ref, Buffer.alloc(0), size)
      if (size > 0) {
        store.write(ref, Buffer.of(9), size - 1)
        expect(store.readUInt8(ref, size - 1)).toBe(9)
      }
      for (const [length, offset] of [
        [size + 1, 0],
        [1, size],
        [0, size + 1],
        [0, -1],
        [0, 0.5],
        [0, Number.NaN],
        [0, Number.POSITIVE_INFINITY],
      ]) {
        const error = thrownBy(() => store.write(ref, Buffer.alloc(length), offset))
        expect(error?.code, `${length} at ${offset}`).toBe('ERR_OUT_OF_RANGE')
      }
      const copy = store.copy(ref)
      expect(store.compare(ref, copy)).toBe(0)
      expect(store.compare(ref, Buffer.concat([copy, Buffer.of(0)]))).toBe(-1)
      if (size > 0) expect(store.compare(ref, copy.subarray(0, size - 1))).toBe(1)
      expect(holds(store, before, 1) && holds(store, after, 3)).toBe(true)
    }
    store.check()
  })

  it('reads and writes numbers up to the borders of a record', () => {
    const { store } = openStore(options)
    for (const size of [8, 9, 1000, 64 * KIB, 64 * KIB + 1, MIB]) {
      const [before, ref, after] = [putMarked(store, 16, 1), store.alloc(size), putMarked(store, 16, 3)]
      const accesses: [number, (at: number) => unknown, (at: number) => void, unknown][] = [
        [1, at => store.readUInt8(ref, at), at => store.writeUInt8(ref, 0x1fe, at), 0xfe],
        [2, at => store.readUInt16LE(ref, at), at => store.writeUInt16LE(ref, 0x1fedc, at), 0xfedc],
        [4, at => store.readUInt32LE(ref, at), at => store.writeUInt32LE(ref, 2 ** 32 - 2, at), 2 ** 32 - 2],
        [4, at => store.readInt32LE(ref, at), at => store.writeInt32LE(ref, -2, at), -2],
        [
          8,
          at => store.readBigUInt64LE(ref, at),
          at => store.writeBigUInt64LE(ref, 2n ** 63n, at),
          2n ** 63n,
        ],
        [8, at => store.readDoubleLE(ref, at), at => store.writeDoubleLE(ref, -0.1, at), -0.1],
      ]
      for (const [bytes, read, write, value] of accesses) {
        for (const at of [0, size - bytes]) {
          write(at)
          expect(read(at)).toBe(value)
        }
        for (const at of [
          size - bytes + 1,
          size,
          -1,
          0.5,
          Number.NaN,
          2 ** 32,
          '0',
          0n,
          null,
          { valueOf: () => 0 },
        ]) {
          expect(thrownBy(() => read(at as number))?.code, `read at ${String(at)}`).toBe('ERR_OUT_OF_RANGE')
          expect(thrownBy(() => write(at as number))?.code, `write at ${String(at)}`).toBe('ERR_OUT_OF_RANGE')
        }
      }
      expect(holds(store, before, 1) && holds(store, after, 3)).toBe(true)
    }
    const empty = store.alloc(0)
    expect(thrownBy(() => store.readUInt8(empty, 0))?.code).toBe('ERR_OUT_OF_RANGE')
  })

  it('keeps pinned and lent records in their places, with their Buffers', async () => {
    const { store } = openStore(options)
    for (const size of SIZES) {
      const kept = sparse(store, 3_000, 60, 10)
      const ref = putMarked(store, size, 1)
      const first = store.pin(ref)
      const again = store.pin(ref)
      let settle = () => {}
      const lent = store.lend(ref, bytes => {
        expect(isMarked(bytes, 1)).toBe(true)
        return new Promise<string>(resolve => {
          settle = () => resolve('done')
        })
      })
      expect(store.stats().pinnedRecords).toBe(1)
      compactAll(store)
      expect(first.length === size && isMarked(first, 1) && isMarked(again, 1)).toBe(true)
      expect(thrownBy(() => store.realloc(ref, 5))?.code).toBe(size === 5 ? undefined : 'ERR_ARENA_PINNED')
      expect(thrownBy(() => store.close())?.code).toBe('ERR_ARENA_PINNED')
      store.unpin(ref)
      store.unpin(ref)
      expect(thrownBy(() => store.unpin(ref))?.code).toBe('ERR_ARENA_NOT_PINNED')
      expect(isMarked(first, 1)).toBe(true)
      store.free(ref)
      expect(store.has(ref)).toBe(false)
      store.check()
      settle()
      expect(await lent).toBe('done')
      if (options.source !== 'heap') expect(first.length).toBe(0)
      expect(store.stats().pinnedRecords).toBe(0)
      store.check()
      for (const [one, tag] of kept) expect(holds(store, one, tag)).toBe(true)
      store.reset()
    }
  })

  it('ends pinned records of a reset at their last unpin', async () => {
    const { store } = openStore(options)
    const refs = SIZES.map((size, i) => putMarked(store, size, i))
    const buffers = refs.map(ref => store.pin(ref))
    store.reset()
    store.reset()
    expect([...store.refs()]).toEqual([])
    for (let i = 0; i < 200; i++) putMarked(store, 500, 9)
    buffers.forEach((buffer, i) => {
      expect(isMarked(buffer, i)).toBe(true)
    })
    store.check()
    for (const ref of refs) store.unpin(ref)
    store.check()
    await turns()
    expect(store.stats()).toMatchObject({ records: 200, pinnedRecords: 0 })
  })
})

describe('misuse', () => {
  const METHODS: [string, (store: Store, ref: Ref) => unknown][] = [
    ['sizeOf', (store, ref) => store.sizeOf(ref)],
    ['view', (store, ref) => store.view(ref)],
    ['copy', (store, ref) => store.copy(ref)],
    ['write', (store, ref) => store.write(ref, Buffer.alloc(0))],
    ['compare', (store, ref) => store.compare(ref, Buffer.alloc(0))],
    ['realloc', (store, ref) => store.realloc(ref, 9)],
    ['free', (store, ref) => store.free(ref)],
    ['pin', (store, ref) => store.pin(ref)],
    ['unpin', (store, ref) => store.unpin(ref)],
    ['lend', (store, ref) => store.lend(ref, () => {})],
    ['readUInt8', (store, ref) => store.readUInt8(ref, 0)],
    ['writeUInt8', (store, ref) => store.writeUInt8(ref, 0, 0)],
    ['readDoubleLE', (store, ref) => store.readDoubleLE(ref, 0)],
    ['writeBigUInt64LE', (store, ref) => store.writeBigUInt64LE(ref, 0n, 0)],
  ]

  it.each(METHODS)('%s refuses what names no record', (method, call) => {
    const { store } = openStore()
    const live = putMarked(store, 8, 1)
    const freed = putMarked(store, 8, 1)
    store.free(freed)
    for (const value of [
      freed,
      live + 2,
      -1,
      -live,
      0.5,
      Number.NaN,
      Number.NEGATIVE_INFINITY,
      2 ** 31,
      2 ** 40,
    ]) {
      if (Object.is(value, 0) || Object.is(value, -0)) continue
      const error = thrownBy(() => call(store, value as unknown as Ref))
      expect(error, `${value}`).toMatchObject({ code: 'ERR_ARENA_DOUBLE_FREE', name: 'ArenaError' })
      expect(error?.message).toContain(`store 'subject': ${method}()`)
      expect(store.has(value)).toBe(false)
    }
    const looksLive = { valueOf: () => live, toString: () => String(live) }
    for (const value of [
      String(live),
      BigInt(live),
      looksLive,
      [live],
      null,
      undefined,
      true,
      Symbol.iterator,
    ]) {
      expect(thrownBy(() => call(store, value as unknown as Ref))?.code, inspect(value)).toBe(
        'ERR_INVALID_ARG_TYPE',
      )
      expect(store.has(value)).toBe(false)
    }
    expect(holds(store, live, 1)).toBe(true)
    store.check()
    store.reset()
    expect(thrownBy(() => call(store, live))?.code).toBe('ERR_ARENA_DOUBLE_FREE')
    store.close()
    expect(thrownBy(() => call(store, live))?.code).toBe('ERR_ARENA_CLOSED')
  })

  it('of sizes is refused before anything happens', () => {
    const { store } = openStore()
    const ref = store.alloc(8)
    const calls = [
      (size: number) => store.alloc(size),
      (size: number) => store.allocUnsafe(size),
      (size: number) => store.realloc(ref, size),
    ]
    for (const call of calls) {
      for (const size of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31, 2 ** 53]) {
        expect(thrownBy(() => call(size))?.code, `${size}`).toBe('ERR_OUT_OF_RANGE')
      }
      for (const size of ['8', 8n, null, undefined, { valueOf: () => 8 }]) {
        expect(thrownBy(() => call(size as number))?.code).toBe('ERR_INVALID_ARG_TYPE')
      }
    }
    expect(store.stats()).toMatchObject({ records: 1, allocations: 1, liveBytes: 8 })
    store.check()
  })

  it('of bytes is refused before anything happens', () => {
    const { store } = openStore()
    const ref = store.alloc(8)
    const calls = [
      (bytes: Uint8Array) => store.put(bytes),
      (bytes: Uint8Array) => store.write(ref, bytes),
      (bytes: Uint8Array) => store.compare(ref, bytes),
      (bytes: Uint8Array) => store.copy(ref, bytes),
    ]
    for (const call of calls) {
      for (const bytes of [
        '8',
        [1],
        new ArrayBuffer(8),
        new Uint16Array(8),
        new DataView(new ArrayBuffer(8)),
        null,
        8,
      ]) {
        expect(thrownBy(() => call(bytes as unknown as Uint8Array))?.code, inspect(bytes)).toBe(
          'ERR_INVALID_ARG_TYPE',
        )
      }
    }
    expect(store.stats().records).toBe(1)
  })

  it('of values that numbers are to be made of runs nothing, and writes nothing', () => {
    const { store } = openStore()
    const ref = store.alloc(8)
    let ran = 0
    const value = {
      valueOf: () => {
        ran++
        store.free(ref)
        return 1
      },
    }
    const writes = [
      () => store.writeUInt8(ref, value as never, 0),
      () => store.writeUInt16LE(ref, '1' as never, 0),
      () => store.writeUInt32LE(ref, 1n as never, 0),
      () => store.writeInt32LE(ref, value as never, 0),
      () => store.writeBigUInt64LE(ref, value as never, 0),
      () => store.writeBigUInt64LE(ref, 1 as never, 0),
      () => store.writeDoubleLE(ref, undefined as never, 0),
    ]
    for (const write of writes) expect(thrownBy(write)?.code).toBe('ERR_INVALID_ARG_TYPE')
    expect(ran).toBe(0)
    expect(isZero(store.view(ref))).toBe(true)
  })

  it('of options is refused', () => {
    const { store } = openStore()
    for (const options of [
      { maxMs: -1 },
      { maxMs: Number.NaN },
      { gain: 0 },
      { gain: 1.01 },
      { gain: Number.NaN },
      { gain: Number.POSITIVE_INFINITY },
    ]) {
      expect(thrownBy(() => store.compact(options))?.code, inspect(options)).toBe('ERR_OUT_OF_RANGE')
    }
    expect(thrownBy(() => store.compact({ maxMs: '1' } as never))?.code).toBe('ERR_INVALID_ARG_TYPE')
    expect(thrownBy(() => store.compact({ gain: '1' } as never))?.code).toBe('ERR_INVALID_ARG_TYPE')
    expect(thrownBy(() => store.compact({ max: 1 } as never))?.code).toBe('ERR_INVALID_ARG_VALUE')
    expect(thrownBy(() => store.oldest(-1))?.code).toBe('ERR_OUT_OF_RANGE')
    expect(thrownBy(() => store.oldest('1' as never))?.code).toBe('ERR_INVALID_ARG_TYPE')
    expect(thrownBy(() => store.sweep(null as never))?.code).toBe('ERR_INVALID_ARG_TYPE')
    expect(thrownBy(() => store.lend(store.alloc(1), null as never))?.code).toBe('ERR_INVALID_ARG_TYPE')
    expect(thrownBy(() => store.on('limits' as never, () => {}))?.code).toBe('ERR_INVALID_ARG_VALUE')
    expect(thrownBy(() => storeWorldWith({ compact: 'always' } as never))?.code).toBe('ERR_INVALID_ARG_VALUE')
    expect(thrownBy(() => storeWorldWith({ debug: 1 } as never))?.code).toBe('ERR_INVALID_ARG_TYPE')
    expect(thrownBy(() => storeWorldWith({ leaks: 'all' } as never))?.code).toBe('ERR_INVALID_ARG_VALUE')
  })

  it('of a ref of another store names nothing, or a record of the other', () => {
    const { store } = openStore()
    const { store: other } = openStore()
    const refs = [1, 2, 3].map(tag => putMarked(store, 8, tag))
    expect(other.has(refs[2])).toBe(false)
    expect(thrownBy(() => other.free(refs[2]))?.code).toBe('ERR_ARENA_DOUBLE_FREE')
    expect(store.has(refs[2])).toBe(true)
  })
})

describe('all records', () => {
  it('are listed while records come and go', () => {
    const { store } = openStore()
    const refs = Array.from({ length: 100 }, (_, i) => putMarked(store, 10, i))
    const seen: Ref[] = []
    for (const ref of store.refs()) {
      seen.push(ref)
      if (seen.length === 10) for (const other of refs.slice(50)) store.free(other)
      if (seen.length === 20) refs.push(putMarked(store, 10, 1))
    }
    expect(seen.slice(0, 50)).toEqual(refs.slice(0, 50))
    expect(seen.every(ref => refs.includes(ref))).toBe(true)
    for (const ref of store.refs()) {
      expect(store.has(ref)).toBe(true)
      store.reset()
    }
    putMarked(store, 1, 1)
    for (const _ of store.refs()) store.close()
    expect([...store.refs()]).toEqual([])
  })

  it('that nobody holds are swept, but for pinned ones', () => {
    const { store } = openStore()
    const refs = Array.from({ length: 300 }, (_, i) => putMarked(store, 10, i))
    const held = new Set(refs.filter((_, i) => i % 3 === 0))
    store.pin(refs[1])
    expect(store.sweep(ref => held.has(ref))).toBe(199)
    expect(new Set(store.refs())).toEqual(new Set([...held, refs[1]]))
    store.unpin(refs[1])
    expect(store.sweep(ref => held.has(ref))).toBe(1)
    const error = new Error('mine')
    let calls = 0
    const sweep = () =>
      store.sweep(() => {
        if (++calls === 3) throw error
        return false
      })
    expect(thrownBy(sweep)).toBe(error)
    expect(store.stats().records).toBe(98)
    store.sweep(ref => {
      if (store.has(ref)) store.free(ref)
      return false
    })
    expect(store.stats().records).toBe(0)
    store.check()
  })

  it('that are the oldest are told with the stacks of their making', () => {
    const { store, deferral } = openStore()
    const makeForgotten = () => store.alloc(33)
    const first = makeForgotten()
    deferral.nowMs += 1_000
    const others = Array.from({ length: 1_000 }, () => store.alloc(10))
    const oldest = store.oldest()
    expect(oldest.length).toBe(8)
    expect(oldest[0]).toMatchObject({ ref: first, sizeBytes: 33, ageMs: 1_000 })
    expect(oldest[0].stack).toContain('makeForgotten')
    expect(oldest[0].stack).not.toContain('src/store')
    expect(store.oldest(2).length).toBe(2)
    expect(store.oldest(0)).toEqual([])
    for (const ref of others) store.free(ref)
    expect(store.oldest().length).toBe(1)
    store.reset()
    expect(store.oldest()).toEqual([])
  })
})

describe('the end', () => {
  it('leaves nothing, and every call says so', async () => {
    const { store, kernel, deferral } = openStore()
    const ref = putMarked(store, 100, 1)
    const view = store.view(ref)
    sparse(store, 5_000, 100, 20)
    store.close()
    store.close()
    expect([view.length, store.has(ref), store.stats().committedBytes, store.stats().records]).toEqual([
      0,
      false,
      0,
      0,
    ])
    store.check()
    expect(JSON.parse(JSON.stringify(store))).toMatchObject({ isClosed: true, records: 0 })
    expect(inspect(store)).toContain("Store 'subject'")
    const calls: (() => unknown)[] = [
      () => store.alloc(1),
      () => store.allocUnsafe(1),
      () => store.put(Buffer.of(1)),
      () => store.compact(),
      () => store.trim(),
      () => store.reset(),
      () => store.sweep(() => true),
      () => store.residentBytes(),
    ]
    for (const call of calls) expect(thrownBy(call)?.code).toBe('ERR_ARENA_CLOSED')
    await expect(store.trimAsync()).rejects.toMatchObject({ code: 'ERR_ARENA_CLOSED' })
    await store.closeWhenIdle()
    await turns()
    for (let i = 0; i < 4; i++) deferral.runTurn()
    deferral.advance(60_000)
    expect(kernel.mappings.size).toBe(0)
  })

  it('waits for the last pin, and takes no new records meanwhile', async () => {
    const { store } = openStore()
    const ref = putMarked(store, 100, 1)
    const other = putMarked(store, 100, 2)
    const bytes = store.pin(ref)
    let isClosed = false
    const closing = store.closeWhenIdle().then(() => {
      isClosed = true
    })
    expect(store.closeWhenIdle()).toBeInstanceOf(Promise)
    for (const call of [
      () => store.alloc(1),
      () => store.put(Buffer.of(1)),
      () => store.allocUnsafe(1),
      () => store.realloc(other, 2),
    ]) {
      expect(thrownBy(call)).toMatchObject({
        code: 'ERR_ARENA_CLOSED',
        message: expect.stringContaining('1 pinned record'),
      })
    }
    store.free(other)
    expect(isMarked(bytes, 1) && holds(store, ref, 1)).toBe(true)
    await turns()
    expect(isClosed).toBe(false)
    store.unpin(ref)
    await closing
    expect([bytes.length, store.toJSON().isClosed]).toEqual([0, true])
  })

  it('comes by using', async () => {
    const { store } = storeWorldWith()
    store.alloc(1)
    store[Symbol.dispose]()
    expect(store.toJSON().isClosed).toBe(true)
    const { store: other } = storeWorldWith()
    await other[Symbol.asyncDispose]()
    expect(other.toJSON().isClosed).toBe(true)
  })

  it('gives all memory back where a store is dropped', async () => {
    const { code, stdout, stderr } = await runFunction(
      async ({ Store, gc, turns, sleep, assert }) => {
        const fs = process.getBuiltinModule('node:fs')
        const ours = () => fs.readFileSync('/proc/self/smaps_rollup', 'latin1').match(/^Rss:\s+(\d+)/m)?.[1]
        const make = () => {
          const store = new Store({ name: 'dropped', releaseAfterMs: 50 })
          const refs = Array.from({ length: 100_000 }, () => store.put(Buffer.alloc(256, 1)))
          refs.forEach((ref, i) => {
            if (i % 16 === 0) store.free(ref)
          })
          store.compact()
          return new WeakRef(store)
        }
        const warnings: Error[] = []
        process.on('warning', warning => warnings.push(warning))
        const dropped = make()
        const before = Number(ours())
        // Its segments go once the buffers over them are collected, too.
        const isLeft = () => dropped.deref() !== undefined || before - Number(ours()) < 20_000
        for (let i = 0; i < 200 && isLeft(); i++) {
          await turns(2)
          gc()
          await sleep(10)
        }
        assert.equal(dropped.deref(), undefined)
        assert.match(String(warnings[0]?.message), /dropped/)
        assert.ok(!isLeft(), `${before} kB before, ${ours()} after`)
        console.log('gone')
      },
      undefined,
      { nodeArgs: ['--expose-gc'] },
    )
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: 'gone\n', stderr: '' })
  })

  it.skipIf(hasNoBreak)('of a store over the program break lets the next one begin', () => {
    for (let i = 0; i < 3; i++) {
      const { store } = storeWorldWith({ source: 'sbrk' })
      const kept = sparse(store, 2_000, 100, 10)
      compactAll(store)
      for (const [ref, tag] of kept) expect(holds(store, ref, tag)).toBe(true)
      store.check()
      store.reset()
      compactAll(store)
      store.trim()
      store.close()
    }
  })
})

it('works in a Worker, and two threads have their own', async () => {
  const { code, stdout, stderr } = await runFunction(
    async ({ Store, assert }, address: string) => {
      const { Worker } = process.getBuiltinModule('node:worker_threads')
      const source = `
      import { parentPort } from 'node:worker_threads'
      const { Store } = await import(${JSON.stringify(address)})
      const store = new Store({ name: 'worker', releaseAfterMs: 20 })
      const all = Array.from({ length: 20000 }, (_, i) => [store.put(Buffer.alloc(100, i % 251)), i % 251])
      const kept = all.filter((_, i) => i % 20 === 0)
      all.forEach(([ref], i) => { if (i % 20 !== 0) store.free(ref) })
      while (!store.compact().isDone);
      for (const [ref, byte] of kept) if (store.readUInt8(ref, 99) !== byte) throw new Error('contents')
      store.check()
      parentPort.postMessage(store.stats().movedRecords)`
      const store = new Store({ name: 'main' })
      const ref = store.put(Buffer.alloc(100, 7))
      const worker = new Worker(source, { eval: true })
      const moved = await new Promise((resolve, reject) => worker.on('message', resolve).on('error', reject))
      assert.ok(Number(moved) > 0)
      assert.equal(store.readUInt8(ref, 50), 7)
      await worker.terminate()
      store.close()
      console.log('done')
    },
    new URL('../../dist/index.js', import.meta.url).href,
  )
  expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: 'done\n', stderr: '' })
})
