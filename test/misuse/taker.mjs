/**
 * Random blocks that are freed, taken away by a byte stream or a transfer, forgotten with views of them left, reset and
 * resized, in any order. After each step `check()` says that all is right; live blocks, views of forgotten ones and what was
 * taken keep their bytes. Goes on after the last step until each thing was done more than once.
 *
 *   node --expose-gc taker.mjs DIST SEED OPTIONS
 */
import assert from 'node:assert/strict'
import { belowFrom } from '../support/below.mjs'

const [dist, seedText, optionsText] = process.argv.slice(2)
const { Arena } = await import(dist)
const steps = Number(process.env.STEPS ?? 800)
const MOST_STEPS = 8_000

const below = belowFrom(Number(seedText))

const SIZES = [0, 24, 100, 1_000, 5_000, 5_000, 20_000, 40_000, 70_000, 300_000]
const turn = () => new Promise(resolve => setImmediate(resolve))
const arena = new Arena({ name: 'taken', ...JSON.parse(optionsText) })
const counts = { taken: 0, forgotten: 0, freedAfterTaken: 0, collected: 0, reset: 0, resized: 0 }

/** Live blocks with their tags; `isTaken`: somebody took the buffer that it is a view of. */
let live = []
/** Views that must keep their bytes: of what was taken, and of forgotten blocks. */
const views = []
let lastTag = 0
const isFilled = (bytes, tag) => {
  for (let at = 0; at < bytes.length; at += 61) if (bytes[at] !== tag) return false
  return bytes.length === 0 || bytes[bytes.length - 1] === tag
}

function add(buffer) {
  lastTag = (lastTag % 250) + 1
  live.push({ buffer: buffer.fill(lastTag), tag: lastTag, size: buffer.length, isTaken: false })
}

/** Takes one block out of those that live. */
function pick() {
  return live.splice(below(live.length), 1)[0]
}

async function takeAway({ buffer }) {
  if ('transfer' in ArrayBuffer.prototype && below(2) === 0) {
    const { byteOffset, length } = buffer
    return new Uint8Array(ArrayBuffer.prototype.transfer.call(buffer.buffer), byteOffset, length)
  }
  const stream = new ReadableStream({ type: 'bytes', start: controller => controller.enqueue(buffer) })
  return (await stream.getReader().read()).value
}

async function take() {
  const block = live[below(live.length)]
  if (block.isTaken || block.size === 0) return
  const taken = await takeAway(block)
  counts.taken++
  for (const other of live) if (other.size > 0 && other.buffer.length === 0) other.isTaken = true
  assert.ok(block.isTaken)
  lastTag = (lastTag % 250) + 1
  taken.fill(lastTag)
  // A window's bytes may come to read as zero once its block is freed, or what is beside it is.
  if (taken.buffer.byteLength <= block.size + 4096) views.push({ view: taken, tag: lastTag })
}

function allocate() {
  const size = SIZES[below(SIZES.length)]
  try {
    if (below(2) === 0) {
      add(arena.allocUnsafe(size))
      return
    }
    const buffer = arena.alloc(size)
    assert.ok(isFilled(buffer, 0), 'zeros')
    add(buffer)
  } catch (error) {
    // The program break rests while somebody has memory of it.
    if (error.code !== 'ERR_ARENA_OUT_OF_MEMORY' || arena.stats().source !== 'sbrk') throw error
  }
}

function forget() {
  const { buffer, tag, isTaken } = pick()
  counts.forgotten++
  if (!isTaken && below(2) === 0) views.push({ view: buffer.subarray(buffer.length >> 2), tag })
}

function free() {
  const { buffer, isTaken } = pick()
  if (isTaken) counts.freedAfterTaken++
  arena.free(buffer)
}

function resize() {
  const block = pick()
  try {
    add(arena.realloc(block.buffer, SIZES[below(SIZES.length)]))
    counts.resized++
  } catch (error) {
    live.push(block)
    if (error.code === 'ERR_ARENA_OUT_OF_MEMORY' && arena.stats().source === 'sbrk') return
    if (error.code !== 'ERR_ARENA_DETACHED') throw error
    assert.ok(block.isTaken)
  }
}

async function collect() {
  counts.collected++
  for (let i = 0; i < 3; i++) {
    globalThis.gc()
    await turn()
  }
}

function reset() {
  counts.reset++
  // Views of forgotten blocks end with their arena's blocks; what was taken does not.
  live = []
  views.length = 0
  arena.reset()
}

async function step() {
  const choice = below(100)
  if (live.length === 0 || choice < 38) allocate()
  else if (choice < 60 || live.length > 120) free()
  else if (choice < 67) await take()
  else if (choice < 75) forget()
  else if (choice < 83) resize()
  else if (choice < 88) await collect()
  else if (choice < 91) await turn()
  else if (choice < 94) arena.trim()
  else if (choice < 96 && below(2) === 0) reset()
  else if (views.length > 0) views.splice(below(views.length), 1)
}

function verify() {
  arena.check()
  for (const { buffer, tag, size, isTaken } of live) {
    assert.equal(buffer.length, isTaken ? 0 : size)
    assert.ok(isFilled(buffer, tag), 'contents of a live block')
  }
  for (const { view, tag } of views) assert.ok(isFilled(view, tag), 'contents of what is not ours')
}

const isEachMoreThanOnce = () => Object.values(counts).every(count => count > 1)
for (let i = 0; i < steps || (i < MOST_STEPS && !isEachMoreThanOnce()); i++) {
  await step()
  try {
    verify()
  } catch (error) {
    console.error(`step ${i}, ${JSON.stringify(counts)}`)
    throw error
  }
}
live = []
views.length = 0
await collect()
arena.trim()
verify()
const { liveBlocks } = arena.stats()
arena.close()
arena.check()
console.log(`unharmed, each more than once: ${isEachMoreThanOnce()}, ${liveBlocks} left`)
