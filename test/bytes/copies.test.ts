/** How often `collect` copies a byte: once into the block, and again whenever the block moves. */
import { Readable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import type { ArenaOptions } from '../../src/arena/options.js'
import { someOf, variablesOf } from '../support/extent.js'
import { fuzzSeed, randomFrom } from '../support/random.js'
import { open } from '../support/world.js'

const MIB = 2 ** 20

const OPTIONS: [string, ArenaOptions][] = [
  ['by default', {}],
  ['detached all', { detachFromBytes: 0 }],
  ['detached never', { detachFromBytes: Number.POSITIVE_INFINITY }],
]
const LENGTHS: [string, number][] = [
  ['up to 64 KiB', 64 * 1024],
  ['up to 1 MiB', MIB],
  ['up to 16 MiB', 16 * MIB],
]
const CHUNKS = [1_000, 16_384, 65_536]
const CASES = LENGTHS.flatMap(([name, mostBytes]) =>
  CHUNKS.map(mostChunk => ({ name, mostBytes, mostChunk })),
)

describe.each(OPTIONS)('collect, %s', (_, options) => {
  it.each(someOf(CASES, 2))(
    'copies each byte of bodies $name in chunks of up to $mostChunk at most twice on average',
    async ({ mostBytes, mostChunk }) => {
      const seed = fuzzSeed()
      const random = randomFrom(seed)
      const { arena, kernel } = open(options)
      kernel.isRecording = false
      const { realloc } = arena
      let copied = 0
      arena.realloc = (buffer, sizeBytes) => {
        const from = kernel.placeOf(buffer)
        const oldBytes = buffer.length
        const resized = realloc.call(arena, buffer, sizeBytes)
        const to = kernel.placeOf(resized)
        const isInPlace =
          from !== undefined && to?.mapping === from.mapping && to.offsetBytes === from.offsetBytes
        if (!isInPlace) copied += Math.min(oldBytes, sizeBytes)
        return resized
      }
      let sum = 0
      const live: Buffer[] = []
      const count = 60
      for (let i = 0; i < count; i++) {
        // Spread evenly, so that the average of a few says enough.
        const lengthBytes = Math.ceil(((i + random.below(1_000) / 1_000) / count) * mostBytes)
        const chunkBytes = 1 + random.below(mostChunk)
        const chunk = Buffer.alloc(chunkBytes)
        const chunks = Array.from({ length: Math.ceil(lengthBytes / chunkBytes) }, (_, index) =>
          chunk.subarray(0, Math.min(chunkBytes, lengthBytes - index * chunkBytes)),
        )
        live.push(await arena.collect(Readable.from(chunks), { maxBytes: mostBytes }))
        sum += lengthBytes
        // Some stay, as in a service.
        if (random.oneIn(2) || live.length > 10) arena.free(live.splice(random.below(live.length), 1)[0])
      }
      const copies = 1 + copied / sum
      expect(copies, variablesOf(seed)).toBeLessThanOrEqual(2)
    },
  )
})
