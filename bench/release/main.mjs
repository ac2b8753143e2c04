/**
 * Whether memory really goes back: the figures of docs/release.md, each from processes of their own, peers interleaved.
 *
 *   npm run bench:release [-- --rounds N] [-- --only idle,bounce,steady,curve] [-- --sources mmap,sbrk] [-- --json]
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { describeMachine, isLoadHigh } from '../heap/machine.mjs'
import { findPeers } from '../heap/peers.mjs'
import { spread } from '../heap/statistics.mjs'
import { lineChart } from './chart.mjs'

/** Where pages may come from: every figure is made for each. */
const SOURCES = ['mmap', 'sbrk']
/** At the start, and where the break would grow into a mapping. */
const BREAK_IN_THE_WAY = /ERR_ARENA_BREAK_UNAVAILABLE|mmap: File exists \(EEXIST\)/
const ATTEMPTS = 20
const MIB = 2 ** 20
const KIB = 1024
const PLOT = new URL('../../docs/release/memory.svg', import.meta.url)
const TRACE = fileURLToPath(new URL('../traces/node-json-scope.trace.gz', import.meta.url))

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    only: { type: 'string', default: 'idle,bounce,steady,curve' },
    sources: { type: 'string', default: SOURCES.join(',') },
    json: { type: 'boolean', default: false },
    plot: { type: 'string', default: fileURLToPath(PLOT) },
  },
})
const rounds = Number(values.rounds)
const sources = values.sources.split(',')

function run(options, env = {}) {
  const child = fileURLToPath(new URL('child.mjs', import.meta.url))
  // V8's helper threads would run on the CPU that is being measured.
  const args = ['--expose-gc', '--single-threaded-gc', child, JSON.stringify(options)]
  const spawned = () =>
    spawnSync(process.execPath, args, {
      encoding: 'utf8',
      env: { ...process.env, ...env },
      maxBuffer: 2 ** 28,
    })
  let { status, stdout, stderr } = spawned()
  // In 1 or 2 processes of 100 something of V8's is mapped right above the break, or so near that 512 MiB do not fit.
  for (let attempt = 1; attempt < ATTEMPTS && BREAK_IN_THE_WAY.test(stderr); attempt++) {
    ;({ status, stdout, stderr } = spawned())
  }
  if (status !== 0) throw new Error(`${JSON.stringify(options)}: ${stderr}`)
  return JSON.parse(stdout)
}

/** `makeOne()` for each round, figure by figure. */
function over(count, makeOne) {
  const results = Array.from({ length: count }, makeOne)
  return Object.fromEntries(
    Object.keys(results[0]).map(key => [key, spread(results.map(result => result[key]))]),
  )
}

const scenarios = {
  idle: source =>
    [100, 1_000, 5_000].flatMap(releaseAfterMs =>
      [64 * KIB, 8 * MIB].map(blockBytes => {
        const results = []
        const bare = []
        for (let i = 0; i < rounds; i++) {
          results.push(run({ scenario: 'idle', source, releaseAfterMs, blockBytes }))
          bare.push(run({ scenario: 'nothing', releaseAfterMs }))
        }
        const of = (list, key) => spread(list.map(result => result[key]))
        return {
          releaseAfterMs,
          blockBytes,
          fullBytes: of(results, 'fullBytes'),
          residentBytes: of(results, 'residentBytes'),
          grownBytes: of(results, 'grownBytes'),
          maxMs: of(results, 'maxMs'),
          p99Ms: of(results, 'p99Ms'),
          bareMaxMs: of(bare, 'maxMs'),
          bareP99Ms: of(bare, 'p99Ms'),
        }
      }),
    ),
  bounce: source =>
    [100, 5_000].map(everyMs => ({
      everyMs,
      ...over(Math.min(rounds, 3), () =>
        run({
          scenario: 'bounce',
          source,
          releaseAfterMs: 1_000,
          everyMs,
          forMs: everyMs === 100 ? 10_000 : 20_000,
        }),
      ),
    })),
  steady: source => {
    const results = Array.from({ length: rounds }, () =>
      run({ scenario: 'steady', source, releaseAfterMs: 1_000, trace: TRACE, forMs: 20_000 }),
    )
    return {
      ratio: spread(results.map(({ ratio }) => ratio)),
      purges: spread(results.map(({ purges }) => purges)),
    }
  },
  curve: source => {
    const jemalloc = findPeers().find(peer => peer.name === 'jemalloc')?.library
    const arena = run({ scenario: 'curve', source, allocator: 'arena', releaseAfterMs: 1_000 })
    const buffers = run({ scenario: 'curve', allocator: 'buffer' })
    const lines = [
      { name: 'live', samples: arena.samples, key: 'liveBytes' },
      { name: `held by an Arena (${source})`, samples: arena.samples, key: 'heldBytes' },
      { name: 'held by Buffers, glibc', samples: buffers.samples, key: 'heldBytes' },
    ]
    if (jemalloc) {
      const { samples } = run({ scenario: 'curve', allocator: 'buffer' }, { LD_PRELOAD: jemalloc })
      lines.push({ name: 'held by Buffers, jemalloc', samples, key: 'heldBytes' })
    }
    return lines.map(({ name, samples, key }) => ({ name, points: samples.map(s => [s.s, s[key] / MIB]) }))
  },
}

async function plot(lines, path) {
  mkdirSync(new URL('.', `file://${path}`), { recursive: true })
  const title = 'Memory of one service: traffic, all but 1 block in 64 freed, idle, traffic, all freed, idle'
  writeFileSync(path, await lineChart({ title, x: 's', y: 'MiB', lines, height: 320 }))
}

/** `memory.svg` beside it is `memory-sbrk.svg`. */
const beside = (path, source) => path.replace(/\.svg$/, `-${source}.svg`)

const mib = bytes => (bytes / MIB).toFixed(1)
const figure = ({ median, min, max }, format = value => value.toFixed(2)) =>
  `${format(median)} (${format(min)}–${format(max)})`

/** What a line held at the end of each quiet phase. */
function quietEnds({ name, points }) {
  const at = s => points.findLast(([x]) => x <= s)?.[1].toFixed(1)
  return `  ${name}: ${at(6)} MiB at 6 s, ${at(12)} MiB at 12 s`
}

const print = {
  idle: cases => {
    for (const c of cases) {
      console.log(
        `  D ${c.releaseAfterMs} ms, blocks of ${c.blockBytes / KIB} KiB: of ${mib(c.fullBytes.median)} MiB resident ${figure(c.residentBytes, mib)} of the arena, ${figure(c.grownBytes, mib)} of the process` +
          `; delay max ${figure(c.maxMs)} ms, p99 ${figure(c.p99Ms)} ms (doing nothing: ${figure(c.bareMaxMs)}, ${figure(c.bareP99Ms)})`,
      )
    }
  },
  bounce: cases => {
    for (const c of cases) {
      const between = c.everyMs >= 1_000 ? `; held in between ${figure(c.betweenBytes, mib)} MiB` : ''
      console.log(
        `  64 MiB every ${c.everyMs} ms: refaulted ${figure(c.refaultShare, v => (100 * v).toFixed(2))} %, ` +
          `purge calls after two rounds ${figure(c.purgesAfterTwo, v => v.toFixed(0))}${between}`,
      )
    }
  },
  steady: ({ ratio, purges }) =>
    console.log(
      `  throughput of releaseAfterMs 1000 / Infinity: ${figure(ratio, v => v.toFixed(3))}, purges ${figure(purges, v => v.toFixed(0))}`,
    ),
  curve: lines => {
    for (const line of lines) console.log(quietEnds(line))
  },
}

const machine = describeMachine()
if (!values.json) {
  console.log(
    `Node ${machine.node}, ${machine.cpuCount} x ${machine.cpu}, Linux ${machine.kernel}, load ${machine.loadAverage[0].toFixed(2)}`,
  )
  if (isLoadHigh(machine)) console.log('The load is high: delays and times are doubtful.')
}
const report = { machine, sources: {} }
for (const source of sources) {
  report.sources[source] = {}
  for (const name of values.only.split(',')) {
    const result = scenarios[name](source)
    report.sources[source][name] = result
    if (name === 'curve')
      await plot(result, source === sources[0] ? values.plot : beside(values.plot, source))
    if (values.json) continue
    console.log(`\n${name}, source ${source}`)
    print[name](result)
  }
}
if (values.json) console.log(JSON.stringify(report, null, 2))
