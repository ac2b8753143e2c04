/** Makes many free chunks of malloc and takes them with no time to spare. Prints how many chunks are free, and in how many slices they were taken. */
import { setTimeout as sleep } from 'node:timers/promises'
import { addon } from '../../fixtures/addon.mjs'

const COUNT = 4000
let blocks = Array.from({ length: COUNT }, () => Buffer.allocUnsafeSlow(8192))
blocks = blocks.filter((_, index) => index % 2 === 0)
for (let i = 0; i < 3; i++) {
  globalThis.gc()
  await sleep(20)
}
addon.beginChunks()
let slices = 1
while (!addon.takeChunks(0)) slices++
await addon.purgeMalloc(true, false)
while (!addon.giveChunks(1000));
console.log(JSON.stringify({ chunks: COUNT - blocks.length, slices }))
