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
import { answerHelp } from '../help.mjs'
import { lineChart } from './chart.mjs'

answerHelp(import.meta.url)

/** @import { Spread } from '../heap/statistics.mjs' */
/** @import { Line } from './chart.mjs' */
/** @import { CurveSample, Figures, Task } from './child.mjs' */

/** @typedef {Task['source']} Source */

/** Where pages may come from: every figure is made for each. */
/** @type {Source[]} */
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
const sources = values.sources.split(',').map(sourceNamed)

/**
 * @param {string} name
 * @returns {Source}
 */
function sourceNamed(name) {
  const found = SOURCES.find(source => source === name)
  if (found === undefined) throw new Error(`no source '${name}': there are ${SOURCES.join(', ')}`)
  return found
}

/**
 * Runs one scenario in a process of its own.
 * @template {keyof Figures} Name
 * @param {{ scenario: Name } & Partial<Task>} options
 * @param {NodeJS.ProcessEnv} env variables beside those of this process
 * @returns {Figures[Name]}
 */
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

/**
 * One figure of several runs.
 * @template {string} Key
 * @param {Record<Key, number>[]} results
 * @param {Key} key
 */
function spreadOf(results, key) {
  return spread(results.map(result => result[key]))
}

/** @param {number} bytes */
const mib = bytes => (bytes / MIB).toFixed(1)

/**
 * @param {Spread} spread
 * @param {(value: number) => string} format
 */
const figure = ({ median, min, max }, format = value => value.toFixed(2)) =>
  `${format(median)} (${format(min)}–${format(max)})`

/**
 * @param {Source} source
 * @param {number} releaseAfterMs
 * @param {number} blockBytes
 */
function measureIdle(source, releaseAfterMs, blockBytes) {
  const results = []
  const bare = []
  for (let i = 0; i < rounds; i++) {
    results.push(run({ scenario: 'idle', source, releaseAfterMs, blockBytes }))
    bare.push(run({ scenario: 'nothing', releaseAfterMs }))
  }
  return {
    releaseAfterMs,
    blockBytes,
    fullBytes: spreadOf(results, 'fullBytes'),
    residentBytes: spreadOf(results, 'residentBytes'),
    grownBytes: spreadOf(results, 'grownBytes'),
    maxMs: spreadOf(results, 'maxMs'),
    p99Ms: spreadOf(results, 'p99Ms'),
    bareMaxMs: spreadOf(bare, 'maxMs'),
    bareP99Ms: spreadOf(bare, 'p99Ms'),
  }
}

/**
 * @param {Source} source
 * @param {number} everyMs from one block to the next
 */
function measureBounce(source, everyMs) {
  const forMs = everyMs === 100 ? 10_000 : 20_000
  const results = Array.from({ length: Math.min(rounds, 3) }, () =>
    run({ scenario: 'bounce', source, releaseAfterMs: 1_000, everyMs, forMs }),
  )
  return {
    everyMs,
    rounds: spreadOf(results, 'rounds'),
    refaultShare: spreadOf(results, 'refaultShare'),
    purgesAfterTwo: spreadOf(results, 'purgesAfterTwo'),
    betweenBytes: spreadOf(results, 'betweenBytes'),
  }
}

/**
 * The lines of the curve: MiB over seconds.
 * @param {Source} source
 * @returns {Line[]}
 */
function measureCurve(source) {
  const jemalloc = findPeers().find(peer => peer.name === 'jemalloc')?.library
  const arena = run({ scenario: 'curve', source, allocator: 'arena', releaseAfterMs: 1_000 }).samples
  const buffers = run({ scenario: 'curve', allocator: 'buffer' }).samples
  /**
   * @param {string} name
   * @param {CurveSample[]} samples
   * @returns {Line}
   */
  const held = (name, samples) => ({ name, points: samples.map(s => [s.s, s.heldBytes / MIB]) })
  /** @type {Line[]} */
  const lines = [
    { name: 'live', points: arena.map(s => [s.s, s.liveBytes / MIB]) },
    held(`held by an Arena (${source})`, arena),
    held('held by Buffers, glibc', buffers),
  ]
  if (jemalloc) {
    const { samples } = run({ scenario: 'curve', allocator: 'buffer' }, { LD_PRELOAD: jemalloc })
    lines.push(held('held by Buffers, jemalloc', samples))
  }
  return lines
}

/**
 * @param {Line[]} lines
 * @param {string} path of the SVG
 */
async function plot(lines, path) {
  mkdirSync(new URL('.', `file://${path}`), { recursive: true })
  const title = 'Memory of one service: traffic, all but 1 block in 64 freed, idle, traffic, all freed, idle'
  writeFileSync(path, await lineChart({ title, x: 's', y: 'MiB', lines, height: 320 }))
}

/**
 * The path of the curve. The curve of any but the first source is beside it: `memory.svg`, `memory-sbrk.svg`.
 * @param {Source} source
 */
const plotPath = source =>
  source === sources[0] ? values.plot : values.plot.replace(/\.svg$/, `-${source}.svg`)

/**
 * What a line held at the end of each quiet phase.
 * @param {Line} line
 */
function quietEnds({ name, points }) {
  /** @param {number} s seconds since the start */
  const at = s => points.findLast(([x]) => x <= s)?.[1].toFixed(1)
  return `  ${name}: ${at(6)} MiB at 6 s, ${at(12)} MiB at 12 s`
}

/** @param {ReturnType<typeof measureIdle>} idle */
function describeIdle(idle) {
  return (
    `  D ${idle.releaseAfterMs} ms, blocks of ${idle.blockBytes / KIB} KiB: of ${mib(idle.fullBytes.median)} MiB resident ` +
    `${figure(idle.residentBytes, mib)} of the arena, ${figure(idle.grownBytes, mib)} of the process` +
    `; delay max ${figure(idle.maxMs)} ms, p99 ${figure(idle.p99Ms)} ms (doing nothing: ${figure(idle.bareMaxMs)}, ${figure(idle.bareP99Ms)})`
  )
}

/** @param {ReturnType<typeof measureBounce>} bounce */
function describeBounce({ everyMs, refaultShare, purgesAfterTwo, betweenBytes }) {
  const between = everyMs >= 1_000 ? `; held in between ${figure(betweenBytes, mib)} MiB` : ''
  return (
    `  64 MiB every ${everyMs} ms: refaulted ${figure(refaultShare, v => (100 * v).toFixed(2))} %, ` +
    `purge calls after two rounds ${figure(purgesAfterTwo, v => v.toFixed(0))}${between}`
  )
}

/**
 * Each scenario: its figures as `--json` prints them, and the lines that are printed without it.
 * @type {Record<string, (source: Source) => Promise<{ figures: object, lines: string[] }>>}
 */
const scenarios = {
  async idle(source) {
    const figures = [100, 1_000, 5_000].flatMap(releaseAfterMs =>
      [64 * KIB, 8 * MIB].map(blockBytes => measureIdle(source, releaseAfterMs, blockBytes)),
    )
    return { figures, lines: figures.map(describeIdle) }
  },
  async bounce(source) {
    const figures = [100, 5_000].map(everyMs => measureBounce(source, everyMs))
    return { figures, lines: figures.map(describeBounce) }
  },
  async steady(source) {
    const results = Array.from({ length: rounds }, () =>
      run({ scenario: 'steady', source, releaseAfterMs: 1_000, trace: TRACE, forMs: 20_000 }),
    )
    const ratio = spreadOf(results, 'ratio')
    const purges = spreadOf(results, 'purges')
    const throughput = figure(ratio, v => v.toFixed(3))
    const calls = figure(purges, v => v.toFixed(0))
    const line = `  throughput of releaseAfterMs 1000 / Infinity: ${throughput}, purges ${calls}`
    return { figures: { ratio, purges }, lines: [line] }
  },
  async curve(source) {
    const figures = measureCurve(source)
    await plot(figures, plotPath(source))
    return { figures, lines: figures.map(quietEnds) }
  },
}

const machine = describeMachine()
if (!values.json) {
  console.log(
    `Node ${machine.node}, ${machine.cpuCount} x ${machine.cpu}, Linux ${machine.kernel}, load ${machine.loadAverage[0].toFixed(2)}`,
  )
  if (isLoadHigh(machine)) console.log('The load is high: delays and times are doubtful.')
}
/** @type {Record<string, Record<string, object>>} */
const measured = {}
for (const source of sources) {
  measured[source] = {}
  for (const name of values.only.split(',')) {
    const { figures, lines } = await scenarios[name](source)
    measured[source][name] = figures
    if (!values.json) console.log([`\n${name}, source ${source}`, ...lines].join('\n'))
  }
}
if (values.json) console.log(JSON.stringify({ machine, sources: measured }, null, 2))
