/** Processes that fork: what a child without `exec` finds of an arena, and that one with `exec` starts as ever. */
import { describe, expect, it } from 'vitest'
import { NODES, runScript } from '../support/process.js'
import { strangerPath } from '../support/stranger.js'

describe.each(NODES)('a process that forks ($version)', ({ path }) => {
  it('leaves no page of an arena to its child, and all else', async () => {
    const outcome = await runScript(
      `
      const { constants } = await import('node:os')
      const module = { exports: {} }
      process.dlopen(module, ${JSON.stringify(strangerPath())})
      const { addressOf, readInFork } = module.exports
      const signalAt = buffer => readInFork(addressOf(buffer))
      const { SIGSEGV } = constants.signals
      assert.equal(signalAt(Buffer.alloc(100_000, 1)), 0)
      for (const source of ['mmap', 'sbrk']) {
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
      assert.equal(signalAt(Buffer.alloc(100_000, 1)), 0)`,
      [],
      path,
    )
    expect(outcome).toEqual({ code: 0, signal: null, stdout: '', stderr: '' })
  })

  it('starts programs while much is in use', async () => {
    const outcome = await runScript(
      `
      const { execFileSync, spawnSync } = await import('node:child_process')
      const arena = new Arena()
      const blocks = Array.from({ length: 32 }, () => arena.allocUnsafe(2 ** 26))
      for (const block of blocks) for (let at = 0; at < block.length; at += 4096) block[at] = 1
      assert.ok(arena.residentBytes() >= 2 ** 31)
      assert.equal(execFileSync('/bin/echo', ['here'], { encoding: 'utf8' }), 'here\\n')
      assert.equal(spawnSync('/bin/cat', { input: blocks[0].subarray(0, 100_000) }).stdout.length, 100_000)
      assert.ok(blocks.every(block => block[4096] === 1))
      arena.check()
      arena.close()`,
      [],
      path,
    )
    expect(outcome).toEqual({ code: 0, signal: null, stdout: '', stderr: '' })
  })
})
