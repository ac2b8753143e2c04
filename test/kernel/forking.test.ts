/** Processes that fork: what a child without `exec` finds of an arena, and that one with `exec` starts as ever. */
import { describe, expect, it } from 'vitest'
import { runFunction } from '../support/child.js'
import { NODES } from '../support/process.js'
import { type Stranger, strangerPath } from '../support/stranger.js'

describe.each(NODES)('a process that forks ($version)', ({ path }) => {
  it('leaves no page of an arena to its child, and all else', async () => {
    const outcome = await runFunction(
      async ({ Arena, assert, turn }, { stranger }) => {
        const { constants } = process.getBuiltinModule('node:os')
        const module: { exports: unknown } = { exports: {} }
        process.dlopen(module, stranger)
        const { addressOf, readInFork } = module.exports as Stranger
        const signalAt = (buffer: Buffer) => readInFork(addressOf(buffer))
        const { SIGSEGV } = constants.signals
        assert.equal(signalAt(Buffer.alloc(100_000, 1)), 0)
        for (const source of ['mmap', 'sbrk'] as const) {
          for (const options of [{ source }, { source, wipeOnFree: true }, { source, debug: true }]) {
            const arena = new Arena(options)
            for (const size of [1, 5_000, 300_000, 9_000_000]) {
              const buffer = arena.allocUnsafe(size).fill(7)
              assert.equal(signalAt(buffer), SIGSEGV, source + size)
              // Of addresses that were used before, too.
              arena.free(buffer)
              await turn()
              const again = arena.allocUnsafe(size).fill(8)
              assert.equal(signalAt(again), SIGSEGV, source + size)
              const longer = arena.realloc(again, 2 * size)
              assert.equal(signalAt(longer.subarray(2 * size - 1)), SIGSEGV, source + size)
              arena.free(longer)
              arena.trim()
            }
            arena.close()
            await turn()
          }
        }
        assert.equal(signalAt(Buffer.alloc(100_000, 1)), 0)
      },
      { stranger: strangerPath() },
      { node: path },
    )
    expect(outcome).toEqual({ code: 0, signal: null, stdout: '', stderr: '' })
  })

  it('starts programs while much is in use', async () => {
    const outcome = await runFunction(
      async ({ Arena, assert }) => {
        const { execFileSync, spawnSync } = process.getBuiltinModule('node:child_process')
        const arena = new Arena()
        const blocks = Array.from({ length: 32 }, () => arena.allocUnsafe(2 ** 26))
        for (const block of blocks) for (let at = 0; at < block.length; at += 4096) block[at] = 1
        assert.ok(arena.residentBytes() >= 2 ** 31)
        assert.equal(execFileSync('/bin/echo', ['here'], { encoding: 'utf8' }), 'here\n')
        assert.equal(spawnSync('/bin/cat', { input: blocks[0].subarray(0, 100_000) }).stdout.length, 100_000)
        assert.ok(blocks.every(block => block[4096] === 1))
        arena.check()
        arena.close()
      },
      undefined,
      { node: path },
    )
    expect(outcome).toEqual({ code: 0, signal: null, stdout: '', stderr: '' })
  })
})
