/** Two copies of the package in one process: two installs, two versions, or a test runner that loads the modules anew. */
import { afterAll, describe, expect, it } from 'vitest'
import type { ArenaOptions } from '../../src/arena/options.js'
import { runFunction, type Tools } from '../support/child.js'
import { makeCopy } from '../support/copies.js'
import { DIST } from '../support/process.js'

type Library = typeof import('../../src/index.js')

const copies = {
  shared: makeCopy('shared'),
  linked: makeCopy('linked'),
  own: makeCopy('own'),
}
afterAll(() => {
  for (const copy of Object.values(copies)) copy.remove()
})

interface Args {
  /** The package itself. */
  readonly first: string
  /** The second copy. */
  readonly address: string
  readonly options: ArenaOptions
}

/** Runs `body` with this package and a copy of it. It must say nothing, and throw nothing. */
async function runWithCopy(
  kind: keyof typeof copies,
  body: (tools: Tools, both: readonly [Library, Library], args: Args) => unknown,
  { options = {}, nodeArgs = [] }: { options?: ArenaOptions; nodeArgs?: string[] } = {},
): Promise<void> {
  const outcome = await runFunction(
    async (tools, { body, ...args }) => {
      const second = (await tools.load(args.address)) as typeof import('../../src/index.js')
      tools.assert.notEqual(second.Arena, tools.Arena)
      await body(tools, [tools, second], args)
    },
    { first: new URL('index.js', DIST).href, address: copies[kind].address, options, body },
    { nodeArgs: ['--expose-gc', ...nodeArgs] },
  )
  expect(outcome).toMatchObject({ code: 0, signal: null, stderr: '' })
}

describe.concurrent.each(['shared', 'linked', 'own'] as const)('two copies, binary %s', kind => {
  it.each([{}, { debug: true }, { releaseAfterMs: 0 }, { detachFromBytes: 0 }, { wipeOnFree: true }])(
    'serve random work at the same time with %o, and give everything back',
    async options => {
      await runWithCopy(
        kind,
        async ({ assert, turn, gc }, both, { options }) => {
          interface Held {
            arena: InstanceType<(typeof both)[0]['Arena']>
            block: Buffer
            tag: number
          }
          let state = 12_345
          const random = (below: number): number => {
            state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
            return (state >>> 8) % below
          }
          const assertTagged = ({ block, tag }: Held, length = block.length) =>
            assert.ok(block.subarray(0, length).every(byte => byte === tag))
          const arenas = [...both, ...both].map(({ Arena }) => new Arena(options))
          const held: Held[] = []
          for (let step = 0; step < 1_500; step++) {
            const size = 1 + random(step % 16 === 0 ? 300_000 : 3_000)
            const at = random(50)
            if (held.length <= at) {
              const arena = arenas[random(arenas.length)]
              held.push({ arena, block: arena.allocUnsafe(size).fill(step & 255), tag: step & 255 })
            } else if (step % 5 === 0) {
              const kept = Math.min(size, held[at].block.length)
              held[at].block = held[at].arena.realloc(held[at].block, size)
              assertTagged(held[at], kept)
              held[at].block.fill(held[at].tag)
            } else {
              assertTagged(held[at])
              held[at].arena.free(held[at].block)
              held.splice(at, 1)
            }
            if (step % 100 === 0) {
              arenas[random(arenas.length)].trim()
              gc()
              await turn()
              for (const arena of arenas) arena.check()
            }
          }
          for (const one of held) assertTagged(one)
          arenas[0].reset()
          arenas[1].reset()
          for (const { arena, block } of held) if (arenas.indexOf(arena) > 1) arena.free(block)
          for (const arena of arenas) {
            arena.trim()
            arena.check()
            assert.equal(arena.stats().usedBytes, 0)
            assert.equal(arena.stats().committedBytes, 0)
            arena.close()
          }
          for (const { totals } of both) assert.equal(totals().arenas, 0)
        },
        { options },
      )
    },
  )

  it('give pages back in time, each by its own clock', async () => {
    await runWithCopy(kind, async ({ assert, sleep }, both) => {
      const arenas = both.map(({ Arena }) => new Arena({ releaseAfterMs: 20 }))
      for (const arena of arenas) arena.free(arena.allocUnsafe(2 ** 19).fill(1))
      for (let i = 0; i < 500 && arenas.some(arena => arena.stats().dirtyBytes > 0); i++) await sleep(10)
      assert.deepEqual(
        arenas.map(arena => arena.stats().dirtyBytes),
        [0, 0],
      )
      for (const arena of arenas) arena.close()
    })
  })

  it('take none of each other’s Buffers', async () => {
    await runWithCopy(kind, ({ assert, codeOf }, both) => {
      const [first, second] = both.map(({ Arena }) => new Arena({ trackOwners: true }))
      for (const size of [0, 100, 70_000]) {
        const block = first.alloc(size)
        for (const call of [
          () => second.free(block),
          () => second.realloc(block, 10),
          () => second.pin(block),
          () => second.lend(block, () => {}),
          () => second.unpin(block),
        ])
          assert.equal(codeOf(call), 'ERR_ARENA_FOREIGN_BUFFER')
        assert.equal(second.owns(block), false)
        assert.equal(second.ownerOf(block), undefined)
        first.free(block)
        assert.equal(
          codeOf(() => second.free(block)),
          'ERR_ARENA_FOREIGN_BUFFER',
        )
      }
      // Errors are recognised by code: each copy has a class of its own.
      first.close()
      second.close()
    })
  })

  it('find blocks and arenas that were forgotten, each its own', async () => {
    await runWithCopy(
      kind,
      async ({ assert, gc, sleep }, both) => {
        const { channel } = process.getBuiltinModule('node:diagnostics_channel')
        const told: string[] = []
        channel('offheap:leak').subscribe(message => {
          told.push((message as { arena: string; kind: string }).arena)
        })
        const arenas = both.map(({ Arena }, i) => new Arena({ name: `copy-${i}`, leaks: 'all' }))
        for (const arena of arenas) for (let i = 0; i < 20; i++) arena.allocUnsafe(100 + i * 10_000)
        for (const { Arena } of both) new Arena({ name: 'dropped' }).allocUnsafe(100)
        for (let i = 0; i < 200 && told.length < 42; i++) {
          gc()
          await sleep(5)
        }
        assert.deepEqual(
          ['copy-0', 'copy-1', 'dropped'].map(name => told.filter(each => each === name).length),
          [20, 20, 2],
        )
        for (let i = 0; i < 200 && arenas.some(arena => arena.stats().usedBytes > 0); i++) {
          gc()
          await sleep(5)
        }
        for (const arena of arenas) {
          arena.check()
          assert.equal(arena.stats().usedBytes, 0)
          arena.close()
        }
      },
      { nodeArgs: ['--no-warnings'] },
    )
  })

  it('serve Workers, and the main thread after their end', async () => {
    await runWithCopy(kind, async ({ assert, gc, turn }, both, { address, first }) => {
      const { Worker } = process.getBuiltinModule('node:worker_threads')
      const main = both.map(({ Arena }) => new Arena())
      const blocks = main.map((arena, i) => arena.allocUnsafe(100_000).fill(i + 1))
      const source = `
        const { Arena: First } = await import(${JSON.stringify(first)})
        const { Arena: Second } = await import(${JSON.stringify(address)})
        if (First === Second) throw new Error('there is one copy only')
        const arenas = [new First(), new Second(), new First({ debug: true })]
        for (let i = 0; i < 300; i++) for (const arena of arenas) {
          const block = arena.allocUnsafe(1 + (i * 977) % 90000).fill(i)
          if (i % 3 > 0) arena.free(block)
        }
        for (const arena of arenas) arena.check()`
      for (let round = 0; round < 3; round++) {
        await Promise.all(
          [1, 2].map(
            () =>
              new Promise((resolve, reject) =>
                new Worker(source, { eval: true }).on('error', reject).on('exit', resolve),
              ),
          ),
        )
        gc()
        await turn()
        for (const [i, block] of blocks.entries()) assert.ok(block.every(byte => byte === i + 1))
        for (const arena of main) arena.check()
      }
      for (const arena of main) arena.close()
    })
  })

  it('tell the same channels, and name their arenas as they like', async () => {
    await runWithCopy(kind, async ({ assert, turn }, both) => {
      const { channel } = process.getBuiltinModule('node:diagnostics_channel')
      const told: string[] = []
      channel('offheap:purge').subscribe(message => told.push((message as { arena: string }).arena))
      const arenas = both.map(({ Arena }) => new Arena({ name: 'twin' }))
      for (const arena of arenas) arena.free(arena.allocUnsafe(100_000).fill(1))
      for (const arena of arenas) arena.trim()
      await turn()
      assert.deepEqual(told, ['twin', 'twin'])
      for (const { arenas: list } of both) assert.equal(list().length, 1)
      for (const arena of arenas) arena.close()
    })
  })
})

describe.concurrent('the limit of the process', () => {
  it.each(['shared', 'linked'] as const)('is one for two copies over one binary: %s', async kind => {
    await runWithCopy(kind, ({ assert, codeOf }, both) => {
      both[0].setProcessLimit(2 ** 22)
      assert.equal(both[1].processLimit().limitBytes, 2 ** 22)
      const arenas = both.map(({ Arena }) => new Arena())
      arenas[0].alloc(2 ** 21)
      assert.equal(
        codeOf(() => arenas[1].alloc(2 ** 21 + 2 ** 20)),
        'ERR_ARENA_LIMIT',
      )
      arenas[1].alloc(2 ** 20)
      assert.equal(both[0].processLimit().takenBytes, both[1].processLimit().takenBytes)
      for (const arena of arenas) arena.close()
      assert.equal(both[0].processLimit().takenBytes, 0)
    })
  })

  it('is one each for two binaries', async () => {
    await runWithCopy('own', ({ assert }, both) => {
      both[0].setProcessLimit(2 ** 20)
      assert.equal(both[1].processLimit().limitBytes, Number.POSITIVE_INFINITY)
      new both[1].Arena().alloc(2 ** 21)
      assert.equal(both[0].processLimit().takenBytes, 0)
    })
  })
})

describe.concurrent('the program break', () => {
  it.each(['shared', 'linked'] as const)('has one owner over one binary: %s', async kind => {
    await runWithCopy(kind, ({ assert, codeOf }, both) => {
      const arena = new both[0].Arena({ source: 'sbrk', name: 'first' })
      arena.alloc(100_000)
      assert.equal(
        codeOf(() => new both[1].Arena({ source: 'sbrk' })),
        'ERR_ARENA_BREAK_IN_USE',
      )
      arena.close()
      const next = new both[1].Arena({ source: 'sbrk' })
      next.alloc(100_000).fill(1)
      next.check()
      next.close()
    })
  })

  it('is refused to the second of two binaries, and the first goes on', async () => {
    await runWithCopy('own', async ({ assert, thrownBy, turn }, both) => {
      const arena = new both[0].Arena({ source: 'sbrk', releaseAfterMs: 5 })
      const block = arena.alloc(3_000_000).fill(1)
      const work = () => {
        const other = new both[1].Arena({ source: 'sbrk' })
        try {
          const taken = other.alloc(1_000_000).fill(2)
          assert.ok(taken.every(byte => byte === 2))
        } finally {
          other.close()
        }
      }
      for (let round = 0; round < 5; round++) {
        const { code, message } = thrownBy(work)
        assert.match(code, /^ERR_ARENA_(BREAK_UNAVAILABLE|OUT_OF_MEMORY)$/, message)
        assert.ok(block.every(byte => byte === 1))
        const more = arena.alloc(1_000_000 * (round + 1)).fill(3)
        await turn()
        arena.free(more)
        arena.trim()
        arena.check()
        assert.equal(arena.stats().breakOwned, true)
      }
      arena.close()
      await turn()
    })
  })
})
