/** Where the bytes of a stream go: slow, real receivers. Each returns what arrived. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer as createHttpServer, get, request, type Server, type ServerResponse } from 'node:http'
import { connect as connectHttp2, createServer as createHttp2Server } from 'node:http2'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Readable, Transform, Writable } from 'node:stream'
import { buffer as bufferOf } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect as connectTls, createServer as createTlsServer, type TLSSocket } from 'node:tls'
import { createGzip, gunzipSync } from 'node:zlib'

/** Reads so slowly that queues fill, and copies each chunk at once. */
export async function readSlowly(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Buffer[] = []
  let count = 0
  for await (const chunk of source) {
    chunks.push(Buffer.from(chunk))
    if (count++ % 8 === 0) await sleep(2)
  }
  return Buffer.concat(chunks)
}

const portOf = (server: { address(): unknown }): number => (server.address() as { port: number }).port

interface Ends {
  socket: Socket
  arrived: Promise<Buffer>
  close(): void
}

/** A socket whose peer does not read before it is resumed. */
export async function openStalled(): Promise<{ socket: Socket; peer: Socket; close(): void }> {
  const server = createServer({ pauseOnConnect: true })
  server.listen(0)
  await once(server, 'listening')
  const socket = connect(portOf(server))
  const [[peer]] = (await Promise.all([once(server, 'connection'), once(socket, 'connect')])) as [
    [Socket],
    [],
  ]
  return { socket, peer, close: () => server.close() }
}

export async function openSocket(): Promise<Ends> {
  const { socket, peer, close } = await openStalled()
  return { socket, arrived: readSlowly(peer), close }
}

const PSK = { psk: Buffer.alloc(16, 7), identity: 'test' }
const TLS = { ciphers: 'PSK+HIGH:@SECLEVEL=0', maxVersion: 'TLSv1.2', minVersion: 'TLSv1.2' } as const

async function openTls(): Promise<Ends> {
  const server = createTlsServer({ ...TLS, pskCallback: () => PSK.psk })
  server.listen(0)
  await once(server, 'listening')
  const socket = connectTls({
    ...TLS,
    port: portOf(server),
    pskCallback: () => PSK,
    checkServerIdentity: () => undefined,
  })
  const [[peer]] = (await Promise.all([once(server, 'secureConnection'), once(socket, 'secureConnect')])) as [
    [TLSSocket],
    [],
  ]
  return { socket, arrived: readSlowly(peer), close: () => server.close() }
}

async function overSocket(open: () => Promise<Ends>, send: (socket: Socket) => unknown): Promise<Buffer> {
  const { socket, arrived, close } = await open()
  await send(socket)
  const bytes = await arrived
  close()
  return bytes
}

async function listen(server: Server): Promise<string> {
  server.listen(0)
  await once(server, 'listening')
  return `http://localhost:${portOf(server)}/`
}

/** Answers one request. */
async function answered(answer: (response: ServerResponse) => unknown): Promise<Buffer> {
  const server = createHttpServer((_, response) => void answer(response))
  const url = await listen(server)
  const [response] = (await once(get(url, { agent: false }), 'response')) as [Readable]
  const bytes = await readSlowly(response)
  server.close()
  return bytes
}

/** Receives the body of one request. */
async function uploaded(send: (url: string) => Promise<unknown>): Promise<Buffer> {
  let arrived: Promise<Buffer> | undefined
  const server = createHttpServer((request, response) => {
    arrived = readSlowly(request)
    void arrived.then(() => response.end())
  })
  const url = await listen(server)
  await send(url)
  server.close()
  server.closeAllConnections()
  return (await arrived) as Buffer
}

async function toFile(send: (path: string) => Promise<unknown>): Promise<Buffer> {
  const folder = await mkdtemp(join(tmpdir(), 'offheap-stream-'))
  try {
    const path = join(folder, 'file')
    await send(path)
    return await readFile(path)
  } finally {
    await rm(folder, { recursive: true })
  }
}

async function overHttp2(stream: Readable): Promise<Buffer> {
  const server = createHttp2Server((_, response) => void stream.pipe(response as unknown as Writable))
  server.listen(0)
  await once(server, 'listening')
  const client = connectHttp2(`http://localhost:${portOf(server)}`)
  const bytes = await readSlowly(client.request({ ':path': '/' }))
  client.close()
  server.close()
  return bytes
}

/** A destination of a program, which keeps what it gets and says at once that it has it. */
class Keeper extends Writable {
  readonly chunks: Buffer[] = []

  override _write(chunk: Buffer, _: string, callback: () => void): void {
    this.chunks.push(chunk)
    callback()
  }
}

/** Holds all chunks until the stream has ended. */
async function keptByListener(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = []
  stream.on('data', chunk => chunks.push(chunk))
  await once(stream, 'close')
  await sleep(5)
  return Buffer.concat(chunks)
}

async function keptByKeeper(stream: Readable): Promise<Buffer> {
  const keeper = new Keeper()
  await pipeline(stream, keeper)
  await sleep(5)
  return Buffer.concat(keeper.chunks)
}

const doubled = (): Transform =>
  new Transform({ highWaterMark: 2 ** 24, transform: (chunk, _, callback) => callback(null, chunk) })

type Receiver = (stream: Readable, sizeBytes: number) => Promise<Buffer>

/** Receivers that are lent the blocks. */
export const SINKS: Record<string, Receiver> = {
  'pipe to a socket': stream => overSocket(openSocket, socket => stream.pipe(socket)),
  'pipeline to a socket': stream => overSocket(openSocket, socket => pipeline(stream, socket)),
  'pipeline to a TLS socket': stream => overSocket(openTls, socket => pipeline(stream, socket)),
  'pipe to a response': stream => answered(response => stream.pipe(response)),
  'pipeline to a response with content-length': (stream, sizeBytes) =>
    answered(response => {
      response.writeHead(200, { 'content-length': sizeBytes })
      return pipeline(stream, response)
    }),
  'pipeline to a request': stream =>
    uploaded(async url => {
      const upload = request(url, { method: 'PUT', agent: false })
      const response = once(upload, 'response') as Promise<[Readable]>
      await pipeline(stream, upload)
      ;(await response)[0].resume()
    }),
  'pipeline to a file': stream => toFile(path => pipeline(stream, createWriteStream(path))),
}

/** Receivers that get copies. */
export const OTHERS: Record<string, Receiver> = {
  'a PassThrough before a socket': stream =>
    overSocket(openSocket, socket =>
      pipeline(stream, new PassThrough({ highWaterMark: 2 ** 24 }), doubled(), socket),
    ),
  'gzip before a socket': async stream =>
    gunzipSync(await overSocket(openSocket, socket => pipeline(stream, createGzip({ level: 1 }), socket))),
  'an HTTP/2 response': overHttp2,
  'a slow iterator': readSlowly,
  'consumers.buffer': bufferOf,
  toArray: async stream => Buffer.concat((await stream.toArray()) as Buffer[]),
  'a listener that keeps the chunks': keptByListener,
  'a Writable that keeps the chunks': keptByKeeper,
  'two destinations': async stream => {
    const keeper = new Keeper()
    const bytes = await overSocket(openSocket, socket => {
      stream.pipe(socket)
      stream.pipe(keeper)
    })
    if (!Buffer.concat(keeper.chunks).equals(bytes)) throw new Error('the destinations differ')
    return bytes
  },
  'a web stream': async stream => {
    const chunks: Uint8Array[] = []
    for await (const chunk of Readable.toWeb(stream)) chunks.push(chunk as Uint8Array)
    return Buffer.concat(chunks)
  },
  'a Response': async stream =>
    Buffer.from(await new Response(Readable.toWeb(stream) as ReadableStream).arrayBuffer()),
  'the body of fetch': stream =>
    uploaded(url => fetch(url, { method: 'PUT', body: stream as never, duplex: 'half' } as RequestInit)),
}

/** The digest that a hash makes of a stream. */
export async function digestOf(stream: Readable): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(stream, hash)
  return hash.digest('hex')
}
