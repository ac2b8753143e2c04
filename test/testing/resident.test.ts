import { AssertionError } from 'node:assert/strict'
import { afterEach, describe, expect, it } from 'vitest'
import { Arena } from '../../src/index.js'
import { assertResidentBelow, collectGarbage, rssBytes } from '../../src/testing/index.js'
import { expectedOf } from './expected.js'

const MIB = 2 ** 20
const open: Arena[] = []

function arenaOf(name: string, releaseAfterMs: number): Arena {
  const arena = new Arena({ name, releaseAfterMs })
  open.push(arena)
  return arena
}

afterEach(() => {
  for (const arena of open.splice(0)) arena.close()
})

describe('rssBytes', () => {
  it('sees pages come and go', () => {
    const arena = arenaOf('pages', 0)
    const before = rssBytes()
    const block = arena.alloc(64 * MIB).fill(1)
    const during = rssBytes()
    arena.free(block)
    const after = rssBytes()
    expect(during - before).toBeGreaterThan(60 * MIB)
    expect(during - after).toBeGreaterThan(60 * MIB)
  })
})

describe('assertResidentBelow', () => {
  it('waits until free pages are back with the kernel, and resolves to what is left', async () => {
    const arena = arenaOf('waited for', 200)
    const kept = arena.alloc(MIB).fill(1)
    const blocks = Array.from({ length: 512 }, () => arena.alloc(64 * 1024).fill(1))
    expect(arena.residentBytes()).toBeGreaterThan(32 * MIB)
    for (const block of blocks) arena.free(block)
    const bytes = await assertResidentBelow(4 * MIB, { arenas: [arena], withinMs: 2 ** 31 - 1 })
    expect(bytes).toBe(arena.residentBytes())
    expect(bytes).toBeGreaterThanOrEqual(MIB)
    arena.free(kept)
  })

  it('adds up several arenas, each once', async () => {
    const arenas = ['one', 'two'].map(name => arenaOf(name, 0))
    const blocks = arenas.map(arena => arena.alloc(2 * MIB).fill(1))
    const sum = arenas[0].residentBytes() + arenas[1].residentBytes()
    expect(await assertResidentBelow(sum + 1, { arenas: [...arenas, arenas[0]], withinMs: 0 })).toBe(sum)
    await expect(assertResidentBelow(sum, { arenas, withinMs: 0 })).rejects.toThrow(AssertionError)
    blocks.forEach((block, i) => {
      arenas[i].free(block)
    })
  })

  it('says what is resident, and what the arenas hold', async () => {
    const arena = arenaOf('full', 0)
    const block = arena.alloc(3 * MIB).fill(1)
    const error = await expectedOf(assertResidentBelow(MIB, { withinMs: 0 }), AssertionError)
    expect(error.message).toMatch(
      /^The process holds \d+\.\d MiB resident after 0 ms, not less than 1\.0 MiB\./,
    )
    expect(error.message).toContain("  arena 'full': 3.0 MiB in live blocks, 3.0 MiB of pages used or dirty")
    expect(error.actual).toBeGreaterThan(3 * MIB)
    expect(error.expected).toBe(MIB)
    arena.free(block)
  })

  it('does not count garbage of V8', async () => {
    await collectGarbage()
    const before = rssBytes()
    // So long that every malloc maps it, and unmaps it when it is freed.
    let kept: unknown = Buffer.alloc(64 * MIB, 1)
    expect(rssBytes() - before).toBeGreaterThan(60 * MIB)
    expect(kept).toHaveLength(64 * MIB)
    kept = undefined
    await assertResidentBelow(before + 32 * MIB)
  })

  it.each([
    ['1', {}, 'ERR_INVALID_ARG_TYPE', 'boundBytes'],
    [Number.NaN, {}, 'ERR_OUT_OF_RANGE', 'boundBytes'],
    [1, { arenas: [] }, 'ERR_INVALID_ARG_VALUE', 'at least one arena'],
    [1, { arenas: ['by name'] }, 'ERR_INVALID_ARG_VALUE', 'at least one arena'],
    [1, { withinMs: Number.NaN }, 'ERR_OUT_OF_RANGE', 'options.withinMs'],
    [1, { arena: 1 }, 'ERR_INVALID_ARG_VALUE', "did you mean 'arenas'?"],
  ])('refuses %o, %o', async (boundBytes, options, code, part) => {
    const [bytes, given] = [boundBytes, options] as Parameters<typeof assertResidentBelow>
    await expect(assertResidentBelow(bytes, given)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(part),
    })
  })

  it('refuses a closed arena', async () => {
    const arena = new Arena()
    arena.close()
    await expect(assertResidentBelow(1, { arenas: [arena] })).rejects.toMatchObject({
      code: 'ERR_ARENA_CLOSED',
    })
  })
})
