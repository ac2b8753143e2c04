/** Sizes, options, patched prototypes, frozen and reclassed Buffers, subclasses and borrowed methods. */
import type { MisuseGroup } from './case.js'

export const VALUES: MisuseGroup = {
  title: 'sizes and options',
  cases: [
    {
      name: 'sizes that are none',
      body: `const sizes = [-1, NaN, Infinity, -Infinity, 0.5, 2 ** 53, 2 ** 45]
        const others = ['64', null, undefined, 64n, true, {}, [64], { valueOf: () => 64 }, Symbol('64')]
        const codes = values => {
          const calls = values.flatMap(value => ['alloc', 'allocUnsafe', 'tryAlloc', 'tryAllocUnsafe'].map(method => () => arena[method](value)))
          return [...new Set(calls.map(kindOf))]
        }
        return [codes(sizes), codes(others)]`,
      expected: [['ERR_OUT_OF_RANGE'], ['ERR_INVALID_ARG_TYPE']],
    },
    {
      name: 'more than the limit, in one block and in many',
      options: '{ limitBytes: 2 ** 22 }',
      body: `const huge = [kindOf(() => arena.alloc(2 ** 31)), arena.tryAlloc(2 ** 31)]
        const blocks = []
        for (let block; (block = arena.tryAllocUnsafe(5_000)) !== undefined;) blocks.push(block)
        const code = kindOf(() => arena.alloc(5_000))
        for (const block of blocks) arena.free(block)
        return [...huge, blocks.length > 100, code, arena.alloc(5_000).length]`,
      expected: ['ERR_ARENA_LIMIT', null, true, 'ERR_ARENA_LIMIT', 5_000],
    },
    {
      name: 'alignments that are none',
      body: `const options = [{ align: 3 }, { align: 0 }, { align: -16 }, { align: 2 ** 20 }, { align: '16' }, { align: null }, null, 16, 'align']
        const before = arena.stats().liveBlocks
        return [options.map(option => kindOf(() => arena.alloc(64, option))), arena.stats().liveBlocks - before]`,
      expected: [
        [
          'ERR_OUT_OF_RANGE',
          'ERR_OUT_OF_RANGE',
          'ERR_OUT_OF_RANGE',
          'ERR_OUT_OF_RANGE',
          'ERR_INVALID_ARG_TYPE',
          'ERR_INVALID_ARG_TYPE',
          'ERR_INVALID_ARG_TYPE',
          'ERR_INVALID_ARG_TYPE',
          'ERR_INVALID_ARG_TYPE',
        ],
        0,
      ],
    },
    {
      name: 'odd sizes, each byte of them written',
      body: `const blocks = [1, 15, 16, 17, 63, 4095, 4096, 4097, 65535, 65536, 65537].map((size, i) => arena.allocUnsafe(size).fill(i + 1))
        return blocks.every((block, i) => isAll(block, i + 1))`,
      expected: true,
    },
    {
      name: 'an arena of no bytes at all',
      body: `const none = new Arena({ limitBytes: 0 })
        return [kindOf(() => none.alloc(1)), none.tryAlloc(1), none.alloc(0).length, kindOf(() => none.close())]`,
      expected: ['ERR_ARENA_LIMIT', null, 0, null],
    },
    {
      name: 'options that are none',
      body: `const options = [null, 5, 'x', { name: 5 }, { name: '' }, { source: 'brk' }, { limitBytes: -1 }, { releaseAfterMs: NaN }, { debug: 1 }, { hugePages: 'yes' }]
        return [...new Set(options.map(option => kindOf(() => new Arena(option))))]`,
      expected: ['ERR_INVALID_ARG_TYPE', 'ERR_INVALID_ARG_VALUE', 'ERR_OUT_OF_RANGE'],
    },
  ],
}

export const PATCHES: MisuseGroup = {
  title: 'patched, frozen, borrowed',
  cases: [
    {
      name: 'methods of typed arrays and Buffers replaced by ones that throw',
      body: `const dirty = both(block => block)
        const kept = []
        const patch = (target, names) => {
          for (const name of names) { kept.push([target, name, target[name]]); target[name] = () => { throw new Error('mine') } }
        }
        patch(Uint8Array.prototype.__proto__, ['fill', 'set', 'subarray', 'slice', 'copyWithin'])
        patch(Buffer.prototype, ['fill', 'subarray', 'slice', 'copy'])
        patch(Buffer, ['from', 'alloc', 'allocUnsafe'])
        const results = dirty.map(block => kindOf(() => {
          const size = 1_500
          arena.free(block)
          const zeroed = arena.alloc(size)
          const moved = arena.realloc(zeroed, 200_000)
          arena.pin(moved); arena.unpin(moved)
          let sum = 0
          for (let i = 0; i < size; i++) sum += moved[i]
          arena.free(moved)
          return sum
        }))
        for (const [target, name, value] of kept) target[name] = value
        return results`,
      expected: [0, 0],
    },
    {
      name: 'properties of a Buffer shadowed',
      body: `return both(block => {
        for (const name of ['length', 'byteLength', 'byteOffset', 'buffer', 'constructor']) Object.defineProperty(block, name, { value: 1 })
        return [kindOf(() => arena.pin(block)), kindOf(() => arena.unpin(block)), kindOf(() => arena.free(block)), kindOf(() => arena.free(block))]
      })`,
      expected: [
        [null, null, null, 'ERR_ARENA_DOUBLE_FREE'],
        [null, null, null, 'ERR_ARENA_DOUBLE_FREE'],
      ],
    },
    {
      name: 'the prototype of a Buffer changed',
      body: `class Mine extends Uint8Array {}
        return [null, Mine.prototype, Object.prototype].map(prototype => both(block => {
          Object.setPrototypeOf(block, prototype)
          return [kindOf(() => arena.free(block)), kindOf(() => arena.free(block))]
        }).flat().join())`,
      expected: [
        ',ERR_ARENA_DOUBLE_FREE,,ERR_ARENA_DOUBLE_FREE',
        ',ERR_ARENA_DOUBLE_FREE,,ERR_ARENA_DOUBLE_FREE',
        ',ERR_ARENA_DOUBLE_FREE,,ERR_ARENA_DOUBLE_FREE',
      ],
    },
    {
      name: 'Buffers frozen, sealed, not extensible',
      body: `return both(block => {
        const codes = [() => Object.freeze(block), () => void Object.seal(block), () => void Object.preventExtensions(block)].map(kindOf)
        return [codes[0], kindOf(() => arena.pin(block)), kindOf(() => arena.unpin(block)), kindOf(() => arena.free(block)), kindOf(() => arena.free(block))]
      })`,
      // JavaScript has no frozen elements.
      expected: [
        ['TypeError', null, null, null, 'ERR_ARENA_DOUBLE_FREE'],
        ['TypeError', null, null, null, 'ERR_ARENA_DOUBLE_FREE'],
      ],
    },
    {
      name: 'an empty Buffer frozen',
      body: `const block = Object.freeze(arena.alloc(0))
        arena.pin(block); arena.unpin(block)
        return [kindOf(() => arena.free(block)), kindOf(() => arena.free(block))]`,
      expected: [null, 'ERR_ARENA_DOUBLE_FREE'],
    },
    {
      name: 'a frozen arena',
      body: `Object.freeze(arena)
        return both(block => [kindOf(() => arena.free(block)), kindOf(() => arena.free(block))])`,
      expected: [
        [null, 'ERR_ARENA_DOUBLE_FREE'],
        [null, 'ERR_ARENA_DOUBLE_FREE'],
      ],
    },
    {
      name: 'methods borrowed, and called on something else',
      body: `const { free, alloc } = arena
        const block = arena.alloc(SMALL)
        const calls = [
          () => free(block), () => alloc(1), () => Arena.prototype.free.call({}, block), () => new Proxy(arena, {}).free(block),
          () => Object.create(arena).free(block), () => Arena(), () => arena.scope().alloc.call(null, 1),
        ]
        return [[...new Set(calls.map(kindOf))], kindOf(() => arena.free(block))]`,
      expected: [['TypeError'], null],
    },
    {
      name: 'a subclass that counts, and one whose methods lie',
      body: `class Counting extends Arena { count = 0; allocUnsafe(...args) { this.count++; return super.allocUnsafe(...args) } }
        class Lying extends Arena { allocUnsafe() { return Buffer.alloc(4) } }
        const counting = new Counting()
        const blocks = [counting.alloc(SMALL), counting.allocUnsafe(LARGE)]
        const spare = counting.realloc(blocks[0], 200_000)
        counting.free(spare)
        counting.check()
        const lying = new Lying()
        const code = kindOf(() => lying.alloc(64))
        lying.check()
        return [counting.count >= 2, counting.stats().liveBlocks, code]`,
      expected: [true, 1, 'TypeError'],
    },
    {
      name: 'Map, Set and Array replaced by ones that throw',
      body: `const { get, set, has, delete: remove } = Map.prototype
        const throws = () => { throw new Error('mine') }
        const block = arena.allocUnsafe(SMALL).fill(0x66)
        Object.assign(Map.prototype, { get: throws, set: throws, has: throws, delete: throws })
        const codes = [kindOf(() => arena.pin(block))]
        Object.assign(Map.prototype, { get, set, has, delete: remove })
        arena.check()
        arena.unpin(block)
        return [codes, isAll(block, 0x66), kindOf(() => arena.free(block))]`,
      expected: [[null], true, null],
    },
    {
      name: 'Object.prototype made thenable',
      body: `const block = arena.allocUnsafe(SMALL)
        Object.prototype.then = function (resolve) { delete Object.prototype.then; resolve(7) }
        const value = await arena.lend(block, () => ({}))
        delete Object.prototype.then
        return [value, arena.stats().pinnedBlocks]`,
      expected: [7, 0],
    },
  ],
}
