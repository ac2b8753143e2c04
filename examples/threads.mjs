/**
 * Blocks that other threads work on: `zlib`, `crypto` and `fs`. What works on the memory itself gets it lent. What copies it first, or is
 * done when it returns, gets the plain Buffer. All the while other code frees and allocates blocks of the same sizes.
 */
import { createHash, pbkdf2, randomFill, subtle } from 'node:crypto'
import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { deflate, deflateSync, inflate } from 'node:zlib'
import { Arena } from 'offheap'
import { assertNoLiveBlocks } from 'offheap/testing'

const SIZE_BYTES = 300_000
const arena = new Arena({
  name: 'threads',
  limitBytes: 256 * 2 ** 20,
  debug: process.argv.includes('--debug'),
})
const shaOf = bytes => createHash('sha256').update(bytes).digest('hex')

// #region zlib
const pack = promisify(deflate)
const unpack = promisify(inflate)

/** Compresses in another thread. The result is a Buffer of Node; keep it in a block if it is to stay. */
async function packed(block) {
  const result = await arena.lend(block, bytes => pack(bytes))
  const kept = arena.allocUnsafe(result.length)
  kept.set(result)
  return kept
}

/** Done when it returns, so nothing is lent. */
const packedNow = block => deflateSync(block)
// #endregion

// #region crypto
/** A thread writes into the block. */
const fillAtRandom = block => arena.lend(block, bytes => promisify(randomFill)(bytes))

/** Done when it returns. */
const digestNow = block => createHash('sha256').update(block).digest('hex')

/** These copy their input before they return. So the block may end at once. */
const digestLater = async block => Buffer.from(await subtle.digest('SHA-256', block)).toString('hex')
const keyOf = block => promisify(pbkdf2)(block, 'salt', 1000, 32, 'sha256')
// #endregion

// #region files
/** Reads a stretch of a file into a block. The kernel may read less than was asked for. */
async function readAt(file, position, length) {
  const block = arena.allocUnsafe(length)
  const { bytesRead } = await arena.lend(block, bytes => file.read(bytes, 0, length, position))
  return bytesRead === length ? block : arena.realloc(block, bytesRead)
}

/** Writes a block. Also `write` may do a part of it. */
async function writeAt(file, block, position) {
  await arena.lend(block, async bytes => {
    for (let done = 0; done < bytes.length; ) {
      const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done)
      done += bytesWritten
    }
  })
}
// #endregion

/** Makes a block, has threads work on it and frees it meanwhile. Returns whether all results are right. */
async function work(file, place) {
  const block = arena.allocUnsafe(SIZE_BYTES)
  await fillAtRandom(block)
  block.fill('text', 0, SIZE_BYTES / 2)
  const position = place * SIZE_BYTES
  const sha256 = digestNow(block)
  const now = packedNow(block)
  const copy = Buffer.from(block)
  const results = [packed(block), digestLater(block), keyOf(block), writeAt(file, block, position)]
  arena.free(block)
  const [pieces, digest, key] = await Promise.all(results)
  const whole = await arena.lend(pieces, bytes => unpack(bytes))
  const read = await readAt(file, position, SIZE_BYTES)
  const isRight =
    shaOf(whole) === sha256 &&
    digest === sha256 &&
    shaOf(read) === sha256 &&
    now.equals(pieces) &&
    key.equals(await keyOf(copy))
  arena.free(pieces)
  arena.free(read)
  return isRight
}

const folder = await mkdtemp(join(tmpdir(), 'offheap-threads-'))
const file = await open(join(folder, 'file'), 'w+')
let right = 0
for (let round = 0; round < 6; round++) {
  const results = await Promise.all(Array.from({ length: 8 }, (_, place) => work(file, place)))
  right += results.filter(Boolean).length
}
await file.close()
await rm(folder, { recursive: true })
await assertNoLiveBlocks()
console.log(`${right} of 48 blocks were compressed, hashed, written and read right; no block is live`)
await arena.closeWhenIdle()
if (right !== 48) process.exitCode = 1
