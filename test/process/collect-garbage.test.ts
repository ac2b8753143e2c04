/** What V8 gives back, in children on each line of Node. */
import { describe, expect, it } from 'vitest'
import type { CollectionReport } from '../../src/process/collect-garbage.js'
import { runFunction, type Tools } from '../support/child.js'
import { COMPILED, NODES } from '../support/process.js'

const MODULE = new URL('process/collect-garbage.js', COMPILED).href
const DONE = { code: 0, signal: null, stdout: 'done\n', stderr: '' }

interface Collector {
  collectGarbage(collection: string, now: () => number): Promise<CollectionReport>
}

/** Makes 100 MiB of garbage that survived, drops it, and collects. */
async function collectMuch(
  { load, assert }: Tools,
  { MODULE, isFrozen }: { MODULE: string; isFrozen: boolean },
) {
  const { readFileSync } = process.getBuiltinModule('node:fs')
  const v8 = process.getBuiltinModule('node:v8')
  const { collectGarbage } = (await load(MODULE)) as Collector
  const rss = () =>
    Number(/^Rss:\s+(\d+)/m.exec(readFileSync('/proc/self/smaps_rollup', 'latin1'))?.[1]) / 1024
  const now = () => performance.now()
  const fill = () => Array.from({ length: 1_500_000 }, (_, i) => ({ i, text: null, other: i }))
  let held: unknown[] | undefined = fill()
  const full = rss()
  const heap = () => v8.getHeapStatistics().total_physical_size / 2 ** 20
  const fullHeap = heap()
  assert.equal(held.length, 1_500_000)
  held = undefined
  const none = await collectGarbage('none', now)
  assert.deepEqual(none, { collected: 'none', releasedBytes: 0, longestPauseMs: 0 })
  const minor = await collectGarbage('minor', now)
  // Only the inspector is left then, and it knows major collections alone.
  assert.equal(minor.collected, isFrozen ? 'none' : 'minor')
  const major = await collectGarbage('major', now)
  assert.equal(major.collected, 'major')
  assert.ok(major.longestPauseMs > 0)
  // V8 may have begun by itself: the report tells what this collection gave back, the rest is gone, too.
  const [released, shrunk] = [fullHeap - heap(), full - rss()]
  assert.ok(major.releasedBytes >= 0)
  assert.ok(released > 50, `released ${released} MiB`)
  assert.ok(shrunk > 50, `Rss shrank by ${shrunk} MiB`)
  console.log('done')
}

describe.concurrent.each(NODES)('collectGarbage on $version', ({ path: node, major }) => {
  const permission = major === 20 ? '--experimental-permission' : '--permission'
  it.each([[[]], [['--expose-gc']], [['--freeze-flags-after-init']], [[permission, '--allow-fs-read=*']]])(
    'gives memory back to the system, with the flags %o',
    async nodeArgs => {
      expect(
        await runFunction(
          collectMuch,
          { MODULE, isFrozen: nodeArgs.includes('--freeze-flags-after-init') },
          { nodeArgs, node },
        ),
      ).toEqual(DONE)
    },
  )

  it('says so where nothing lets it collect, and does not end the process', async () => {
    const outcome = await runFunction(
      async ({ load, assert }, { MODULE }) => {
        const { collectGarbage } = (await load(MODULE)) as Collector
        const { Session } = process.getBuiltinModule('node:inspector')
        Session.prototype.connect = () => {
          throw new Error('no inspector')
        }
        for (const collection of ['minor', 'major']) {
          const { collected, releasedBytes } = await collectGarbage(collection, () => performance.now())
          assert.deepEqual([collected, releasedBytes], ['none', 0])
        }
        console.log('done')
      },
      { MODULE },
      { nodeArgs: ['--freeze-flags-after-init'], node },
    )
    expect(outcome).toEqual(DONE)
  })

  it('collects in Workers, each its own heap', async () => {
    const outcome = await runFunction(
      async ({ assert }, { MODULE }) => {
        const { Worker } = process.getBuiltinModule('node:worker_threads')
        const source = `
          import { parentPort } from 'node:worker_threads'
          const { collectGarbage } = await import(${JSON.stringify(MODULE)})
          import { getHeapStatistics } from 'node:v8'
          const heap = () => getHeapStatistics().total_physical_size
          let held = Array.from({ length: 500_000 }, (_, i) => ({ i, other: i }))
          const [full, count] = [heap(), held.length]
          held = undefined
          const report = await collectGarbage('major', () => performance.now())
          parentPort.postMessage({ ...report, count, releasedBytes: full - heap() })`
        const reports = await Promise.all(
          Array.from(
            { length: 3 },
            () =>
              new Promise<CollectionReport>((resolve, reject) =>
                new Worker(source, { eval: true }).once('message', resolve).once('error', reject),
              ),
          ),
        )
        for (const { collected, releasedBytes } of reports) {
          assert.equal(collected, 'major')
          assert.ok(releasedBytes > 5 * 2 ** 20, `released ${releasedBytes} bytes`)
        }
        console.log('done')
      },
      { MODULE },
      { node },
    )
    expect(outcome).toEqual(DONE)
  })
})
