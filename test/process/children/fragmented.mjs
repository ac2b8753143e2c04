/**
 * Makes free memory of malloc that lies scattered between live blocks, reclaims, and prints what came of it as JSON.
 *
 *   fragmented.mjs LEAST MOST MIB KEEP WHAT [WHERE]
 *
 * Blocks have LEAST to MOST bytes, MIB in all, and one in KEEP stays (0: none). WHAT is `reclaim`, `again` (a second time, of
 * which the report is), or `nothing`. WHERE is `worker` for a Worker, whose malloc takes from an arena of its own, or `break` where an arena of ours has the program
 * break, so that malloc has to map memory. Run it with --expose-gc.
 */
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { isMainThread, Worker } from 'node:worker_threads'
import { Arena, reclaim } from '../../../dist/index.js'
import { addon } from '../../fixtures/addon.mjs'

const [least, most, mib, keep] = process.argv.slice(2, 6).map(Number)
const what = process.argv[6]

function rssBytes() {
  return Number(/^Rss:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/smaps_rollup', 'latin1'))[1]) * 1024
}

let seed = 7
function random() {
  seed = (seed * 1103515245 + 12345) % 2147483648
  return seed / 2147483648
}

async function collect() {
  for (let i = 0; i < 3; i++) {
    globalThis.gc()
    await sleep(20)
  }
}

function sizeBytes() {
  return Number(/^VmSize:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'latin1'))[1]) * 1024
}

async function main() {
  const arena = new Arena({ source: process.argv[7] === 'break' ? 'sbrk' : 'heap' })
  const own = arena.alloc(100_000)
  await collect()
  const startBytes = rssBytes()
  let blocks = []
  let byteSum = 0
  for (; byteSum < mib * 2 ** 20; byteSum += blocks.at(-1).length) {
    const block = Buffer.allocUnsafeSlow(least + Math.floor(random() * (most - least)))
    blocks.push(block.fill(blocks.length % 251))
  }
  blocks = blocks.filter((_, index) => keep > 0 && index % keep === 0)
  const liveBytes = blocks.reduce((sum, { length }) => sum + length, 0)
  await collect()
  const beforeBytes = rssBytes()
  const sizeBeforeBytes = sizeBytes()
  let report = null
  if (what === 'reclaim' || what === 'again') report = await reclaim()
  if (what === 'again') report = await reclaim()
  if (what === 'nothing') await sleep(1500)
  const afterBytes = rssBytes()
  const grownBytes = sizeBytes() - sizeBeforeBytes
  // What glibc's own trim still finds.
  await addon.purgeMalloc(false, true)
  const torn = blocks.filter(
    (block, index) => !block.equals(Buffer.alloc(block.length, (index * keep) % 251)),
  ).length
  const leftBytes = afterBytes - rssBytes()
  arena.free(own)
  arena.close()
  console.log(
    JSON.stringify({
      startBytes,
      byteSum,
      liveBytes,
      beforeBytes,
      afterBytes,
      leftBytes,
      grownBytes,
      torn,
      report,
    }),
  )
}

if (isMainThread && process.argv[7] === 'worker') {
  new Worker(new URL(import.meta.url), { argv: process.argv.slice(2) })
} else {
  await main()
}
