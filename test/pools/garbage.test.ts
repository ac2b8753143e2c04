/** Pools and the garbage collector: what they make for it, and what it finds. Children with `--expose-gc`. */
import { describe, expect, it } from 'vitest'
import { runFunction } from '../support/child.js'
import { someOf } from '../support/extent.js'
import { expectToPass } from '../support/leak-listener.js'
import { NODES } from '../support/process.js'

describe.each(NODES)('on Node $version', ({ path }) => {
  it.concurrent.each(someOf([64, 1_024, 65_536], 1))(
    '10 million pairs of acquire and release cause no collection: %i bytes',
    async sizeBytes => {
      const outcome = await runFunction(
        ({ Arena }, sizeBytes) => {
          const arena = new Arena()
          const pool = arena.pool(sizeBytes)
          const { PerformanceObserver, performance } = process.getBuiltinModule('node:perf_hooks')
          const run = (count: number): void => {
            for (let i = 0; i < count; i++) pool.release(pool.acquire())
          }
          run(1_000_000)
          let collections = 0
          const observer = new PerformanceObserver(list => {
            collections += list.getEntries().filter(({ startTime }) => startTime > startMs).length
          })
          observer.observe({ entryTypes: ['gc'] })
          const startMs = performance.now()
          run(10_000_000)
          const during = [collections, observer.takeRecords().length]
          // That it would have noticed some.
          const garbage: unknown[] = []
          for (let i = 0; i < 2_000_000; i++) garbage[i % 8] = new Array(4)
          process.getBuiltinModule('node:timers').setTimeout(() => {
            observer.disconnect()
            const { handedOut, made } = pool.stats()
            console.log(JSON.stringify({ during, isSeen: collections > 0, handedOut, made }))
          }, 50)
        },
        sizeBytes,
        { node: path, nodeArgs: ['--expose-gc'] },
      )
      expect(outcome.stderr).toBe('')
      expect(JSON.parse(outcome.stdout)).toEqual({
        during: [0, 0],
        isSeen: true,
        handedOut: 11_000_000,
        made: 1,
      })
    },
  )
})

describe('an acquired Buffer that nobody holds any more', () => {
  it.each([64, 70_000])(
    "is told, with the place of its acquire, and ends: leaks 'all', %i bytes",
    sizeBytes =>
      expectToPass(async ({ Arena, assert, until, heard, collect }, sizeBytes) => {
        const arena = new Arena({ name: 'leaky', leaks: 'all' })
        const pool = arena.pool(sizeBytes)
        // Functions, because a variable of this one would hold a Buffer.
        function careful() {
          pool.release(pool.acquire())
        }
        careful()
        function careless() {
          pool.acquire().fill(1)
        }
        for (let i = 0; i < 50; i++) careless()
        const held = pool.acquire()
        await collect()
        await until(() => heard.length === 50)
        assert.ok(heard.every(({ stack, bytes }) => /^ +at careless /.test(stack) && bytes === sizeBytes))
        assert.deepEqual(pool.stats().acquiredBuffers, 1)
        assert.equal(arena.stats().liveBlocks, 1)
        pool.release(held)
        arena.check()
        await collect()
        assert.equal(heard.length, 50)
        arena.close()
      }, sizeBytes),
  )

  it("is told as often as any other with leaks: 'sampled', and idle ones never", () =>
    expectToPass(async ({ Arena, assert, collect, heard }) => {
      const arena = new Arena({ name: 'leaky' })
      const pool = arena.pool(64)
      const ok = arena.pool(64)
      function careless() {
        const buffers = Array.from({ length: 10 }, () => pool.acquire())
        for (const buffer of buffers.slice(1)) pool.release(buffer)
      }
      const held = Array.from({ length: 5_000 }, () => ok.acquire())
      for (const buffer of held.splice(0)) ok.release(buffer)
      for (let i = 0; i < 10_000; i++) careless()
      for (let i = 0; i < 10 && heard.length < 20; i++) await collect()
      assert.ok(heard.length > 10 && heard.length < 500, `told of ${heard.length}`)
      assert.equal(pool.stats().acquiredBuffers, 10_000 - heard.length)
      arena.check()
      arena.close()
    }))

  it('is found by ownerOf with trackOwners', () =>
    expectToPass(async ({ Arena, assert, collect, codeOf }) => {
      const arena = new Arena({ trackOwners: true })
      const pool = arena.pool(1_000)
      const view = (() => pool.acquire().subarray(3, 9))()
      await collect()
      const owner = arena.ownerOf(view)
      assert.equal(owner?.length, 1_000)
      assert.equal(
        codeOf(() => arena.free(owner as Buffer)),
        'ERR_ARENA_POOLED',
      )
      pool.release(owner as Buffer)
      assert.equal(pool.acquire(), owner)
      arena.check()
      arena.close()
    }))
})

describe('a pool that nobody holds any more', () => {
  it('gives its idle Buffers back, and is collected', () =>
    expectToPass(async ({ Arena, assert, collect, until }) => {
      const arena = new Arena({ releaseAfterMs: 20 })
      const dropped = (() => {
        const pool = arena.pool(1_000)
        const buffers = Array.from({ length: 100 }, () => pool.acquire())
        for (const buffer of buffers) pool.release(buffer)
        return new WeakRef(pool)
      })()
      assert.equal(arena.stats().idleBlocks, 100)
      await until(() => arena.stats().idleBlocks === 0)
      await until(() => dropped.deref() === undefined)
      await collect()
      assert.equal(arena.stats().liveBlocks, 0)
      arena.close()
    }))

  it('keeps no arena from the collector', () =>
    expectToPass(async ({ Arena, assert, until, heard }) => {
      const dropped = (() => {
        const arena = new Arena({ leaks: 'off' })
        const pool = arena.pool(1_000)
        pool.release(pool.acquire())
        return new WeakRef(arena)
      })()
      await until(() => dropped.deref() === undefined)
      assert.equal(heard.length, 0)
    }))
})
