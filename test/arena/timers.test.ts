/** Timers that are not Node's: nothing throws, and what is free goes back all the same. Each case in a process of its own. */
import { afterEach, describe, expect, it, vi } from 'vitest'
import { Arena } from '../../src/arena/arena.js'
import { type Assert, bareProgramOf, type Tools } from '../support/child.js'
import { someOf } from '../support/extent.js'
import { DIST, NODES, runNode } from '../support/process.js'

// In the processes: a package of this folder. (Their bodies may not say `import`.)
declare const requireHere: (name: string) => {
  install(options?: object): void
  createClock(): typeof globalThis
  JSDOM: new (html: string, options: object) => { window: typeof globalThis }
}

// What somebody has done to the globals.
const CASES: Record<string, () => unknown> = {
  'timers that return numbers': () => {
    let id = 0
    const next = () => ++id
    Object.assign(globalThis, { setTimeout: next, setInterval: next, setImmediate: next })
    Object.assign(globalThis, { clearTimeout: () => {}, clearImmediate: () => {} })
  },
  'no timers at all': () => {
    const names = [
      'setTimeout',
      'setInterval',
      'setImmediate',
      'clearTimeout',
      'clearImmediate',
      'queueMicrotask',
    ]
    for (const name of names) Reflect.deleteProperty(globalThis, name)
  },
  'a clock that stands still': () => {
    globalThis.performance = { now: () => 0 } as typeof performance
    Date.now = () => 0
  },
  'no clock': () => {
    Object.defineProperty(globalThis, 'performance', { value: undefined, configurable: true })
  },
  'a clock of its own on the real object': () => {
    globalThis.performance.now = () => 7
  },
  'fake timers of Sinon': () => {
    requireHere('@sinonjs/fake-timers').install()
  },
  'fake timers of Sinon, for a world of its own': () => {
    const clock = requireHere('@sinonjs/fake-timers').createClock()
    const { setTimeout, clearTimeout, setImmediate, clearImmediate, performance } = clock
    Object.assign(globalThis, { setTimeout, clearTimeout, setImmediate, clearImmediate })
    Object.defineProperty(globalThis, 'performance', { value: performance, configurable: true })
  },
  'the timers and the clock of jsdom': () => {
    const { JSDOM } = requireHere('jsdom')
    const { window } = new JSDOM('', { pretendToBeVisual: true })
    const { setTimeout, clearTimeout, setInterval, clearInterval, performance, queueMicrotask } = window
    Object.assign(globalThis, { setTimeout, clearTimeout, setInterval, clearInterval, queueMicrotask })
    Object.defineProperty(globalThis, 'performance', { value: performance, configurable: true })
    // jsdom has none, and Jest takes Node's away with it.
    for (const name of ['setImmediate', 'clearImmediate']) Reflect.deleteProperty(globalThis, name)
  },
}

// What somebody has done to Node's own modules.
const IN_MODULES: Record<string, () => unknown> = {
  'mock timers of node:test': () => {
    process.getBuiltinModule('node:test').mock.timers.enable()
  },
  'no clock in node:perf_hooks': () => {
    Reflect.deleteProperty(process.getBuiltinModule('node:perf_hooks'), 'performance')
    process.getBuiltinModule('node:module').syncBuiltinESMExports()
  },
  'a clock that is none in node:perf_hooks': () => {
    const value = Object.create(null)
    Object.defineProperty(process.getBuiltinModule('node:perf_hooks'), 'performance', { value })
    process.getBuiltinModule('node:module').syncBuiltinESMExports()
  },
  'fake timers of Sinon in node:timers': () => {
    requireHere('@sinonjs/fake-timers').install({ toFake: ['setTimeout', 'setImmediate', 'performance'] })
    process.getBuiltinModule('node:module').syncBuiltinESMExports()
  },
  'timers replaced in node:timers': () => {
    const refuse = () => {
      throw new Error('not here')
    }
    Object.assign(process.getBuiltinModule('node:timers'), { setTimeout: refuse, setImmediate: refuse })
  },
  'a clock that stands still in the prototype': () => {
    Object.getPrototypeOf(performance).now = () => 7
  },
}

interface Use {
  readonly path: string
  readonly replace: () => unknown
  /** Whether the library is loaded before, not after. */
  readonly isLoadedBefore: boolean
}

async function useArenas(load: Tools['load'], { path, replace, isLoadedBefore }: Use): Promise<void> {
  // Real ones for the test itself, taken before all else.
  const { setTimeout, setInterval, clearInterval } = globalThis
  const assert: Assert = process.getBuiltinModule('node:assert/strict')
  const wait = async (ms: number) => {
    const held = setInterval(() => {}, 5)
    await new Promise(done => setTimeout(done, ms))
    clearInterval(held)
  }
  const requireHere = process.getBuiltinModule('node:module').createRequire(`${process.cwd()}/`)
  Object.assign(globalThis, { requireHere })
  if (!isLoadedBefore) await replace()
  const { Arena } = (await load(path)) as typeof import('../../src/index.js')
  if (isLoadedBefore) await replace()
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
  console.log('held')
}

describe.concurrent.each(NODES)('on Node $version', ({ path }) => {
  // A sample of both.
  it.each([...someOf(Object.entries(CASES), 3), ...someOf(Object.entries(IN_MODULES), 2)])(
    '%s: memory goes back',
    async (_, replace) => {
      const outcomes = await Promise.all(
        [true, false].map(isLoadedBefore => {
          const use = { path: new URL('index.js', DIST).href, replace, isLoadedBefore }
          const text = bareProgramOf(useArenas, use)
          return runNode(['--no-warnings', '--input-type=module', '-e', text], '', path)
        }),
      )
      for (const outcome of outcomes) expect(outcome).toMatchObject({ code: 0, stdout: 'held\n', stderr: '' })
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
