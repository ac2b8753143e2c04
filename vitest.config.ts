import { readdirSync, readFileSync } from 'node:fs'
import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/**
 * `npm run test:all` runs every test. `npm test` runs all files but the long ones, and of the files that have very many cases a
 * sample of these: see test/support/extent.ts. `npm run test:rest`, after it, runs what that left out.
 */
if (process.env.OFFHEAP_TESTS === 'rest') {
  process.env.OFFHEAP_TESTS = 'all'
  process.env.OFFHEAP_SKIP_DONE = '1'
}
const isAll = process.env.OFFHEAP_TESTS === 'all'

/** Files that `npm test` leaves out: the tests of the benchmarks, and programs under load for seconds. */
const LONG = [
  'test/arena/workers.test.ts',
  'test/bench/**/*.test.ts',
  'test/kernel/naming-thousands.test.ts',
  'test/release/waves.test.ts',
  'test/torture/**/*.test.ts',
]
/**
 * Files of which `npm test` runs all: they neither take a sample nor run on other Node lines. What `npm run test:rest` leaves out.
 */
const DONE =
  process.env.OFFHEAP_SKIP_DONE === undefined
    ? []
    : readdirSync('test', { recursive: true, encoding: 'utf8' })
        .map(file => `test/${file}`)
        .filter(file => file.endsWith('.test.ts') && !LONG.some(long => file.startsWith(long.split('*')[0])))
        .filter(
          file => !/extent\.js|fuzz\/random\.js|\.\/random\.js|\bNODES\b/.test(readFileSync(file, 'utf8')),
        )
/** Files whose tests would fail on a machine that is busy with others: they compare times, or expect something within a time. */
const TIMED = [
  'test/arena/over-heap.test.ts',
  'test/arena/scope.test.ts',
  'test/arena/timers.test.ts',
  'test/base/deferral.test.ts',
  'test/bench/**/*.test.ts',
  'test/cli/demo.test.ts',
  'test/kernel/resident.test.ts',
  'test/process/reclaim-when-idle.test.ts',
  'test/release/waves.test.ts',
  'test/torture/**/*.test.ts',
]
/** Files that start no Worker and leave nothing behind in the process: they can share one. */
const SHARING = [
  'test/architecture.test.ts',
  'test/base/**/*.test.ts',
  'test/buffers/{debug/debug-layout,debug/debug-quarantine,owner,pins}.test.ts',
  'test/cli/report.test.ts',
  'test/heap/**/*.test.ts',
  'test/release/{high-water,policy}.test.ts',
  'test/replay/{passes,trace,verify}.test.ts',
]
/** Files whose processes mostly wait. They are begun before the others of their project, which run meanwhile. */
const WAITING = [
  'test/cli/demo.test.ts',
  'test/kernel/purging.test.ts',
  'test/cli/main.test.ts',
  'test/replay/child-process.test.ts',
  'test/arena/break-strangers.test.ts',
  'test/arena/addresses.test.ts',
]

class WaitingFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files)
    const rank = ({ moduleId }: TestSpecification) => {
      const index = WAITING.findIndex(path => moduleId.endsWith(path))
      return index === -1 ? WAITING.length : index
    }
    return sorted.sort((a, b) => rank(a) - rank(b))
  }
}

// Once: vitest reads this file again for each project.
if (process.env.OFFHEAP_TESTS === undefined) {
  process.env.OFFHEAP_TESTS = 'sample'
  console.log('A sample of the tests. All of them: npm run test:all')
}

export default defineConfig({
  test: {
    pool: 'forks',
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // Tests of one file that say `concurrent`: each is a process.
    maxConcurrency: 4,
    // `npm run coverage`. What the figure leaves out: docs/testing.md.
    coverage: {
      provider: 'v8',
      include: ['src/**/*.ts'],
      reporter: ['text', 'lcovonly'],
      reportsDirectory: 'coverage',
    },
    sequence: { sequencer: WaitingFirst },
    projects: [
      {
        extends: true,
        test: {
          // A process for each file: what one test leaves in the process (mappings, Workers) cannot reach another file.
          name: 'apart',
          include: ['test/**/*.test.ts'],
          exclude: [...TIMED, ...SHARING, ...DONE, ...(isAll ? [] : LONG)],
          maxWorkers: 3,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: 'sharing',
          include: SHARING,
          exclude: [...TIMED, ...DONE],
          isolate: false,
          maxWorkers: 3,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          // After the others. In the sample they have time enough for two of them at once.
          name: 'timed',
          include: TIMED,
          exclude: isAll ? DONE : LONG,
          maxWorkers: isAll ? 1 : 2,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
})
