/** In children, since it is about flags of a process, and on each line of Node. */
import { describe, expect, it } from 'vitest'
import { runFunction } from '../support/child.js'
import { COMPILED, NODES } from '../support/process.js'

const MODULE = new URL('base/gc.js', COMPILED).href

interface Found {
  findGc(): unknown
}

const DONE = { code: 0, signal: null, stdout: 'done\n', stderr: '' }

describe.concurrent.each(NODES)('findGc on $version', ({ path: node }) => {
  it.each([[[]], [['--expose-gc']], [['--jitless']]])('leaves the flags %o as they were', async nodeArgs => {
    const outcome = await runFunction(
      async ({ load, assert }, { MODULE, isExposed }) => {
        const { runInNewContext, Script } = process.getBuiltinModule('node:vm')
        const { findGc } = (await load(MODULE)) as Found
        const source = '(function () { return 1 + 1 })()'
        const cachedData = new Script(source).createCachedData()
        assert.equal(typeof findGc(), 'function')
        assert.equal(findGc(), findGc())
        assert.equal(typeof globalThis.gc === 'function', isExposed)
        assert.equal(runInNewContext('typeof gc === "function"'), isExposed)
        // V8 refuses code that was cached under other flags.
        assert.equal(new Script(source, { cachedData }).cachedDataRejected, false)
        console.log('done')
      },
      { MODULE, isExposed: nodeArgs.includes('--expose-gc') },
      { nodeArgs, node },
    )
    // Some lines of Node say this with `--jitless`.
    const stderr = outcome.stderr.replace(/^Warning: disabling flag --expose_wasm .*\n/, '')
    expect({ ...outcome, stderr }).toEqual(DONE)
  })

  it.each(['--freeze-flags-after-init', '--freeze_flags_after_init'])('finds none with %s', async flag => {
    const outcome = await runFunction(
      async ({ load, assert }, { MODULE }) => {
        const { Worker } = process.getBuiltinModule('node:worker_threads')
        const { findGc } = (await load(MODULE)) as Found
        assert.equal(findGc(), undefined)
        // A Worker that does not know what the process was started with.
        const source = `
          import { parentPort } from 'node:worker_threads'
          const { findGc } = await import(${JSON.stringify(MODULE)})
          parentPort.postMessage(typeof findGc())`
        const worker = new Worker(source, { eval: true, execArgv: [] })
        assert.equal(
          await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject)),
          'undefined',
        )
        console.log('done')
      },
      { MODULE },
      { nodeArgs: [flag], node },
    )
    expect(outcome).toEqual(DONE)
  })
})
