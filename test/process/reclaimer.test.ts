/** The order of runs, who shares one, and what a failure leaves behind. malloc and the kernel are the real ones. */
import { describe, expect, it } from 'vitest'
import { eventLoop, now } from '../../src/base/deferral.js'
import { loadAddon } from '../../src/memory/addon.js'
import type { Bells, MallocRelease } from '../../src/memory/malloc.js'
import { ArenaGroup, type Member } from '../../src/process/arena-group.js'
import type { Collection } from '../../src/process/collect-garbage.js'
import { Reclaimer, type ReclaimerParts } from '../../src/process/reclaimer.js'
import { isMusl } from '../support/libc.js'

const addon = loadAddon()

/** The real malloc. Records the calls, and has one of them fail. */
function watched(failing?: { call: number; error: Error }) {
  const calls: string[] = []
  const through = <Result>(name: string, run: () => Result): Result => {
    calls.push(name)
    if (calls.length === failing?.call) throw failing.error
    return run()
  }
  const malloc: MallocRelease & Bells = {
    mallocName: () => through('mallocName', () => addon.mallocName()),
    readsChunks: () => through('readsChunks', () => addon.readsChunks()),
    beginChunks: () => through('beginChunks', () => addon.beginChunks()),
    takeChunks: budgetUs => through('takeChunks', () => addon.takeChunks(budgetUs)),
    purgeMalloc: (hasBegun, asks) => through('purgeMalloc', () => addon.purgeMalloc(hasBegun, asks)),
    processResidentBytes: () => addon.processResidentBytes(),
    giveChunks: budgetUs => through('giveChunks', () => addon.giveChunks(budgetUs)),
    flushMallocThread: () => through('flushMallocThread', () => addon.flushMallocThread()),
    hangBell: () => 0,
    ringOthers: () => through('ringOthers', () => {}),
  }
  return { calls, malloc }
}

function partsWith(parts: Partial<ReclaimerParts> = {}): ReclaimerParts {
  return {
    group: new ArenaGroup(),
    deferral: eventLoop,
    now,
    residentBytes: async () => 1000,
    collectGarbage: async collection => ({ collected: collection, releasedBytes: 7, longestPauseMs: 3 }),
    malloc: () => undefined,
    isMainThread: true,
    ...parts,
  }
}

/** An arena that gives back so many bytes, one a slice. */
function memberWith(bytes: number): Member & { slices: number } {
  return {
    slices: 0,
    dirtyPages: 0,
    giveBack: () => 0,
    yieldShare: () => {},
    leave: () => {},
    reclaimSlice() {
      this.slices++
      return { releasedBytes: 1, isDone: this.slices % bytes === 0 }
    },
  }
}

describe('a run', () => {
  it('reports what each part gave back', async () => {
    const group = new ArenaGroup()
    const members = [memberWith(5), memberWith(1)]
    for (const member of members) group.add(member)
    const sizes = [1000, 900, 850]
    const reclaimer = new Reclaimer(partsWith({ group, residentBytes: async () => sizes.shift() as number }))
    expect(await reclaimer.reclaim('major')).toMatchObject({
      residentBytes: { before: 1000, after: 850 },
      releasedBytes: 150,
      arenas: { releasedBytes: 6 },
      malloc: { name: 'none', releasedBytes: 50 },
      v8: { collected: 'major', releasedBytes: 7 },
    })
  })

  it('says how long the loop was held up at most', async () => {
    const report = await new Reclaimer(partsWith()).reclaim('minor')
    expect(report.longestPauseMs).toBe(3)
    expect(report.durationMs).toBeGreaterThanOrEqual(0)
  })

  it('never reports less than nothing, where the process grew meanwhile', async () => {
    const sizes = [1000, 1200]
    const reclaimer = new Reclaimer(partsWith({ residentBytes: async () => sizes.shift() as number }))
    const report = await reclaimer.reclaim('none')
    expect(report).toMatchObject({ releasedBytes: 0, malloc: { releasedBytes: 0 } })
  })
})

describe('calls while a run is under way', () => {
  it('share the one that follows, and its strongest collection', async () => {
    const collections: string[] = []
    let open = () => {}
    const gate = new Promise<void>(resolve => {
      open = resolve
    })
    const reclaimer = new Reclaimer(
      partsWith({
        collectGarbage: async (collection: 'none' | Collection) => {
          collections.push(collection)
          await gate
          return { collected: collection, releasedBytes: 0, longestPauseMs: 0 }
        },
      }),
    )
    const first = reclaimer.reclaim('none')
    // It has begun when it collects.
    while (collections.length === 0) await new Promise(resolve => setImmediate(resolve))
    const others = [reclaimer.reclaim('minor'), reclaimer.reclaim('major'), reclaimer.reclaim('none')]
    open()
    const [second, third, fourth] = await Promise.all(others)
    expect(third).toBe(second)
    expect(fourth).toBe(second)
    expect(await first).not.toBe(second)
    expect(collections).toEqual(['none', 'major'])
  })

  it('begin anew once that one has begun', async () => {
    let runs = 0
    const reclaimer = new Reclaimer(
      partsWith({
        residentBytes: async () => {
          runs++
          return 0
        },
      }),
    )
    for (let i = 0; i < 5; i++) await reclaimer.reclaim('none')
    // Before and after each of them: nothing else has changed.
    expect(runs).toBe(10)
  })
})

describe('a ring of another thread', () => {
  it('has the arenas and malloc give back, once for rings that come before it began', async () => {
    const { calls, malloc } = watched()
    const group = new ArenaGroup()
    const member = memberWith(3)
    group.add(member)
    const reclaimer = new Reclaimer(partsWith({ malloc: () => malloc, group }))
    for (let i = 0; i < 10; i++) reclaimer.onRing()
    await reclaimer.reclaim('none')
    // The ring went first, the call after it.
    expect(member.slices).toBe(6)
    expect(calls.filter(call => call === 'purgeMalloc')).toHaveLength(isMusl ? 0 : 2)
  })
})

describe.skipIf(isMusl)('a failure of the addon', () => {
  it.each(Array.from({ length: 12 }, (_, index) => index + 1))(
    'at call %i rejects, and holds no chunk',
    async call => {
      const error = new Error('on purpose')
      const { calls, malloc } = watched({ call, error })
      const reclaimer = new Reclaimer(partsWith({ malloc: () => malloc }))
      const outcome = await reclaimer.reclaim('none').then(
        () => 'done',
        reason => reason,
      )
      // Fewer calls than that were made: nothing failed.
      expect(outcome).toBe(calls.length >= call ? error : 'done')
      if (calls[call - 1] === 'giveChunks') {
        // What was not given back is given back by the next who may.
        while (!addon.giveChunks(1000));
      }
      expect(addon.beginChunks()).toBe(true)
      expect(addon.giveChunks(1000)).toBe(true)
      const again = await new Reclaimer(partsWith({ malloc: () => addon })).reclaim('none')
      expect(again.malloc.name).toBe('glibc')
    },
  )
})

describe.skipIf(isMusl)('the chunks of a thread', () => {
  it('have one who takes them at a time', async () => {
    expect(addon.beginChunks()).toBe(true)
    expect(addon.beginChunks()).toBe(false)
    while (!addon.takeChunks(1000));
    const bytes = await addon.purgeMalloc(true, false)
    expect(bytes % 4096).toBe(0)
    while (!addon.giveChunks(1000));
    expect(addon.beginChunks()).toBe(true)
    expect(addon.giveChunks(0)).toBe(true)
  })

  it('are none before somebody has begun, and after', async () => {
    expect(addon.takeChunks(1000)).toBe(true)
    expect(addon.giveChunks(1000)).toBe(true)
    expect(await addon.purgeMalloc(true, false)).toBe(0)
  })

  it('are left alone by a second copy of the package', async () => {
    expect(addon.beginChunks()).toBe(true)
    const { calls, malloc } = watched()
    const report = await new Reclaimer(partsWith({ malloc: () => malloc })).reclaim('none')
    expect(report.malloc.name).toBe('glibc')
    // Nor does it ask malloc itself, which would hold the lock of the arena.
    expect(calls).not.toContain('purgeMalloc')
    expect(addon.giveChunks(1000)).toBe(true)
  })
})
