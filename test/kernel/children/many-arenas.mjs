/** Opens a thousand arenas, uses some, closes all. Prints one line of JSON. */
import { setTimeout as sleep } from 'node:timers/promises'
import { Arena } from '../../../dist/index.js'
import { rssBytes } from './measure.mjs'

const warmUp = Array.from({ length: 100 }, () => new Arena())
for (const arena of warmUp) arena.close()
for (let i = 0; i < 4; i++) {
  globalThis.gc()
  await sleep(20)
}
const before = rssBytes()
const arenas = Array.from({ length: 1_000 }, () => new Arena())
const emptyBytes = (rssBytes() - before) / arenas.length
const blocks = arenas.map((arena, i) => arena.alloc(1_000).fill(i))
const usedBytes = (rssBytes() - before) / arenas.length
const areIntact = blocks.every((block, i) => block.every(byte => byte === i % 256))
for (const arena of arenas) arena.check()
for (const arena of arenas) arena.close()
console.log(JSON.stringify({ emptyBytes, usedBytes, areIntact }))
