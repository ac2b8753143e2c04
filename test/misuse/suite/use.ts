/** Use of a Buffer after `free`: from JavaScript, and by what still works on it elsewhere. */
import type { MisuseGroup } from './case.js'

export const USE_AFTER_FREE: MisuseGroup = {
  title: 'use after free',
  cases: [
    {
      name: 'reads: a small block shows what comes there next, a large one nothing',
      body: `return both((block, size) => {
        arena.free(block)
        arena.allocUnsafe(size).fill(5)
        return [block.length, block[0] ?? null, block[size - 1] ?? null]
      })`,
      expected: [
        [1_000, 5, 5],
        [0, null, null],
      ],
      debugExpected: [
        [0, null, null],
        [0, null, null],
      ],
    },
    {
      name: 'stores: into a small block they reach what comes there next, into a large one nothing',
      body: `return both((block, size) => {
        arena.free(block)
        const next = arena.allocUnsafe(size).fill(5)
        block[0] = 9
        return next[0]
      })`,
      expected: [9, 5],
      debugExpected: [5, 5],
    },
    {
      name: 'readUInt32LE and writeUInt32LE',
      body: `return both(block => {
        arena.free(block)
        return [kindOf(() => block.readUInt32LE(0) && 'read'), kindOf(() => block.writeUInt32LE(7, 0))]
      })`,
      expected: [
        ['read', 4],
        ['ERR_BUFFER_OUT_OF_BOUNDS', 'ERR_BUFFER_OUT_OF_BOUNDS'],
      ],
      debugExpected: [
        ['ERR_BUFFER_OUT_OF_BOUNDS', 'ERR_BUFFER_OUT_OF_BOUNDS'],
        ['ERR_BUFFER_OUT_OF_BOUNDS', 'ERR_BUFFER_OUT_OF_BOUNDS'],
      ],
    },
    {
      name: 'toString, and JSON',
      body: `return both(block => { arena.free(block); return [block.toString('latin1').length, JSON.stringify(block).length > 100] })`,
      expected: [
        [1_000, true],
        [0, false],
      ],
      debugExpected: [
        [0, false],
        [0, false],
      ],
    },
    {
      name: 'fill, set and subarray',
      body: `return both(block => {
        arena.free(block)
        return [() => block.fill(1).length, () => block.set([1]), () => block.subarray(0, 4).length].map(kindOf)
      })`,
      expected: [
        [1_000, null, 4],
        ['TypeError', 'TypeError', 'TypeError'],
      ],
      debugExpected: [
        ['TypeError', 'TypeError', 'TypeError'],
        ['TypeError', 'TypeError', 'TypeError'],
      ],
    },
    {
      name: 'copy out of it, and into it',
      body: `return both(block => {
        const other = Buffer.alloc(50, 3)
        arena.free(block)
        return [kindOf(() => block.copy(other)), kindOf(() => other.copy(block))]
      })`,
      expected: [
        [50, 50],
        [0, 0],
      ],
      debugExpected: [
        [0, 0],
        [0, 0],
      ],
    },
    {
      name: 'Buffer.concat: an error or nothing, by the line of Node',
      body: `return both(block => {
        arena.free(block)
        const result = kindOf(() => Buffer.concat([block]).length)
        return result === 'TypeError' || result === 0 ? 'nothing' : result
      })`,
      expected: [1_000, 'nothing'],
      debugExpected: ['nothing', 'nothing'],
    },
    {
      name: 'compare, equals and indexOf',
      body: `return both(block => {
        arena.free(block)
        return [() => Buffer.compare(block, Buffer.alloc(0)), () => block.equals(block.subarray?.(0) ?? block), () => block.indexOf(0x07)].map(kindOf).length
      })`,
      expected: [3, 3],
    },
    {
      name: 'DataView',
      body: `return both(block => {
        const view = new DataView(block.buffer, block.byteOffset, 8)
        arena.free(block)
        return [() => view.setUint8(0, 1), () => view.byteLength].map(kindOf)
      })`,
      expected: [
        [null, 8],
        ['TypeError', 'TypeError'],
      ],
      debugExpected: [
        ['TypeError', 'TypeError'],
        ['TypeError', 'TypeError'],
      ],
    },
    {
      name: 'Atomics',
      body: `return both(block => {
        const words = new Int32Array(block.buffer, block.byteOffset, 4).fill(0)
        arena.free(block)
        return kindOf(() => Atomics.add(words, 0, 5))
      })`,
      expected: [0, 'TypeError'],
      debugExpected: ['TypeError', 'TypeError'],
    },
    {
      name: 'TextDecoder and crypto',
      body: `return both(block => {
        arena.free(block)
        const empty = node('crypto').createHash('sha256').digest('hex')
        const text = kindOf(() => new TextDecoder('latin1').decode(block).length)
        const digest = kindOf(() => node('crypto').createHash('sha256').update(block).digest('hex'))
        return [text, digest === empty]
      })`,
      expected: [
        [1_000, false],
        [0, true],
      ],
      debugExpected: [
        [0, true],
        [0, true],
      ],
    },
    {
      name: 'structuredClone',
      body: `return both(block => {
        arena.free(block)
        const result = kindOf(() => structuredClone(block).length)
        return result === 1_000 ? result : 'refused'
      })`,
      expected: [1_000, 'refused'],
      debugExpected: ['refused', 'refused'],
    },
    {
      name: 'a sort whose comparison frees the block',
      body: `return both(block => {
        let isFreed = false
        kindOf(() => block.sort(() => { if (!isFreed) { isFreed = true; arena.free(block) } return 0 }))
        return kindOf(() => arena.free(block))
      })`,
      expected: ['ERR_ARENA_DOUBLE_FREE', 'ERR_ARENA_DOUBLE_FREE'],
    },
    {
      name: 'after reset and after close: every Buffer has length 0',
      body: `live.length = 0
        const blocks = [SMALL, LARGE].map(size => arena.alloc(size))
        arena.reset()
        const lengths = blocks.map(block => block.length)
        const more = [SMALL, LARGE].map(size => arena.alloc(size))
        arena.close()
        return [...lengths, ...more.map(block => block.length)]`,
      expected: [0, 0, 0, 0],
    },
    {
      name: 'on every turn after the pages went back',
      body: `const views = both(block => [block, block.subarray(1), new Uint8Array(block.buffer)]).flat()
        for (const view of views.filter(view => kindOf(() => arena.free(view)) === undefined)) assert.ok(view)
        for (let i = 0; i < 5; i++) {
          arena.trim()
          for (const view of views) { kindOf(() => view.length < 1_100 && view.fill?.(i)); kindOf(() => view.at(0)) }
          await turn()
        }
        return kindOf(() => arena.free(views[0]))`,
      expected: 'ERR_ARENA_DOUBLE_FREE',
    },
  ],
}

/** The read is in the kernel, or in another thread, when the block is freed: it ends only after something was written. */
const READ_IN_FLIGHT = `
  const { promises, read, writeSync } = node('fs')
  const file = pipe()
  const startRead = block => new Promise((resolve, reject) => {
    read(file, block, 0, 16, null, (error, count) => (error ? reject(error) : resolve(count)))
  })
  const finishRead = () => writeSync(file, Buffer.alloc(16, 9))
`

export const FREE_IN_FLIGHT: MisuseGroup = {
  title: 'free under a running',
  cases: [
    {
      name: 'fs.read of a small block: it overwrites what comes there next; debug reports it',
      body: `${READ_IN_FLIGHT}
        const block = arena.allocUnsafe(SMALL)
        const reading = startRead(block)
        arena.free(block)
        const next = arena.allocUnsafe(SMALL).fill(5)
        finishRead()
        const count = await reading
        arena.trim()
        await turn()
        return [count, next[0], next[15], next[16]]`,
      expected: [16, 9, 9, 5],
      debugExpected: [16, 5, 5, 5],
      debugWarnings: ['OFFHEAP_WRITE_AFTER_FREE'],
    },
    {
      name: 'fs.read of a large block: no fault; debug reports it',
      body: `${READ_IN_FLIGHT}
        const block = arena.allocUnsafe(LARGE)
        const reading = startRead(block)
        arena.free(block)
        finishRead()
        const count = await reading
        arena.trim()
        await turn()
        return [count, block.length]`,
      expected: [16, 0],
      debugWarnings: ['OFFHEAP_WRITE_AFTER_FREE'],
    },
    {
      name: 'fs.read, with lend: nobody gets the memory before it is done',
      body: `${READ_IN_FLIGHT}
        return bothInTurn(async block => {
          const { length } = block
          const lent = arena.lend(block, bytes => startRead(bytes).then(count => [count, isAll(bytes.subarray(0, 16), 9)]))
          arena.free(block)
          const next = arena.allocUnsafe(length).fill(5)
          finishRead()
          return [...(await lent), isAll(next, 5), kindOf(() => arena.free(block)), arena.stats().pinnedBlocks]
        })`,
      expected: [
        [16, true, true, 'ERR_ARENA_DOUBLE_FREE', 0],
        [16, true, true, 'ERR_ARENA_DOUBLE_FREE', 0],
      ],
    },
    {
      name: 'fs.read when the arena is reset: without lend no fault, with it no harm',
      body: `${READ_IN_FLIGHT}
        live.length = 0
        const lent = arena.allocUnsafe(SMALL)
        const done = arena.lend(lent, startRead)
        arena.reset()
        const next = arena.allocUnsafe(SMALL).fill(5)
        finishRead()
        const safe = [await done, isAll(next, 5)]
        const reading = startRead(arena.allocUnsafe(LARGE))
        arena.reset()
        finishRead()
        return [...safe, await reading]`,
      expected: [16, true, 16],
      debugWarnings: ['OFFHEAP_WRITE_AFTER_FREE'],
    },
    {
      name: 'fs.read when the arena is closed: it ends, or is told that the memory is gone',
      body: `${READ_IN_FLIGHT}
        const reading = startRead(arena.allocUnsafe(LARGE))
        arena.close()
        finishRead()
        // The mapping goes on a later turn: until then the read may well end.
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 30)
        const outcome = await kindOfAsync(() => reading)
        return outcome === 16 || outcome === 'EFAULT'`,
      expected: true,
    },
    {
      name: 'zlib.deflate: without lend no fault, with lend the right bytes',
      body: `const { deflate, inflateSync } = node('zlib')
        const compress = node('util').promisify(deflate)
        return bothInTurn(async block => {
          const { length } = block
          const other = arena.allocUnsafe(length).fill(0x55)
          const careless = kindOfAsync(() => compress(other))
          arena.free(other)
          arena.trim()
          const lent = arena.lend(block, bytes => compress(bytes))
          arena.free(block)
          arena.trim()
          const next = arena.allocUnsafe(length).fill(7)
          const packed = await lent
          await careless
          return [isAll(inflateSync(packed), 0x66), isAll(next, 7)]
        })`,
      expected: [
        [true, true],
        [true, true],
      ],
    },
    {
      // What comes out must fit into one piece: for a second one, Node asserts that its input is still attached.
      name: 'zlib.deflate without lend, the blocks freed and their arena closed meanwhile: no fault',
      body: `const compress = node('util').promisify(node('zlib').deflate)
        const other = new Arena({ name: 'other' })
        const blocks = Array.from({ length: 8 }, () => other.alloc(8 * 2 ** 20).fill(0))
        const running = Promise.all(blocks.map(block => compress(block)))
        await sleep(3)
        for (const block of blocks) other.free(block)
        other.close()
        return (await running).map(packed => node('zlib').inflateSync(packed).length)`,
      expected: Array.from({ length: 8 }, () => 8 * 2 ** 20),
    },
    {
      name: 'zlib stream',
      body: `const { createDeflate, inflateSync } = node('zlib')
        return bothInTurn(async block => {
          const packed = arena.lend(block, async bytes => {
            const stream = createDeflate()
            stream.end(bytes)
            return Buffer.concat(await stream.toArray())
          })
          arena.free(block)
          return isAll(inflateSync(await packed), 0x66)
        })`,
      expected: [true, true],
    },
    {
      name: 'crypto.randomFill: with lend it reaches no other block',
      body: `const randomFill = node('util').promisify(node('crypto').randomFill)
        return bothInTurn(async block => {
          const { length } = block
          const lent = arena.lend(block, async bytes => { await randomFill(bytes); return isAll(bytes, 0x66) })
          arena.free(block)
          const next = arena.allocUnsafe(length).fill(7)
          return [await lent, isAll(next, 7)]
        })`,
      expected: [
        [false, true],
        [false, true],
      ],
    },
    {
      name: 'crypto.randomFill without lend: no fault',
      body: `const randomFill = node('util').promisify(node('crypto').randomFill)
        const blocks = Array.from({ length: 8 }, () => arena.allocUnsafe(LARGE))
        const fills = blocks.map(block => kindOfAsync(() => randomFill(block)))
        for (const block of blocks) arena.free(block)
        await Promise.all(fills)
        arena.trim()
        await turn()
        // Which of them had begun to be filled when it was freed is up to the threads.
        warnings.length = 0
        return arena.stats().pinnedBlocks`,
      expected: 0,
    },
    {
      name: 'net socket write: with lend the peer gets the right bytes',
      body: `const { createServer, connect } = node('net')
        const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }).listen(0)
        await node('events').once(server, 'listening')
        const send = async (size, isLent) => {
          const accepted = node('events').once(server, 'connection')
          const socket = connect(server.address().port)
          const [peer] = await accepted
          const block = arena.allocUnsafe(size).fill(0x66)
          const write = bytes => new Promise((resolve, reject) => socket.end(bytes, error => (error ? reject(error) : resolve())))
          const written = isLent ? arena.lend(block, write) : kindOfAsync(() => write(block))
          arena.free(block)
          arena.allocUnsafe(size).fill(0x11)
          const received = Buffer.concat(await peer.toArray())
          peer.end()
          await written
          return [received.length, isAll(received, 0x66)]
        }
        const lent = [await send(SMALL, true), await send(8_000_000, true)]
        // What the peer gets without it is up to the kernel.
        await kindOfAsync(() => send(LARGE, false))
        server.close()
        return lent`,
      expected: [
        [1_000, true],
        [8_000_000, true],
      ],
    },
    {
      name: 'write stream of a file',
      body: `const { createWriteStream, readFileSync } = node('fs')
        const path = folder()
        return bothInTurn(async (block, i) => {
          const file = path + '/' + block.length
          const written = arena.lend(block, bytes => new Promise((resolve, reject) => {
            createWriteStream(file).on('error', reject).on('close', resolve).end(bytes)
          }))
          const { length } = block
          arena.free(block)
          arena.allocUnsafe(length).fill(7)
          await written
          return [readFileSync(file).length, isAll(readFileSync(file), 0x66)]
        })`,
      expected: [
        [1_000, true],
        [100_000, true],
      ],
    },
    {
      name: 'scope that ends',
      body: `${READ_IN_FLIGHT}
        const scope = arena.scope()
        const block = scope.allocUnsafe(SMALL)
        const lent = arena.lend(block, startRead)
        scope.end()
        const next = arena.allocUnsafe(SMALL).fill(5)
        finishRead()
        return [await lent, isAll(next, 5), arena.stats().pinnedBlocks]`,
      expected: [16, true, 0],
    },
  ],
}
