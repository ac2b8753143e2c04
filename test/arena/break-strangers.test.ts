/**
 * The program break among strangers: code that moves it, threads that malloc, limits and filters, Workers. Each in a process of
 * its own, because what they do to it cannot be undone.
 */
import { describe, expect, it } from 'vitest'
import type { Arena } from '../../src/arena/arena.js'
import { loadAddon } from '../../src/memory/addon.js'
import { type ChildOptions, runFunction, type Thrown, type Tools } from '../support/child.js'
import { IS_ALL, someOf, stepsOf } from '../support/extent.js'
import { COMPILED, type Outcome } from '../support/process.js'
import { noSetMmPath, type Stranger, slowSbrkPath, strangerPath } from '../support/stranger.js'

const PAGE = loadAddon().pageBytes

/** Live blocks with contents, a helper that knows nothing of us, and ways to see what became of the break. */
async function setUp({ Arena, assert, turns }: Tools, path: string) {
  const MIB = 2 ** 20
  const module: { exports: unknown } = { exports: {} }
  process.dlopen(module, path)
  const stranger = module.exports as Stranger
  // Says at once where this process has no break.
  new Arena({ source: 'sbrk' }).close()
  await turns(3)
  return {
    MIB,
    stranger,
    fill: (arena: Arena, count: number, size: number) =>
      Array.from({ length: count }, (_, i) => arena.allocUnsafe(size).fill(i + 1)),
    assertIntact: (blocks: readonly Buffer[]) =>
      blocks.forEach((block, i) => {
        assert.ok(
          block.every(byte => byte === ((i + 1) & 255)),
          `block ${i}`,
        )
      }),
    // Once a stranger has opened the fence, malloc may go up there too.
    assertNotLowered: (top: number) => assert.ok(stranger.breakAt() >= top),
    assertNoMore: (arena: Arena) =>
      assert.throws(
        () => arena.allocUnsafe(64 * MIB),
        (error: Thrown) =>
          error.code === 'ERR_ARENA_OUT_OF_MEMORY' && error.cause.code === 'ERR_ARENA_BREAK_UNAVAILABLE',
      ),
  }
}

type StrangerTools = Tools & Awaited<ReturnType<typeof setUp>>

async function expectToSurvive<Args = unknown>(
  body: (tools: StrangerTools, args: Args) => unknown,
  args?: Args,
  options: ChildOptions = {},
): Promise<Outcome> {
  const outcome = await runFunction(
    async (tools, { setUp, path, body, args }) => {
      await body({ ...tools, ...(await setUp(tools, path)) }, args as Args)
      console.log('survived')
    },
    { setUp, path: strangerPath(), body, args },
    options,
  )
  const { code, signal, stdout, stderr } = outcome
  expect({ code, signal, stdout, stderr }).toMatchObject({ code: 0, signal: null, stderr: '' })
  expect(stdout).toMatch(/survived\n$/)
  return outcome
}

describe.concurrent('when somebody else raised the break', () => {
  it('the arena sees it at its next move, serves what it holds, and never touches the break again', () =>
    expectToSurvive(
      async ({ Arena, assert, turns, stranger, MIB, fill, assertIntact, assertNotLowered, assertNoMore }) => {
        const arena = new Arena({ name: 'subject', source: 'sbrk' })
        const blocks = fill(arena, 50, 100_000)
        const more = fill(arena, 20, 100_000)
        const start = stranger.seize(3 * MIB)
        assert.notEqual(start, 0)
        const top = stranger.breakAt()
        assert.equal(arena.stats().breakOwned, true)
        assertNoMore(arena)
        assert.equal(arena.stats().breakOwned, false)
        arena.check()
        assertNoMore(arena)
        assert.equal(arena.tryAllocUnsafe(64 * MIB), undefined)
        // What is held serves on, and goes back by madvise.
        for (const block of more) arena.free(block)
        arena.trim()
        assert.equal(arena.residentBytes(), arena.stats().usedBytes)
        const again = fill(arena, 20, 100_000)
        assertIntact(blocks)
        assertIntact(again)
        for (const block of [...blocks, ...again]) arena.free(block)
        arena.trim()
        assert.equal(arena.residentBytes(), 0)
        arena.check()
        assertNotLowered(top)
        assert.equal(stranger.isIntact(start, 3 * MIB), 1)
        arena.close()
        await turns(3)
        assertNotLowered(top)
        assert.equal(stranger.isIntact(start, 3 * MIB), 1)
      },
    ))

  it('it does not lower the break under who did', () =>
    expectToSurvive(({ Arena, assert, stranger, MIB, fill, assertIntact, assertNotLowered }) => {
      const arena = new Arena({ source: 'sbrk', releaseAfterMs: 0 })
      const blocks = fill(arena, 50, 100_000)
      const start = stranger.seize(MIB)
      const top = stranger.breakAt()
      for (const block of blocks.splice(25)) arena.free(block)
      assert.equal(arena.stats().breakOwned, false)
      assertNotLowered(top)
      assert.equal(arena.residentBytes(), arena.stats().usedBytes)
      assertIntact(blocks)
      arena.close()
      assertNotLowered(top)
      assert.equal(stranger.isIntact(start, MIB), 1)
    }))

  it('and it is closed, the next arena may have the break above what the stranger has', () =>
    expectToSurvive(async ({ Arena, assert, turns, stranger, MIB, fill, assertIntact, assertNotLowered }) => {
      const first = new Arena({ source: 'sbrk' })
      fill(first, 10, 100_000)
      const start = stranger.seize(8 * MIB)
      first.close()
      await turns(3)
      const top = stranger.breakAt()
      const second = new Arena({ source: 'sbrk' })
      const blocks = fill(second, 50, 100_000)
      assertIntact(blocks)
      assert.equal(stranger.isIntact(start, 8 * MIB), 1)
      second.close()
      assertNotLowered(top)
    }))
})

describe.concurrent('while an arena holds no page', () => {
  it('malloc may lower the break and raise it again up to the fence; the arena goes on where it began', () =>
    expectToSurvive(
      ({ Arena, assert, stranger, MIB, fill, assertIntact }, { PAGE }) => {
        assert.equal(stranger.move(8 * MIB), 1)
        const arena = new Arena({ source: 'sbrk', releaseAfterMs: 0 })
        const found = stranger.breakAt()
        // At the next page border above.
        const base = (Math.floor(found / PAGE) + 1) * PAGE
        const round = () => {
          const blocks = fill(arena, 30, 100_000)
          assert.equal(arena.stats().mappedBytes, stranger.breakAt() - base)
          // With a page in the arena's hands, the break is its own.
          assert.equal(stranger.move(132 * 1024), 0)
          assertIntact(blocks)
          for (const block of blocks) arena.free(block)
          arena.trim()
          arena.check()
        }
        round()
        assert.equal(stranger.move(-8 * MIB), 1)
        round()
        // malloc itself may have taken a little of what came free.
        assert.ok(stranger.breakAt() < found - 6 * MIB)
        assert.equal(stranger.move(3 * MIB), 1)
        round()
        assert.equal(stranger.move(6 * MIB), 0)
        assert.equal(arena.stats().breakOwned, true)
        arena.close()
        assert.ok(stranger.breakAt() < found - 3 * MIB)
      },
      { PAGE },
    ))
})

describe.concurrent('when libc remembers the break wrongly', () => {
  // Until the arena has put it right, any malloc that asks for more lowers the break: by a thread of V8's, or of this one for
  // code that runs for the first time, or is compiled because it ran often. So there is one thread, and no compiler.
  it('the arena, whose break did not move, puts that right before anybody lowers it', () =>
    expectToSurvive(
      ({ Arena, assert, stranger, MIB, fill, assertIntact }) => {
        const arena = new Arena({ source: 'sbrk', releaseAfterMs: 0 })
        arena.free(arena.allocUnsafe(100_000))
        const blocks = fill(arena, 50, 100_000)
        const top = stranger.breakAt()
        stranger.misremember(MIB)
        const remembered = stranger.breakAt()
        arena.check()
        assert.deepEqual([remembered, stranger.breakAt()], [top - MIB, top])
        stranger.misremember(MIB)
        const more = fill(arena, 50, 100_000)
        assert.ok(stranger.breakAt() > top)
        stranger.misremember(MIB)
        for (const block of more) arena.free(block)
        assert.equal(arena.stats().breakOwned, true)
        assertIntact(blocks)
        arena.check()
        arena.close()
      },
      undefined,
      { nodeArgs: ['--single-threaded', '--no-expose-wasm', '--jitless'] },
    ))
})

describe.concurrent('when the break is somewhere else at the moment of opening the fence', () => {
  it('nothing is opened, and the next move says so', () =>
    expectToSurvive(
      async ({ assert, load, stranger }, { addon }) => {
        const { loadAddon } = (await load(addon)) as typeof import('../../src/memory/addon.js')
        const { programBreak, pageBytes } = loadAddon()
        const mapping = programBreak.take('subject')
        programBreak.closeFence(mapping, 64 * pageBytes)
        programBreak.openFence(mapping, 8 * pageBytes)
        assert.equal(programBreak.sbrk(mapping, 8 * pageBytes), true)
        programBreak.closeFence(mapping, 0)
        assert.equal(stranger.move(-4 * pageBytes), 1)
        programBreak.openFence(mapping, 8 * pageBytes)
        // As far as what the stranger gave up, and no further.
        assert.equal(stranger.move(8 * pageBytes), 0)
        assert.equal(programBreak.sbrk(mapping, 8 * pageBytes), false)
      },
      { addon: new URL('memory/addon.js', COMPILED).href },
    ))
})

describe.concurrent('while malloc gives back what it has below the break', () => {
  it('the arena takes its first page whatever moment it is', async () => {
    const body = ({ Arena, assert, stranger, MIB }: StrangerTools) => {
      stranger.startGivingBack()
      const arena = new Arena({ source: 'sbrk', releaseAfterMs: 0 })
      const until = performance.now() + 1_000
      for (let round = 0; performance.now() < until; round++) {
        const block = arena.allocUnsafe(MIB).fill(round)
        assert.equal(arena.stats().breakOwned, true, `round ${round}`)
        arena.free(block)
        arena.trim()
        arena.check()
      }
      const lowered = stranger.stop()
      arena.close()
      console.log(lowered)
    }
    // Nearly no first page is taken at such a moment, unless who takes it is held up there.
    const variables = { MALLOC_ARENA_MAX: '1', LD_PRELOAD: slowSbrkPath() }
    let lowered = 0
    // A sample ends when it happened.
    for (let run = 0; run < 3 && (IS_ALL || lowered === 0); run++) {
      const { stdout } = await expectToSurvive(body, undefined, { variables })
      lowered += Number.parseInt(stdout, 10)
    }
    expect(lowered).toBeGreaterThan(0)
  })
})

describe.concurrent('while four threads malloc with one arena', () => {
  // A sample of the time, and of the blocks.
  const seconds = stepsOf(10, 10)
  it(`the break goes up and down for ${seconds} seconds, nobody gets the same memory twice`, async () => {
    // So that every block comes from the one heap that would grow by the break.
    const variables = { MALLOC_ARENA_MAX: '1', MALLOC_MMAP_THRESHOLD_: String(2 ** 25) }
    const body = async (
      { Arena, assert, turn, stranger, MIB }: StrangerTools,
      { milliseconds }: { milliseconds: number },
    ) => {
      const arena = new Arena({ source: 'sbrk', releaseAfterMs: 0 })
      const found = stranger.breakAt()
      const seed = Date.now() >>> 0
      let state = seed
      const random = (count: number) => {
        state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
        return (state >>> 8) % count
      }
      stranger.startMalloc(4)
      const until = performance.now() + milliseconds
      const live: { tag: number; block: Buffer }[] = []
      let rounds = 0
      let highest = 0
      const isFilled = (block: Buffer, tag: number) => {
        for (let at = 0; at < block.length; at += 256) if (block[at] !== tag) return false
        return block.at(-1) === tag
      }
      // On a busy machine it takes longer until enough was done.
      while (performance.now() < until || (rounds < 30 && performance.now() < until + 20_000)) {
        const count = 1 + random(40)
        for (let i = 0; i < count; i++) {
          const tag = random(256)
          live.push({
            tag,
            block: arena.allocUnsafe(1 + random(random(4) === 0 ? 2 * MIB : 50_000)).fill(tag),
          })
        }
        highest = Math.max(highest, stranger.breakAt() - found)
        const left = random(live.length)
        while (live.length > left) {
          const { tag, block } = live.pop() as (typeof live)[number]
          assert.ok(isFilled(block, tag), `seed ${seed}`)
          arena.free(block)
        }
        if (++rounds % 10 === 0) {
          arena.check()
          arena.trim()
          await turn()
        }
      }
      for (const { block } of live) arena.free(block)
      const blocks = stranger.stop()
      assert.equal(stranger.damaged(), 0, 'blocks of malloc are intact')
      assert.equal(arena.stats().breakOwned, true, `seed ${seed}`)
      arena.trim()
      assert.ok(stranger.breakAt() <= found)
      arena.check()
      arena.close()
      console.log(JSON.stringify({ rounds, blocks, highest }))
    }
    const { stdout } = await expectToSurvive(body, { milliseconds: seconds * 1_000 }, { variables })
    const { rounds, blocks, highest } = JSON.parse(stdout.split('\n')[0])
    expect(rounds).toBeGreaterThan(0)
    expect(blocks).toBeGreaterThan(stepsOf(10_000, 100))
    expect(highest).toBeGreaterThan(8 * 2 ** 20)
  })

  it('arenas come and go, each of which gets the break and leaves it where it found it', () =>
    expectToSurvive(
      async ({ Arena, assert, turns, stranger, fill, assertIntact }, { milliseconds }) => {
        stranger.startMalloc(4)
        const until = performance.now() + milliseconds
        let arenas = 0
        while (performance.now() < until) {
          const arena = new Arena({ source: 'sbrk', releaseAfterMs: 0 })
          const found = stranger.breakAt()
          assertIntact(fill(arena, 5, 300_000))
          arena.close()
          assert.ok(stranger.breakAt() <= found)
          // The fence goes on a later turn, and malloc grows meanwhile.
          await turns(3)
          arenas++
        }
        stranger.stop()
        assert.equal(stranger.damaged(), 0)
        assert.ok(arenas > 0)
      },
      { milliseconds: stepsOf(3_000, 10) },
    ))

  it('and one of them takes the break in the middle, all contents stay as they are', () =>
    expectToSurvive(
      ({ Arena, assert, stranger, MIB, fill, assertIntact }, { milliseconds }) => {
        const arena = new Arena({ source: 'sbrk', releaseAfterMs: 0 })
        const kept = fill(arena, 100, 30_000)
        stranger.startMalloc(4)
        const until = performance.now() + milliseconds
        let start = 0
        for (let round = 0; round < 3 || performance.now() < until; round++) {
          const blocks = fill(arena, 20, 20_000)
          assertIntact(blocks)
          for (const block of blocks) arena.free(block)
          if (round === 1) start = stranger.seize(MIB)
        }
        assert.notEqual(start, 0)
        arena.trim()
        assert.equal(arena.stats().breakOwned, false)
        assertIntact(kept)
        stranger.stop()
        assert.equal(stranger.damaged(), 0)
        assert.equal(stranger.isIntact(start, MIB), 1)
        arena.check()
        arena.close()
      },
      { milliseconds: stepsOf(2_000, 10) },
    ))
})

describe.concurrent('where the break cannot be moved', () => {
  it('for RLIMIT_DATA, the constructor says so', async () => {
    const { stdout } = await expectToSurvive(
      async ({ Arena, assert, turns, gc, stranger, fill, assertIntact }) => {
        // Compiles what runs under the limit, which V8 itself could not live with for long: its threads not at all.
        new Arena({ source: 'sbrk' }).close()
        await turns(3)
        gc()
        stranger.limitData(1)
        let thrown: Thrown | undefined
        try {
          new Arena({ source: 'sbrk' })
        } catch (error) {
          thrown = error as Thrown
        }
        stranger.limitData(2 ** 40)
        assert.equal(thrown?.code, 'ERR_ARENA_BREAK_UNAVAILABLE')
        console.log(thrown?.cause.code, thrown?.cause.syscall)
        const arena = new Arena({ source: 'sbrk' })
        assertIntact(fill(arena, 10, 100_000))
        arena.close()
      },
      undefined,
      { nodeArgs: ['--expose-gc', '--single-threaded'] },
    )
    expect(stdout).toMatch(/^ENOMEM (sbrk|mmap)\n/)
  })

  // EPERM is what most filters answer; glibc takes it for an address. Without a number the kernel's own refusal.
  const filters = [
    ['nothing', 0],
    ['EPERM', 1],
    ['ENOMEM', 12],
    ['ENOSYS', 38],
  ] as const
  // One of them in a sample.
  it.each(someOf(filters, 1))(
    'for a seccomp filter that answers %s, the constructor says so, and mappings serve',
    async (_, errno) => {
      await expectToSurvive(
        ({ Arena, assert, codeOf, thrownBy, stranger, fill, assertIntact }, { errno }) => {
          assert.equal(stranger.filterBrk(errno), 0)
          for (let i = 0; i < 3; i++) {
            const code = codeOf(() => new Arena({ name: 'subject', source: 'sbrk' }))
            assert.equal(code, 'ERR_ARENA_BREAK_UNAVAILABLE')
          }
          const { message, cause } = thrownBy(() => new Arena({ name: 'subject', source: 'sbrk' }))
          assert.match(message, /^arena 'subject': the program break cannot be moved here/)
          assert.match(message, /Leave out source: 'sbrk'/)
          assert.equal(typeof cause.errno, 'number')
          const arena = new Arena({ source: 'mmap' })
          assertIntact(fill(arena, 10, 100_000))
          arena.close()
        },
        { errno },
      )
    },
  )

  it('once a limit is met, growing says so, and all that is held serves on', () =>
    expectToSurvive(
      ({ Arena, assert, thrownBy, stranger, MIB, fill, assertIntact }) => {
        const arena = new Arena({ source: 'sbrk', releaseAfterMs: 0 })
        const blocks = fill(arena, 10, 100_000)
        // Room for what V8 and malloc want meanwhile, not for the arena.
        const { readFileSync } = process.getBuiltinModule('node:fs')
        const status = readFileSync('/proc/self/status', 'latin1')
        stranger.limitData(1024 * Number(/^VmData:\s+(\d+) kB$/m.exec(status)?.[1]) + 8 * MIB)
        const error = thrownBy(() => arena.allocUnsafe(32 * MIB))
        stranger.limitData(2 ** 40)
        assert.equal(error.code, 'ERR_ARENA_OUT_OF_MEMORY')
        // The fence counts as data too.
        assert.equal(error.cause.code, 'ENOMEM')
        assert.match(error.cause.syscall, /sbrk|mmap/)
        assertIntact(blocks)
        assert.equal(arena.stats().breakOwned, true)
        arena.free(arena.allocUnsafe(32 * MIB))
        arena.check()
        arena.close()
      },
      undefined,
      { nodeArgs: ['--single-threaded'] },
    ))
})

describe.concurrent('Workers', () => {
  it('share the one break: who comes second is told who has it', () =>
    expectToSurvive(async ({ Arena, assert, startWorker, fill, assertIntact }) => {
      const arena = new Arena({ name: 'first', source: 'sbrk' })
      const blocks = fill(arena, 20, 100_000)
      const second = startWorker(({ Arena, post }) => {
        new Arena({ source: 'sbrk' })
        post('got it')
      })
      assert.equal(await second.message, 'ERR_ARENA_BREAK_IN_USE')
      await second.exit
      assertIntact(blocks)
      arena.close()
      const next = startWorker(({ Arena, post }) => {
        new Arena({ source: 'sbrk' }).close()
        post('got it')
      })
      assert.equal(await next.message, 'got it')
      await next.exit
    }))

  it('terminated with the break in their hands leave it to the next, where it was found', () =>
    expectToSurvive(
      async ({ Arena, assert, turns, sleep, codeOf, startWorker, stranger, fill, assertIntact }) => {
        for (let round = 0; round < 10; round++) {
          const { worker, message } = startWorker(({ Arena, post }) => {
            const arena = new Arena({ source: 'sbrk', releaseAfterMs: 0 })
            const live: Buffer[] = []
            post('running')
            setInterval(() => {
              for (let i = 0; i < 20; i++) live.push(arena.allocUnsafe(100_000).fill(1))
              while (live.length > 10) arena.free(live.pop() as Buffer)
            }, 0)
          })
          assert.equal(await message, 'running')
          assert.equal(
            codeOf(() => new Arena({ source: 'sbrk' })),
            'ERR_ARENA_BREAK_IN_USE',
          )
          await sleep(round)
          await worker.terminate()
          const arena = new Arena({ source: 'sbrk' })
          const found = stranger.breakAt()
          const blocks = fill(arena, 30, 100_000)
          assertIntact(blocks)
          arena.close()
          assert.ok(stranger.breakAt() <= found)
          await turns(3)
        }
      },
    ))
})

describe.concurrent('an ArrayBuffer that was moved away', () => {
  it('is noticed before the break moves, also where no block lives in it', () =>
    expectToSurvive(async ({ Arena, assert, takeByStream, stranger, MIB, fill }) => {
      const arena = new Arena({ source: 'sbrk', releaseAfterMs: Infinity })
      const kept = fill(arena, 5, 1_000)
      const block = arena.allocUnsafe(1_000)
      const window = block.buffer
      const high = arena.allocUnsafe(3 * MIB)
      arena.free(block)
      const value = await takeByStream(new Uint8Array(window))
      arena.free(high)
      const top = stranger.breakAt()
      arena.trim()
      assert.equal(stranger.breakAt(), top)
      for (let at = 0; at < value.length; at += 4_096) value[at] = 1
      // That buffer ends below the break, which may still rise.
      assert.equal(arena.allocUnsafe(8 * MIB).length, 8 * MIB)
      arena.check()
      assert.equal(kept.length, 5)
      arena.close()
    }))

  it('stops the break for good, and nothing else', () =>
    expectToSurvive(
      async ({ Arena, assert, turns, codeOf, takeByStream, stranger, fill, assertIntact, assertNoMore }) => {
        const arena = new Arena({ source: 'sbrk', releaseAfterMs: 0 })
        const blocks = fill(arena, 10, 200_000)
        const taken = arena.allocUnsafe(1_000).fill(5)
        const value = await takeByStream(taken)
        arena.free(taken)
        const top = stranger.breakAt()
        for (const block of blocks.splice(5)) arena.free(block)
        assert.equal(stranger.breakAt(), top)
        assert.equal(arena.stats().breakOwned, true)
        assertIntact(blocks)
        assertNoMore(arena)
        arena.trim()
        arena.check()
        value.fill(6)
        arena.close()
        assert.equal(stranger.breakAt(), top)
        await turns(3)
        value.fill(7)
        assertIntact(fill(new Arena(), 10, 100_000))
        assert.equal(value[0], 7)
        // The memory is somebody else's now, for ever: this process has no break to give to another arena.
        assert.equal(
          codeOf(() => new Arena({ source: 'sbrk' })),
          'ERR_ARENA_BREAK_UNAVAILABLE',
        )
        const other = new Arena()
        assertIntact(fill(other, 10, 100_000))
        other.close()
      },
    ))
})

describe.concurrent('where the break cannot be moved as a number', () => {
  it('it stays up over pages that had views, whose memory goes back: no thread faults there', () => {
    const body = async ({ Arena, assert, turn, stranger, MIB, fill, assertIntact }: StrangerTools) => {
      const arena = new Arena({ source: 'sbrk', releaseAfterMs: 0 })
      const blocks = fill(arena, 40, 100_000)
      stranger.startUsing(stranger.addressOf(blocks[20]), 1_900_000)
      const top = stranger.breakAt()
      for (const block of blocks.splice(20)) arena.free(block)
      assert.ok(stranger.breakAt() >= top - MIB, 'only what nobody ever saw goes')
      for (let i = 0; i < 20; i++) {
        for (const block of fill(arena, 20, 100_000)) arena.free(block)
        arena.trim()
        await turn()
      }
      assertIntact(blocks)
      arena.check()
      arena.close()
      for (let i = 0; i < 20; i++) {
        const next = new Arena({ source: 'mmap' })
        assertIntact(fill(next, 20, 100_000))
        next.close()
        await turn()
      }
      assert.ok(stranger.stop() > 1_000)
    }
    return expectToSurvive(body, undefined, { variables: { LD_PRELOAD: noSetMmPath() } })
  })
})
