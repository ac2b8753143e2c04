/** Resident memory of whole processes, as /proc/self/smaps_rollup has it. Each figure comes from a process of its own. */
import { beforeAll, describe, expect, it } from 'vitest'
import { runFile, runScript } from '../support/process.js'

const KIB = 1024
const MIB = 1024 * KIB

// V8's threads have malloc heaps of their own that grow by a MiB each with what they compile and collect.
const FLAGS = ['--expose-gc', '--v8-pool-size=0', '--single-threaded-gc']

interface Sparse {
  fullGrownBytes: number
  liveBytes: number
  usedBytes: number
  metadataBytes: number
  sparse: { grownBytes: number }
  isIntact: boolean
  empty: { grownBytes: number }
  externalGrownBytes: number
  liveBlocks: number
  dirtyBytes: number
}

const CASES: readonly [sizeBytes: number, detachFromBytes: number][] = [
  [64 * KIB, 64 * KIB],
  [64 * KIB, Number.POSITIVE_INFINITY],
  [4 * KIB, 64 * KIB],
  [KIB, 64 * KIB],
  [256, 64 * KIB],
]

async function figuresOf(file: string, args: number[]): Promise<unknown> {
  const path = `children/${file}.mjs`
  const { code, stdout, stderr } = await runFile(path, import.meta.url, args.map(String), FLAGS)
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return JSON.parse(stdout)
}

const MANAGED_BYTES = 128 * MIB
const KEPT_ONE_IN = 64
const MAX_BOOKS_SHARE = 0.025
const PAGE = 4 * KIB

// They sleep most of the time, so two at once do not disturb one another.
const sparse = new Map<string, Sparse>()
const views = new Map<number, { grownBytes: number }>()
beforeAll(async () => {
  const runArenas = async (): Promise<void> => {
    for (const [size, detach] of CASES) {
      sparse.set(`${size} ${detach}`, (await figuresOf('keep-sparse', [size, detach])) as Sparse)
    }
  }
  const runViews = async (): Promise<void> => {
    for (const [size] of CASES) {
      if (!views.has(size)) views.set(size, (await figuresOf('views-only', [size])) as { grownBytes: number })
    }
  }
  await Promise.all([runArenas(), runViews()])
})

describe.each(CASES)(
  '128 MiB in blocks of %i bytes (detachFromBytes %d), all but 1 in 64 freed',
  (size, detach) => {
    let figures: Sparse
    // What V8 keeps outside its heap for that many Buffers of any kind is none of the arena's.
    let viewBytes: number

    beforeAll(() => {
      figures = sparse.get(`${size} ${detach}`) as Sparse
      viewBytes = Math.max(0, views.get(size)?.grownBytes ?? 0)
    })

    it('was resident when it was full, and what is kept is intact', () => {
      // All 128 MiB were; some lines of V8 count more of their heap as physical than is resident, which is taken off.
      expect(figures.fullGrownBytes).toBeGreaterThan(64 * MIB)
      expect(figures.isIntact).toBe(true)
      expect(figures.usedBytes).toBe(figures.liveBytes)
    })

    it('leaves resident little more than the pages with live bytes, with no further call', () => {
      // A page of books tells what lies in 64 pages: that of each block kept stays.
      const booksBytes = (MANAGED_BYTES / size / KEPT_ONE_IN) * PAGE
      const bound = figures.liveBytes * 1.1 + Math.min(booksBytes, MAX_BOOKS_SHARE * MANAGED_BYTES) + 2 * MIB
      expect(figures.sparse.grownBytes - viewBytes).toBeLessThan(bound)
    })

    it('leaves next to nothing once the rest is freed too', () => {
      expect(figures.liveBlocks).toBe(0)
      expect(figures.dirtyBytes).toBe(0)
      expect(figures.empty.grownBytes - viewBytes).toBeLessThan(2 * MIB)
    })

    it('gives back what it counted as external memory', () => {
      // The books stay, and are external too; besides, streams and compiled code come and go in tens of KiB.
      expect(figures.externalGrownBytes).toBeLessThan(figures.metadataBytes + 128 * KIB)
    })
  },
)

describe('a thousand arenas', () => {
  it('are open at once, and cost less than 64 KiB each while they are empty', async () => {
    const { code, stdout, stderr } = await runFile('children/many-arenas.mjs', import.meta.url, [], FLAGS)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const { emptyBytes, areIntact } = JSON.parse(stdout)
    expect(areIntact).toBe(true)
    expect(emptyBytes).toBeLessThan(64 * KIB)
  })
})

describe('a process', () => {
  it.each([
    '{}',
    '{ releaseAfterMs: 3_600_000 }',
    '{ detachFromBytes: Infinity, releaseAfterMs: 3_600_000 }',
  ])('with dirty pages and a timer for them (%s) ends by itself at once', async options => {
    const startMs = performance.now()
    const { code, stdout } = await runScript(`
        const arena = new Arena(${options})
        const blocks = Array.from({ length: 100 }, (_, i) => arena.allocUnsafe(i * 2_000 + 1).fill(1))
        for (const block of blocks.slice(10)) arena.free(block)
        assert.ok(arena.stats().dirtyBytes > 0)
        const start = performance.now()
        process.on('exit', () => console.log(performance.now() - start))
      `)
    expect(code).toBe(0)
    // The timer of the first kind is due after 450 ms.
    expect(Number(stdout)).toBeLessThan(300)
    expect(performance.now() - startMs).toBeLessThan(20_000)
  })

  it('gives pages back in time while it does nothing else', async () => {
    const { code, stdout, stderr } = await runScript(`
      const arena = new Arena({ releaseAfterMs: 400 })
      const blocks = Array.from({ length: 400 }, () => arena.allocUnsafe(32_768).fill(1))
      const usedBefore = arena.stats().usedBytes
      for (let i = 0; i < 400; i += 2) arena.free(blocks[i])
      await sleep(50)
      assert.equal(arena.residentBytes(), usedBefore, 'not before half an interval')
      await sleep(650)
      assert.equal(arena.residentBytes(), arena.stats().usedBytes)
      assert.ok(arena.stats().usedBytes < usedBefore / 1.9)
      const patient = new Arena({ releaseAfterMs: 3_600_000 })
      patient.free(patient.allocUnsafe(64 * 2 ** 20).fill(1))
      await sleep(1_000)
      // What the budget leaves of it may be too short to count as a long run.
      assert.ok(patient.residentBytes() < 2 ** 20, 'a long run goes at once')
      assert.ok(arena.stats().purges > 0)
      console.log('in time')
    `)
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: 'in time\n', stderr: '' })
  })
})
