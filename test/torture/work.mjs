/**
 * What the chains have done with a lent block. Each work is given the block, which holds `expected`, and asserts that every
 * byte arrived where it should; the block holds `expected` again at its end.
 */
import { equal, ok } from 'node:assert/strict'
import crypto from 'node:crypto'
import { open } from 'node:fs/promises'
import { promisify } from 'node:util'
import zlib from 'node:zlib'

const deflate = promisify(zlib.deflate)
const inflate = promisify(zlib.inflate)
const randomFill = promisify(crypto.randomFill)
const FAST = { level: 1 }
const KEY = Buffer.alloc(32, 7)

export function expectSame(bytes, expected, what) {
  equal(bytes.length, expected.length, `length after ${what}`)
  const isSame = Buffer.compare(bytes, expected) === 0
  ok(
    isSame,
    `${what}: byte ${isSame ? 0 : bytes.findIndex((byte, i) => byte !== expected[i])} of ${bytes.length} differs`,
  )
}

const sha256 = bytes => crypto.createHash('sha256').update(bytes).digest('hex')

export const WORKS = {
  async file(bytes, expected, { path }) {
    const file = await open(path, 'w+')
    try {
      equal((await file.write(bytes, 0, bytes.length, 0)).bytesWritten, bytes.length)
      bytes.fill(0)
      equal((await file.read(bytes, 0, bytes.length, 0)).bytesRead, bytes.length)
    } finally {
      await file.close()
    }
    expectSame(bytes, expected, 'file')
  },

  async deflate(bytes, expected) {
    expectSame(await inflate(await deflate(bytes, FAST)), expected, 'deflate')
  },

  async gzipStream(bytes, expected) {
    const stream = zlib.createGzip(FAST)
    const middle = bytes.length >> 1
    stream.write(bytes.subarray(0, middle))
    stream.end(bytes.subarray(middle))
    expectSame(zlib.gunzipSync(Buffer.concat(await stream.toArray())), expected, 'gzip stream')
  },

  async inflateFromBlock(bytes, expected) {
    const packed = zlib.deflateSync(expected, FAST)
    if (packed.length > bytes.length) return
    bytes.set(packed)
    const unpacked = await inflate(bytes.subarray(0, packed.length))
    bytes.set(unpacked)
    expectSame(bytes, expected, 'inflate')
  },

  async cipher(bytes, expected) {
    const { subtle } = crypto.webcrypto
    const key = await subtle.importKey('raw', KEY, 'AES-GCM', false, ['encrypt', 'decrypt'])
    const algorithm = { name: 'AES-GCM', iv: KEY.subarray(0, 12) }
    const sealed = await subtle.encrypt(algorithm, key, bytes)
    expectSame(Buffer.from(await subtle.decrypt(algorithm, key, sealed)), expected, 'cipher')
  },

  async digest(bytes, expected) {
    const digest = await crypto.webcrypto.subtle.digest('SHA-256', bytes)
    equal(Buffer.from(digest).toString('hex'), sha256(expected), 'digest')
  },

  async randomFill(bytes, expected) {
    await randomFill(bytes)
    const filled = sha256(bytes)
    await new Promise(setImmediate)
    equal(sha256(bytes), filled, 'random bytes stay')
    bytes.set(expected)
  },

  async handOver(bytes, expected, { handOver }) {
    expectSame(await inflate(await handOver(bytes)), expected, 'hand-over')
  },
}
