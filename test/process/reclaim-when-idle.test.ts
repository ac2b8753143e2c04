/** The reclaimer over a clock that stands still, and in real processes on each line of Node. */
import { afterEach, describe, expect, it } from 'vitest'
import { MIB } from '../../src/base/units.js'
import { LoopActivity } from '../../src/process/loop-activity.js'
import type { PressureListener } from '../../src/process/pressure-watch.js'
import {
  IdleReclaimer,
  type Reclaim,
  type ReclaimWhenIdleOptions,
  resolveIdleOptions,
  startReclaiming,
} from '../../src/process/reclaim-when-idle.js'
import { runFunction } from '../support/child.js'
import { ManualDeferral } from '../support/manual-deferral.js'
import { COMPILED, NODES } from '../support/process.js'

const MODULE = new URL('process/reclaim-when-idle.js', COMPILED).href

/** A thread without a loop watch, whose loop is active as the test says. */
class Thread {
  readonly deferral = new ManualDeferral()
  active = 0
  residentBytes = 50 * MIB
  readonly warnings: unknown[] = []
  heapBytes = 0
  readonly listeners = new Set<PressureListener>()
  readonly hearers = new Set<PressureListener>()
  readonly activity = new LoopActivity(
    this.deferral,
    () => this.active,
    () => null,
  )
  readonly started: IdleReclaimer[] = []

  start(reclaim: Reclaim, options: ReclaimWhenIdleOptions = {}): IdleReclaimer {
    const register = (set: Set<PressureListener>) => (listener: PressureListener) => {
      set.add(listener)
      return () => void set.delete(listener)
    }
    const { deferral, activity, listeners, hearers, warnings } = this
    const reclaimer = new IdleReclaimer(resolveIdleOptions(options), {
      deferral,
      now: deferral.now,
      activeMs: () => this.active,
      activity,
      pressure: { add: register(listeners), hear: register(hearers) },
      readMemory: () => ({ residentBytes: this.residentBytes, heldBytes: 0 }),
      heapBytes: () => this.heapBytes,
      warn: error => warnings.push(error),
      reclaim,
    })
    this.started.push(reclaimer)
    return reclaimer
  }

  /** A busy time, and then `idleMs`. */
  async use(idleMs = 30_000): Promise<void> {
    this.active += 1_000
    this.residentBytes += 20 * MIB
    for (let ms = 0; ms < idleMs; ms += 100) {
      this.deferral.advance(100)
      await settle()
    }
    for (const reclaimer of this.started) reclaimer.check()
  }

  press(): void {
    for (const listener of [...this.listeners, ...this.hearers]) listener({} as never)
  }
}

async function settle(): Promise<void> {
  for (let i = 0; i < 10; i++) await null
}

describe('IdleReclaimer', () => {
  it('reclaims once after each busy time, with what is to be collected', async () => {
    const thread = new Thread()
    const calls: unknown[] = []
    const reclaim: Reclaim = async options => {
      calls.push(options)
      return { longestPauseMs: 1 }
    }
    thread.start(reclaim, { collectGarbage: 'major' })
    for (let count = 1; count <= 3; count++) {
      await thread.use()
      expect(calls.length).toBe(count)
    }
    expect(calls[0]).toEqual({ collectGarbage: 'major' })
  })

  it('collects all garbage of a short heap, and only new garbage of a long one, unless it is told', async () => {
    const thread = new Thread()
    const calls: string[] = []
    thread.start(async ({ collectGarbage }) => {
      calls.push(collectGarbage)
      return { longestPauseMs: 1 }
    })
    for (const heapBytes of [20 * MIB, 64 * MIB, 1000 * MIB, 63 * MIB]) {
      thread.heapBytes = heapBytes
      await thread.use()
    }
    expect(calls).toEqual(['major', 'minor', 'minor', 'major'])
  })

  it('looks for pressure only while awake, and hears of it at all times', async () => {
    const thread = new Thread()
    let calls = 0
    const { end } = thread.start(async () => {
      calls++
      return { longestPauseMs: 1 }
    })
    expect([thread.listeners.size, thread.hearers.size]).toEqual([0, 1])
    thread.active += 100
    thread.deferral.advance(10_000)
    expect([thread.listeners.size, thread.hearers.size]).toEqual([1, 0])
    thread.press()
    thread.press()
    await settle()
    expect([calls, thread.listeners.size, thread.hearers.size]).toEqual([1, 0, 1])
    thread.press()
    await settle()
    expect(calls).toBe(1)
    thread.deferral.advance(5_000)
    thread.press()
    await settle()
    expect(calls).toBe(2)
    end()
    expect([thread.listeners.size, thread.hearers.size]).toEqual([0, 0])
  })

  it('warns of the first error, and goes on', async () => {
    const thread = new Thread()
    let calls = 0
    thread.start(async () => {
      throw new Error(`failure ${++calls}`)
    })
    for (let i = 0; i < 3; i++) await thread.use()
    expect(calls).toBe(3)
    expect(thread.warnings).toEqual([new Error('failure 1')])
  })

  it('never runs two reclaims at once, also of two reclaimers', async () => {
    const thread = new Thread()
    let running = 0
    const order: string[] = []
    const slow =
      (name: string): Reclaim =>
      async () => {
        expect(++running).toBe(1)
        order.push(name)
        for (let i = 0; i < 3; i++)
          await new Promise<void>(resolve => thread.deferral.after(500, () => resolve()))
        running--
        return { longestPauseMs: 1 }
      }
    const first = thread.start(slow('first'))
    thread.start(slow('second'))
    await thread.use()
    expect(order.sort()).toEqual(['first', 'second'])
    first.end()
    await thread.use()
    expect(order).toEqual(['first', 'second', 'second'])
  })

  it('leaves no timer behind when it ends, and ends twice', async () => {
    const thread = new Thread()
    let calls = 0
    const reclaimer = thread.start(async () => {
      calls++
      return { longestPauseMs: 1 }
    })
    thread.active += 100
    thread.deferral.advance(10_000)
    reclaimer.end()
    reclaimer.end()
    expect(thread.deferral.pendingTimers).toBe(0)
    await thread.use()
    expect(calls).toBe(0)
  })

  it('lets a reclaim that runs come to its end, and begins none after', async () => {
    const thread = new Thread()
    let done = 0
    const reclaimer = thread.start(async () => {
      await new Promise<void>(resolve => thread.deferral.after(1_000, () => resolve()))
      done++
      return { longestPauseMs: 1 }
    })
    thread.press()
    await settle()
    reclaimer.end()
    await thread.use()
    await thread.use()
    expect([done, thread.deferral.pendingTimers]).toEqual([1, 0])
  })
})

describe('startReclaiming', () => {
  const ends: (() => void)[] = []
  afterEach(() => {
    for (const end of ends.splice(0)) end()
  })
  const start = (options: unknown) =>
    ends.push(startReclaiming(options as ReclaimWhenIdleOptions, async () => ({ longestPauseMs: 0 })))

  it.each([
    [null, 'ERR_INVALID_ARG_TYPE'],
    ['idle', 'ERR_INVALID_ARG_TYPE'],
    [{ after: 1 }, 'ERR_INVALID_ARG_VALUE'],
    [{ afterMs: '1' }, 'ERR_INVALID_ARG_TYPE'],
    [{ afterMs: -1 }, 'ERR_OUT_OF_RANGE'],
    [{ afterMs: Number.NaN }, 'ERR_OUT_OF_RANGE'],
    [{ afterMs: Number.POSITIVE_INFINITY }, 'ERR_OUT_OF_RANGE'],
    [{ minIntervalMs: 2 ** 31 }, 'ERR_OUT_OF_RANGE'],
    [{ collectGarbage: true }, 'ERR_INVALID_ARG_VALUE'],
  ])('refuses %o with %s', (options, code) => {
    expect(() => start(options)).toThrow(expect.objectContaining({ code }))
  })

  it.each([-1, Number.NaN, 2 ** 31, Number.POSITIVE_INFINITY])(
    'does not name Infinity as allowed when it refuses %d for afterMs',
    afterMs => {
      expect(() => start({ afterMs })).toThrow(/afterMs.*It must be >= 0(?!.*or Infinity)/)
    },
  )

  it.each([[{}], [{ afterMs: 0, minIntervalMs: Number.POSITIVE_INFINITY, collectGarbage: 'minor' }]])(
    'accepts %o',
    options => {
      expect(() => start(options)).not.toThrow()
    },
  )
})

interface Started {
  startReclaiming: typeof startReclaiming
}

describe.concurrent.each(NODES)('a process on $version', ({ path: node }) => {
  it('reclaims once after load, and then sleeps without a wake-up', async () => {
    const outcome = await runFunction(
      async ({ load, assert, sleep }, { MODULE }) => {
        const http = process.getBuiltinModule('node:http')
        const { readFileSync } = process.getBuiltinModule('node:fs')
        const { startReclaiming } = (await load(MODULE)) as Started
        let reclaims = 0
        startReclaiming({ afterMs: 400 }, async () => {
          reclaims++
          return { longestPauseMs: 0 }
        })
        const server = http.createServer((request, response) => {
          request.on('data', () => {}).on('end', () => response.end('ok'))
        })
        await new Promise<void>(resolve => server.listen(0, resolve))
        const { port } = server.address() as { port: number }
        const agent = new http.Agent({ keepAlive: true })
        const post = () =>
          new Promise<void>((resolve, reject) => {
            const request = http.request({ port, agent, method: 'POST' }, response => {
              response.on('end', resolve).resume()
            })
            request.on('error', reject).end(Buffer.alloc(65_536))
          })
        const endMs = performance.now() + 1_500
        while (performance.now() < endMs) await Promise.all(Array.from({ length: 16 }, post))
        assert.equal(reclaims, 0, 'none under load')
        agent.destroy()
        for (let i = 0; i < 100 && reclaims === 0; i++) await sleep(100)
        assert.equal(reclaims, 1, 'one when idle')
        // V8 and the server tidy up. Whatever that wakes is over by then.
        await sleep(3_000)
        const switches = () =>
          Number(
            /^voluntary_ctxt_switches:\s+(\d+)$/m.exec(
              readFileSync(`/proc/self/task/${process.pid}/status`, 'latin1'),
            )?.[1],
          )
        const before = switches()
        await sleep(5_000)
        const wakeUps = switches() - before
        assert.equal(reclaims, 1, 'no second one')
        // Looks come every 100 ms, those for pressure every 500 ms. The rest is Node's own.
        assert.ok(wakeUps < 8, `${wakeUps} wake-ups in 5 s`)
        console.log('done')
        server.close()
      },
      { MODULE },
      { node },
    )
    expect(outcome).toEqual({ code: 0, signal: null, stdout: 'done\n', stderr: '' })
  })

  it('ends by itself, busy or asleep', async () => {
    const outcome = await runFunction(
      async ({ load, sleep }, { MODULE }) => {
        const { startReclaiming } = (await load(MODULE)) as Started
        const startMs = performance.now()
        process.on('exit', () => {
          const tookMs = performance.now() - startMs
          console.log(tookMs < 10_000 ? 'ends' : `ends after ${tookMs} ms`)
        })
        startReclaiming({ afterMs: 60_000 }, async () => ({ longestPauseMs: 0 }))
        await sleep(10)
        const endMs = performance.now() + 100
        while (performance.now() < endMs) {}
        await sleep(10)
      },
      { MODULE },
      { node },
    )
    expect(outcome).toEqual({ code: 0, signal: null, stdout: 'ends\n', stderr: '' })
  })

  it('warns when a reclaim fails, and lives on', async () => {
    const outcome = await runFunction(
      async ({ load, assert, sleep }, { MODULE }) => {
        const { startReclaiming } = (await load(MODULE)) as Started
        const warnings: { code?: string; message: string }[] = []
        process.on('warning', warning => warnings.push(warning))
        startReclaiming({ afterMs: 100, minIntervalMs: 0 }, async () => {
          throw new Error('no memory to be had')
        })
        await sleep(10)
        const endMs = performance.now() + 100
        while (performance.now() < endMs) {}
        for (let i = 0; i < 100 && warnings.length === 0; i++) await sleep(100)
        assert.deepEqual(
          warnings.map(({ code }) => code),
          ['OFFHEAP_RECLAIM_FAILED'],
        )
        assert.match(warnings[0].message, /no memory to be had/)
        console.log('done')
      },
      { MODULE },
      { node },
    )
    expect(outcome).toEqual({ code: 0, signal: null, stdout: 'done\n', stderr: '' })
  })

  it('has Workers with reclaimers of their own, which may be terminated', async () => {
    const outcome = await runFunction(
      async ({ assert }, { MODULE }) => {
        const { Worker } = process.getBuiltinModule('node:worker_threads')
        const source = `
          import { parentPort } from 'node:worker_threads'
          const { startReclaiming } = await import(${JSON.stringify(MODULE)})
          parentPort.on('message', () => {})
          startReclaiming({ afterMs: 100, minIntervalMs: 0 }, async () => {
            parentPort.postMessage('reclaims')
            return { longestPauseMs: 0 }
          })
          setTimeout(() => { const end = performance.now() + 100; while (performance.now() < end); }, 20)`
        const workers = Array.from({ length: 4 }, () => new Worker(source, { eval: true }))
        const messages = await Promise.all(
          workers.map(
            worker => new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject)),
          ),
        )
        assert.deepEqual(messages, ['reclaims', 'reclaims', 'reclaims', 'reclaims'])
        assert.deepEqual(await Promise.all(workers.map(worker => worker.terminate())), [1, 1, 1, 1])
        console.log('done')
      },
      { MODULE },
      { node },
    )
    expect(outcome).toEqual({ code: 0, signal: null, stdout: 'done\n', stderr: '' })
  })
})
