/** The watch over real event loops, in children on each line of Node. */
import { describe, expect, it } from 'vitest'
import type * as addon from '../../src/memory/addon.js'
import type { LoopWatch } from '../../src/memory/runtime.js'
import { runFunction } from '../support/child.js'
import { COMPILED, NODES } from '../support/process.js'

const MODULE = new URL('memory/addon.js', COMPILED).href
const DONE = { code: 0, signal: null, stdout: 'done\n', stderr: '' }

type Loaded = Pick<typeof addon, 'makeLoopWatch'>

describe.concurrent.each(NODES)('makeLoopWatch on $version', ({ path: node }) => {
  it('calls once, after the loop was active for so long, and not before', async () => {
    const outcome = await runFunction(
      async ({ load, assert, sleep, turn }, { MODULE }) => {
        const { makeLoopWatch } = (await load(MODULE)) as Loaded
        let calls = 0
        const watch = makeLoopWatch(() => calls++) as LoopWatch
        const work = (ms: number) => {
          const endMs = performance.now() + ms
          while (performance.now() < endMs) {}
        }
        const { active } = performance.eventLoopUtilization()
        watch.start(300)
        // Waiting does not count, however often the loop turns.
        for (let i = 0; i < 50; i++) await sleep(10)
        const early = performance.eventLoopUtilization().active - active
        assert.equal(calls, early < 300 ? 0 : 1)
        work(310)
        await sleep(5)
        await turn()
        assert.equal(calls, 1)
        work(310)
        await sleep(5)
        assert.equal(calls, 1, 'once')
        watch.start(50)
        watch.stop()
        watch.stop()
        work(60)
        await sleep(5)
        assert.equal(calls, 1, 'not after stop()')
        watch.start(50)
        work(60)
        await sleep(5)
        assert.equal(calls, 2, 'again after start()')
        console.log('done')
      },
      { MODULE },
      { node },
    )
    expect(outcome).toEqual(DONE)
  })

  it('may start again in its own call, and what it throws is an uncaught exception', async () => {
    const outcome = await runFunction(
      async ({ load, assert, sleep }, { MODULE }) => {
        const { makeLoopWatch } = (await load(MODULE)) as Loaded
        let calls = 0
        const thrown: unknown[] = []
        process.on('uncaughtException', error => thrown.push(error))
        const watch = makeLoopWatch(() => {
          if (++calls < 3) watch.start(0)
          throw new Error(`call ${calls}`)
        }) as LoopWatch
        watch.start(0)
        for (let i = 0; i < 10; i++) await sleep(5)
        assert.equal(calls, 3)
        assert.deepEqual(thrown.map(String), ['Error: call 1', 'Error: call 2', 'Error: call 3'])
        console.log('done')
      },
      { MODULE },
      { node },
    )
    expect(outcome).toEqual(DONE)
  })

  it('keeps no process and no Worker alive', async () => {
    const outcome = await runFunction(
      async ({ load, assert }, { MODULE }) => {
        const { Worker } = process.getBuiltinModule('node:worker_threads')
        const { makeLoopWatch } = (await load(MODULE)) as Loaded
        for (let i = 0; i < 100; i++) makeLoopWatch(() => {})?.start(1e9)
        const source = `
          const { makeLoopWatch } = await import(${JSON.stringify(MODULE)})
          for (let i = 0; i < 100; i++) makeLoopWatch(() => {}).start(1e9)`
        const worker = new Worker(source, { eval: true })
        assert.equal(
          await new Promise((resolve, reject) => worker.once('exit', resolve).once('error', reject)),
          0,
        )
        console.log('done')
      },
      { MODULE },
      { node },
    )
    expect(outcome).toEqual(DONE)
  })
})
