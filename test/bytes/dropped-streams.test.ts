/** Streams that the program drops: their blocks end when the collector has found out, and count as leaks. Children with `--expose-gc`. */
import { describe, it } from 'vitest'
import { expectToPass } from '../support/leak-listener.js'

describe('a stream that is dropped', () => {
  it.each([64, 100_000])('unread is told with the places of its blocks of %i bytes, which end', sizeBytes =>
    expectToPass(
      async ({ Arena, assert, collect, heard, until }, { sizeBytes }) => {
        const arena = new Arena({ name: 'subject', leaks: 'all' })
        function careless() {
          arena.stream([arena.alloc(sizeBytes), arena.alloc(0), arena.alloc(sizeBytes)])
        }
        careless()
        // One that is read to its end is no leak.
        arena.stream(arena.alloc(sizeBytes)).resume()
        assert.equal(arena.stats().pinnedBlocks, 3)
        await until(() => arena.stats().liveBlocks === 0)
        await collect()
        arena.check()
        assert.deepEqual(
          heard.map(({ kind, bytes }) => [kind, bytes]),
          [
            ['block', sizeBytes],
            ['block', sizeBytes],
          ],
        )
        for (const { stack } of heard) assert.match(stack, /^ +at careless /)
        arena.close()
      },
      { sizeBytes },
    ),
  )

  it('with its destination, in the middle, is told too', () =>
    expectToPass(async ({ Arena, assert, heard, until }) => {
      const { PassThrough } = process.getBuiltinModule('node:stream')
      const arena = new Arena({ leaks: 'all' })
      function careless() {
        arena.stream(arena.alloc(10_000_000)).pipe(new PassThrough())
      }
      careless()
      await until(() => heard.length === 1)
      assert.equal(arena.stats().liveBlocks, 0)
      arena.close()
    }))

  it('is told by no arena that looks for no leaks, and its blocks end all the same', () =>
    expectToPass(async ({ Arena, assert, heard, until }) => {
      const arena = new Arena({ leaks: 'off' })
      const careless = () => void arena.stream(arena.alloc(64))
      careless()
      await until(() => arena.stats().liveBlocks === 0)
      assert.equal(heard.length, 0)
      arena.close()
    }))

  it('holds no arena that it has nothing of any more', () =>
    expectToPass(async ({ Arena, assert, arenas, until }) => {
      const streams: unknown[] = []
      const consume = async () => {
        const arena = new Arena({ name: 'dropped' })
        const stream = arena.stream(arena.alloc(64))
        streams.push(stream)
        await stream.toArray()
      }
      await consume()
      await until(() => arenas().length === 0)
      assert.equal(streams.length, 1)
    }))
})
