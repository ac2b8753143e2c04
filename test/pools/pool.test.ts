import { describe, expect, it } from 'vitest'
import { giveBack, takeAway } from '../support/taking.js'
import { isFilled, isZero, open, thrownBy } from '../support/world.js'

const PAGE = 4096
const MIB = 2 ** 20

const codeOf = (call: () => unknown): string | undefined => thrownBy(call)?.code

describe('pool', () => {
  it.each([
    ['abc', 'ERR_INVALID_ARG_TYPE'],
    [0, 'ERR_OUT_OF_RANGE'],
    [-1, 'ERR_OUT_OF_RANGE'],
    [1.5, 'ERR_OUT_OF_RANGE'],
    [Number.NaN, 'ERR_OUT_OF_RANGE'],
    [2 ** 60, 'ERR_OUT_OF_RANGE'],
  ])('refuses the size %s', (sizeBytes, code) => {
    const { arena } = open()
    expect(codeOf(() => arena.pool(sizeBytes as number))).toBe(code)
  })

  it.each([
    [{ maxIdle: -1 }, 'ERR_OUT_OF_RANGE'],
    [{ maxIdle: '3' }, 'ERR_INVALID_ARG_TYPE'],
    [{ maxIdle: Number.NaN }, 'ERR_OUT_OF_RANGE'],
    [{ align: 3 }, 'ERR_OUT_OF_RANGE'],
    [{ align: 2 * PAGE }, 'ERR_OUT_OF_RANGE'],
    [{ maxidle: 3 }, 'ERR_INVALID_ARG_VALUE'],
    [null, 'ERR_INVALID_ARG_TYPE'],
  ])('refuses the options %j', (options, code) => {
    const { arena } = open()
    expect(codeOf(() => arena.pool(64, options as object))).toBe(code)
  })

  it('takes no memory', () => {
    const { arena } = open()
    const pool = arena.pool(64)
    expect(pool.sizeBytes).toBe(64)
    expect(arena.stats()).toMatchObject({ mappedBytes: 0, pools: 0 })
  })

  it('is refused once the arena gives no blocks', async () => {
    const { arena } = open()
    await arena.closeWhenIdle()
    expect(codeOf(() => arena.pool(64))).toBe('ERR_ARENA_CLOSED')
  })
})

describe.each([64, 1_000, PAGE, 64 * 1_024, 100_000])('Buffers of %i bytes', sizeBytes => {
  it('are handed out again', () => {
    const { arena } = open()
    const pool = arena.pool(sizeBytes)
    const [first, second] = [pool.acquire(), pool.acquire()]
    expect([first.length, Object.getPrototypeOf(first) === Buffer.prototype]).toEqual([sizeBytes, true])
    expect(second).not.toBe(first)
    first.fill(1)
    pool.release(first)
    pool.release(second)
    expect(new Set([pool.acquire(), pool.acquire()])).toEqual(new Set([first, second]))
    expect(isFilled(first, 1)).toBe(true)
    expect(pool.stats()).toEqual({
      arena: arena.name,
      sizeBytes,
      idleBuffers: 0,
      acquiredBuffers: 2,
      made: 2,
      handedOut: 4,
    })
    arena.check()
  })

  it('are at a multiple of align', () => {
    const { arena, kernel } = open()
    const pool = arena.pool(sizeBytes, { align: 1_024 })
    const buffers = Array.from({ length: 5 }, () => pool.acquire())
    for (const buffer of buffers) expect(kernel.placeOf(buffer).offsetBytes % 1_024).toBe(0)
    for (const buffer of buffers) pool.release(buffer)
    expect(buffers.includes(pool.acquire())).toBe(true)
    arena.check()
  })

  it('count as live in the arena, idle ones too', () => {
    const { arena } = open()
    const pool = arena.pool(sizeBytes)
    const [one, other] = [pool.acquire(), pool.acquire()]
    pool.release(one)
    expect(arena.stats()).toMatchObject({
      liveBlocks: 2,
      liveBytes: 2 * sizeBytes,
      pools: 1,
      idleBlocks: 1,
      idleBytes: sizeBytes,
      acquiredBlocks: 1,
      acquiredBytes: sizeBytes,
    })
    pool.release(other)
    pool.close()
    expect(arena.stats()).toMatchObject({ liveBlocks: 0, liveBytes: 0, pools: 0, idleBlocks: 0 })
    arena.check()
  })
})

describe('release', () => {
  const misuses = (): [string, string, () => unknown][] => {
    const { arena } = open({ name: 'one' })
    const pool = arena.pool(64)
    const other = open({ name: 'other' }).arena
    const buffer = pool.acquire()
    const released = pool.acquire()
    pool.release(released)
    return [
      ['a second one', 'ERR_ARENA_DOUBLE_FREE', () => pool.release(released)],
      ['a view', 'ERR_ARENA_NOT_OWNER', () => pool.release(buffer.subarray(1))],
      ['a Buffer of Node', 'ERR_ARENA_FOREIGN_BUFFER', () => pool.release(Buffer.alloc(64))],
      ['a Buffer of the arena', 'ERR_ARENA_FOREIGN_BUFFER', () => pool.release(arena.alloc(64))],
      ['one of another pool', 'ERR_ARENA_FOREIGN_BUFFER', () => pool.release(arena.pool(64).acquire())],
      ['one of another arena', 'ERR_ARENA_FOREIGN_BUFFER', () => pool.release(other.pool(64).acquire())],
      ['no Buffer', 'ERR_INVALID_ARG_TYPE', () => pool.release('abc' as never)],
      ['nothing', 'ERR_INVALID_ARG_TYPE', () => pool.release(undefined as never)],
      ['free of an acquired Buffer', 'ERR_ARENA_POOLED', () => arena.free(buffer)],
      ['realloc of an acquired Buffer', 'ERR_ARENA_POOLED', () => arena.realloc(buffer, 100)],
      ['relocate of an acquired Buffer', 'ERR_ARENA_POOLED', () => arena.relocate(buffer)],
      ['free of an idle Buffer', 'ERR_ARENA_POOLED', () => arena.free(released)],
      ['realloc of an idle Buffer', 'ERR_ARENA_POOLED', () => arena.realloc(released, 100)],
      ['pin of an idle Buffer', 'ERR_ARENA_DOUBLE_FREE', () => arena.pin(released)],
      ['lend of an idle Buffer', 'ERR_ARENA_DOUBLE_FREE', () => arena.lend(released, () => 1)],
      ['realloc by a scope', 'ERR_ARENA_POOLED', () => arena.scope().realloc(buffer, 100)],
      ['keep by a scope', 'ERR_INVALID_ARG_VALUE', () => arena.scope().keep(buffer)],
    ]
  }

  it.each(misuses().map(([what], index) => [what, index] as const))('refuses misuse: %s', (_, index) => {
    const [, code, call] = misuses()[index]
    const error = thrownBy(call)
    expect(error?.code).toBe(code)
    expect(thrownBy(call)?.message).toBe(error?.message)
  })

  it('wipes in an arena with wipeOnFree', () => {
    const { arena } = open({ wipeOnFree: true })
    const pool = arena.pool(1_000)
    const buffer = pool.acquire()
    buffer.fill(7)
    pool.release(buffer)
    expect(isZero(buffer)).toBe(true)
    expect(pool.acquire()).toBe(buffer)
    buffer.fill(7)
    pool.release(buffer)
    expect(isZero(buffer)).toBe(true)
    arena.check()
  })

  it('keeps no more than maxIdle', () => {
    const { arena } = open()
    for (const maxIdle of [0, 1, 5, 40]) {
      const pool = arena.pool(64, { maxIdle })
      const buffers = Array.from({ length: 100 }, () => pool.acquire())
      for (const buffer of buffers) pool.release(buffer)
      expect(pool.stats()).toMatchObject({ idleBuffers: maxIdle, acquiredBuffers: 0 })
      arena.check()
    }
  })

  it.each([{ debug: true }, { releaseAfterMs: 0 }])('ends the Buffer with %j', options => {
    const { arena } = open(options)
    const pool = arena.pool(100_000)
    const buffer = pool.acquire()
    expect(codeOf(() => arena.free(buffer))).toBe('ERR_ARENA_POOLED')
    pool.release(buffer)
    expect(buffer.length).toBe(0)
    expect(pool.stats()).toMatchObject({ idleBuffers: 0, acquiredBuffers: 0, made: 1 })
    const next = pool.acquire()
    expect(next === buffer).toBe(false)
    const error = thrownBy(() => pool.release(buffer))
    expect(error?.code).toBe('ERR_ARENA_DOUBLE_FREE')
    if (options.debug) expect(error?.cause).toBeInstanceOf(Error)
    pool.release(next)
    arena.check()
    expect(arena.stats()).toMatchObject({ liveBlocks: 0, pools: 0 })
  })

  it('of a small Buffer detaches it with debug', () => {
    const { arena } = open({ debug: true })
    const pool = arena.pool(64)
    const buffer = pool.acquire()
    pool.release(buffer)
    expect([buffer.length, buffer[0]]).toEqual([0, undefined])
  })
})

describe('pins', () => {
  it('keep a released Buffer from being handed out, and it ends at the last unpin', () => {
    const { arena } = open()
    const pool = arena.pool(100_000)
    const buffer = pool.acquire()
    arena.pin(buffer)
    pool.release(buffer)
    expect(pool.stats()).toMatchObject({ idleBuffers: 0, acquiredBuffers: 0, made: 1 })
    expect(pool.acquire() === buffer).toBe(false)
    expect([buffer.length, arena.stats().pinnedBlocks]).toEqual([100_000, 1])
    expect(codeOf(() => pool.release(buffer))).toBe('ERR_ARENA_DOUBLE_FREE')
    arena.check()
    arena.unpin(buffer)
    expect([buffer.length, arena.stats().liveBlocks]).toEqual([0, 1])
    arena.check()
  })

  it('that ended before the release leave the Buffer in the pool', async () => {
    const { arena } = open()
    const pool = arena.pool(64)
    const buffer = pool.acquire()
    arena.lend(buffer, () => 1)
    await arena.lend(buffer, async () => 1)
    pool.release(buffer)
    expect(pool.acquire()).toBe(buffer)
    arena.check()
  })
})

describe('use', () => {
  it('hands out a Buffer until the function has returned or thrown', () => {
    const { arena } = open()
    const pool = arena.pool(64)
    const fault = new Error('mine')
    const seen: Buffer[] = []
    expect(pool.use(buffer => seen.push(buffer))).toBe(1)
    const failing = (buffer: Buffer): never => {
      seen.push(buffer)
      throw fault
    }
    expect(thrownBy(() => pool.use(failing))).toBe(fault)
    expect(seen[1]).toBe(seen[0])
    expect(pool.stats()).toMatchObject({ idleBuffers: 1, acquiredBuffers: 0, handedOut: 2 })
    expect(codeOf(() => pool.use(3 as never))).toBe('ERR_INVALID_ARG_TYPE')
    arena.check()
  })

  it('hands out a Buffer until a promise is settled', async () => {
    const { arena } = open()
    const pool = arena.pool(64)
    const fault = new Error('mine')
    for (const fails of [false, true]) {
      let settle = (): void => {}
      const pending = new Promise<string>((resolve, reject) => {
        settle = () => (fails ? reject(fault) : resolve('done'))
      })
      const result = pool.use(() => pending)
      expect(pool.stats()).toMatchObject({ idleBuffers: 0, acquiredBuffers: 1 })
      settle()
      if (fails) await expect(result).rejects.toBe(fault)
      else expect(await result).toBe('done')
      expect(pool.stats()).toMatchObject({ idleBuffers: 1, acquiredBuffers: 0 })
    }
  })

  it('refuses a release by the function, and hides no error of it', () => {
    const { arena } = open()
    const pool = arena.pool(64)
    const fault = new Error('mine')
    let code: string | undefined
    const call = (): unknown =>
      pool.use(buffer => {
        code = codeOf(() => pool.release(buffer))
        throw fault
      })
    expect(thrownBy(call)).toBe(fault)
    expect(code).toBe('ERR_ARENA_POOLED')
    expect(pool.stats()).toMatchObject({ idleBuffers: 1, acquiredBuffers: 0 })
  })

  it('leaves alone what the arena has ended meanwhile', () => {
    const { arena } = open()
    const pool = arena.pool(64)
    pool.use(() => arena.reset())
    expect(arena.stats()).toMatchObject({ liveBlocks: 0, idleBlocks: 0 })
    arena.check()
    expect(thrownBy(() => pool.use(() => arena.close()))).toBeUndefined()
  })
})

describe('the end', () => {
  it('of a pool ends idle Buffers now, and acquired ones at their release', () => {
    const { arena } = open()
    const pool = arena.pool(100_000)
    const [idle, acquired] = [pool.acquire(), pool.acquire()]
    pool.release(idle)
    pool[Symbol.dispose]()
    pool.close()
    expect([idle.length, acquired.length, arena.stats().liveBlocks]).toEqual([0, 100_000, 1])
    for (const call of [() => pool.acquire(), () => pool.tryAcquire(), () => pool.use(() => 1)]) {
      expect(codeOf(call)).toBe('ERR_ARENA_POOL_CLOSED')
    }
    pool.release(acquired)
    expect([acquired.length, arena.stats().liveBlocks]).toEqual([0, 0])
    expect(pool.toJSON()).toMatchObject({ isClosed: true, idleBuffers: 0, acquiredBuffers: 0 })
    arena.check()
  })

  it('of all blocks by reset leaves an empty pool', () => {
    const { arena } = open()
    const pool = arena.pool(64)
    const [idle, acquired] = [pool.acquire(), pool.acquire()]
    pool.release(idle)
    arena.reset()
    arena.check()
    expect(pool.stats()).toMatchObject({ idleBuffers: 0, acquiredBuffers: 0 })
    for (const buffer of [idle, acquired]) {
      expect(codeOf(() => pool.release(buffer))).toBe('ERR_ARENA_DOUBLE_FREE')
      expect(codeOf(() => arena.free(buffer))).toBe('ERR_ARENA_DOUBLE_FREE')
    }
    const next = pool.acquire()
    expect([idle, acquired].includes(next)).toBe(false)
    pool.release(next)
    expect(pool.acquire()).toBe(next)
    arena.check()
  })

  it('of the arena by close ends all', () => {
    const { arena, deferral } = open()
    const pool = arena.pool(64)
    const [idle, acquired] = [pool.acquire(), pool.acquire()]
    pool.release(idle)
    arena.close()
    for (const call of [() => pool.acquire(), () => pool.release(idle), () => pool.release(acquired)]) {
      expect(codeOf(call)).toBe('ERR_ARENA_CLOSED')
    }
    deferral.advance(10_000)
    pool.close()
  })

  it('of the arena by closeWhenIdle waits for pins only', async () => {
    const { arena } = open()
    const pool = arena.pool(64)
    const [idle, pinned] = [pool.acquire(), pool.acquire(), pool.acquire()]
    pool.release(idle)
    arena.pin(pinned)
    const closed = arena.closeWhenIdle()
    expect(pool.stats()).toMatchObject({ idleBuffers: 0, acquiredBuffers: 2 })
    expect(codeOf(() => pool.acquire())).toBe('ERR_ARENA_CLOSED')
    pool.release(pinned)
    arena.check()
    arena.unpin(pinned)
    await closed
  })
})

describe('tryAcquire', () => {
  it('returns undefined if memory is refused', () => {
    const { arena } = open({ limitBytes: MIB })
    const pool = arena.pool(400_000)
    const buffers = [pool.tryAcquire(), pool.tryAcquire()]
    expect([buffers.includes(undefined), pool.tryAcquire()]).toEqual([false, undefined])
    expect(codeOf(() => pool.acquire())).toBe('ERR_ARENA_LIMIT')
    pool.release(buffers[0] as Buffer)
    expect(pool.tryAcquire()).toBe(buffers[0])
    arena.check()
  })
})

describe('an ArrayBuffer that other code took away', () => {
  it.each([64, 1_000, 100_000])('is not handed out: %i bytes', async sizeBytes => {
    const { arena, kernel, deferral } = open()
    const pool = arena.pool(sizeBytes)
    const [idle, acquired] = [pool.acquire(), pool.acquire()]
    pool.release(idle)
    const taken = await takeAway(idle.buffer)
    expect(idle.length).toBe(0)
    const next = pool.acquire()
    expect([next === idle, next.length]).toEqual([false, sizeBytes])
    if (acquired.length > 0) await takeAway(acquired.buffer)
    pool.release(acquired)
    expect(pool.acquire().length).toBe(sizeBytes)
    arena.check()
    deferral.advance(10)
    expect(pool.stats()).toMatchObject({ idleBuffers: 0, acquiredBuffers: 2, made: 4 })
    expect(arena.stats().liveBlocks).toBe(2)
    await giveBack(taken, kernel)
    arena.check()
  })
})
