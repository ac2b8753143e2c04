/**
 * What services do with Buffers. Each operation is given bytes that hold `sampleOf(bytes.length)`, whose length is a
 * multiple of 8, has something in Node or the kernel read or write them, and asserts what came of it.
 */
import { deepStrictEqual as equal, ok } from 'node:assert/strict'
import { spawn } from 'node:child_process'
import crypto from 'node:crypto'
import dgram from 'node:dgram'
import { once } from 'node:events'
import fs from 'node:fs'
import http from 'node:http'
import net, { type AddressInfo } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { StringDecoder } from 'node:string_decoder'
import { setImmediate as turn } from 'node:timers/promises'
import { promisify } from 'node:util'
import { MessageChannel, Worker } from 'node:worker_threads'
import zlib from 'node:zlib'
import { mulberry32 } from './random.js'

// No library of types that this project compiles with declares it.
declare const WebAssembly: {
  Memory: new (limits: { initial: number }) => { readonly buffer: ArrayBuffer; grow(pages: number): number }
}

export type Operation = (bytes: Buffer) => Promise<void>

/** Bytes of which a part repeats, so that compressing them is work and has an effect; the same for the same length. */
export function sampleOf(length: number): Buffer {
  const sample = Buffer.alloc(length)
  const random = mulberry32(length)
  for (let i = 0; i < length; i++) sample[i] = i % 4 === 0 ? random() : i >> 4
  return sample
}

function isSample(bytes: Uint8Array): boolean {
  return Buffer.compare(bytes, sampleOf(bytes.length)) === 0
}

/** Puts back into `bytes` what some operation gave. */
function restore(bytes: Buffer, result: Uint8Array): void {
  bytes.fill(0)
  bytes.set(result)
  ok(isSample(bytes))
}

async function withFile(use: (file: string) => Promise<void>): Promise<void> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'offheap-'))
  try {
    await use(path.join(folder, 'file'))
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
}

async function withServer<S extends net.Server>(
  server: S,
  use: (port: number) => Promise<void>,
): Promise<void> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  try {
    await use((server.address() as AddressInfo).port)
  } finally {
    server.close()
    await once(server, 'close')
  }
}

const files: Record<string, Operation> = {
  'fs.promises write and read': bytes =>
    withFile(async file => {
      const handle = await fs.promises.open(file, 'w+')
      try {
        equal((await handle.write(bytes)).bytesWritten, bytes.length)
        bytes.fill(0)
        equal((await handle.read(bytes, 0, bytes.length, 0)).bytesRead, bytes.length)
        ok(isSample(bytes))
      } finally {
        await handle.close()
      }
    }),
  'fs.promises writeFile': bytes =>
    withFile(async file => {
      await fs.promises.writeFile(file, bytes)
      restore(bytes, await fs.promises.readFile(file))
    }),
  'fs writev and readv of pieces': bytes =>
    withFile(async file => {
      const handle = await fs.promises.open(file, 'w+')
      try {
        const pieces = [bytes.subarray(0, 100), bytes.subarray(100, 101), bytes.subarray(101)]
        await handle.writev(pieces)
        bytes.fill(0)
        equal((await handle.readv(pieces, 0)).bytesRead, bytes.length)
        ok(isSample(bytes))
      } finally {
        await handle.close()
      }
    }),
  'fs writeSync and readSync': async bytes => {
    await turn()
    await withFile(async file => {
      const fd = fs.openSync(file, 'w+')
      equal(fs.writeSync(fd, bytes), bytes.length)
      bytes.fill(0)
      equal(fs.readSync(fd, bytes, 0, bytes.length, 0), bytes.length)
      fs.closeSync(fd)
      ok(isSample(bytes))
    })
  },
  'fs streams': bytes =>
    withFile(async file => {
      await pipeline(Readable.from([bytes.subarray(0, 500), bytes.subarray(500)]), fs.createWriteStream(file))
      bytes.fill(0)
      let length = 0
      for await (const chunk of fs.createReadStream(file)) {
        bytes.set(chunk, length)
        length += chunk.length
      }
      equal(length, bytes.length)
      ok(isSample(bytes))
    }),
  'the standard input of a process': async bytes => {
    const child = spawn('cat')
    child.stdin.end(bytes)
    restore(bytes, Buffer.concat(await child.stdout.toArray()))
  },
}

const sockets: Record<string, Operation> = {
  'net write, and read into it': bytes =>
    withServer(
      net.createServer(socket => socket.pipe(socket)),
      async port => {
        const socket = net.connect(port, '127.0.0.1')
        socket.end(bytes)
        restore(bytes, Buffer.concat(await socket.toArray()))
      },
    ),
  'net reading straight into it (onread)': bytes =>
    withServer(
      net.createServer(socket => socket.end(sampleOf(bytes.length))),
      async port => {
        bytes.fill(0)
        const received: Buffer[] = []
        const callback = (count: number, buffer: Uint8Array): boolean => {
          received.push(Buffer.from(buffer.subarray(0, count)))
          return true
        }
        const socket = net.connect({ port, host: '127.0.0.1', onread: { buffer: bytes, callback } })
        await once(socket, 'close')
        restore(bytes, Buffer.concat(received))
      },
    ),
  'http request and response bodies': bytes =>
    withServer(
      http.createServer((request, response) => {
        void request.toArray().then(chunks => {
          ok(isSample(Buffer.concat(chunks)))
          response.end(bytes)
        })
      }),
      async port => {
        const request = http.request({ port, host: '127.0.0.1', method: 'POST', agent: false })
        request.end(bytes)
        const [response] = await once(request, 'response')
        restore(bytes, Buffer.concat(await response.toArray()))
      },
    ),
  'fetch with it as a body': bytes =>
    withServer(
      http.createServer((request, response) => request.pipe(response)),
      async port => {
        const headers = { connection: 'close' }
        const response = await fetch(`http://127.0.0.1:${port}`, { method: 'POST', body: bytes, headers })
        restore(bytes, new Uint8Array(await response.arrayBuffer()))
      },
    ),
  'a datagram': async bytes => {
    const socket = dgram.createSocket('udp4')
    socket.bind(0, '127.0.0.1')
    await once(socket, 'listening')
    const piece = bytes.subarray(0, 800)
    socket.send(piece, socket.address().port, '127.0.0.1')
    const [message] = await once(socket, 'message')
    socket.close()
    equal(Buffer.compare(message, piece), 0)
    ok(isSample(bytes))
  },
}

const KEY = Buffer.alloc(32, 7)
const IV = Buffer.alloc(16, 8)

const threads: Record<string, Operation> = {
  'zlib deflate and inflate': async bytes => {
    const packed = await promisify(zlib.deflate)(bytes)
    ok(packed.length < bytes.length)
    restore(bytes, await promisify<Buffer, Buffer>(zlib.inflate)(packed))
  },
  'zlib gzipSync and gunzipSync': async bytes => {
    await turn()
    restore(bytes, zlib.gunzipSync(zlib.gzipSync(bytes)))
  },
  brotli: async bytes => {
    const params = { [zlib.constants.BROTLI_PARAM_QUALITY]: 1 }
    const packed = await promisify<Buffer, zlib.BrotliOptions, Buffer>(zlib.brotliCompress)(bytes, { params })
    restore(bytes, await promisify<Buffer, Buffer>(zlib.brotliDecompress)(packed))
  },
  'zlib of packed bytes that lie in it': async bytes => {
    const sample = sampleOf(bytes.length)
    const packed = zlib.deflateSync(sample)
    bytes.set(packed)
    const unpacked = await promisify<Buffer, Buffer>(zlib.inflate)(bytes.subarray(0, packed.length))
    restore(bytes, unpacked)
  },
  'zlib streams': async bytes => {
    const stream = zlib.createGzip()
    stream.write(bytes.subarray(0, 500))
    stream.end(bytes.subarray(500))
    const packed = Buffer.concat(await stream.toArray())
    restore(bytes, zlib.gunzipSync(packed))
  },
  'crypto hash': async bytes => {
    await turn()
    const digest = (data: Uint8Array) => crypto.createHash('sha256').update(data).digest('hex')
    equal(digest(bytes), digest(sampleOf(bytes.length)))
    const stream = crypto.createHash('sha256')
    await pipeline(Readable.from([bytes]), stream)
    equal(stream.digest('hex'), digest(bytes))
  },
  'crypto cipher': async bytes => {
    await turn()
    const cipher = crypto.createCipheriv('aes-256-ctr', KEY, IV)
    bytes.set(cipher.update(bytes))
    ok(!isSample(bytes))
    const decipher = crypto.createDecipheriv('aes-256-ctr', KEY, IV)
    restore(bytes, decipher.update(Buffer.from(bytes)))
  },
  'crypto randomFill': async bytes => {
    await promisify<Buffer, Buffer>(crypto.randomFill)(bytes)
    ok(!isSample(bytes) && new Set(bytes.subarray(-500)).size > 100)
    crypto.randomFillSync(bytes)
    ok(new Set(bytes.subarray(-500)).size > 100)
  },
  'crypto scrypt': async bytes => {
    const derive = promisify<Buffer, Buffer, number, crypto.ScryptOptions, Buffer>(crypto.scrypt)
    const key = await derive(bytes, IV, 32, { N: 16 })
    equal(key, crypto.scryptSync(sampleOf(bytes.length), IV, 32, { N: 16 }))
  },
  'subtle digest and encrypt': async bytes => {
    const { subtle } = crypto.webcrypto
    const digest = crypto.createHash('sha256').update(bytes).digest()
    equal(Buffer.from(await subtle.digest('SHA-256', bytes)), digest)
    const key = await subtle.importKey('raw', KEY, 'AES-GCM', false, ['encrypt', 'decrypt'])
    const algorithm = { name: 'AES-GCM', iv: IV }
    bytes.set(new Uint8Array(await subtle.encrypt(algorithm, key, bytes)).subarray(0, bytes.length))
    ok(!isSample(bytes))
    bytes.set(sampleOf(bytes.length))
    const sealed = await subtle.encrypt(algorithm, key, bytes)
    restore(bytes, new Uint8Array(await subtle.decrypt(algorithm, key, sealed)))
  },
}

const script: Record<string, Operation> = {
  'TextDecoder, StringDecoder and TextEncoder': async bytes => {
    await turn()
    const expected = sampleOf(bytes.length)
    equal(new TextDecoder('utf-16le').decode(bytes), new TextDecoder('utf-16le').decode(expected))
    equal(new StringDecoder('utf8').end(bytes), new StringDecoder('utf8').end(expected))
    equal(new TextEncoder().encodeInto('grün', bytes), { read: 4, written: 5 })
    equal(bytes.toString('utf8', 0, 5), 'grün')
  },
  'methods of Buffer': async bytes => {
    await turn()
    const expected = sampleOf(bytes.length)
    for (const encoding of ['latin1', 'utf8', 'hex', 'base64', 'base64url', 'utf16le', 'ascii'] as const) {
      equal(bytes.toString(encoding), expected.toString(encoding))
    }
    for (const bits of [16, 32, 64] as const) equal(bytes[`swap${bits}`](), expected[`swap${bits}`]())
    equal(
      [bytes.readDoubleLE(8), bytes.readBigUInt64BE(16)],
      [expected.readDoubleLE(8), expected.readBigUInt64BE(16)],
    )
    equal(bytes.indexOf(expected.subarray(-16)), expected.indexOf(expected.subarray(-16)))
    equal([bytes.equals(expected), Buffer.compare(bytes, expected)], [true, 0])
    equal(Buffer.concat([bytes, bytes]).length, 2 * bytes.length)
    equal(bytes.write('text', 4, 'latin1'), 4)
    equal(bytes.copyWithin(0, 4, 8).toString('latin1', 0, 8), 'texttext')
    equal(bytes.sort()[0], 0)
    equal(bytes.fill('ab').toString('latin1', 0, 4), 'abab')
  },
  'WebAssembly memory, which grows': async bytes => {
    const memory = new WebAssembly.Memory({ initial: Math.ceil(bytes.length / 65_536) })
    new Uint8Array(memory.buffer).set(bytes)
    await turn()
    memory.grow(1)
    restore(bytes, new Uint8Array(memory.buffer, 0, bytes.length))
  },
  'Blob and structuredClone': async bytes => {
    const blob = new Blob([bytes])
    restore(bytes, new Uint8Array(await blob.arrayBuffer()))
    restore(bytes, structuredClone(bytes))
  },
  'a message to another port': async bytes => {
    const { port1, port2 } = new MessageChannel()
    port1.postMessage(bytes)
    const [message] = await once(port2, 'message')
    port1.close()
    restore(bytes, message)
  },
  'a copy in a Worker': async bytes => {
    const worker = new Worker(
      `const { parentPort, workerData } = require('node:worker_threads')
      for (let i = 0; i < workerData.length; i++) workerData[i] ^= 0xff
      parentPort.postMessage(workerData)`,
      { eval: true, workerData: bytes, execArgv: [] },
    )
    const [message] = await once(worker, 'message')
    ok(isSample(bytes))
    restore(
      bytes,
      (message as Uint8Array).map(byte => byte ^ 0xff),
    )
    await worker.terminate()
  },
  'Atomics, on it and with a Worker on a shared copy': async bytes => {
    const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
    const before = words[3]
    equal([Atomics.add(words, 3, 5), Atomics.load(words, 3)], [before, (before + 5) | 0])
    Atomics.store(words, 3, before)
    const shared = new SharedArrayBuffer(bytes.length)
    new Uint8Array(shared).set(bytes)
    const worker = new Worker(
      `const words = new Int32Array(require('node:worker_threads').workerData)
      for (let i = 1; i < words.length; i++) Atomics.add(words, i, 1)
      Atomics.store(words, 0, 1)
      Atomics.notify(words, 0)`,
      { eval: true, workerData: shared, execArgv: [] },
    )
    await once(worker, 'exit')
    const result = new Int32Array(shared).map((word, i) => (i === 0 ? words[0] : word - 1))
    restore(bytes, new Uint8Array(result.buffer))
  },
}

/** All of them, by name. */
export const OPERATIONS: readonly (readonly [string, Operation])[] = Object.entries({
  ...files,
  ...sockets,
  ...threads,
  ...script,
})
