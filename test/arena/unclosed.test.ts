/** Arenas that nobody refers to any more and nobody closed. */
import { describe, expect, it } from 'vitest'
import type { ArenaOptions } from '../../src/arena/options.js'
import { hasNoBreak } from '../support/break.js'
import { someOf, stepsOf } from '../support/extent.js'
import { expectToPass } from '../support/leak-listener.js'
import { runFile } from '../support/process.js'

const MIB = 2 ** 20

async function expectNothingLeft(count: number, options: object, where = 'main'): Promise<void> {
  const args = [String(count), JSON.stringify(options), where]
  const nodeArgs = ['--expose-gc', '--no-warnings']
  const { code, signal, stdout, stderr } = await runFile(
    'children/unclosed.mjs',
    import.meta.url,
    args,
    nodeArgs,
  )
  expect({ code, signal, stderr }).toEqual({ code: 0, signal: null, stderr: '' })
  const kept = JSON.parse(stdout) as { rssBytes: number; sizeBytes: number }
  // Each arena has a segment of 4 MiB and more, and about 3 MiB resident. What differs is V8's and malloc's own.
  expect(kept.rssBytes).toBeLessThan(20 * MIB)
  expect(kept.sizeBytes).toBeLessThan(100 * MIB)
}

const OPTIONS: readonly object[] = [
  { leaks: 'all' },
  { leaks: 'off' },
  { releaseAfterMs: 0 },
  { releaseAfterMs: 'Infinity' },
  { limitBytes: 2 ** 30, softLimitBytes: MIB },
  { hugePages: true },
  { prefault: true },
  { detachFromBytes: 0 },
  { detachFromBytes: 'Infinity' },
  { debug: true },
  { debug: true, releaseAfterMs: 'Infinity' },
]

// A sample of the arenas, and of the options.
describe.concurrent('arenas that are dropped without close()', () => {
  const many = stepsOf(1_000, 10)
  it(`leave nothing behind: ${many} of them`, () => expectNothingLeft(many, {}))

  it.each(someOf(OPTIONS, 1))('leave nothing behind with %j', options => expectNothingLeft(50, options))

  it('leave nothing behind in a Worker', () => expectNothingLeft(stepsOf(200, 4), {}, 'worker'))

  it.skipIf(hasNoBreak)("give the program break back with source: 'sbrk'", () =>
    expectNothingLeft(1, { source: 'sbrk' }),
  )
})

describe.concurrent('Buffers that outlive their arena', () => {
  const options: ArenaOptions[] = [
    {},
    { detachFromBytes: 0 },
    { detachFromBytes: Number.POSITIVE_INFINITY },
    { releaseAfterMs: Number.POSITIVE_INFINITY },
    { source: 'heap' },
  ]
  // One of the options in a sample.
  const given: ArenaOptions[] = hasNoBreak ? options : [...options, { source: 'sbrk' }]
  it.each(someOf(given, 1))('stay as they are: %o', given =>
    expectToPass(
      async ({ Arena, assert, sleep, processLimit, collect, until, heard }, { given }) => {
        let kept: Buffer[] = []
        const sizes = [64, 5_000, 70_000, 1_000_000]
        ;(() => {
          const arena = new Arena({ name: 'gone', ...given })
          for (const size of sizes) kept.push(arena.alloc(size).fill(7))
          for (const size of sizes) kept.push(arena.alloc(size).fill(7).subarray(10, 40))
          for (const size of sizes) arena.free(arena.alloc(size).fill(1))
        })()
        await until(() => heard.some(({ kind }) => kind === 'arena'))
        await sleep(250)
        await collect()
        // A block of which the Buffer is watched is told of by itself, before its arena or with it.
        assert.ok(heard.every(({ arena }) => arena === 'gone'))
        assert.ok(heard.reduce((sum, { blocks }) => sum + blocks, 0) >= 8)
        const { blocks, bytes } = heard.find(({ kind }) => kind === 'arena') as (typeof heard)[number]
        assert.ok(blocks <= 8, String(blocks))
        assert.ok(bytes >= 2_150_000 && bytes < 2_300_000, String(bytes))
        ;(() => {
          for (const view of kept) assert.ok(view.length > 0 && view.every(byte => byte === 7))
          for (const view of kept) view.fill(8)
          for (const view of kept) assert.ok(view.every(byte => byte === 8))
        })()
        assert.ok(processLimit().takenBytes > 2_000_000, 'what they lie on still counts')
        assert.equal(heard.filter(({ kind }) => kind === 'arena').length, 1)
        kept = []
        await until(() => processLimit().takenBytes === 0)
      },
      { given },
    ),
  )

  it('taken from it before or after it is gone are left to whoever took them', () =>
    expectToPass(async ({ Arena, assert, takeByStream, sleep, collect, until, heard }) => {
      let left: Buffer | null = null
      const taken = await (async () => {
        const arena = new Arena({ name: 'gone' })
        left = arena.alloc(5_000).fill(4)
        return [await takeByStream(arena.alloc(70_000).fill(5))]
      })()
      await until(() => heard.some(({ kind }) => kind === 'arena'))
      taken.push(await takeByStream(left as unknown as Buffer))
      left = null
      await sleep(250)
      await collect()
      assert.ok(taken[0].every(byte => byte === 5) && taken[1].every(byte => byte === 4))
      for (const view of taken) view.fill(9)
      await collect()
    }))
})

it.concurrent('pinned blocks keep their arena, until the last unpin', () =>
  expectToPass(async ({ Arena, assert, turn, processLimit, collect, until }) => {
    const { arena, buffer } = (() => {
      const arena = new Arena({ leaks: 'all' })
      const buffer = arena.alloc(70_000)
      arena.pin(buffer)
      return { arena: new WeakRef(arena), buffer: new WeakRef(buffer) }
    })()
    await collect()
    await collect()
    assert.ok(arena.deref() !== undefined && buffer.deref() !== undefined)
    assert.equal(arena.deref()?.stats().pinnedBlocks, 1)
    await turn()
    ;(() => arena.deref()?.unpin(buffer.deref() as Buffer))()
    await until(() => processLimit().takenBytes === 0)
    assert.ok(arena.deref() === undefined && buffer.deref() === undefined)
  }))

it.concurrent('no leak is told of where no block lived', () =>
  expectToPass(async ({ Arena, assert, processLimit, collect, until, heard }) => {
    ;(() => {
      for (let i = 0; i < 20; i++) {
        const arena = new Arena()
        arena.free(arena.alloc(1_000))
      }
    })()
    ;(() => {
      for (let i = 0; i < 20; i++) {
        const arena = new Arena({ leaks: 'off' })
        arena.alloc(1_000)
      }
    })()
    ;(() => {
      for (let i = 0; i < 20; i++) {
        const arena = new Arena()
        arena.alloc(1_000)
        arena.close()
      }
    })()
    await until(() => processLimit().takenBytes === 0)
    await collect()
    assert.deepEqual(heard, [])
  }))
