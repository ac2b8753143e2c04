import { describe, expect, it } from 'vitest'
import { type Kind, kindsOf } from '../../src/report/kinds.js'
import { type Mapping, parseSmaps } from '../../src/report/smaps.js'
import { RECORDINGS, recording } from './recordings.js'

function kindsIn(mappings: readonly Mapping[]): Record<Kind, { count: number; kib: number }> {
  const empty = () => ({ count: 0, kib: 0 })
  const sums = {
    arena: empty(),
    kept: empty(),
    break: empty(),
    mapping: empty(),
    v8: empty(),
    file: empty(),
    stack: empty(),
    rest: empty(),
  }
  for (const [index, kind] of kindsOf(mappings).entries()) {
    sums[kind].count++
    sums[kind].kib += mappings[index].residentBytes / 1024
  }
  return sums
}

/** What the mappings of a kernel before 6.7 look like: stacks without `nh`. */
function older(mappings: readonly Mapping[]): Mapping[] {
  return mappings.map(mapping =>
    / dc| nr/.test(mapping.flags) ? mapping : { ...mapping, flags: mapping.flags.replace(/ nh$/, '') },
  )
}

/** Each had 1 MiB in an arena, 1 MiB above the program break, 400 KB in Buffers, and a Worker. */
describe.each(RECORDINGS)('kindsOf a process as recorded: %s', name => {
  const mappings = parseSmaps(recording(name))
  const sums = kindsIn(mappings)

  it('finds the arenas', () => {
    expect(sums.arena.kib).toBe(1040 + 1024)
  })

  it('finds the stack of each thread', () => {
    // Node 20 starts 11 threads and a Worker, and later lines fewer for their pool.
    expect(sums.stack.count).toBeGreaterThanOrEqual(8)
    expect(sums.stack.count).toBeLessThanOrEqual(13)
    expect(sums.stack.kib).toBeLessThan(400)
  })

  it('finds V8, whose two heaps took 17 to 21 MiB', () => {
    expect(sums.v8.kib).toBeGreaterThan(16 * 1024)
    expect(sums.v8.kib).toBeLessThan(21 * 1024)
  })

  it("finds malloc's memory, below the break or in mappings", () => {
    const kib = sums.break.kib + sums.mapping.kib
    expect(kib).toBeGreaterThan(4 * 1024)
    expect(kib).toBeLessThan(11 * 1024)
  })

  it('leaves little', () => {
    expect(sums.rest.kib).toBeLessThan(200)
  })

  it('finds the same on a kernel that marks no stacks', () => {
    expect(kindsIn(older(mappings))).toEqual(sums)
  })

  it('takes V8 for other anonymous memory where the kernel tells no flags', () => {
    const bare = kindsIn(mappings.map(mapping => ({ ...mapping, flags: '' })))
    expect(bare.v8.kib).toBe(0)
    expect(bare.mapping.kib).toBeGreaterThan(sums.v8.kib)
    const total = (of: typeof sums) => Object.values(of).reduce((kib, kind) => kib + kind.kib, 0)
    expect(total(bare)).toBe(total(sums))
  })
})

describe('kindsOf', () => {
  const PAGE = 4096
  function mapping(path: string, flags = 'rd wr ac', permissions = 'rw-p', start = 0x7f0000000000): Mapping {
    return { start, end: start + PAGE, permissions, path, residentBytes: PAGE, swappedBytes: 0, flags }
  }

  it.each<[Kind, Mapping]>([
    ['arena', mapping('[anon:offheap: uploads]')],
    ['arena', mapping('[anon:offheap: books]')],
    ['arena', mapping('', 'rd wr dc nr hg')],
    ['arena', mapping('[heap]', 'rd wr dc ac')],
    ['kept', mapping('', 'rd wr nr nh')],
    ['break', mapping('[heap]')],
    ['mapping', mapping('[anon: glibc: malloc arena]', 'rd wr nr')],
    ['mapping', mapping('[anon:jemalloc_pg]', 'rd wr nr')],
    ['stack', mapping('[anon: glibc: pthread stack: 4711]')],
    ['stack', mapping('[stack]', 'rd wr gd ac')],
    ['v8', mapping('', 'rd wr ex dc nr', 'rwxp')],
    ['v8', mapping('[anon:v8-isolate]')],
    ['file', mapping('/usr/bin/node', 'rd ex', 'r-xp')],
    ['file', mapping('/memfd:wasm (deleted)', 'rd wr sh', 'rw-s')],
    ['file', mapping('[vdso]', 'rd ex', 'r-xp')],
    ['rest', mapping('anon_inode:[io_uring]', 'rd wr sh', 'rw-s')],
    ['rest', mapping('/dev/zero', 'rd wr')],
    ['rest', mapping('', 'rd wr sh', 'rw-s')],
    ['rest', mapping('', 'rd', 'r--p')],
  ])('knows what is %s', (kind, one) => {
    expect(kindsOf([one])).toEqual([kind])
  })

  it('takes what follows a file for its variables, and no more', () => {
    const file = mapping('/lib/a.so')
    const adjacent = mapping('', 'rd wr ac', 'rw-p', file.end)
    const further = mapping('', 'rd wr ac nx', 'rw-p', adjacent.end)
    expect(kindsOf([file, adjacent, further])).toEqual(['file', 'file', 'mapping'])
    expect(kindsOf([file, { ...further, start: further.start + PAGE }])).toEqual(['file', 'mapping'])
    expect(kindsOf([mapping('[vdso]'), adjacent])).toEqual(['file', 'mapping'])
  })
})
