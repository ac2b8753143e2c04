/** The forms of a file that has a recording. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { brotliCompressSync, gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { PACKED_MAGIC, packTrace, unpackedText } from '../../src/replay/packed-trace.js'
import { type Trace, TraceError, TraceReader } from '../../src/replay/trace.js'
import { readTrace } from '../../src/replay/trace-file.js'

const folder = mkdtempSync(join(tmpdir(), 'offheap-trace-file-'))
afterAll(() => rmSync(folder, { recursive: true }))

function parse(text: string | Buffer): Trace {
  const reader = new TraceReader('text')
  reader.push(Buffer.from(text))
  return reader.finish()
}

async function readBytes(bytes: Uint8Array): Promise<Trace> {
  const path = join(folder, 'file')
  writeFileSync(path, bytes)
  return await readTrace(path)
}

const TEXT = 'a 7 100\na 8 5000000000\nr 7 0\nf 8\na 8 127\na 9 128\nf 7\nf 9\n'

describe('readTrace', () => {
  it('reads the same recording from a text, from one that was gzipped, and from the packed form', async () => {
    const trace = parse(TEXT)
    expect(await readBytes(Buffer.from(TEXT))).toEqual(trace)
    expect(await readBytes(gzipSync(TEXT))).toEqual(trace)
    expect(await readBytes(packTrace(trace))).toEqual(trace)
  })

  it.each([
    ['is cut', (packed: Buffer) => packed.subarray(0, packed.length - 5)],
    ['has only its first bytes', () => PACKED_MAGIC],
    ['is too short when unpacked', () => pack([3, 0, 0])],
    ['promises more than it has', () => pack([0xff, 0xff, 0xff, 0xff, 0x7f, 0])],
  ])('says that a packed file is damaged which %s', async (_, damage) => {
    const failed = readBytes(damage(packTrace(parse(TEXT))))
    await expect(failed).rejects.toThrow(TraceError)
    await expect(failed).rejects.toThrow(/: the packed file is damaged or not complete \(/)
  })

  it.each([
    ['frees what was not allocated', [2, 0, 2, 9, 1], /block -8 is not live|the ID must be/],
    ['has an unknown operation', [1, 3, 1, 5], /expected "a ID SIZE"/],
  ])('names the line of a packed file that %s', async (_, columns, message) => {
    await expect(readBytes(pack(columns))).rejects.toThrow(message)
  })
})

function pack(columns: number[]): Buffer {
  return Buffer.concat([PACKED_MAGIC, brotliCompressSync(Buffer.from(columns))])
}

describe('the packed form', () => {
  it('gives back any recording', () => {
    const step = fc.record({ kind: fc.nat(2), pick: fc.nat(1000), size: fc.nat({ max: 2 ** 50 }) })
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 200 }), steps => {
        const live: number[] = []
        let text = 'a 0 1\nf 0\n'
        for (const [id, { kind, pick, size }] of steps.entries()) {
          if (kind === 0 || live.length === 0) {
            live.push(id)
            text += `a ${id} ${size}\n`
          } else if (kind === 1) text += `r ${live[pick % live.length]} ${size}\n`
          else text += `f ${live.splice(pick % live.length, 1)[0]}\n`
        }
        const trace = parse(text)
        expect(parse(Buffer.concat([...unpackedText(packTrace(trace))]))).toEqual(trace)
      }),
    )
  })
})
