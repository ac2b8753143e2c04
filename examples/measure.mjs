/**
 * Resident memory of a process before and after a load, measured right: with `Buffer`, and with an arena. Each run has a process of
 * its own, because what one run leaves behind would count for the next.
 */
import { execFile } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Arena } from 'offheap'
import { collectGarbage, rssBytes } from 'offheap/testing'

const MIB = 2 ** 20
const allocators = {
  Buffer: () => ({ alloc: sizeBytes => Buffer.allocUnsafe(sizeBytes), free: () => {} }),
  Arena: () => {
    const arena = new Arena()
    return { alloc: sizeBytes => arena.allocUnsafe(sizeBytes), free: block => arena.free(block) }
  },
}

// #region load
/** Holds `count` blocks of 64 KiB, then drops all but one in 64. Returns the blocks that are left. */
function load({ alloc, free }, count) {
  const blocks = Array.from({ length: count }, () => alloc(64 * 1024).fill(1))
  return blocks.filter((block, i) => {
    if (i % 64 === 0) return true
    free(block)
    return false
  })
}
// #endregion

// #region measure
/** What the process holds when nothing is going on. */
async function settledRss() {
  await collectGarbage()
  // Longer than `releaseAfterMs`, and than the C library and V8 take to clean up.
  await sleep(1500)
  return rssBytes()
}

async function measure(allocator) {
  // Warm up with a small load, often: code is compiled, and what is made once is made. With the full load, the memory that it leaves
  // behind would count as "before", and a program that never gives anything back would seem to grow by nothing.
  for (let i = 0; i < 20; i++) {
    for (const block of load(allocator, 16)) allocator.free(block)
    await collectGarbage()
  }
  const before = await settledRss()
  const kept = load(allocator, 1024)
  const atPeak = rssBytes()
  const after = await settledRss()
  // `kept` is used after the last look, so that the collector leaves it alone until then.
  return { liveBytes: kept.length * 64 * 1024, atPeakBytes: atPeak - before, afterBytes: after - before }
}
// #endregion

const [, script, name] = process.argv
if (name !== undefined) {
  console.log(JSON.stringify(await measure(allocators[name]())))
} else {
  const rows = await Promise.all(
    Object.keys(allocators).map(async name => {
      const { stdout } = await promisify(execFile)(process.execPath, [
        fileURLToPath(new URL(script, 'file:')),
        name,
      ])
      const entries = Object.entries(JSON.parse(stdout)).map(([key, bytes]) => [
        key.replace('Bytes', ', MiB'),
        (bytes / MIB).toFixed(1),
      ])
      return [name, Object.fromEntries(entries)]
    }),
  )
  const table = Object.fromEntries(rows)
  console.table(table)
  // 1 MiB of blocks, the books of the arena, and what V8 and the C library keep for themselves.
  if (Number(table.Arena['after, MiB']) > 16) process.exitCode = 1
}
