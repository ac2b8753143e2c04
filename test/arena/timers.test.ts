/** Timers that are not Node's: nothing throws, and what is free goes back all the same. Each case in a process of its own. */
import { afterEach, describe, expect, it, vi } from 'vitest'
import { Arena } from '../../src/arena/arena.js'
import { someOf } from '../support/extent.js'
import { DIST, NODES, runNode } from '../support/process.js'

// What somebody has done to the globals.
const CASES: Record<string, string> = {
  'timers that return numbers': `
    let id = 0
    const { setTimeout: real } = globalThis
    globalThis.setTimeout = () => ++id
    globalThis.setInterval = () => ++id
    globalThis.setImmediate = () => ++id
    globalThis.clearTimeout = globalThis.clearImmediate = () => {}`,
  'no timers at all': `
    for (const name of ['setTimeout', 'setInterval', 'setImmediate', 'clearTimeout', 'clearImmediate', 'queueMicrotask'])
      delete globalThis[name]`,
  'a clock that stands still': `
    globalThis.performance = { now: () => 0 }
    Date.now = () => 0`,
  'no clock': `
    Object.defineProperty(globalThis, 'performance', { value: undefined, configurable: true })`,
  'a clock of its own on the real object': `
    globalThis.performance.now = () => 7`,
}

// What somebody has done to Node's own modules.
const IN_MODULES: Record<string, string> = {
  'mock timers of node:test': `
    const { mock } = await import('node:test')
    mock.timers.enable()`,
  'timers replaced in node:timers': `
    const { createRequire } = await import('node:module')
    const timers = createRequire('/')('node:timers')
    timers.setTimeout = timers.setImmediate = () => { throw new Error('not here') }`,
  'a clock that stands still in the prototype': `
    Object.getPrototypeOf(performance).now = () => 7`,
}

const IMPORT = `const { Arena } = await import(${JSON.stringify(new URL('index.js', DIST).href)})`

// Real ones for the test itself, taken before all else.
const PRELUDE = `
  import { setTimeout as sleep } from 'node:timers/promises'
  import assert from 'node:assert/strict'
  import { readFileSync } from 'node:fs'
  const wait = async ms => { const held = setIntervalReal(() => {}, 5); await new Promise(done => setTimeoutReal(done, ms)); clearIntervalReal(held) }
  const { setTimeout: setTimeoutReal, setInterval: setIntervalReal, clearInterval: clearIntervalReal } = globalThis`

const USE = `
  const arena = new Arena({ releaseAfterMs: 20 })
  const blocks = Array.from({ length: 64 }, () => arena.alloc(64 * 1024).fill(1))
  for (const block of blocks) arena.free(block)
  const small = Array.from({ length: 4000 }, () => arena.allocUnsafe(700).fill(1))
  for (const block of small) arena.free(block)
  await wait(1000)
  await arena.trimAsync()
  arena.check()
  assert.equal(arena.residentBytes(), 0)
  const other = new Arena()
  other.alloc(2 ** 20).fill(1)
  other.close()
  arena.close()
  await wait(50)
  console.log('held')`

describe.concurrent.each(NODES)('on Node $version', ({ path }) => {
  // A sample of both.
  it.each([...someOf(Object.entries(CASES), 3), ...someOf(Object.entries(IN_MODULES), 2)])(
    '%s: memory goes back',
    async (_, replaced) => {
      const bodies = [
        `${PRELUDE}\n${IMPORT}\n${replaced}\n${USE}`,
        `${PRELUDE}\n${replaced}\n${IMPORT}\n${USE}`,
      ]
      const outcomes = await Promise.all(
        bodies.map(body => runNode(['--no-warnings', '--input-type=module', '-e', body], '', path)),
      )
      for (const outcome of outcomes) expect(outcome).toMatchObject({ code: 0, stdout: 'held\n' })
    },
  )
})

describe('fake timers of vitest', () => {
  afterEach(() => {
    vi.useRealTimers()
  })

  it('take nothing away, whether they come before a free or after it, and whether they end', async () => {
    const { setTimeout } = globalThis
    const arena = new Arena({ releaseAfterMs: 20 })
    const wait = (): Promise<void> => new Promise(done => setTimeout(done, 500))
    for (const [before, after] of [
      [() => vi.useFakeTimers(), () => vi.useRealTimers()],
      [() => {}, () => vi.useFakeTimers()],
      [() => {}, () => vi.clearAllTimers()],
    ]) {
      const blocks = Array.from({ length: 16 }, () => arena.alloc(100_000).fill(1))
      before()
      for (const block of blocks) arena.free(block)
      after()
      await wait()
      expect(arena.residentBytes()).toBe(0)
    }
    arena.check()
    arena.close()
  })
})
