/** `readFile`: the bytes that `fs.promises.readFile` returns, of each kind of file, and nothing left after a failure. */
import { execFileSync } from 'node:child_process'
import {
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { type FileHandle, open as openFile, readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import type { ReadFileOptions } from '../../src/bytes/options.js'
import { runFunction } from '../support/child.js'
import { stepsOf, variablesOf } from '../support/extent.js'
import { fuzzSeed, randomFrom } from '../support/random.js'
import { open, turns } from '../support/world.js'
import { liveBlocksOf, PLACES, rejectionOf } from './places.js'

const MIB = 2 ** 20
const folder = mkdtempSync(join(tmpdir(), 'offheap-read-file-'))
afterAll(() => rmSync(folder, { recursive: true }))

const pathOf = (name: string): string => join(folder, name)

function fileOf(name: string, sizeBytes: number): string {
  const bytes = Buffer.alloc(sizeBytes)
  for (let i = 0; i < sizeBytes; i += 1 + (i >>> 4)) bytes[i] = i
  writeFileSync(pathOf(name), bytes)
  return pathOf(name)
}

const FILES = [0, 1, 4_096, 65_536, 100_000, 9 * MIB].map(size => fileOf(`${size} bytes`, size))

/** Descriptors of files in the folder that this process has open. */
function openFiles(): number {
  let count = 0
  for (const name of readdirSync('/proc/self/fd')) {
    try {
      const target = readlinkSync(`/proc/self/fd/${name}`)
      if (target.startsWith(folder)) count++
    } catch {
      // It was closed meanwhile.
    }
  }
  return count
}

describe.each(PLACES)('readFile, %s', (_, place) => {
  it('reads all bytes of a file', async () => {
    const { arena, by } = place()
    for (const path of FILES) {
      const expected = await readFile(path)
      for (const file of [path, Buffer.from(path), pathToFileURL(path)]) {
        for (const options of [
          undefined,
          { maxBytes: expected.length },
          { signal: new AbortController().signal },
        ]) {
          const block = await by.readFile(file, options)
          expect(block.equals(expected)).toBe(true)
          expect(arena.stats().liveBytes).toBe(expected.length)
          arena.free(block)
        }
      }
    }
    expect(liveBlocksOf(arena)).toBe(0)
    expect(openFiles()).toBe(0)
  })

  it('reads a handle from its position, and leaves it open', async () => {
    const { arena, by } = place()
    for (const path of FILES) {
      const expected = await readFile(path)
      const handle = await openFile(path)
      const skipped = Math.min(expected.length, 70)
      if (skipped > 0) await handle.read(Buffer.alloc(skipped), 0, skipped, null)
      const block = await by.readFile(handle)
      expect(block.equals(expected.subarray(skipped))).toBe(true)
      expect((await by.readFile(handle)).length).toBe(0)
      await handle.stat()
      await handle.close()
    }
    arena.reset()
    expect(liveBlocksOf(arena)).toBe(0)
  })

  it('reads files that do not say how long they are', async () => {
    const { by } = place()
    expect((await by.readFile('/proc/self/status')).toString()).toMatch(/^Name:/)
    const mappings = await by.readFile('/proc/self/maps')
    expect(mappings.length).toBeGreaterThan(10_000)
    expect(mappings.toString()).toMatch(/\n$/)
    expect(await by.readFile('/dev/null')).toHaveLength(0)
  })

  it('rejects as fs.promises.readFile does, and leaves no block and no open file', async () => {
    const { arena, by } = place()
    symlinkSync(pathOf('loop'), pathOf('loop'))
    for (const file of [
      pathOf('nothing'),
      folder,
      pathOf('loop'),
      '',
      'a\0b',
      undefined,
      null,
      {},
      5n,
      () => 1,
    ]) {
      const expected = await rejectionOf(readFile(file as string))
      const error = await rejectionOf(by.readFile(file as string))
      expect([error?.constructor, error?.code], String(file)).toEqual([expected?.constructor, expected?.code])
      expect((await rejectionOf(by.tryReadFile(file as string)))?.code).toBe(expected?.code)
    }
    rmSync(pathOf('loop'))
    expect(liveBlocksOf(arena)).toBe(0)
    expect(openFiles()).toBe(0)
  })

  it('rejects if there are more than maxBytes', async () => {
    const { arena, by } = place()
    const handle = await openFile(FILES[4])
    for (const [file, maxBytes] of [
      [FILES[1], 0],
      [FILES[4], 99_999],
      [handle, 99_999],
      ['/proc/self/maps', 100],
      ['/dev/zero', 100_000],
    ] as const) {
      const error = await rejectionOf(by.readFile(file, { maxBytes }))
      expect(error?.code).toBe('ERR_ARENA_TOO_LARGE')
      expect(error?.message).toContain(`readFile(): the input has more than ${maxBytes} bytes`)
    }
    await handle.close()
    expect(liveBlocksOf(arena)).toBe(0)
    expect(openFiles()).toBe(0)
  })

  it.each([
    ['reset', 'ERR_ARENA_DOUBLE_FREE'],
    ['closeWhenIdle', 'ERR_ARENA_CLOSED'],
  ] as const)(
    'rejects after a %s, and keeps the memory until the kernel has written to it',
    async (method, code) => {
      for (const sizeBytes of [1_000, 100_000]) {
        const { arena, by } = place()
        const file = fakeHandle(sizeBytes, async (read, bytes, start, count) => {
          if (start === 0) return read(bytes, start, Math.ceil(count / 2))
          expect(() => arena.close()).toThrow(/pinned block/)
          void arena[method]()
          expect(arena.stats().pinnedBlocks).toBe(1)
          return (await read(bytes, start, count)) - 1
        })
        expect((await rejectionOf(by.readFile(file)))?.code).toBe(code)
        expect(liveBlocksOf(arena)).toBe(0)
      }
    },
  )

  it('rejects at once if the signal is aborted, though a read does not come back', async () => {
    const { arena, by } = place()
    let comeBack = (_: number): void => {}
    const file = fakeHandle(100_000, () => new Promise(resolve => (comeBack = resolve)))
    const controller = new AbortController()
    const reading = by.readFile(file, { signal: controller.signal })
    await turns()
    controller.abort('enough')
    expect(await rejectionOf(reading)).toMatchObject({
      name: 'AbortError',
      code: 'ABORT_ERR',
      cause: 'enough',
    })
    expect(arena.stats()).toMatchObject({ liveBlocks: 1, pinnedBlocks: 1 })
    comeBack(100)
    await turns()
    expect(arena.stats()).toMatchObject({ liveBlocks: 0, pinnedBlocks: 0 })
    const again = await rejectionOf(by.readFile(FILES[2], { signal: controller.signal }))
    expect(again?.code).toBe('ABORT_ERR')
  })
})

type Read = (bytes: Uint8Array, start: number, count: number) => Promise<number>

/** A handle of a file of so many bytes of 7, whose reads go through `use`. */
function fakeHandle(
  sizeBytes: number,
  use: (read: Read, bytes: Uint8Array, start: number, count: number) => Promise<number>,
): FileHandle {
  let left = sizeBytes
  const read: Read = async (bytes, start, count) => {
    await turns(1)
    const bytesRead = Math.min(left, count)
    bytes.fill(7, start, start + bytesRead)
    left -= bytesRead
    return bytesRead
  }
  return {
    fd: 0,
    stat: async () => ({ isFile: () => true, size: sizeBytes }),
    read: async (bytes: Uint8Array, start: number, count: number) => ({
      bytesRead: await use(read, bytes, start, count),
    }),
  } as unknown as FileHandle
}

describe('readFile', () => {
  it('reads a file that grows or shrinks meanwhile as far as it is there', async () => {
    const { arena } = open()
    const path = fileOf('changing', 20 * MIB)
    const before = await readFile(path)
    const handle = await openFile(path)
    const shrinking = fakeHandle(1_000, async (read, bytes, start, count) =>
      start > 0 ? 0 : read(bytes, start, Math.min(count, 300)),
    )
    expect(await arena.readFile(shrinking)).toHaveLength(300)
    await handle.close()
    const reading = arena.readFile(path)
    truncateSync(path, 30 * MIB)
    const grown = await reading
    expect([20 * MIB, 30 * MIB]).toContain(grown.length)
    expect(grown.subarray(0, 20 * MIB).equals(before)).toBe(true)
    const less = arena.readFile(path)
    truncateSync(path, 10 * MIB)
    expect((await less).subarray(0, 10 * MIB).equals(before.subarray(0, 10 * MIB))).toBe(true)
  })

  it('reads what comes through a pipe', async () => {
    const { arena } = open()
    const path = pathOf('pipe')
    execFileSync('mkfifo', [path])
    const expected = Buffer.alloc(300_000, 'abc')
    const [block] = await Promise.all([
      arena.readFile(path),
      openFile(path, 'w').then(async writing => {
        await writing.write(expected.subarray(0, 100))
        await writing.writeFile(expected.subarray(100))
        await writing.close()
      }),
    ])
    expect(block.equals(expected)).toBe(true)
    const controller = new AbortController()
    const waiting = arena.readFile(path, { signal: controller.signal })
    setTimeout(() => controller.abort(), 5)
    expect((await rejectionOf(waiting))?.code).toBe('ABORT_ERR')
    // So that the open comes back.
    await (await openFile(path, 'w')).close()
    await turns(10)
    expect(liveBlocksOf(arena)).toBe(1)
  })

  it('refuses bad options', async () => {
    const { arena } = open()
    const faults: [unknown, string][] = [
      ['utf8', 'ERR_INVALID_ARG_TYPE'],
      [null, 'ERR_INVALID_ARG_TYPE'],
      [{ encoding: 'utf8' }, 'ERR_INVALID_ARG_VALUE'],
      [{ maxBytes: -1 }, 'ERR_OUT_OF_RANGE'],
      [{ maxBytes: '1' }, 'ERR_INVALID_ARG_TYPE'],
      [{ signal: 1 }, 'ERR_INVALID_ARG_TYPE'],
    ]
    for (const [options, code] of faults) {
      expect((await rejectionOf(arena.readFile(FILES[0], options as ReadFileOptions)))?.code).toBe(code)
    }
  })

  it('resolves to undefined if memory is refused to tryReadFile', async () => {
    const { arena } = open({ limitBytes: MIB })
    for (const by of [arena, arena.scope()]) {
      expect((await rejectionOf(by.readFile(FILES[5])))?.code).toBe('ERR_ARENA_LIMIT')
      expect(await by.tryReadFile(FILES[5])).toBeUndefined()
      expect(await by.tryReadFile('/dev/zero')).toBeUndefined()
      expect(await by.tryReadFile(FILES[4])).toHaveLength(100_000)
    }
    expect(liveBlocksOf(arena)).toBe(2)
    expect(openFiles()).toBe(0)
  })

  it('is refused a file that is longer than any block', async () => {
    const { arena } = open()
    const path = pathOf('sparse')
    writeFileSync(path, '')
    truncateSync(path, 2 ** 40)
    const error = await rejectionOf(arena.readFile(path))
    expect(error?.code).toBe('ERR_ARENA_TOO_LARGE')
    expect(error?.message).toMatch(/No block can be longer/)
  })

  it('leaves nothing behind after reads that fail at random', async () => {
    const seed = fuzzSeed()
    const random = randomFrom(seed)
    const { arena, kernel } = open({ debug: random.oneIn(2), leaks: 'all' })
    kernel.isRecording = false
    const outcomes = new Map<unknown, number>()
    for (let i = 0; i < stepsOf(1_000, 5); i++) {
      const way = random.pick(['abort', 'memory', 'limit', 'system', 'scope'] as const)
      const scope = arena.scope()
      const controller = new AbortController()
      kernel.fails = kind => way === 'memory' && kind !== 'detach' && random.oneIn(2)
      const file = random.pick(
        way === 'system' ? [folder, pathOf('none')] : [...FILES.slice(0, 5), '/proc/self/maps'],
      )
      const options = {
        signal: controller.signal,
        maxBytes: way === 'limit' ? random.below(1_000) : 10 * MIB,
      }
      const by = random.oneIn(2) ? scope : arena
      const reading = by.readFile(file, options)
      const soon = random.oneIn(2) ? (call: () => void) => call() : setImmediate
      if (way === 'abort') soon(() => controller.abort())
      if (way === 'scope') soon(() => scope.end())
      const error = await rejectionOf(reading.then(block => by === scope || arena.free(block)))
      outcomes.set(error?.code, 1)
      scope.end()
      await turns()
      // A read that was aborted may still be under way.
      while (arena.stats().pinnedBlocks > 0) await turns()
      expect(liveBlocksOf(arena), variablesOf(seed)).toBe(0)
    }
    kernel.allow()
    while (openFiles() > 0) await turns()
    for (const code of [
      'ABORT_ERR',
      'ERR_ARENA_OUT_OF_MEMORY',
      'ERR_ARENA_TOO_LARGE',
      'EISDIR',
      'ENOENT',
      'ERR_ARENA_SCOPE_ENDED',
    ])
      expect([...outcomes.keys()], variablesOf(seed)).toContain(code)
  })

  it('has the bytes of a long file in memory once', async () => {
    const path = pathOf('long')
    writeFileSync(path, '')
    truncateSync(path, 100 * MIB)
    await runFunction(
      async ({ Arena, assert }, { path, mostBytes, fileBytes }) => {
        const fs = process.getBuiltinModule('node:fs')
        const bytesIn = (name: string) => {
          const line = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(
            fs.readFileSync('/proc/self/status', 'latin1'),
          )
          return 1024 * Number(line?.[1])
        }
        const arena = new Arena()
        await arena.readFile('/proc/self/status')
        const before = bytesIn('VmRSS')
        const block = await arena.readFile(path)
        assert.equal(block.length, fileBytes)
        const grown = bytesIn('VmHWM') - before
        assert.ok(grown >= fileBytes * 0.95 && grown < mostBytes, `it has grown by ${grown} bytes at most`)
      },
      { path, mostBytes: 110 * MIB, fileBytes: 100 * MIB },
    )
  })
})
