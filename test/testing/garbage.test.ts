/** In children, which are started with and without `--expose-gc`, and on each line of Node. */
import { describe, expect, it } from 'vitest'
import { runFunction } from '../support/child.js'
import { NODES } from '../support/process.js'

const TESTING = new URL('../../dist/testing/index.js', import.meta.url).href

describe.concurrent.each(NODES)('collectGarbage on $version', ({ path: node }) => {
  it.each([[[]], [['--expose-gc']]])('runs finalizers, with the flags %o', async nodeArgs => {
    const outcome = await runFunction(
      async ({ load, assert }, { TESTING, isExposed }) => {
        const { collectGarbage } = (await load(TESTING)) as { collectGarbage: () => Promise<void> }
        let collected = 0
        const registry = new FinalizationRegistry(() => collected++)
        const make = () => {
          for (let i = 0; i < 10; i++) registry.register({ i }, i)
        }
        make()
        await collectGarbage()
        await collectGarbage()
        assert.equal(collected, 10)
        assert.equal(typeof globalThis.gc === 'function', isExposed)
        // What it did to get at the collector is taken back.
        const { runInNewContext } = process.getBuiltinModule('node:vm')
        assert.equal(runInNewContext('typeof gc === "function"'), isExposed)
        console.log('done')
      },
      { TESTING, isExposed: nodeArgs.length > 0 },
      { nodeArgs, node },
    )
    expect(outcome).toEqual({ code: 0, signal: null, stdout: 'done\n', stderr: '' })
  })
})
