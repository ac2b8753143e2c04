/** The calls themselves, on the break of this very process, with a helper that looks at it from outside. */
import { readFileSync } from 'node:fs'
import { afterEach, describe, expect, it } from 'vitest'
import { loadAddon } from '../../src/memory/addon.js'
import type { MappingId } from '../../src/memory/kernel.js'
import { baseOf, hasNoBreak } from '../support/break.js'
import { loadStranger } from '../support/stranger.js'
import { isZero, thrownBy, turns } from '../support/world.js'

const kernel = loadAddon()
const { programBreak, pageBytes: PAGE } = kernel
const stranger = loadStranger()
/** Where the break was found: malloc moves it while nobody has it. */
let found = 0
/** Where the pages of who took it begin. */
let base = 0

let taken: MappingId | undefined
let nextWrapId = 2 ** 41
const buffers: ArrayBuffer[] = []

function take(): MappingId {
  taken = programBreak.take('subject')
  found = stranger.breakAt()
  base = baseOf(taken, stranger.breakAt)
  return taken
}

/** Raises the break as its owner does, in one step. */
function raise(mapping: MappingId, pageCount: number): void {
  programBreak.closeFence(mapping, 64 * PAGE)
  programBreak.openFence(mapping, pageCount * PAGE)
  expect(programBreak.sbrk(mapping, pageCount * PAGE)).toBe(true)
  programBreak.closeFence(mapping, 0)
}

let wasViewed = false

function view(mapping: MappingId, pageCount: number): Uint8Array {
  wasViewed = true
  const buffer = kernel.wrap(mapping, 0, pageCount * PAGE, nextWrapId++)
  buffers.push(buffer)
  return new Uint8Array(buffer)
}

/** Whether the page at that address is mapped, and by what name. */
function mappingAt(address: number): string | undefined {
  for (const line of readFileSync('/proc/self/maps', 'latin1').split('\n')) {
    const match = /^([0-9a-f]+)-([0-9a-f]+) (\S+)/.exec(line)
    if (match === null) continue
    const [, start, end, rights] = match
    if (address >= Number.parseInt(start, 16) && address < Number.parseInt(end, 16)) {
      return line.endsWith('[heap]') ? 'heap' : rights
    }
  }
  return undefined
}

afterEach(async () => {
  if (taken === undefined) return
  programBreak.leave(taken, false)
  // malloc may have lowered it further.
  expect(stranger.breakAt()).toBeLessThanOrEqual(found)
  for (const buffer of buffers.splice(0)) if (buffer.byteLength > 0) kernel.detach(buffer)
  await turns()
  expect(kernel.unmap(taken)).toBe(true)
  taken = undefined
  // Without the fence the place is nobody's, or malloc's again; where there was a view, the fence stays.
  const rights = mappingAt(base + 2 * PAGE)
  if (wasViewed) expect(rights).toBe('rw-p')
  else expect(rights).not.toBe('rw-p')
  wasViewed = false
})

const outOfRange = expect.objectContaining({ name: 'RangeError', code: 'ERR_OUT_OF_RANGE' })
const invalidType = expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' })

describe.skipIf(hasNoBreak)('take', () => {
  it('leaves the break where it is, under a fence that keeps malloc from it', () => {
    take()
    expect(mappingAt(found - 1)).toBe('heap')
    expect(mappingAt(base - PAGE)).not.toBe('rw-p')
    expect(mappingAt(base)).toBe('rw-p')
  })

  it('is refused while somebody has the break, with the name of who does', () => {
    take()
    expect(thrownBy(() => programBreak.take('other'))).toMatchObject({
      code: 'EBUSY',
      errno: -16,
      syscall: 'sbrk',
      owner: 'subject',
    })
  })

  it('takes over the fence of who left, before its last view is gone', async () => {
    const first = take()
    raise(first, 8)
    const stale = view(first, 8).fill(3)
    programBreak.leave(first, false)
    expect(kernel.unmap(first)).toBe(false)
    const second = take()
    raise(second, 8)
    expect(isZero(view(second, 8))).toBe(true)
    kernel.detach(stale.buffer as ArrayBuffer)
    await turns()
    expect(kernel.unmap(first)).toBe(true)
  })

  it.each([undefined, 1, null, {}])('refuses %o for a name', name => {
    expect(thrownBy(() => programBreak.take(name as string))).toEqual(invalidType)
  })
})

describe.skipIf(hasNoBreak)('sbrk', () => {
  it('moves the break up into the opening, and down', () => {
    const mapping = take()
    raise(mapping, 20)
    expect(stranger.breakAt()).toBe(base + 20 * PAGE)
    expect(programBreak.sbrk(mapping, -15 * PAGE)).toBe(true)
    expect(stranger.breakAt()).toBe(base + 5 * PAGE)
    expect(mappingAt(base + 10 * PAGE)).toBeUndefined()
    programBreak.closeFence(mapping, 0)
    expect(mappingAt(base + 10 * PAGE)).toBe('rw-p')
  })

  it('leaves no page unmapped of which there was a view, on the way up and down', () => {
    const mapping = take()
    expect(programBreak.canMoveViewed(mapping)).toBe(true)
    raise(mapping, 20)
    view(mapping, 20).fill(1)
    expect(programBreak.sbrk(mapping, -15 * PAGE)).toBe(true)
    expect(stranger.breakAt()).toBe(base + 5 * PAGE)
    expect(mappingAt(base + 10 * PAGE)).toBe('rw-p')
    programBreak.openFence(mapping, 15 * PAGE)
    expect(mappingAt(base + 10 * PAGE)).toBe('rw-p')
    expect(programBreak.sbrk(mapping, 15 * PAGE)).toBe(true)
    expect(stranger.breakAt()).toBe(base + 20 * PAGE)
    expect(mappingAt(base + 20 * PAGE - 1)).toBeDefined()
    programBreak.closeFence(mapping, 0)
  })

  it('faults under no thread that uses what is given up, while the break goes up and down', () => {
    const mapping = take()
    raise(mapping, 40)
    const address = stranger.addressOf(view(mapping, 40))
    stranger.startUsing(address + 8 * PAGE, 32 * PAGE)
    for (let i = 0; i < 1_000; i++) {
      expect(programBreak.sbrk(mapping, -32 * PAGE)).toBe(true)
      programBreak.closeFence(mapping, 0)
      programBreak.openFence(mapping, 32 * PAGE)
      expect(programBreak.sbrk(mapping, 32 * PAGE)).toBe(true)
      programBreak.closeFence(mapping, 0)
    }
    expect(stranger.stop()).toBeGreaterThan(1_000)
  })

  it('gives what was given up back as zeros, to read and to write', () => {
    const mapping = take()
    raise(mapping, 20)
    const bytes = view(mapping, 20).fill(1)
    programBreak.sbrk(mapping, -15 * PAGE)
    programBreak.closeFence(mapping, 0)
    expect(isZero(bytes.subarray(5 * PAGE))).toBe(true)
    bytes.fill(2)
    raise(mapping, 15)
    expect(isZero(bytes.subarray(5 * PAGE))).toBe(true)
    expect(bytes.subarray(0, 5 * PAGE).every(byte => byte === 2)).toBe(true)
  })

  it('goes no further than the opening, or than where its pages begin', () => {
    const mapping = take()
    raise(mapping, 4)
    for (const pages of [1, 100, -5]) {
      expect(thrownBy(() => programBreak.sbrk(mapping, pages * PAGE))).toMatchObject({
        code: 'EINVAL',
        syscall: 'sbrk',
      })
    }
    expect(stranger.breakAt()).toBe(base + 4 * PAGE)
  })
})

describe.skipIf(hasNoBreak)('the fence', () => {
  it('opens no further than it reaches', () => {
    const mapping = take()
    programBreak.closeFence(mapping, 40 * PAGE)
    expect(thrownBy(() => programBreak.openFence(mapping, 40 * PAGE))).toMatchObject({ code: 'EINVAL' })
    programBreak.openFence(mapping, 9 * PAGE)
    expect(mappingAt(base + 9 * PAGE)).toBeUndefined()
    programBreak.closeFence(mapping, 0)
    expect(mappingAt(base + 9 * PAGE)).toBe('rw-p')
  })

  it('opens after libc was told where the break is: what malloc asks for from a step below would fit', () => {
    const mapping = take()
    const step = 32
    raise(mapping, step)
    programBreak.closeFence(mapping, 3 * step * PAGE)
    stranger.misremember(step * PAGE)
    programBreak.openFence(mapping, step * PAGE)
    // As malloc does: more than a step, rounded up to pages.
    expect(stranger.move((step + 1) * PAGE)).toBe(0)
    expect(programBreak.sbrk(mapping, step * PAGE)).toBe(true)
    programBreak.closeFence(mapping, 0)
    expect(stranger.breakAt()).toBe(base + 2 * step * PAGE)
  })

  it('makes the mapping as long as it reaches', () => {
    const mapping = take()
    programBreak.closeFence(mapping, 40 * PAGE)
    expect(view(mapping, 40).length).toBe(40 * PAGE)
    expect(thrownBy(() => view(mapping, 41))).toEqual(outOfRange)
  })
})

describe.skipIf(hasNoBreak)('isOurs', () => {
  it('holds while nobody else moves the break', () => {
    const mapping = take()
    expect(programBreak.isOurs(mapping)).toBe(true)
    raise(mapping, 3)
    expect(programBreak.isOurs(mapping)).toBe(true)
    programBreak.leave(mapping, false)
    expect(programBreak.isOurs(mapping)).toBe(false)
  })
})

describe.skipIf(hasNoBreak)('leave', () => {
  it('is safe to repeat, and makes every call that needs an owner fail', () => {
    const mapping = take()
    raise(mapping, 30)
    expect(programBreak.leave(mapping, false)).toBe(true)
    expect(programBreak.leave(mapping, false)).toBe(false)
    for (const call of [
      () => programBreak.sbrk(mapping, 0),
      () => programBreak.openFence(mapping, PAGE),
      () => programBreak.closeFence(mapping, PAGE),
    ]) {
      expect(thrownBy(call)).toMatchObject({ code: 'EINVAL' })
    }
  })
})

describe.skipIf(hasNoBreak)('arguments', () => {
  it.each([undefined, null, '1', {}, 1n])('refuse %o for any of them', value => {
    const mapping = take()
    const wrong = value as number
    for (const call of [
      () => programBreak.isOurs(wrong),
      () => programBreak.openFence(mapping, wrong),
      () => programBreak.sbrk(mapping, wrong),
      () => programBreak.closeFence(mapping, wrong),
      () => programBreak.leave(mapping, wrong as unknown as boolean),
    ]) {
      expect(thrownBy(call)).toEqual(invalidType)
    }
  })

  it.each([-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53])('refuse %d', value => {
    const mapping = take()
    for (const call of [
      () => programBreak.isOurs(value),
      () => programBreak.openFence(mapping, value),
      () => programBreak.closeFence(mapping, value),
      () => programBreak.sbrk(mapping, value),
      () => programBreak.sbrk(value, 0),
    ]) {
      expect(thrownBy(call)).toEqual(outOfRange)
    }
  })

  it('refuse a mapping of another kind', () => {
    const mapping = kernel.map(PAGE)
    expect(thrownBy(() => programBreak.sbrk(mapping, 0))).toEqual(outOfRange)
    kernel.unmap(mapping)
  })
})
