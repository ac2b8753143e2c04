/**
 * Reads the file of a recording: plain text, text that was gzip'd, or the packed form. The first bytes tell
 * which it is, not the name.
 */
import { createReadStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { PACKED_MAGIC, unpackedText } from './packed-trace.js'
import { type Trace, TraceError, TraceReader } from './trace.js'

const GZIP_MAGIC = Buffer.from([0x1f, 0x8b])

/** Reads the first bytes of `source`, enough to tell the form. `chunks` yields these bytes and the rest. */
async function peek(
  source: AsyncIterator<Buffer>,
): Promise<{ head: Buffer; chunks: AsyncGenerator<Buffer> }> {
  let head: Buffer = Buffer.alloc(0)
  while (head.length < PACKED_MAGIC.length) {
    const next = await source.next()
    if (next.done) break
    head = Buffer.concat([head, next.value])
  }
  async function* chunks() {
    yield head
    for (let next = await source.next(); !next.done; next = await source.next()) yield next.value
  }
  return { head, chunks: chunks() }
}

const begins = (head: Buffer, magic: Buffer) => head.subarray(0, magic.length).equals(magic)

/** Unpacks the recording that `source` yields, for a parser of its text. */
async function* unpacked(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const pieces: Buffer[] = []
  for await (const chunk of source) pieces.push(chunk)
  yield* unpackedText(Buffer.concat(pieces))
}

/**
 * Reads the recording at `path` (`-` is standard input). Throws `TraceError` if it breaks its format, and the
 * system error if it cannot be read.
 */
export async function readTrace(path: string): Promise<Trace> {
  const name = path === '-' ? 'standard input' : path
  const reader = new TraceReader(name)
  const stream = path === '-' ? process.stdin : createReadStream(path)
  const consume = async (source: AsyncIterable<Buffer>) => {
    for await (const chunk of source) reader.push(chunk)
  }
  let form = 'gzip'
  try {
    const { head, chunks } = await peek(stream[Symbol.asyncIterator]())
    if (begins(head, PACKED_MAGIC)) {
      form = 'packed'
      await pipeline(chunks, unpacked, consume)
    } else if (begins(head, GZIP_MAGIC)) await pipeline(chunks, createGunzip(), consume)
    else await pipeline(chunks, consume)
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException
    const isDamage =
      form === 'packed' ? !(error instanceof TraceError) && !isSystemError(error) : /^Z_/.test(code)
    if (isDamage) throw new TraceError(name, 0, `the ${form} file is damaged or not complete (${message})`)
    throw error
  } finally {
    stream.destroy()
  }
  return reader.finish()
}

function isSystemError(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).syscall !== undefined
}
