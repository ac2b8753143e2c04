/** Memory handed to others (clones, streams, Workers), Buffers forgotten, and processes that end in the middle. */
import type { MisuseGroup } from './case.js'

export const HANDED_OVER: MisuseGroup = {
  title: 'clones, messages and streams',
  cases: [
    {
      name: 'structuredClone is a copy of its own',
      body: `return both(block => {
        const clone = structuredClone(block)
        clone.fill(1)
        arena.free(block)
        return [isAll(clone, 1), kindOf(() => arena.free(clone))]
      })`,
      expected: [
        [true, 'ERR_ARENA_FOREIGN_BUFFER'],
        [true, 'ERR_ARENA_FOREIGN_BUFFER'],
      ],
    },
    {
      name: 'postMessage is a copy, whatever becomes of the block before it arrives',
      body: `const { MessageChannel } = node('worker_threads')
        const { port1, port2 } = new MessageChannel()
        const results = await bothInTurn(async block => {
          port1.postMessage(block)
          arena.free(block)
          arena.trim()
          const [message] = await node('events').once(port2, 'message')
          return isAll(message, 0x66)
        })
        port1.close()
        return results`,
      expected: [true, true],
    },
    {
      name: 'a transfer list copies or is refused, and the block stays',
      source: 'mmap',
      body: `return both(block => {
        kindOf(() => structuredClone(block, { transfer: [block.buffer] }))
        kindOf(() => new (node('worker_threads').MessageChannel)().port1.postMessage(block, [block.buffer]))
        return [isAll(block, 0x66), kindOf(() => arena.free(block))]
      })`,
      expected: [
        [true, null],
        [true, null],
      ],
    },
    {
      name: 'a transfer list takes ordinary memory, and free works',
      source: 'heap',
      // The others of its window go with the small one.
      body: `for (const block of live.splice(0)) arena.free(block)
        return both(block => {
          const taken = structuredClone(block, { transfer: [block.buffer] })
          const before = [block.length, kindOf(() => arena.pin(block)), kindOf(() => arena.free(block))]
          for (let i = 0; i < 20; i++) arena.allocUnsafe(taken.length).fill(7)
          return [...before, isAll(taken, 0x66)]
        })`,
      expected: [
        [0, 'ERR_ARENA_DETACHED', null, true],
        [0, 'ERR_ARENA_DETACHED', null, true],
      ],
    },
    {
      name: 'a byte stream takes the memory: free works, and no other block gets it while it is held',
      // The others of its window go with the small one.
      body: `for (const block of live.splice(0)) arena.free(block)
        return bothInTurn(async block => {
          const { length } = block
          const taken = await takeByStream(block)
          const code = kindOf(() => arena.free(block))
          arena.trim()
          for (let i = 0; i < 20; i++) arena.allocUnsafe(length).fill(7)
          return [block.length, code, taken.every(byte => byte !== 7), kindOf(() => arena.free(block))]
        })`,
      expected: [
        [0, null, true, 'ERR_ARENA_DOUBLE_FREE'],
        [0, null, true, 'ERR_ARENA_DOUBLE_FREE'],
      ],
    },
    {
      name: 'a pinned block taken by a byte stream',
      body: `for (const block of live.splice(0)) arena.free(block)
        return bothInTurn(async block => {
          arena.pin(block)
          const taken = await takeByStream(block)
          arena.free(block)
          arena.reset()
          const isWhole = isAll(taken, 0x66)
          return [isWhole, kindOf(() => arena.unpin(block)), kindOf(() => arena.unpin(block))]
        })`,
      expected: [
        [true, null, 'ERR_ARENA_NOT_PINNED'],
        [true, null, 'ERR_ARENA_NOT_PINNED'],
      ],
    },
    {
      name: 'a web stream of chunks that are freed when they were read',
      body: `const results = await bothInTurn(async block => {
          const stream = new ReadableStream({ start(controller) { controller.enqueue(block); controller.close() } })
          let isWhole = false
          for await (const chunk of stream) { isWhole = isAll(chunk, 0x66); arena.free(chunk) }
          return isWhole
        })
        return results`,
      expected: [true, true],
    },
  ],
}

export const PROCESS_ENDS: MisuseGroup = {
  title: 'a process that ends',
  cases: [
    {
      name: 'by process.exit within lend',
      body: `arena.lend(arena.alloc(SMALL), () => process.exit(3))`,
      exit: { code: 3, says: '' },
      expected: '',
    },
    {
      name: 'by process.exit while a thread works on a lent block',
      body: `const { deflate } = node('zlib')
        for (let i = 0; i < 8; i++) {
          const block = arena.allocUnsafe(4_000_000)
          arena.lend(block, bytes => new Promise(resolve => deflate(bytes, resolve)))
          arena.free(block)
        }
        await turn()
        process.exit(4)`,
      exit: { code: 4, says: '' },
      expected: '',
    },
    {
      name: 'by an exception within lend',
      body: `arena.lend(arena.alloc(SMALL), () => { throw new Error('thrown while lent') })`,
      exit: { code: 1, says: 'thrown while lent' },
      expected: '',
    },
    {
      name: 'by an exception in a callback while a block is lent',
      body: `const block = arena.alloc(SMALL)
        setImmediate(() => { throw new Error('thrown in a callback') })
        await arena.lend(block, () => sleep(10_000))`,
      exit: { code: 1, says: 'thrown in a callback' },
      expected: '',
    },
    {
      name: 'by a rejection that nobody handles',
      body: `void arena.lend(arena.alloc(SMALL), async () => { throw new Error('rejected while lent') })
        await sleep(10_000)`,
      exit: { code: 1, says: 'rejected while lent' },
      expected: '',
    },
    {
      name: 'naturally, with pins, scopes, a loan and closeWhenIdle still open',
      body: `const scope = arena.scope()
        for (const block of [scope.alloc(SMALL), arena.alloc(LARGE)]) { arena.pin(block); arena.free(block) }
        void arena.lend(arena.alloc(SMALL), () => new Promise(() => {}))
        void arena.closeWhenIdle()
        console.log('end')
        process.exitCode = 5
        live.length = 0
        await new Promise(() => {})`,
      exit: { code: 5, says: '' },
      expected: 'end\n',
    },
    {
      name: "with listeners of 'exit' that use the arena",
      body: `const block = arena.alloc(SMALL)
        arena.pin(block)
        process.on('exit', () => {
          arena.free(block); arena.unpin(block)
          arena.alloc(LARGE).fill(1)
          arena.trim(); arena.reset(); arena.close()
          console.log(kindOf(() => arena.alloc(1)))
        })
        process.exit(6)`,
      exit: { code: 6, says: '' },
      expected: 'ERR_ARENA_CLOSED\n',
    },
    {
      name: 'not, when somebody handles the exception: the loan ends with it',
      body: `process.on('uncaughtException', () => {})
        const block = arena.alloc(SMALL)
        setImmediate(() => arena.lend(block, () => { arena.free(block); throw new Error('mine') }))
        await sleep(5)
        return [arena.stats().pinnedBlocks, kindOf(() => arena.free(block))]`,
      expected: [0, 'ERR_ARENA_DOUBLE_FREE'],
    },
    {
      name: 'in part: a Worker terminated while its blocks are lent',
      body: `const { Worker } = node('worker_threads')
        const worker = new Worker(\`
          import { deflate } from 'node:zlib'
          import { parentPort } from 'node:worker_threads'
          const { Arena } = await import('\${OFFHEAP}')
          const arena = new Arena()
          for (let i = 0; i < 4; i++) {
            const block = arena.allocUnsafe(4_000_000)
            arena.lend(block, bytes => new Promise(resolve => deflate(bytes, resolve)))
            arena.free(block)
          }
          parentPort.postMessage('busy')
          setInterval(() => arena.free(arena.alloc(100_000)), 1)
        \`, { eval: true })
        await node('events').once(worker, 'message')
        return await worker.terminate()`,
      expected: 1,
    },
  ],
}
