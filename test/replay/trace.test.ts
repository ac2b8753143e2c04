import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, describe, expect, it } from 'vitest'
import { ALLOCATE, FREE, RESIZE, TraceError, TraceReader } from '../../src/replay/trace.js'
import { readTrace } from '../../src/replay/trace-file.js'

const directory = mkdtempSync(join(tmpdir(), 'offheap-trace-'))
afterAll(() => rmSync(directory, { recursive: true }))

function parse(text: string) {
  const reader = new TraceReader('test')
  reader.push(Buffer.from(text))
  return reader.finish()
}

function written(name: string, content: string | Uint8Array): string {
  const path = join(directory, name)
  writeFileSync(path, content)
  return path
}

describe('TraceReader', () => {
  it('reads the three operations into columns', () => {
    const trace = parse('a 0 100\na 1 50\nr 0 300\nf 1\n')
    expect([...trace.operations]).toEqual([ALLOCATE, ALLOCATE, RESIZE, FREE])
    expect([...trace.slots]).toEqual([0, 1, 0, 1])
    expect([...trace.sizes]).toEqual([100, 50, 300, 0])
    expect(trace).toMatchObject({ operationCount: 4, allocationCount: 2, resizeCount: 1, freeCount: 1 })
  })

  it('keeps account of what is live', () => {
    const trace = parse('a 0 100\na 1 50\nf 0\nr 1 120\nf 1\na 2 7\n')
    expect(trace).toMatchObject({ peakLiveBytes: 150, peakOperation: 1, endLiveBytes: 7, endLiveBlocks: 1 })
  })

  it('needs as many slots as blocks are ever live at once', () => {
    const lines = Array.from({ length: 1000 }, (_, id) => `a ${id} 8\n${id > 2 ? `f ${id - 3}\n` : ''}`)
    expect(parse(lines.join('')).slotCount).toBe(4)
  })

  it('takes any ID up to 2^31 - 1, and one again after its free', () => {
    const trace = parse('a 2147483647 1\na 5 1\nf 2147483647\na 2147483647 2\n')
    expect([...trace.slots]).toEqual([0, 1, 0, 0])
  })

  it('takes sizes of 0 and of more than 32 bits', () => {
    const trace = parse('a 0 0\na 1 9007199254740991\nr 0 5\n')
    expect([...trace.sizes]).toEqual([0, Number.MAX_SAFE_INTEGER, 5])
    expect(parse('a 0 2147483647\n').sizes).toBeInstanceOf(Int32Array)
  })

  it('ignores blank lines, comments, CR and a missing last line end', () => {
    expect(parse('# a 0 1\n\n  \na 0 8\r\n#\nf 0').operationCount).toBe(2)
  })

  it('reads the same whatever the pieces are', () => {
    const text = Buffer.from('a 0 100\n# note\na 1 50\nr 0 300\nf 1\n')
    for (let length = 1; length < text.length; length++) {
      const reader = new TraceReader('test')
      for (let from = 0; from < text.length; from += length) reader.push(text.subarray(from, from + length))
      expect(reader.finish()).toEqual(parse(text.toString()))
    }
  })

  const malformed: [what: string, text: string, line: number, message: RegExp][] = [
    ['an unknown operation', 'a 0 1\nx 0 1\n', 2, /expected "a ID SIZE".*got "x 0 1"/],
    ['a longer word', 'alloc 0 1\n', 1, /expected/],
    ['a letter alone', 'a 0 1\nf\n', 2, /expected/],
    ['garbage bytes', 'a 0 1\n\u0000\u0001\u0002\n', 2, /expected/],
    ['two spaces', 'a  0 1\n', 1, /ID must be/],
    ['an ID that is no number', 'a zero 1\n', 1, /ID must be.*got "a zero 1"/],
    ['a negative ID', 'a -1 1\n', 1, /ID must be/],
    ['an ID beyond 2^31 - 1', 'a 2147483648 1\n', 1, /ID must be/],
    ['a missing SIZE', 'a 0 1\nr 0\n', 2, /SIZE is missing/],
    ['a negative SIZE', 'a 0 -5\n', 1, /SIZE must be/],
    ['a SIZE with a fraction', 'a 0 1.5\n', 1, /SIZE must be/],
    ['a SIZE in exponent form', 'a 0 1e3\n', 1, /SIZE must be/],
    ['a SIZE that is no safe integer', 'a 0 9007199254740992\n', 1, /SIZE must be/],
    ['a SIZE after f', 'a 0 1\nf 0 1\n', 2, /too many fields/],
    ['a fourth field', 'a 0 1 2\n', 1, /too many fields/],
    ['allocating a live ID', 'a 0 1\n\na 0 1\n', 3, /block 0 is live already/],
    ['freeing what never was', '# head\nf 7\n', 2, /block 7 is not live/],
    ['freeing twice', 'a 0 1\nf 0\nf 0\n', 3, /block 0 is not live/],
    ['resizing what is not live', 'a 0 1\nf 0\nr 0 2', 3, /block 0 is not live/],
    ['a line without an end', `a 0 1\n#${'x'.repeat(70_000)}`, 2, /the line has more than 65536 bytes/],
  ]
  it.each(malformed)('refuses %s', (_, text, line, message) => {
    expect(() => parse(text)).toThrow(TraceError)
    expect(() => parse(text)).toThrow(
      expect.objectContaining({ line, message: expect.stringMatching(message) }),
    )
    expect(() => parse(text)).toThrow(`test, line ${line}: `)
  })

  it('refuses a recording of nothing', () => {
    expect(() => parse('# nothing\n\n')).toThrow('test: the recording has no operation')
  })
})

describe('readTrace', () => {
  const text = 'a 0 100\na 1 50\nf 0\n'

  it('reads plain and gzip files alike, whatever their names', async () => {
    const plain = await readTrace(written('plain.gz', text))
    const zipped = await readTrace(written('zipped.txt', gzipSync(text)))
    expect(plain.operationCount).toBe(3)
    expect(zipped).toEqual(plain)
  })

  it('reads gzip files of several members', async () => {
    const path = written('members.gz', Buffer.concat([gzipSync('a 0 1\n'), gzipSync('f 0\n')]))
    expect((await readTrace(path)).operationCount).toBe(2)
  })

  it('names the file and the line', async () => {
    const path = written('bad.trace', 'a 0 1\nf 1\n')
    await expect(readTrace(path)).rejects.toThrow(`${path}, line 2: block 1 is not live`)
    await expect(readTrace(written('bad.gz', gzipSync('f 1\n')))).rejects.toThrow(/bad.gz, line 1: /)
  })

  it('refuses a gzip file that is cut off or damaged', async () => {
    const whole = gzipSync(`a 0 1\n${'# padding\n'.repeat(500)}`)
    await expect(readTrace(written('cut.gz', whole.subarray(0, 30)))).rejects.toThrow(TraceError)
    const damaged = Buffer.from(whole)
    damaged.fill(0xff, 12, 24)
    await expect(readTrace(written('damaged.gz', damaged))).rejects.toThrow(
      /the gzip file is damaged or not complete/,
    )
  })

  it('refuses an empty file', async () => {
    await expect(readTrace(written('empty', ''))).rejects.toThrow(/the recording has no operation/)
    await expect(readTrace(written('one-byte', 'a'))).rejects.toThrow(/line 1: expected/)
  })

  it('passes on why a file cannot be read', async () => {
    await expect(readTrace(join(directory, 'absent'))).rejects.toMatchObject({ code: 'ENOENT' })
  })

  it('reads the recording that is published with the package', async () => {
    const trace = await readTrace(
      new URL('../../bench/traces/node-json-scope.trace.gz', import.meta.url).pathname,
    )
    expect(trace).toMatchObject({ operationCount: 304_717, peakLiveBytes: 6_819_139, endLiveBlocks: 1433 })
  })
})
