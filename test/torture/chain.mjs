/**
 * One chain of work: a block is allocated, filled, lent to some work, and ended before, during or after it; some blocks are held
 * for long. Eight of them run at once on the same arenas, and none may ever see another's bytes.
 */
import { equal, ok } from 'node:assert/strict'
import { expectSame, WORKS } from './work.mjs'

const HELD_COUNT = 20
const POOL_BYTES = 2 ** 23

/** What blocks are filled with: a stretch of these bytes. Half of them repeat, so that compressing them has an effect. */
export function poolOf(random) {
  const pool = Buffer.alloc(POOL_BYTES)
  for (let i = 0; i < POOL_BYTES; i++) pool[i] = i & 4096 ? i >> 5 : random.below(256)
  return pool
}

/** The code of what a call throws, or undefined. */
function codeOf(call) {
  try {
    call()
  } catch (error) {
    return error.code ?? error
  }
  return undefined
}

function expectCode(code, call) {
  equal(codeOf(call), code)
}

export class Chain {
  #random
  #arenas
  #pool
  #tools
  /** Live blocks with what they hold. */
  #held = []
  counts = {}
  verifiedBytes = 0

  constructor(random, arenas, pool, tools) {
    this.#random = random
    this.#arenas = arenas
    this.#pool = pool
    this.#tools = tools
  }

  async run(untilMs) {
    while (performance.now() < untilMs) await this.#link()
    for (const held of this.#held.splice(0)) this.#endHeld(held)
  }

  async #link() {
    const random = this.#random
    const arena = random.pick(this.#arenas)
    const scope = random.oneIn(3) ? arena.scope() : null
    try {
      const held = this.#allocate(arena, scope)
      if (held === undefined) {
        this.#count('refused by the limit')
        for (const other of this.#held.splice(0)) this.#endHeld(other)
      } else await this.#work(held, scope)
    } finally {
      scope?.end()
    }
    if (random.oneIn(10)) arena.trim()
    if (random.oneIn(50)) arena.check()
    this.#verifySome()
  }

  #allocate(arena, scope) {
    const size = Math.max(1, this.#random.size())
    const from = scope ?? arena
    const isZeroed = this.#random.oneIn(3)
    const block = isZeroed ? from.tryAlloc(size) : from.tryAllocUnsafe(size)
    if (block === undefined) return undefined
    if (isZeroed)
      ok(
        block.every(byte => byte === 0),
        'alloc gives zeros',
      )
    const start = this.#random.below(POOL_BYTES - size)
    const expected = this.#pool.subarray(start, start + size)
    block.set(expected)
    return { arena, block, expected }
  }

  /** Lends the block to some work, and does something to it meanwhile. */
  async #work(held, scope) {
    const { arena, block, expected } = held
    const name = this.#random.pick(Object.keys(WORKS))
    this.#count(name)
    const lent = arena.lend(block, bytes => WORKS[name](bytes, expected, this.#tools))
    const meanwhile = this.#random.pick(['nothing', 'free', 'free', 'scope', 'pin', 'misuse'])
    this.#count(`meanwhile ${meanwhile}`)
    let isLive = true
    const isPinned = meanwhile === 'pin'
    if (meanwhile === 'misuse') this.#misuse(arena, block)
    // By then the work may be done.
    if (this.#random.oneIn(2)) await new Promise(setImmediate)
    if (isPinned) arena.pin(block)
    if (isPinned || meanwhile === 'free') {
      arena.free(block)
      isLive = false
    } else if (meanwhile === 'scope' && scope !== null) {
      scope.end()
      isLive = false
    }
    if (!isLive) expectCode('ERR_ARENA_DOUBLE_FREE', () => arena.free(block))
    await lent
    this.verifiedBytes += expected.length
    if (isPinned) {
      await new Promise(setImmediate)
      expectSame(block, expected, 'the last unpin')
      arena.unpin(block)
    }
    if (isLive) this.#keepOrEnd(held, scope)
  }

  #misuse(arena, block) {
    expectCode('ERR_ARENA_PINNED', () => arena.realloc(block, 10))
    expectCode('ERR_ARENA_NOT_PINNED', () => arena.unpin(block))
    expectCode('ERR_ARENA_PINNED', () => arena.close())
    expectCode('ERR_ARENA_NOT_OWNER', () => arena.free(block.subarray(0)))
    const other = this.#arenas.find(each => each !== arena)
    expectCode('ERR_ARENA_FOREIGN_BUFFER', () => other.free(block))
  }

  #keepOrEnd(held, scope) {
    const { arena, block, expected } = held
    expectSame(block, expected, 'work')
    if (this.#held.length >= HELD_COUNT)
      this.#endHeld(this.#held.splice(this.#random.below(HELD_COUNT), 1)[0])
    if (this.#random.oneIn(2)) {
      scope?.keep(block)
      this.#held.push(held)
    } else if (this.#random.oneIn(3)) {
      this.#resize(held)
    } else if (scope === null || this.#random.oneIn(2)) arena.free(block)
  }

  /** Moves a block to another size: as much as fits of what it held is still there. */
  #resize({ arena, block, expected }) {
    const size = Math.max(1, this.#random.size())
    let resized
    const code = codeOf(() => {
      resized = arena.realloc(block, size)
    })
    if (code !== undefined) {
      equal(code, 'ERR_ARENA_LIMIT')
      expectSame(block, expected, 'a realloc that was refused')
      arena.free(block)
      return
    }
    const length = Math.min(size, expected.length)
    expectSame(resized.subarray(0, length), expected.subarray(0, length), 'realloc')
    this.#count('realloc')
    arena.free(resized)
  }

  #verifySome() {
    if (this.#held.length === 0) return
    const { block, expected } = this.#random.pick(this.#held)
    expectSame(block, expected, 'holding it')
    this.verifiedBytes += expected.length
  }

  #endHeld({ arena, block, expected }) {
    expectSame(block, expected, 'holding it long')
    this.verifiedBytes += expected.length
    arena.free(block)
  }

  #count(what) {
    this.counts[what] = (this.counts[what] ?? 0) + 1
  }
}
