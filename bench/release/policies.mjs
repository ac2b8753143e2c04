/**
 * The curves of docs/release.md: each rule of the release policy at work, under a clock that is only computed.
 *
 *   npm run plot:release
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { BlockHeap } from '#compiled/heap/block-heap.js'
import { ReleasePolicy } from '#compiled/release/policy.js'
import { Releaser } from '#compiled/release/releaser.js'
import { Scavenger } from '#compiled/release/scavenger.js'
import { answerHelp } from '../help.mjs'
import { lineChart } from './chart.mjs'
import { Simulation } from './simulation.mjs'

answerHelp(import.meta.url)

/** @import { Block, PageCount } from '#compiled/base/units.js' */
/** @import { Chart, Line } from './chart.mjs' */
/** @import { Sample, SimulationOptions } from './simulation.mjs' */

const FOLDER = fileURLToPath(new URL('../../docs/release/', import.meta.url))
const MIB_PAGES = 256
/** @param {Partial<SimulationOptions>} [options] */
const simulate = options =>
  new Simulation({ BlockHeap, ReleasePolicy, Scavenger, Releaser }, { releaseAfterMs: 1_000, ...options })

/**
 * Blocks of 7 pages, each with a page behind it that stays.
 * @param {Simulation} simulation
 * @param {number} blockCount
 */
function useScattered(simulation, blockCount) {
  return Array.from({ length: blockCount }, () => {
    const block = simulation.use(7)
    simulation.use(1)
    return block
  })
}

/**
 * @param {Simulation} simulation
 * @param {Block[]} blocks is empty afterwards
 */
function freeAll(simulation, blocks) {
  for (const block of blocks.splice(0)) simulation.free(block)
}

/** @param {PageCount} pages */
const mib = pages => pages / MIB_PAGES
/**
 * A figure of each sample, over seconds.
 * @param {Sample[]} samples
 * @param {(sample: Sample) => number} value
 * @returns {Line['points']}
 */
const curve = (samples, value) => samples.map(sample => [sample.ms / 1_000, value(sample)])
/**
 * The same of all samples.
 * @param {Simulation} simulation
 * @param {(sample: Sample) => number} value
 */
const points = (simulation, value) => curve(simulation.samples, value)

/**
 * Small traffic: a page in use for each tenth of a second.
 * @param {Simulation} simulation
 * @param {number} ms
 */
function background(simulation, ms) {
  for (let left = ms; left > 0; left -= 100) {
    const block = simulation.use(1)
    simulation.wait(Math.min(100, left))
    simulation.free(block)
  }
}

/** @returns {Chart} */
function decay() {
  const lines = [1_000, 500].map(releaseAfterMs => {
    const simulation = simulate({ releaseAfterMs })
    freeAll(simulation, useScattered(simulation, 2_000))
    simulation.sample()
    simulation.wait(1_200, 5)
    return { name: `releaseAfterMs: ${releaseAfterMs}`, points: points(simulation, s => mib(s.dirtyPages)) }
  })
  return { title: 'Decay: 55 MiB in scattered blocks come free at 0 s', x: 's', y: 'dirty MiB', lines }
}

/** @returns {Chart} */
function demand() {
  const simulation = simulate()
  simulation.sample()
  for (let i = 0; i < 4; i++) {
    const block = simulation.use(64 * MIB_PAGES)
    background(simulation, 300)
    simulation.free(block)
    background(simulation, 2_700)
  }
  simulation.wait(3_000)
  return {
    title: 'Demand floor: 64 MiB wanted every 3 s amid small traffic, which stops at 12 s',
    x: 's',
    y: 'MiB',
    lines: [
      { name: 'in use', points: points(simulation, s => mib(s.usedPages)) },
      { name: 'held (in use + dirty)', points: points(simulation, s => mib(s.usedPages + s.dirtyPages)) },
      { name: 'floor', points: points(simulation, s => mib(s.warmPages)) },
    ],
  }
}

/** @returns {Chart} */
function budget() {
  const simulation = simulate({ callMs: 0.07, pageMs: 0.01 })
  const blocks = useScattered(simulation, 8_000)
  simulation.sample()
  for (let i = 0; i < 200; i++) {
    freeAll(simulation, blocks.splice(-40))
    simulation.wait(50)
  }
  simulation.wait(2_500)
  return {
    title:
      'Budget: pages that cost 20 µs each come free for 10 s; purging them all would take a tenth of the time',
    x: 's',
    y: 'ms spent purging, in all',
    lines: [
      { name: 'spent', points: points(simulation, s => s.purgingMs) },
      { name: '1 % of the time, after 50 ms saved', points: points(simulation, s => 50 + s.ms * 0.01) },
    ],
  }
}

/** @returns {Chart} */
function refaults() {
  const simulation = simulate()
  const blocks = useScattered(simulation, 500)
  /** @param {number} waitMs until the same blocks are wanted again */
  const round = waitMs => {
    freeAll(simulation, blocks)
    simulation.wait(waitMs)
    for (let n = 0; n < 500; n++) blocks.push(simulation.use(7))
  }
  simulation.sample()
  for (let i = 0; i < 12; i++) round(1_400)
  for (let i = 0; i < 6; i++) round(20_000)
  const samples = simulation.samples.filter((_, i) => i % 10 === 0)
  return {
    title: 'Refaults: 14 MiB wanted again after 1.4 s, twelve times; then every 20 s',
    x: 's',
    y: 's, and rounds',
    lines: [
      { name: 'promise in force, s', points: curve(samples, s => s.promiseMs / 1_000) },
      { name: 'rounds refaulted, in all', points: curve(samples, s => s.refaultedPages / (500 * 7)) },
    ],
  }
}

/** @returns {Chart} */
function atOnce() {
  /**
   * @param {string} name
   * @param {(simulation: Simulation) => void} act
   * @returns {Line}
   */
  const lineAfter = (name, act) => {
    const simulation = simulate()
    act(simulation)
    simulation.sample()
    simulation.wait(1_200, 2)
    return { name, points: points(simulation, s => mib(s.dirtyPages)) }
  }
  const lines = [
    lineAfter('one run of 64 MiB', simulation => simulation.free(simulation.use(64 * MIB_PAGES))),
    lineAfter('64 MiB in scattered blocks', simulation =>
      freeAll(simulation, useScattered(simulation, 2_340)),
    ),
  ]
  return {
    title: 'At once: what comes free in one run, and in scattered blocks',
    x: 's',
    y: 'dirty MiB',
    lines,
  }
}

mkdirSync(FOLDER, { recursive: true })
for (const [name, chart] of Object.entries({ decay, demand, budget, refaults, 'at-once': atOnce })) {
  writeFileSync(`${FOLDER}${name}.svg`, await lineChart(chart()))
  console.log(`docs/release/${name}.svg`)
}
