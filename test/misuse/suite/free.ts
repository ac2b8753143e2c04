/** `free` of what may not be freed: twice, too early, too late, and what is no owner. */
import type { MisuseGroup } from './case.js'

export const FREE_TWICE: MisuseGroup = {
  title: 'free twice, too late, too early',
  cases: [
    {
      name: 'twice in a row',
      body: `return both(block => { arena.free(block); return kindOf(() => arena.free(block)) })`,
      expected: ['ERR_ARENA_DOUBLE_FREE', 'ERR_ARENA_DOUBLE_FREE'],
    },
    {
      name: 'twice, of zero bytes',
      body: `const block = arena.alloc(0); arena.free(block); return kindOf(() => arena.free(block))`,
      expected: 'ERR_ARENA_DOUBLE_FREE',
    },
    {
      name: 'twice, when the next block has the same memory',
      body: `return both((block, size) => {
        arena.free(block)
        const next = arena.allocUnsafe(size).fill(5)
        return [kindOf(() => arena.free(block)), isAll(next, 5)]
      })`,
      expected: [
        ['ERR_ARENA_DOUBLE_FREE', true],
        ['ERR_ARENA_DOUBLE_FREE', true],
      ],
    },
    {
      name: 'twice, after the pages went back',
      body: `return both(block => { arena.free(block); arena.trim(); return kindOf(() => arena.free(block)) })`,
      expected: ['ERR_ARENA_DOUBLE_FREE', 'ERR_ARENA_DOUBLE_FREE'],
    },
    {
      name: 'twice within one call of the Buffer',
      body: `return both(block => {
        const codes = []
        const free = () => { codes.push(kindOf(() => arena.free(block))); return 1 }
        kindOf(() => block.fill({ valueOf: free }, { valueOf: free }))
        kindOf(() => block.set([{ valueOf: free }, { valueOf: free }]))
        codes.push(kindOf(() => arena.free(block)))
        return codes.at(-1)
      })`,
      expected: ['ERR_ARENA_DOUBLE_FREE', 'ERR_ARENA_DOUBLE_FREE'],
    },
    {
      name: 'after reset',
      body: `live.length = 0
        return both(block => { arena.reset(); return kindOf(() => arena.free(block)) })`,
      expected: ['ERR_ARENA_DOUBLE_FREE', 'ERR_ARENA_DOUBLE_FREE'],
    },
    {
      name: 'after close',
      body: `const block = arena.alloc(SMALL); arena.close(); return kindOf(() => arena.free(block))`,
      expected: 'ERR_ARENA_CLOSED',
    },
    {
      name: 'after realloc, which spent it',
      body: `return both((block, size) => {
        const moved = arena.realloc(block, size * 2)
        return [kindOf(() => arena.free(block)), isAll(moved.subarray(0, size), 0x66), kindOf(() => arena.free(moved))]
      })`,
      expected: [
        ['ERR_ARENA_DOUBLE_FREE', true, null],
        ['ERR_ARENA_DOUBLE_FREE', true, null],
      ],
    },
    {
      name: 'after the end of its scope',
      body: `const scope = arena.scope(); const block = scope.alloc(SMALL); scope.end(); return kindOf(() => arena.free(block))`,
      expected: 'ERR_ARENA_DOUBLE_FREE',
    },
    {
      name: 'while a view is still in use: a small one sees what comes there next',
      body: `return both((block, size) => {
        const view = block.subarray(0, 4)
        arena.free(block)
        arena.allocUnsafe(size).fill(5)
        return view.length > 0 ? isAll(view, 5) : null
      })`,
      expected: [true, null],
      debugExpected: [null, null],
    },
    {
      name: 'again and again',
      body: `const block = arena.alloc(SMALL); arena.free(block)
        let count = 0
        for (let i = 0; i < 20_000; i++) if (kindOf(() => arena.free(block)) === 'ERR_ARENA_DOUBLE_FREE') count++
        return count`,
      expected: 20_000,
    },
  ],
}

// What every method that takes a block says of `value`: one code, where they agree.
const CODES_OF = `const codesOf = value => {
  const calls = [
    () => arena.free(value), () => arena.realloc(value, 10), () => arena.pin(value), () => arena.unpin(value),
    () => arena.lend(value, () => 0), () => arena.scope().keep(value),
  ]
  return [...new Set(calls.map(kindOf))].join()
}`

export const FREE_OF_OTHERS: MisuseGroup = {
  title: 'free, realloc, pin, unpin, lend and keep of',
  cases: [
    {
      name: 'views of a block',
      body: `${CODES_OF}
        return both(block => {
          const { buffer, byteOffset, length } = block
          const views = [
            block.subarray(), block.subarray(1), block.subarray(5, 5), block.slice(0, 5), new Uint8Array(buffer),
            new Uint8Array(buffer, byteOffset, length), Buffer.from(buffer, byteOffset, length),
            new DataView(buffer, byteOffset, 8), new Float64Array(buffer, byteOffset, 1),
          ]
          return [[...new Set(views.map(codesOf))], isAll(block, 0x66), kindOf(() => arena.free(block))]
        })`,
      expected: [
        [['ERR_ARENA_NOT_OWNER'], true, null],
        [['ERR_ARENA_NOT_OWNER'], true, null],
      ],
    },
    {
      name: 'copies of a block',
      body: `${CODES_OF}
        return both(block => {
          const copies = [
            Uint8Array.prototype.slice.call(block), Buffer.from(block), structuredClone(block), Buffer.concat([block]),
            node('v8').deserialize(node('v8').serialize(block)),
          ]
          return [...new Set(copies.map(codesOf)), kindOf(() => arena.free(block))]
        })`,
      expected: [
        ['ERR_ARENA_FOREIGN_BUFFER', null],
        ['ERR_ARENA_FOREIGN_BUFFER', null],
      ],
    },
    {
      name: 'things made to pass for a block',
      body: `${CODES_OF}
        return both(block => {
          const { proxy, revoke } = Proxy.revocable(block, {})
          revoke()
          const things = [block.buffer, new Proxy(block, {}), proxy, Object.create(block), { ...block }, Promise.resolve(block), [block]]
          return [...new Set(things.map(codesOf)), kindOf(() => arena.free(block))]
        })`,
      expected: [
        ['ERR_INVALID_ARG_TYPE', 'TypeError', null],
        ['ERR_INVALID_ARG_TYPE', 'TypeError', null],
      ],
    },
    {
      name: "other arenas' blocks, which stay theirs",
      body: `${CODES_OF}
        const others = [new Arena(), new Arena({ detachFromBytes: Infinity }), new Arena({ releaseAfterMs: 0 })]
        const closed = new Arena()
        const stale = closed.alloc(64)
        closed.close()
        const blocks = others.flatMap(other => [0, 64, LARGE].map(size => other.alloc(size)))
        const codes = new Set([stale, ...blocks].map(codesOf))
        for (const other of others) other.check()
        return [...codes, others.map(other => other.stats().liveBlocks)]`,
      expected: ['ERR_ARENA_FOREIGN_BUFFER', [3, 3, 3]],
    },
    {
      name: "Node's own Buffers and other memory",
      body: `${CODES_OF}
        const detached = new Uint8Array(8)
        structuredClone(detached, { transfer: [detached.buffer] })
        const others = [
          Buffer.alloc(64), Buffer.allocUnsafe(64), Buffer.from('text'), Buffer.alloc(0), new DataView(new ArrayBuffer(8)),
          new Uint8Array(new SharedArrayBuffer(64)), Buffer.from(new WebAssembly.Memory({ initial: 1 }).buffer),
          node('vm').runInNewContext('new Uint8Array(8)'), detached,
        ]
        return [...new Set(others.map(codesOf))]`,
      expected: ['ERR_ARENA_FOREIGN_BUFFER'],
    },
    {
      name: 'what is no memory at all',
      body: `${CODES_OF}
        const others = [undefined, null, 64, -1, NaN, 'block', true, 5n, Symbol('block'), {}, [], () => {}, class {}, Object.create(null)]
        return [...new Set(others.map(codesOf))]`,
      expected: ['ERR_INVALID_ARG_TYPE'],
    },
    {
      name: 'an object that closes the arena while its error is being written',
      body: `const hostile = { get constructor() { arena.close(); throw new Error('mine') } }
        return [kindOf(() => arena.free(hostile)), kindOf(() => arena.free(hostile))]`,
      expected: ['Error', 'ERR_ARENA_CLOSED'],
    },
    {
      name: 'the block of a Worker, which only gets copies',
      body: `const { Worker } = node('worker_threads')
        const block = arena.allocUnsafe(SMALL).fill(0x66)
        const worker = new Worker(\`
          import { parentPort, workerData } from 'node:worker_threads'
          workerData.fill(1)
          parentPort.postMessage(workerData)
        \`, { eval: true, workerData: block })
        const [back] = await node('events').once(worker, 'message')
        return [isAll(block, 0x66), isAll(back, 1), kindOf(() => arena.free(back)), kindOf(() => arena.free(block))]`,
      expected: [true, true, 'ERR_ARENA_FOREIGN_BUFFER', null],
    },
  ],
}
