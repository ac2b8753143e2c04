/** Calls `reclaim` ten thousand times, one after the other and many at once, while it allocates. Prints JSON. */
import { readFileSync } from 'node:fs'
import { Arena, reclaim } from '../../../dist/index.js'

const CALLS = 10_000

function rssBytes() {
  return Number(/^Rss:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/smaps_rollup', 'latin1'))[1]) * 1024
}

async function call(count) {
  const arena = new Arena()
  let kept = []
  for (let i = 0; i < count; i++) {
    kept.push(Buffer.allocUnsafeSlow(1 + ((i * 7919) % 200_000)).fill(i % 251))
    if (kept.length > 50) kept = kept.filter((_, index) => index % 3 === 0)
    arena.free(arena.alloc(1 + ((i * 104_729) % 60_000)))
    const report = reclaim()
    if (i % 10 === 0) await report
    for (const block of kept)
      if (block[0] !== block[block.length - 1]) throw new Error('a live block was purged')
  }
  arena.close()
}

await call(CALLS / 2)
const { residentBytes: half } = await reclaim({ collectGarbage: 'major' })
await call(CALLS / 2)
const { residentBytes: end } = await reclaim({ collectGarbage: 'major' })
console.log(JSON.stringify({ halfBytes: half.after, endBytes: end.after, rssBytes: rssBytes() }))
