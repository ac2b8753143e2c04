/** Prints what malloc says of itself before, with and after 64 MiB in blocks of 64 KiB. */
import { setTimeout as sleep } from 'node:timers/promises'
import { addon } from '../../fixtures/addon.mjs'

const before = addon.mallocStats()
let blocks = Array.from({ length: 1024 }, () => Buffer.allocUnsafeSlow(65_536).fill(1))
const during = addon.mallocStats()
blocks = null
// The memory of Buffers is freed by another thread.
for (let i = 0; i < 100 && addon.mallocStats().inUseBytes > before.inUseBytes + 2 ** 25; i++) {
  globalThis.gc()
  await sleep(20)
}
console.log(JSON.stringify({ before, during, after: addon.mallocStats(), blocks }))
