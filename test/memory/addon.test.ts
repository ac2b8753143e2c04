import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { ReadableStream } from 'node:stream/web'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, it } from 'vitest'
import { loadAddon } from '../../src/memory/addon.js'
import type { Advice, MappingId } from '../../src/memory/kernel.js'

const kernel = loadAddon()
const PAGE = kernel.pageBytes
const packageRoot = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const UNKNOWN_MAPPING = 2 ** 40

let nextWrapId = 1
const mapped: MappingId[] = []
const wrapped: ArrayBuffer[] = []

function map(pageCount: number): MappingId {
  const mapping = kernel.map(pageCount * PAGE)
  mapped.push(mapping)
  return mapping
}

function wrap(mapping: MappingId, offsetBytes: number, lengthBytes: number, wrapId = nextWrapId++) {
  const buffer = kernel.wrap(mapping, offsetBytes, lengthBytes, wrapId)
  wrapped.push(buffer)
  return buffer
}

/** Two turns: the finalizers of what was detached in this one have run by then. */
async function turn(): Promise<void> {
  await nextTurn()
  await nextTurn()
}

function residentPages(mapping: MappingId, pageCount: number): number[] {
  const residency = new Uint8Array(pageCount)
  kernel.residency(mapping, 0, pageCount * PAGE, residency)
  return [...residency]
}

/** What the built package in `root` says when it loads its addon in a process with these flags. */
function loadInChild(root: string, flags: string[]): string {
  const script = `
    import(${JSON.stringify(join(root, '.compiled/memory/addon.js'))})
      .then(({ loadAddon }) => loadAddon())
      .then(() => console.log('loaded'), ({ code, message }) => console.log(code, message))`
  const args = [...flags, '--no-warnings', '-e', script]
  return execFileSync(process.execPath, args, { cwd: root, encoding: 'utf8' }).trim()
}

/** Moves the whole ArrayBuffer into another one, as byte streams do on every line of Node. */
async function moveByStream(buffer: ArrayBuffer): Promise<ArrayBuffer> {
  const bytes = new Uint8Array(buffer)
  const stream = new ReadableStream({ type: 'bytes', start: controller => controller.enqueue(bytes) })
  const { value } = await stream.getReader().read()
  return value?.buffer as ArrayBuffer
}

function kernelMappingCount(): number {
  return readFileSync('/proc/self/maps', 'latin1').split('\n').length - 1
}

const outOfRange = expect.objectContaining({ name: 'RangeError', code: 'ERR_OUT_OF_RANGE' })
const invalidType = expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' })

function thrownBy(action: () => unknown): unknown {
  try {
    action()
  } catch (error) {
    return error
  }
  return undefined
}

function isMapped(mapping: MappingId): boolean {
  return thrownBy(() => kernel.advise(mapping, 0, PAGE, 'dontneed')) === undefined
}

afterEach(async () => {
  for (const buffer of wrapped.splice(0)) if (buffer.byteLength > 0) kernel.detach(buffer)
  await turn()
  for (const mapping of mapped.splice(0)) if (isMapped(mapping)) expect(kernel.unmap(mapping)).toBe(true)
})

describe('mapPiece', () => {
  it('gives memory that is zero and nobody else has, and purges it when it is given up', () => {
    const pieces = Array.from({ length: 2_000 }, () => kernel.mapPiece(PAGE))
    mapped.push(...pieces)
    const buffers = pieces.map(piece => wrap(piece, 0, PAGE))
    buffers.forEach((buffer, i) => {
      const words = new Uint32Array(buffer)
      expect(words.every(word => word === 0)).toBe(true)
      words.fill(i + 1)
    })
    buffers.forEach((buffer, i) => {
      expect(new Uint32Array(buffer).every(word => word === i + 1)).toBe(true)
    })
  })

  it('is given up as any mapping is: not while a buffer shows it', async () => {
    const piece = kernel.mapPiece(PAGE)
    const neighbour = kernel.mapPiece(PAGE)
    const buffer = wrap(piece, 0, PAGE)
    const other = new Uint8Array(wrap(neighbour, 0, PAGE)).fill(7)
    expect(kernel.unmap(piece)).toBe(false)
    kernel.detach(buffer)
    await turn()
    expect(kernel.unmap(piece)).toBe(true)
    expect(() => kernel.unmap(piece)).toThrow(RangeError)
    expect(other.every(byte => byte === 7)).toBe(true)
    mapped.push(neighbour)
  })

  it.each([0, PAGE - 1, 128 * 1024])('refuses %d bytes', lengthBytes => {
    expect(() => kernel.mapPiece(lengthBytes)).toThrow(RangeError)
  })
})

describe('loadAddon', () => {
  it('returns the same object each time', () => {
    expect(loadAddon()).toBe(kernel)
  })

  it('says what to run where there is no binary', () => {
    const root = mkdtempSync(join(tmpdir(), 'offheap-'))
    try {
      cpSync(join(packageRoot, '.compiled'), join(root, '.compiled'), { recursive: true })
      writeFileSync(join(root, 'package.json'), '{ "name": "offheap", "type": "module" }')
      const message = loadInChild(root, [])
      expect(message).toMatch(
        /^ERR_ARENA_NOT_SUPPORTED Cannot load the native addon: there is no binary for linux-/,
      )
      expect(message).toContain(`node ${root}/native/build.mjs`)
    } finally {
      rmSync(root, { recursive: true })
    }
  })
})

describe('pageBytes', () => {
  it('is a power of two of 4 KiB and more', () => {
    expect(PAGE).toBeGreaterThanOrEqual(4096)
    expect(PAGE & (PAGE - 1)).toBe(0)
  })
})

describe('map', () => {
  it('gives memory that reads as zero and takes any byte', () => {
    const bytes = new Uint8Array(wrap(map(4), 0, 4 * PAGE))
    expect(bytes.every(byte => byte === 0)).toBe(true)
    bytes.fill(255)
    expect(bytes.every(byte => byte === 255)).toBe(true)
  })

  it('gives memory that is not resident before it is touched', () => {
    expect(residentPages(map(3), 3)).toEqual([0, 0, 0])
  })

  it('never gives an id twice', () => {
    const first = map(1)
    kernel.unmap(first)
    expect(map(1)).not.toBe(first)
  })

  it('throws the system error when the kernel refuses', () => {
    const error = thrownBy(() => kernel.map(2 ** 50))
    expect(error).toBeInstanceOf(Error)
    expect(error).toMatchObject({
      // The words are glibc's, or musl's.
      message: expect.stringMatching(/^mmap: (?:Cannot allocate|Out of) memory \(ENOMEM\)$/),
      code: 'ENOMEM',
      errno: -12,
      syscall: 'mmap',
    })
  })

  it.each([0, -PAGE, 1, PAGE + 1, PAGE / 3, 2 ** 53, Number.NaN, Infinity, -Infinity])(
    'refuses %d bytes',
    size => {
      expect(thrownBy(() => kernel.map(size))).toEqual(outOfRange)
    },
  )

  it.each([undefined, null, '4096', 4096n, {}, [4096], Symbol('size')])(
    'refuses what is no number: %o',
    size => {
      expect(thrownBy(() => kernel.map(size as number))).toEqual(invalidType)
    },
  )
})

describe('map, for an owner', () => {
  it.each([-1, 0.5, 2 ** 53, Number.NaN])('refuses the owner %d, and the next mapping is whole', owner => {
    expect(thrownBy(() => kernel.map(PAGE, undefined, owner))).toEqual(outOfRange)
    expect(wrap(map(1), 0, PAGE).byteLength).toBe(PAGE)
  })
})

describe('map, aligned', () => {
  const hugeBytes = 2 ** 21
  const enabled = readFileSync('/sys/kernel/mm/transparent_hugepage/enabled', 'latin1')

  it('starts at a multiple of the alignment: only aligned 2 MiB can be a huge page', () => {
    if (!/\[(always|madvise)\]/.test(enabled)) {
      console.log('transparent huge pages are off on this machine: nothing tells of an alignment')
      return
    }
    const hugePages = (): number => {
      const text = readFileSync('/proc/self/smaps_rollup', 'latin1')
      return (Number(/^AnonHugePages:\s+(\d+) kB$/m.exec(text)?.[1]) * 1024) / hugeBytes
    }
    const before = hugePages()
    for (let i = 0; i < 20; i++) {
      const mapping = kernel.map(hugeBytes, hugeBytes)
      mapped.push(mapping)
      kernel.advise(mapping, 0, hugeBytes, 'hugepage')
      kernel.advise(mapping, 0, hugeBytes, 'populate')
    }
    expect(hugePages() - before).toBe(20)
  })

  it('leaves nothing mapped around it', () => {
    const before = kernelMappingCount()
    for (let i = 0; i < 20; i++) mapped.push(kernel.map(PAGE, hugeBytes))
    // One each. What is left around them would be as many again; the process itself maps something now and then.
    expect(kernelMappingCount() - before).toBeLessThan(30)
    const residency = new Uint8Array(1)
    kernel.advise(mapped.at(-1) as MappingId, 0, PAGE, 'populate')
    kernel.residency(mapped.at(-1) as MappingId, 0, PAGE, residency)
    expect([...residency]).toEqual([1])
  })

  it.each([PAGE / 2, PAGE + 1, 3 * PAGE, 2 ** 31, -1, 1.5])('refuses %d bytes for an alignment', align => {
    expect(() => kernel.map(PAGE, align)).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }))
  })
})

describe('unmap', () => {
  it('returns the number of kernel mappings to what it was', () => {
    const MOST = 10
    const grownBy = (): number => {
      kernelMappingCount()
      const before = kernelMappingCount()
      const mappings = Array.from({ length: 100 }, (_, index) => kernel.map((1 + (index % 7)) * PAGE))
      // A page of a mapping with other settings is a kernel mapping of its own, so that neighbours do not merge.
      for (const mapping of mappings) if (mapping % 2) kernel.advise(mapping, 0, PAGE, 'nohugepage')
      expect(kernelMappingCount()).toBeGreaterThan(before + MOST)
      for (const mapping of mappings) expect(kernel.unmap(mapping)).toBe(true)
      return Math.abs(kernelMappingCount() - before)
    }
    // V8 takes and gives back some of its own meanwhile, and a few at once where it collects: not every time.
    let grown = grownBy()
    for (let round = 1; round < 5 && grown >= MOST; round++) grown = grownBy()
    expect(grown).toBeLessThan(MOST)
  })

  it('refuses while an ArrayBuffer is live, and succeeds on the turn after detach', async () => {
    const mapping = map(2)
    const buffer = wrap(mapping, 0, PAGE)
    expect(kernel.unmap(mapping)).toBe(false)
    kernel.detach(buffer)
    expect(kernel.unmap(mapping)).toBe(false)
    await turn()
    expect(kernel.unmap(mapping)).toBe(true)
  })

  it('waits for the last of several ArrayBuffers', async () => {
    const mapping = map(2)
    const first = wrap(mapping, 0, PAGE)
    wrap(mapping, 0, PAGE)
    kernel.detach(first)
    await turn()
    expect(kernel.unmap(mapping)).toBe(false)
  })

  it.each([0, -1, 0.5, UNKNOWN_MAPPING, Number.NaN])('refuses the id %d', id => {
    expect(thrownBy(() => kernel.unmap(id))).toEqual(outOfRange)
  })

  it('refuses an id whose mapping is gone', () => {
    const mapping = map(1)
    kernel.unmap(mapping)
    expect(thrownBy(() => kernel.unmap(mapping))).toEqual(outOfRange)
  })

  it('refuses what is no number', () => {
    expect(thrownBy(() => kernel.unmap('1' as unknown as number))).toEqual(invalidType)
  })
})

describe('advise', () => {
  it('gives pages back that then read as zero, while the neighbours keep their bytes', () => {
    const mapping = map(8)
    const bytes = new Uint8Array(wrap(mapping, 0, 8 * PAGE)).fill(7)
    expect(residentPages(mapping, 8)).toEqual([1, 1, 1, 1, 1, 1, 1, 1])
    kernel.advise(mapping, 2 * PAGE, 3 * PAGE, 'dontneed')
    expect(residentPages(mapping, 8)).toEqual([1, 1, 0, 0, 0, 1, 1, 1])
    expect(bytes.subarray(2 * PAGE, 5 * PAGE).every(byte => byte === 0)).toBe(true)
    expect(bytes.subarray(0, 2 * PAGE).every(byte => byte === 7)).toBe(true)
    expect(bytes.subarray(5 * PAGE).every(byte => byte === 7)).toBe(true)
  })

  it('takes "nohugepage" and keeps the bytes', () => {
    const mapping = map(2)
    const bytes = new Uint8Array(wrap(mapping, 0, 2 * PAGE)).fill(3)
    kernel.advise(mapping, 0, 2 * PAGE, 'nohugepage')
    expect(bytes.every(byte => byte === 3)).toBe(true)
  })

  it.each([
    [-PAGE, PAGE],
    [0, 0],
    [0, 5 * PAGE],
    [PAGE, 4 * PAGE],
    [4 * PAGE, PAGE],
    [1, PAGE],
    [0, PAGE - 1],
    [0.5, PAGE],
    [Number.NaN, PAGE],
    [0, Number.NaN],
    [2 ** 53, PAGE],
    [PAGE, 2 ** 53],
  ])('refuses the range (%d, %d) of four pages', (offsetBytes, lengthBytes) => {
    const mapping = map(4)
    new Uint8Array(wrap(mapping, 0, 4 * PAGE)).fill(1)
    expect(thrownBy(() => kernel.advise(mapping, offsetBytes, lengthBytes, 'dontneed'))).toEqual(outOfRange)
    expect(residentPages(mapping, 4)).toEqual([1, 1, 1, 1])
  })

  it('refuses what is no number, and a mapping that does not exist', () => {
    const advice: Advice = 'dontneed'
    const mapping = map(1)
    expect(thrownBy(() => kernel.advise('1' as unknown as number, 0, PAGE, advice))).toEqual(invalidType)
    expect(thrownBy(() => kernel.advise(mapping, '0' as unknown as number, PAGE, advice))).toEqual(
      invalidType,
    )
    expect(thrownBy(() => kernel.advise(mapping, 0, {} as unknown as number, advice))).toEqual(invalidType)
    expect(thrownBy(() => kernel.advise(UNKNOWN_MAPPING, 0, PAGE, advice))).toEqual(outOfRange)
  })
})

describe('protect', () => {
  it('keeps the bytes of a page that nobody may touch meanwhile', () => {
    const mapping = map(3)
    kernel.fill(mapping, 0, 3 * PAGE, 7)
    kernel.protect(mapping, PAGE, PAGE, false)
    expect(kernel.firstOther(mapping, 0, PAGE, 7)).toBe(-1)
    kernel.protect(mapping, PAGE, PAGE, true)
    expect(kernel.firstOther(mapping, 0, 3 * PAGE, 7)).toBe(-1)
  })

  it('refuses parts of pages, ranges beyond the mapping, and what is no boolean', () => {
    const mapping = map(2)
    for (const [offset, length] of [
      [1, PAGE],
      [0, 100],
      [PAGE, 2 * PAGE],
    ]) {
      expect(thrownBy(() => kernel.protect(mapping, offset, length, false))).toEqual(outOfRange)
    }
    expect(thrownBy(() => kernel.protect(mapping, 0, PAGE, 0 as unknown as boolean))).toEqual(invalidType)
    kernel.fill(mapping, 0, 2 * PAGE, 1)
  })
})

describe('fill and firstOther', () => {
  it('write and find bytes, and nothing beside the range', () => {
    const mapping = map(2)
    const bytes = new Uint8Array(wrap(mapping, 0, 2 * PAGE))
    kernel.fill(mapping, 100, 200, 0xfd)
    expect([bytes[99], bytes[100], bytes[299], bytes[300]]).toEqual([0, 0xfd, 0xfd, 0])
    expect(kernel.firstOther(mapping, 100, 200, 0xfd)).toBe(-1)
    expect(kernel.firstOther(mapping, 100, 201, 0xfd)).toBe(200)
    expect(kernel.firstOther(mapping, 99, 201, 0xfd)).toBe(0)
    bytes[150] = 0
    expect(kernel.firstOther(mapping, 100, 200, 0xfd)).toBe(50)
    expect(kernel.firstOther(mapping, 100, 1, 0xfd)).toBe(-1)
    expect(kernel.firstOther(mapping, 100, 1, 0)).toBe(0)
  })

  it.each(['fill', 'firstOther'] as const)('refuse ranges beyond the mapping and no bytes (%s)', method => {
    const mapping = map(1)
    for (const [offset, length, byte] of [
      [-1, 1, 0],
      [0, 0, 0],
      [0, PAGE + 1, 0],
      [PAGE, 1, 0],
      [0.5, 1, 0],
      [0, 1, 256],
      [0, 1, -1],
    ]) {
      expect(thrownBy(() => kernel[method](mapping, offset, length, byte))).toEqual(outOfRange)
    }
    expect(thrownBy(() => kernel[method](UNKNOWN_MAPPING, 0, 1, 0))).toEqual(outOfRange)
    expect(thrownBy(() => kernel[method](mapping, 0, 1, '1' as unknown as number))).toEqual(invalidType)
  })
})

describe('residency', () => {
  it('writes one byte for each page, 1 where it is resident', () => {
    const mapping = map(4)
    const bytes = new Uint8Array(wrap(mapping, 0, 4 * PAGE))
    bytes[PAGE] = 1
    bytes[3 * PAGE] = 1
    expect(residentPages(mapping, 4)).toEqual([0, 1, 0, 1])
  })

  it('takes a part of a mapping, and a view into a larger buffer', () => {
    const mapping = map(4)
    new Uint8Array(wrap(mapping, 2 * PAGE, PAGE)).fill(1)
    const answer = new Uint8Array(8).fill(9)
    kernel.residency(mapping, PAGE, 3 * PAGE, answer.subarray(3, 6))
    expect([...answer]).toEqual([9, 9, 9, 0, 1, 0, 9, 9])
  })

  it.each([0, 3, 5])('refuses an array of %d bytes for four pages', length => {
    expect(thrownBy(() => kernel.residency(map(4), 0, 4 * PAGE, new Uint8Array(length)))).toEqual(outOfRange)
  })

  it.each([undefined, [0, 0], new Uint16Array(2), new DataView(new ArrayBuffer(2)), new ArrayBuffer(2)])(
    'refuses what is no Uint8Array: %o',
    residency => {
      const call = () => kernel.residency(map(2), 0, 2 * PAGE, residency as unknown as Uint8Array)
      expect(thrownBy(call)).toEqual(invalidType)
    },
  )

  it('refuses a range beyond the mapping, and parts of pages', () => {
    const mapping = map(2)
    expect(thrownBy(() => kernel.residency(mapping, 0, 3 * PAGE, new Uint8Array(3)))).toEqual(outOfRange)
    expect(thrownBy(() => kernel.residency(mapping, 1, PAGE, new Uint8Array(1)))).toEqual(outOfRange)
    expect(thrownBy(() => kernel.residency(UNKNOWN_MAPPING, 0, PAGE, new Uint8Array(1)))).toEqual(outOfRange)
  })
})

describe('wrap', () => {
  it('makes an ArrayBuffer of exactly the bytes asked for', () => {
    const buffer = wrap(map(2), 5, PAGE)
    expect(buffer).toBeInstanceOf(ArrayBuffer)
    expect(buffer.byteLength).toBe(PAGE)
  })

  it('shares bytes between overlapping ArrayBuffers, also after one of them is gone', async () => {
    const mapping = map(4)
    const low = wrap(mapping, 0, 3 * PAGE)
    const high = new Uint8Array(wrap(mapping, 2 * PAGE, 2 * PAGE))
    new Uint8Array(low)[2 * PAGE + 5] = 42
    expect(high[5]).toBe(42)
    kernel.detach(low)
    await turn()
    expect(high[5]).toBe(42)
  })

  it.each([
    [-1, 1],
    [0, 0],
    [0, 4 * 4096 * 16 + 1],
    [Number.NaN, 1],
    [0, Number.NaN],
    [0.5, 1],
    [0, 1.5],
    [2 ** 53, 1],
    [1, 2 ** 53 - 1],
  ])('refuses the range (%d, %d)', (offsetBytes, lengthBytes) => {
    expect(thrownBy(() => kernel.wrap(map(1), offsetBytes, lengthBytes, nextWrapId))).toEqual(outOfRange)
    expect(kernel.isWrapped(nextWrapId)).toBe(false)
  })

  it('refuses an id that is in use, and takes it again once it is not', async () => {
    const mapping = map(1)
    const wrapId = nextWrapId++
    const buffer = wrap(mapping, 0, 8, wrapId)
    expect(thrownBy(() => kernel.wrap(mapping, 0, 8, wrapId))).toEqual(outOfRange)
    kernel.detach(buffer)
    expect(thrownBy(() => kernel.wrap(mapping, 0, 8, wrapId))).toEqual(outOfRange)
    await turn()
    expect(wrap(mapping, 0, 8, wrapId).byteLength).toBe(8)
  })

  it('refuses what is no number, and a mapping that does not exist', () => {
    const mapping = map(1)
    const text = '1' as unknown as number
    expect(thrownBy(() => kernel.wrap(text, 0, 1, 1))).toEqual(invalidType)
    expect(thrownBy(() => kernel.wrap(mapping, text, 1, 1))).toEqual(invalidType)
    expect(thrownBy(() => kernel.wrap(mapping, 0, 1, text))).toEqual(invalidType)
    expect(thrownBy(() => kernel.wrap(mapping, 0, 1, -1))).toEqual(outOfRange)
    expect(thrownBy(() => kernel.wrap(UNKNOWN_MAPPING, 0, 1, 1))).toEqual(outOfRange)
  })

  it('leaves the books as they were where the runtime refuses the length', async () => {
    const lengthBytes = 5 * 2 ** 30
    const mapping = map(lengthBytes / PAGE)
    const wrapId = nextWrapId++
    // Node 20 refuses it; later lines make it.
    if (thrownBy(() => wrap(mapping, 0, lengthBytes, wrapId)) === undefined) return
    expect(kernel.isWrapped(wrapId)).toBe(false)
    await turn()
    expect(kernel.isWrapped(wrapId)).toBe(false)
    const buffer = wrap(mapping, 0, PAGE, wrapId)
    expect(kernel.unmap(mapping)).toBe(false)
    kernel.detach(buffer)
    await turn()
    expect(kernel.unmap(mapping)).toBe(true)
  })
})

describe('detach', () => {
  it('leaves every view with length 0', () => {
    const buffer = wrap(map(1), 0, PAGE)
    const view = new Uint8Array(buffer, 8, 8)
    kernel.detach(buffer)
    expect([buffer.byteLength, view.length, view.byteOffset, view[0]]).toEqual([0, 0, 0, undefined])
  })

  it('refuses a buffer that is detached already', () => {
    const buffer = wrap(map(1), 0, PAGE)
    kernel.detach(buffer)
    expect(() => kernel.detach(buffer)).toThrow(TypeError)
  })

  it.each([undefined, 1, {}, new Uint8Array(4), new SharedArrayBuffer(4)])(
    'refuses what is no ArrayBuffer: %o',
    value => {
      expect(() => kernel.detach(value as ArrayBuffer)).toThrow(TypeError)
    },
  )

  it('refuses a buffer that the runtime keeps attached', () => {
    // The types of Node 20 lack WebAssembly.
    const { Memory } = Reflect.get(globalThis, 'WebAssembly') as {
      Memory: new (size: object) => { buffer: ArrayBuffer }
    }
    expect(() => kernel.detach(new Memory({ initial: 1 }).buffer)).toThrow(TypeError)
  })
})

describe('isWrapped', () => {
  it('is true from wrap until the finalizer has run', async () => {
    const wrapId = nextWrapId++
    expect(kernel.isWrapped(wrapId)).toBe(false)
    const buffer = wrap(map(1), 0, PAGE, wrapId)
    expect(kernel.isWrapped(wrapId)).toBe(true)
    kernel.detach(buffer)
    expect(kernel.isWrapped(wrapId)).toBe(true)
    await turn()
    expect(kernel.isWrapped(wrapId)).toBe(false)
  })

  it('stays true for memory that someone else moved', async () => {
    const mapping = map(1)
    const wrapId = nextWrapId++
    const buffer = wrap(mapping, 0, PAGE, wrapId)
    const moved = await moveByStream(buffer)
    wrapped.push(moved)
    await turn()
    expect([buffer.byteLength, moved.byteLength]).toEqual([0, PAGE])
    expect(kernel.isWrapped(wrapId)).toBe(true)
    expect(kernel.unmap(mapping)).toBe(false)
  })

  it('refuses what is no id', () => {
    expect(thrownBy(() => kernel.isWrapped('1' as unknown as number))).toEqual(invalidType)
    expect(thrownBy(() => kernel.isWrapped(-1))).toEqual(outOfRange)
  })
})

describe('purge', () => {
  it('gives back many stretches, and no page else, however many there are', () => {
    const pages = 4_000
    const mapping = map(pages)
    const bytes = new Uint8Array(wrap(mapping, 0, pages * PAGE)).fill(7)
    // One or two pages of each four, counted from 100; the first stretch and the last are not meant.
    const count = pages / 4
    const lengthOf = (stretch: number) => 1 + (stretch % 2)
    const stretches = new Uint32Array(2 * count)
    for (let i = 0; i < count; i++) stretches.set([100 + 4 * i, lengthOf(i)], 2 * i)
    const isPurged = (page: number) => page >= 4 && page < pages - 4 && page % 4 < lengthOf(page >> 2)
    const expected = Array.from({ length: pages }, (_, page) => (isPurged(page) ? 0 : 1))
    const purged = pages - expected.reduce<number>((a, b) => a + b, 0)
    expect(kernel.purge(mapping, 100, stretches, 1, count - 1)).toBe(purged)
    expect(residentPages(mapping, pages)).toEqual(expected)
    expect(expected.map((_, page) => bytes[page * PAGE])).toEqual(expected.map(kept => 7 * kept))
  })

  it.each([[[0, 0]], [[99, 1]], [[104, 1]], [[103, 2]], [[100, 2 ** 32 - 1]], [[2 ** 32 - 1, 2]]])(
    'refuses the stretch %j of the pages 100 to 103, and does nothing',
    stretch => {
      const mapping = map(4)
      new Uint8Array(wrap(mapping, 0, 4 * PAGE)).fill(1)
      const stretches = Uint32Array.of(100, 1, ...stretch)
      expect(thrownBy(() => kernel.purge(mapping, 100, stretches, 0, 2))).toEqual(outOfRange)
      expect(residentPages(mapping, 4)).toEqual([1, 1, 1, 1])
    },
  )

  it('refuses an array of another kind, and more stretches than it has', () => {
    const mapping = map(4)
    const words = [0, 1] as unknown as Uint32Array
    expect(thrownBy(() => kernel.purge(mapping, 0, words, 0, 1))).toEqual(invalidType)
    expect(thrownBy(() => kernel.purge(mapping, 0, new Int32Array(2) as never, 0, 1))).toEqual(invalidType)
    expect(thrownBy(() => kernel.purge(mapping, 0, Uint32Array.of(0, 1), 0, 2))).toEqual(outOfRange)
    expect(thrownBy(() => kernel.purge(mapping, 0, Uint32Array.of(0, 1), 1, 0))).toEqual(outOfRange)
    expect(thrownBy(() => kernel.purge(UNKNOWN_MAPPING, 0, Uint32Array.of(0, 1), 0, 1))).toEqual(outOfRange)
  })
})

describe('purgesToZero', () => {
  it('is so here', () => {
    expect(kernel.purgesToZero()).toBe(true)
  })
})

describe('a forked child', () => {
  it('has none of what was mapped', () => {
    const mapping = map(64)
    new Uint8Array(wrap(mapping, 0, 64 * PAGE)).fill(1)
    const flags = readFileSync('/proc/self/smaps', 'latin1').match(/^VmFlags:.* dc\b/gm)
    expect(flags?.length).toBeGreaterThan(0)
  })
})
