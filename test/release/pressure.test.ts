import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { existsSync, readFileSync } from 'node:fs'
import { afterEach, describe, expect, it } from 'vitest'
import { Arena } from '../../src/arena/arena.js'
import { loadAddon } from '../../src/memory/addon.js'
import { ArenaGroup } from '../../src/process/arena-group.js'
import { group, realEnvironment, watch } from '../../src/process/environment.js'
import { type PressureEvent, PressureWatch, readKernelFile } from '../../src/process/pressure-watch.js'
import { Pressure } from '../../src/release/pressure.js'
import { runFunction } from '../support/child.js'
import { ManualDeferral } from '../support/manual-deferral.js'
import {
  type ContainerState,
  container,
  type Files,
  RECORDED,
  service,
  without,
} from '../support/pressure-recordings.js'
import { turns } from '../support/world.js'

const MIB = 2 ** 20

function readerOf(world: { files: Files }) {
  return (path: string): string | undefined => world.files[path]
}

/** A container that a test can change, looked at every half second. */
function watchContainer(state: ContainerState = {}) {
  const world = { files: container(state), nowMs: 1_000 }
  const pressure = new Pressure(readerOf(world), world.nowMs)
  const look = (next: ContainerState) => {
    world.files = container(next)
    world.nowMs += 500
    pressure.check()
    return pressure.look(world.nowMs)
  }
  return { pressure, look }
}

describe('source', () => {
  const cases: [string, Files, string][] = [
    ['a container', container(), 'cgroup'],
    ['a container without events', without(container(), 'memory.events'), 'poll'],
    [
      'a container with nothing but its use',
      without(container(), 'events', 'pressure', 'high', 'stat'),
      'poll',
    ],
    ['a service of systemd', service(MIB, 2 * MIB), 'poll'],
    ['the recorded machine', RECORDED, 'psi'],
    ['the recorded machine without the mount', without(RECORDED, 'mountinfo'), 'psi'],
    ['the recorded machine without pressure files', without(RECORDED, 'pressure', 'pressure/memory'), 'none'],
    ['nothing', {}, 'none'],
    ['nonsense', Object.fromEntries(Object.keys(container()).map(path => [path, '\0?max\n\n'])), 'none'],
  ]
  it.each(cases)('of %s', (_, files, source) => {
    const pressure = new Pressure(readerOf({ files }), 0)
    expect(pressure.source).toBe(source)
    expect(pressure.look(1_000)).toBe(null)
    pressure.check()
  })

  it('of this machine is what its files say', () => {
    const pressure = new Pressure(readKernelFile, performance.now())
    if (existsSync('/proc/pressure/memory')) expect(pressure.source).not.toBe('none')
    else console.log('no /proc/pressure/memory on this machine: its source may be none')
    expect(() => pressure.look(performance.now() + 1_000)).not.toThrow()
    expect(readKernelFile('/proc/self/cgroup')).toBe(readFileSync('/proc/self/cgroup', 'latin1'))
    expect(readKernelFile('/proc/no such file')).toBe(undefined)
  })
})

describe('near-limit', () => {
  it('is nine tenths of memory.max, and says what is missing', () => {
    const { look } = watchContainer()
    expect(look({ currentBytes: 460 * MIB })).toBe(null)
    const limitBytes = 512 * MIB
    expect(look({ currentBytes: 470 * MIB })).toEqual({
      reason: 'near-limit',
      limitBytes,
      usedBytes: 470 * MIB,
      missingBytes: Math.ceil(470 * MIB - 0.9 * limitBytes),
    })
    expect(look({ currentBytes: 300 * MIB })).toBe(null)
  })

  it('is nine tenths of memory.high where that is less', () => {
    const { look } = watchContainer()
    expect(look({ currentBytes: 95 * MIB, highBytes: 100 * MIB })).toMatchObject({ limitBytes: 100 * MIB })
  })

  it('leaves out the file cache that the kernel would drop', () => {
    const { look } = watchContainer()
    expect(look({ currentBytes: 510 * MIB, inactiveFileBytes: 200 * MIB })).toBe(null)
  })

  it('does not exist without a limit', () => {
    const { look } = watchContainer()
    expect(look({ currentBytes: 2 ** 40, maxBytes: 'max' })).toBe(null)
  })

  it('takes the level that is nearest to its limit', () => {
    const world = { files: service(95 * MIB, 100 * MIB) }
    const pressure = new Pressure(readerOf(world), 0)
    expect(pressure.look(1_000)).toMatchObject({ reason: 'near-limit', limitBytes: 100 * MIB })
  })

  it('survives a cgroup that goes away', () => {
    const world = { files: container({ currentBytes: 500 * MIB }) }
    const pressure = new Pressure(readerOf(world), 0)
    world.files = {}
    expect(pressure.look(1_000)).toBe(null)
  })
})

describe('held-up', () => {
  it('is an event since the last look, from three quarters of the limit on', () => {
    const { look } = watchContainer({ events: { high: 7 } })
    expect(look({ currentBytes: 400 * MIB, events: { high: 7 } })).toBe(null)
    expect(look({ currentBytes: 400 * MIB, events: { high: 8 } })).toMatchObject({
      reason: 'held-up',
      missingBytes: 16 * MIB,
    })
    expect(look({ currentBytes: 400 * MIB, events: { high: 8 } })).toBe(null)
    expect(look({ currentBytes: 400 * MIB, events: { high: 8, max: 1 } })).toMatchObject({
      reason: 'held-up',
    })
    expect(look({ currentBytes: 300 * MIB, events: { high: 8, max: 9 } })).toBe(null)
  })
})

describe('stalled', () => {
  it('is a tenth of the time spent waiting for memory', () => {
    const { look } = watchContainer({ stallUs: 1_000_000 })
    expect(look({ stallUs: 1_040_000 })).toBe(null)
    expect(look({ stallUs: 1_100_000 })).toMatchObject({ reason: 'stalled', missingBytes: 0 })
    expect(look({ stallUs: 1_100_000 })).toBe(null)
  })

  it('of a whole system says what is missing to a tenth of its memory', () => {
    const world: { files: Files } = { files: RECORDED }
    const pressure = new Pressure(readerOf(world), 0)
    world.files = {
      ...RECORDED,
      '/sys/fs/cgroup/unified/memory.pressure': 'some avg10=30.00 avg60=5.00 avg300=1.00 total=400000\n',
      '/proc/meminfo': 'MemTotal:       1000000 kB\nMemFree:        1000 kB\nMemAvailable:   40000 kB\n',
    }
    expect(pressure.look(1_000)).toEqual({
      reason: 'stalled',
      limitBytes: Number.POSITIVE_INFINITY,
      usedBytes: 960_000 * 1024,
      missingBytes: 60_000 * 1024,
    })
  })
})

describe('PressureWatch', () => {
  const opened: Arena[] = []
  afterEach(() => {
    for (const arena of opened.splice(0)) arena.close()
  })

  /** Arenas of one thread in a container, over the real kernel. */
  function openWatch(state: ContainerState, arenaCount = 2) {
    const world = { files: container(state) }
    const deferral = new ManualDeferral()
    const group = new ArenaGroup()
    const watch = new PressureWatch(group, deferral, deferral.now, readerOf(world))
    const arenas = Array.from({ length: arenaCount }, () => {
      const environment = { addon: loadAddon(), deferral, now: deferral.now, group, watch }
      return new Arena({ releaseAfterMs: 3_600_000 }, environment)
    })
    opened.push(...arenas)
    const heard: PressureEvent[] = []
    return { world, deferral, group, watch, arenas, heard }
  }

  function dirty(arena: Arena, blockCount: number): void {
    const blocks = Array.from({ length: 2 * blockCount }, () => arena.allocUnsafe(100_000).fill(1))
    for (let i = 0; i < blocks.length; i += 2) arena.free(blocks[i])
  }

  it('has every arena give back first, then says how much that was and what is missing', async () => {
    const { world, deferral, watch, arenas, heard } = openWatch({})
    watch.add(event => heard.push(event))
    const published: unknown[] = []
    const subscriber = (message: unknown): void => void published.push(message)
    subscribe('offheap:pressure', subscriber)
    for (const arena of arenas) dirty(arena, 30)
    const dirtyBytes = arenas.reduce((bytes, arena) => bytes + arena.stats().dirtyBytes, 0)
    world.files = container({ currentBytes: 500 * MIB })
    deferral.advance(600)
    await turns(1)
    unsubscribe('offheap:pressure', subscriber)
    expect(published).toEqual(heard)
    expect(arenas.map(arena => arena.stats().dirtyBytes)).toEqual([0, 0])
    expect(heard).toEqual([
      {
        source: 'cgroup',
        reason: 'near-limit',
        limitBytes: 512 * MIB,
        usedBytes: 500 * MIB,
        releasedBytes: dirtyBytes,
        missingBytes: Math.ceil(500 * MIB - 0.9 * 512 * MIB) - dirtyBytes,
      },
    ])
    watch.check()
  })

  it('tells again every five seconds while it lasts, and at once when it comes back', async () => {
    const { world, deferral, watch, heard } = openWatch({ currentBytes: 500 * MIB })
    watch.add(event => heard.push(event))
    deferral.advance(4_900)
    await turns(1)
    expect(heard.length).toBe(1)
    deferral.advance(1_100)
    await turns(1)
    expect(heard.length).toBe(2)
    world.files = container()
    deferral.advance(1_000)
    world.files = container({ currentBytes: 500 * MIB })
    deferral.advance(500)
    await turns(1)
    expect(heard.length).toBe(3)
  })

  it('looks without a listener while an arena has something to give back, and not else', () => {
    const { deferral, arenas } = openWatch({ currentBytes: 500 * MIB })
    expect(deferral.pendingTimers).toBe(0)
    dirty(arenas[0], 10)
    deferral.advance(600)
    expect(arenas[0].stats().dirtyBytes).toBe(0)
    // The next look finds nothing to give back and nobody who listens.
    deferral.advance(3_600_000)
    expect(deferral.pendingTimers).toBe(0)
  })

  it('stops when nobody listens any more', () => {
    const { deferral, watch, heard } = openWatch({}, 0)
    const listener = (event: PressureEvent): void => void heard.push(event)
    const stops = [watch.add(listener), watch.add(listener)]
    expect(deferral.pendingTimers).toBe(1)
    stops[0]()
    stops[0]()
    expect(deferral.pendingTimers).toBe(1)
    stops[1]()
    expect(deferral.pendingTimers).toBe(0)
    watch.check()
  })

  it('tells those who only hear, and does not look for their sake', async () => {
    const { deferral, watch, heard } = openWatch({ currentBytes: 500 * MIB }, 0)
    const stopHearing = watch.hear(event => heard.push(event))
    expect(deferral.pendingTimers).toBe(0)
    const stop = watch.add(() => {})
    deferral.advance(600)
    await turns(1)
    expect(heard.length).toBe(1)
    stop()
    expect(deferral.pendingTimers).toBe(0)
    stopHearing()
    watch.add(() => {})
    deferral.advance(6_000)
    await turns(1)
    expect(heard.length).toBe(1)
    watch.check()
  })

  it('is off where nothing can be read', () => {
    const { deferral, world, group } = openWatch({}, 0)
    world.files = {}
    const watch = new PressureWatch(group, deferral, deferral.now, readerOf(world))
    watch.add(() => {})
    expect([watch.source, deferral.pendingTimers]).toEqual(['none', 0])
    watch.check()
  })
})

describe('realEnvironment', () => {
  it('has arenas wake the watch that listeners are told by', () => {
    expect(realEnvironment()).toMatchObject({ group, watch })
  })
})

describe('onPressure', () => {
  it('keeps no process alive, and says where its news come from', async () => {
    const { code, stdout, stderr } = await runFunction(
      async ({ assert, sleep, codeOf, onPressure, pressureSource }) => {
        assert.ok(['cgroup', 'psi', 'poll', 'none'].includes(pressureSource()))
        assert.equal(
          codeOf(() => onPressure({} as never)),
          'ERR_INVALID_ARG_TYPE',
        )
        const stop = onPressure(() => {})
        await sleep(700)
        stop()
        onPressure(() => {})
        console.log('ends')
      },
    )
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: 'ends\n', stderr: '' })
  })
})
