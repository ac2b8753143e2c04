import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import type { ArenaOptions } from '../../src/arena/options.js'
import { hasNoBreak } from '../support/break.js'
import { runFunction } from '../support/child.js'
import { possibleHere } from '../support/libc.js'
import { isZero, open, thrownBy } from '../support/world.js'

const SIZES = [1, 16, 100, 1_000, 4_096, 40_000, 65_536, 300_000]

// Buffers that stay attached, so that what is left behind can be looked at.
const WATCHED = { wipeOnFree: true, detachFromBytes: Number.POSITIVE_INFINITY } as const

const OPTIONS: ArenaOptions[] = [
  WATCHED,
  { ...WATCHED, releaseAfterMs: 0 },
  { ...WATCHED, releaseAfterMs: Number.POSITIVE_INFINITY },
  { ...WATCHED, source: 'sbrk' },
  { ...WATCHED, source: 'heap' },
]

describe.each(OPTIONS.filter(options => options.source !== 'sbrk' || !hasNoBreak))(
  'an arena that wipes (%o)',
  options => {
    const ends: Record<string, (arena: ReturnType<typeof open>['arena'], buffer: Buffer) => void> = {
      free: (arena, buffer) => arena.free(buffer),
      'a realloc that moves': (arena, buffer) => arena.realloc(buffer, buffer.length * 4 + 70_000),
      'a realloc that shrinks': (arena, buffer) => arena.realloc(buffer, buffer.length >> 1),
      'the last unpin': (arena, buffer) => {
        arena.pin(buffer)
        arena.free(buffer)
        expect(isZero(buffer)).toBe(false)
        arena.unpin(buffer)
      },
      lend: (arena, buffer) => arena.lend(buffer, lent => arena.free(lent)),
    }

    it.each(Object.keys(ends))('leaves zeros behind %s', how => {
      const { arena } = open(options)
      const neighbours = SIZES.map(size => arena.allocUnsafe(size).fill(7))
      for (const size of SIZES) {
        const buffer = arena.allocUnsafe(size).fill(0x5a)
        arena.allocUnsafe(16)
        const view = new Uint8Array(buffer.buffer, buffer.byteOffset, size)
        ends[how](arena, buffer)
        // Of no length where its buffer is gone, and the pages with it.
        for (let i = 0; i < view.length; i++)
          if (view[i] !== 0) expect.fail(`byte ${i} of ${size} is ${view[i]}`)
      }
      expect(neighbours.every(buffer => buffer.every(byte => byte === 7))).toBe(true)
      arena.check()
    })

    it('keeps what is live, and gives out what it gave out before as zeros', () => {
      const { arena } = open(options)
      for (let round = 0; round < 20; round++) {
        const scope = arena.scope()
        const buffers = SIZES.map(size => scope.allocUnsafe(size))
        expect(buffers.every(isZero)).toBe(true)
        for (const buffer of buffers) buffer.fill(round + 1)
        expect(buffers.every(buffer => buffer.every(byte => byte === round + 1))).toBe(true)
        if (round % 3 === 2) arena.reset()
        scope.end()
      }
      arena.check()
    })

    it('moves the bytes of a realloc', () => {
      const { arena } = open(options)
      let buffer = arena.allocUnsafe(1_000).fill(9)
      for (const size of [2_000, 100_000, 400_000, 50_000, 1_000]) buffer = arena.realloc(buffer, size)
      expect(buffer.every(byte => byte === 9)).toBe(true)
      arena.check()
    })
  },
)

describe('wipeOnFree', () => {
  it('goes with debug', () => {
    const { arena } = open({ wipeOnFree: true, debug: true })
    for (const size of SIZES) arena.free(arena.alloc(size).fill(1))
    arena.trim()
    for (const size of SIZES) expect(isZero(arena.allocUnsafe(size))).toBe(true)
    arena.check()
  })

  it('wants a boolean', () => {
    expect(thrownBy(() => open({ wipeOnFree: 1 as never }))?.code).toBe('ERR_INVALID_ARG_TYPE')
  })

  it.each(possibleHere(['mmap', 'sbrk'] as const))(
    'leaves its pages out of core files (%s), and only then',
    async source => {
      const dumped = async (wipeOnFree: boolean): Promise<number> => {
        const { stdout } = await runFunction(
          async ({ Arena }, { source, wipeOnFree }) => {
            const { readFileSync } = process.getBuiltinModule('node:fs')
            const count = () =>
              readFileSync('/proc/self/smaps', 'utf8').match(/^VmFlags:.* dd( |$)/gm)?.length ?? 0
            const before = count()
            const arena = new Arena({ source, wipeOnFree })
            arena.alloc(3_000_000)
            console.log(count() - before)
          },
          { source, wipeOnFree },
        )
        return Number(stdout)
      }
      if (!readFileSync('/proc/self/smaps', 'utf8').includes('VmFlags')) return
      expect(await dumped(true)).toBeGreaterThan(0)
      expect(await dumped(false)).toBe(0)
    },
  )
})
