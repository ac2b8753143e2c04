/** `debug: true` against real native code that writes where it must not, in processes of their own. A sample of the sizes. */
import { describe, expect, it } from 'vitest'
import type { ArenaOptions } from '../../src/arena/options.js'
import type { Addon } from '../../src/memory/runtime.js'
import type { DamageMessage } from '../../src/notices/damage.js'
import { runFunction, type Tools } from '../support/child.js'
import { someOf } from '../support/extent.js'
import { COMPILED, type Outcome } from '../support/process.js'
import { type Stranger, strangerPath } from '../support/stranger.js'

/** The native helper, an arena, and what is told on both channels. */
function setUp({ Arena }: Tools, { options, path }: { options: ArenaOptions; path: string }) {
  const helper: { exports: unknown } = { exports: {} }
  process.dlopen(helper, path)
  const arena = new Arena({ name: 'subject', ...options })
  const { subscribe } = process.getBuiltinModule('node:diagnostics_channel')
  const told: unknown[] = []
  const listen = () => {
    subscribe('offheap:write-after-free', message => {
      const { sizeBytes, offsetBytes } = message as DamageMessage
      told.push(['freed', sizeBytes, offsetBytes])
    })
    subscribe('offheap:overrun', message => {
      const { sizeBytes, offsetBytes } = message as DamageMessage
      told.push(['overrun', sizeBytes, offsetBytes])
    })
  }
  function allocateHere(size: number) {
    return arena.allocUnsafe(size)
  }
  function freeHere(block: Buffer) {
    arena.free(block)
  }
  return { arena, stranger: helper.exports as Stranger, told, listen, allocateHere, freeHere, subscribe }
}

function run<Args = unknown>(
  body: (tools: Tools & ReturnType<typeof setUp>, args: Args) => unknown,
  args?: Args,
  options: ArenaOptions = { debug: true },
  nodeArgs: string[] = [],
): Promise<Outcome> {
  return runFunction(
    (tools, { setUp, given, body, args }) => body({ ...tools, ...setUp(tools, given) }, args as Args),
    { setUp, given: { options, path: strangerPath() }, body, args },
    { nodeArgs },
  )
}

/** Of `process`. */
interface DamageWarning extends Error {
  code: string
  detail: string
}

const FINE = { code: 0, signal: null, stderr: '' }

describe.concurrent('native code that writes to a freed block', () => {
  it.each(someOf([1, 64, 1_000, 4_096, 65_536, 1_000_000], 2))('of %i bytes is told of', async size => {
    const outcome = await run(
      async ({ assert, turn, arena, stranger, told, listen, allocateHere, freeHere }, { size }) => {
        listen()
        const block = allocateHere(size)
        const address = stranger.addressOf(block)
        stranger.poke(address + size - 1, 7)
        freeHere(block)
        arena.check()
        await turn()
        assert.deepEqual(told, [])
        stranger.poke(address + size - 1, 7)
        arena.trim()
        await turn()
        assert.deepEqual(told, [['freed', size, size - 1]])
        arena.check()
        arena.close()
        assert.equal(told.length, 1)
      },
      { size },
    )
    expect(outcome).toMatchObject(FINE)
  })

  it('is told of by one warning of the process where nobody listens', async () => {
    const { code, stdout, stderr } = await run(async ({ turn, arena, stranger, allocateHere, freeHere }) => {
      process.on('warning', ({ name, code, message }: DamageWarning) =>
        console.log(`${name} ${code} ${message}`),
      )
      const block = allocateHere(1_000)
      const address = stranger.addressOf(block)
      freeHere(block)
      stranger.poke(address + 3, 7)
      arena.close()
      await turn()
      await turn()
    })
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toBe(
      "ArenaWarning OFFHEAP_WRITE_AFTER_FREE arena 'subject': a block of 1000 bytes was written to after free, " +
        'at offset 3, from outside JavaScript\n',
    )
  })

  it('is told of by ten warnings at most', async () => {
    const outcome = await run(async ({ assert, turn, arena, stranger, allocateHere, freeHere }) => {
      const warnings: DamageWarning[] = []
      process.on('warning', warning => warnings.push(warning as DamageWarning))
      for (let i = 0; i < 30; i++) {
        const block = allocateHere(100)
        const address = stranger.addressOf(block)
        freeHere(block)
        stranger.poke(address, 7)
      }
      arena.close()
      await turn()
      await turn()
      assert.equal(warnings.length, 10)
      for (const { name, code, detail } of warnings) {
        assert.deepEqual([name, code], ['ArenaWarning', 'OFFHEAP_WRITE_AFTER_FREE'])
        assert.match(detail, /^allocated\n {4}at allocateHere .*\n[\s\S]*\nfreed\n {4}at freeHere /)
      }
      const first =
        "arena 'subject': a block of 100 bytes was written to after free, at offset 0, from outside JavaScript"
      assert.equal(warnings[0].message, first)
      assert.match(warnings[9].message, /subscribe to 'offheap:write-after-free'/)
    })
    expect(outcome).toMatchObject(FINE)
  })
})

describe.concurrent('native code that overruns a block', () => {
  const places = [
    [64, 64],
    [1_000, 1_007],
    [4_097, 4_097],
    [5_000, -1],
  ] as const
  it.each(someOf(places, 2))(
    'of %i bytes into its slack, at %i, is told of when it is freed',
    async (size, offset) => {
      const outcome = await run(
        async ({ assert, turn, arena, stranger, told, listen, allocateHere, freeHere }, { size, offset }) => {
          listen()
          const block = allocateHere(size)
          stranger.poke(stranger.addressOf(block) + offset, 7)
          freeHere(block)
          await turn()
          assert.deepEqual(told, [['overrun', size, offset]])
          arena.close()
        },
        { size, offset },
      )
      expect(outcome).toMatchObject(FINE)
    },
  )

  it.each([
    [64, 64],
    [5_000, -1],
  ])(
    'of %i bytes into its slack, at %i, is told of when the collector finds it unfreed',
    async (size, offset) => {
      const outcome = await run(
        async (
          { assert, turn, gc, arena, stranger, told, listen, allocateHere, subscribe },
          { size, offset },
        ) => {
          listen()
          const leaks: unknown[] = []
          subscribe('offheap:leak', message => leaks.push(message))
          let view: Buffer | null = (() => {
            const block = allocateHere(size)
            stranger.poke(stranger.addressOf(block) + offset, 7)
            return block.subarray(1, 2)
          })()
          while (leaks.length === 0) {
            gc()
            await turn()
          }
          arena.trim()
          assert.deepEqual([view?.length, told], [1, []])
          view = null
          while (told.length === 0) {
            gc()
            await turn()
            arena.trim()
          }
          assert.deepEqual(told, [['overrun', size, offset]])
          arena.check()
          arena.close()
          await turn()
          assert.equal(told.length, 1)
        },
        { size, offset },
        { debug: true, leaks: 'all' },
        ['--expose-gc'],
      )
      expect(outcome).toMatchObject(FINE)
    },
  )

  it.each(someOf([4_096, 5_000, 65_536, 1_000_000], 1))(
    'of %i bytes into the guard ends there',
    async size => {
      const end = Math.ceil(size / 16) * 16
      const { code, signal, stdout } = await run(
        ({ stranger, allocateHere }, { size, end }) => {
          const block = allocateHere(size)
          allocateHere(size)
          stranger.poke(stranger.addressOf(block) + size - 1, 7)
          console.log('before')
          stranger.poke(stranger.addressOf(block) + end, 7)
          console.log('behind')
        },
        { size, end },
      )
      expect({ code, signal, stdout }).toEqual({ code: null, signal: 'SIGSEGV', stdout: 'before\n' })
    },
  )

  it('ends at a guard also where the kernel knows none but by mprotect', async () => {
    const { code, signal, stdout } = await run(
      async ({ Arena, load, stranger }, { path }) => {
        const { realEnvironment } = (await load(path)) as typeof import('../../src/process/environment.js')
        const environment = realEnvironment()
        const real = environment.addon as unknown as Record<string, (...args: unknown[]) => unknown>
        const calls = Object.getOwnPropertyNames(Object.getPrototypeOf(environment.addon))
        const forwarded = calls.map(call => [call, (...args: unknown[]) => real[call](...args)])
        const addon: Addon = {
          ...Object.fromEntries(forwarded),
          pageBytes: environment.addon.pageBytes,
          advise(mapping, offset, length, advice) {
            if ((advice as string) === 'guard')
              throw Object.assign(new Error('as before Linux 6.13'), { code: 'EINVAL' })
            environment.addon.advise(mapping, offset, length, advice)
          },
        }
        const old = new Arena({ debug: true }, { ...environment, addon })
        old.free(old.allocUnsafe(5_000).fill(1))
        const block = old.allocUnsafe(5_000).fill(1)
        console.log('before')
        stranger.poke(stranger.addressOf(block) + 5_008, 7)
        console.log('behind')
      },
      { path: new URL('process/environment.js', COMPILED).href },
    )
    expect({ code, signal, stdout }).toEqual({ code: null, signal: 'SIGSEGV', stdout: 'before\n' })
  })

  it.each([{ hugePages: true }])('has no guard to run into with %o, and is told of', async options => {
    const outcome = await run(
      async ({ assert, turn, arena, stranger, told, listen, allocateHere, freeHere }) => {
        listen()
        const block = allocateHere(65_536)
        stranger.poke(stranger.addressOf(block) + 65_536, 7)
        freeHere(block)
        await turn()
        assert.deepEqual(told, [['overrun', 65536, 65536]])
        arena.close()
      },
      undefined,
      { debug: true, ...options },
    )
    expect(outcome).toMatchObject(FINE)
  })
})

describe.concurrent('a correct program', () => {
  it('hears nothing, whatever Node does with the memory', async () => {
    const outcome = await run(async ({ assert, turn, arena, told, listen, allocateHere, freeHere }) => {
      listen()
      process.on('warning', warning => told.push(warning.message))
      const zlib = process.getBuiltinModule('node:zlib')
      const fs = process.getBuiltinModule('node:fs/promises')
      const { promisify } = process.getBuiltinModule('node:util')
      const { createHash, randomFill } = process.getBuiltinModule('node:crypto')
      const deflate = promisify(zlib.deflate)
      const file = await fs.open('/dev/null', 'w')
      const source = await fs.open(process.execPath, 'r')
      for (let i = 0; i < 200; i++) {
        const block = allocateHere(1 + i * 997)
        await source.read(block, 0, block.length, 0)
        await promisify<Buffer, number, number>(randomFill)(block, 0, block.length >> 1)
        await file.write(block)
        await deflate(block)
        createHash('sha256').update(block).digest()
        freeHere(block)
        if (i % 20 === 0) arena.trim()
      }
      await source.close()
      await file.close()
      arena.check()
      arena.close()
      await turn()
      assert.deepEqual(told, [])
    })
    expect(outcome).toMatchObject(FINE)
  })
})
