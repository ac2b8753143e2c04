/**
 * What as many Buffers as keep-sparse.mjs makes cost V8 outside its heap (remembered sets, marking bitmaps), with no arena
 * behind them. Argument: block size. Prints one line of JSON.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { restBytes } from './measure.mjs'

const TOTAL_BYTES = 128 * 2 ** 20
const KEEP_ONE_IN = 64
const sizeBytes = Number(process.argv[2])
const memory = new ArrayBuffer(2 ** 20)
const NodeBuffer = Buffer[Symbol.species]

function makeAndThin() {
  const kept = []
  const others = []
  for (let i = 0; i < TOTAL_BYTES / sizeBytes; i++) {
    const view = new NodeBuffer(memory, (i * 16) % 2 ** 19, sizeBytes).fill(1)
    if (i % KEEP_ONE_IN === 0) kept.push(view)
    else others.push(view)
  }
  return kept
}

makeAndThin()
await sleep(1_500)
for (let i = 0; i < 4; i++) {
  globalThis.gc()
  await sleep(50)
}
const before = restBytes()
const kept = makeAndThin()
await sleep(1_500)
console.log(JSON.stringify({ grownBytes: restBytes() - before, kept: kept.length }))
