/** Collections that fail at random, many at a time: each leaves nothing behind. */
import { describe, expect, it } from 'vitest'
import type { Arena } from '../../src/arena/arena.js'
import type { ArenaOptions } from '../../src/arena/options.js'
import { stepsOf, variablesOf } from '../support/extent.js'
import { fuzzSeed, type Random, randomFrom } from '../support/random.js'
import { open, turns } from '../support/world.js'
import { liveBlocksOf } from './places.js'
import { FEEDS, randomChunks } from './streams.js'

const MIB = 2 ** 20

describe('1,000 collections that fail at random', () => {
  const OPTIONS: [string, ArenaOptions][] = [
    ['by default', {}],
    ['with debug', { debug: true }],
    ['with leaks: all', { leaks: 'all' }],
    ['at a limit', { limitBytes: 8 * MIB }],
  ]
  it.each(OPTIONS)('leave nothing behind, %s', async (_, options) => {
    const seed = fuzzSeed()
    const random = randomFrom(seed)
    const { arena, kernel } = open(options)
    const outcomes = new Map<unknown, number>()
    kernel.isRecording = false
    for (let i = 0; i < stepsOf(1_000, 5); ) {
      const failsMemory = random.oneIn(2)
      kernel.fails = kind => failsMemory && kind !== 'detach' && random.oneIn(2)
      const together = Array.from({ length: 1 + random.below(20) }, () => failAtRandom(arena, random))
      i += together.length
      for (const error of await Promise.all(together))
        outcomes.set(error?.code, (outcomes.get(error?.code) ?? 0) + 1)
      expect(liveBlocksOf(arena), variablesOf(seed)).toBe(0)
    }
    kernel.allow()
    expect(arena.stats()).toMatchObject({ liveBlocks: 0, liveBytes: 0, pinnedBlocks: 0 })
    expect(arena.stats().allocations).toBe(arena.stats().frees)
    for (const code of [
      'ABORT_ERR',
      'ERR_ARENA_TOO_LARGE',
      'ERR_ARENA_OUT_OF_MEMORY',
      'ERR_STREAM_PREMATURE_CLOSE',
    ])
      expect(outcomes.get(code) ?? 0, `${code}, ${variablesOf(seed)}`).toBeGreaterThan(0)

    function failAtRandom(arena: Arena, random: Random) {
      const [, feed] = random.pick(FEEDS)
      const chunks = randomChunks(random, random.oneIn(5) ? 3 * MIB : 200_000)
      const sum = chunks.reduce((total, { length }) => total + length, 0)
      const way = random.pick(['abort', 'fail', 'close', 'limit', 'end', 'scope'] as const)
      const controller = new AbortController()
      const scope = random.oneIn(2) || way === 'scope' ? arena.scope() : undefined
      const ending =
        way === 'fail' || way === 'close' || way === 'end'
          ? way
          : way === 'abort' || way === 'scope'
            ? 'hang'
            : 'end'
      const { source, requireReleased } = feed(chunks, ending, random.oneIn(2))
      const collecting = (scope ?? arena).collect(source, {
        maxBytes: way === 'limit' ? random.below(sum + 1) : 100 * MIB,
        signal: controller.signal,
        sizeHint: random.oneIn(2) ? sum : 0,
      })
      if (way === 'abort') setTimeout(() => controller.abort(), random.below(5))
      if (way === 'scope') {
        setTimeout(() => {
          scope?.end()
          // Nobody tells a call that waits for bytes.
          setTimeout(() => controller.abort(), random.below(5))
        }, random.below(5))
      }
      return collecting.then(
        body => {
          arena.free(body)
          return undefined
        },
        async error => {
          await turns()
          requireReleased()
          scope?.end()
          return error as { code?: string }
        },
      )
    }
  })
})
