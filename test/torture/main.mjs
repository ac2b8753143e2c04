/**
 * `npm run torture [-- --seconds 60 --seed N]`: chains of random file, zlib, crypto and Worker operations on the same arenas,
 * with frees, scopes, pins and mistakes in the middle. Every byte is verified, and at the end nothing may be left. What each
 * chain does follows from the seed; how they interleave does not.
 */
import { deepStrictEqual as equal } from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Worker } from 'node:worker_threads'
import { Arena } from '../../dist/index.js'
import { Chain, poolOf } from './chain.mjs'
import { Random } from './random.mjs'

const MIB = 2 ** 20
const CHAIN_COUNT = 8
const ARENAS = [
  {},
  { releaseAfterMs: 0 },
  { releaseAfterMs: 20, detachFromBytes: 0 },
  { releaseAfterMs: 50, detachFromBytes: Number.POSITIVE_INFINITY, limitBytes: 2 * MIB },
  { releaseAfterMs: 100, debug: true },
]

function readArguments() {
  const options = { seconds: { type: 'string', default: '60' }, seed: { type: 'string' } }
  const { values } = parseArgs({ options })
  const seconds = Number(values.seconds)
  const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 32))
  if (!(seconds > 0)) throw new Error(`--seconds takes a number above 0; got ${values.seconds}`)
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw new Error(`--seed takes a whole number; got ${values.seed}`)
  return { seconds, seed }
}

/** A Worker that packs bytes, by messages. */
class Packer {
  #worker = new Worker(new URL('worker.mjs', import.meta.url))
  #waiting = new Map()
  #nextId = 0
  #left

  constructor() {
    this.#worker.on('message', ({ id, packed, left }) => {
      this.#left = left
      this.#waiting.get(id)?.(Buffer.from(packed))
      this.#waiting.delete(id)
    })
  }

  /** A copy goes to the Worker: of the block alone, not of the window around it. */
  pack(bytes) {
    const id = this.#nextId++
    this.#worker.postMessage({ id, bytes: Buffer.from(bytes) })
    return new Promise(resolve => this.#waiting.set(id, resolve))
  }

  /** What is left in its arena. */
  async end() {
    this.#worker.postMessage('end')
    await once(this.#worker, 'exit')
    return this.#left
  }
}

const NOTHING = { liveBlocks: 0, pinnedBlocks: 0, usedBytes: 0, dirtyBytes: 0 }

function expectNothingLeft(arena) {
  arena.check()
  arena.trim()
  arena.check()
  const { liveBlocks, pinnedBlocks, usedBytes, dirtyBytes } = arena.stats()
  equal({ liveBlocks, pinnedBlocks, usedBytes, dirtyBytes }, NOTHING, `left in arena '${arena.name}'`)
  equal(arena.residentBytes(), 0, `resident in arena '${arena.name}'`)
}

async function torture(seconds, seed, folder) {
  const warnings = []
  process.on('warning', warning => warnings.push(warning))
  const arenas = ARENAS.map((options, i) => new Arena({ name: `torture-${i}`, ...options }))
  const packers = [new Packer(), new Packer()]
  const pool = poolOf(new Random(seed))
  const untilMs = performance.now() + seconds * 1_000
  const chains = Array.from({ length: CHAIN_COUNT }, (_, i) => {
    const tools = {
      path: path.join(folder, String(i)),
      handOver: bytes => packers[i % packers.length].pack(bytes),
    }
    return new Chain(new Random(seed + 1 + i), arenas, pool, tools)
  })
  await Promise.all(chains.map(chain => chain.run(untilMs)))
  for (const arena of arenas) expectNothingLeft(arena)
  for (const packer of packers) equal(await packer.end(), NOTHING, 'left in the arena of a Worker')
  for (const arena of arenas) await arena.closeWhenIdle()
  await turn()
  equal(warnings, [], 'correct programs are not warned of')
  return chains
}

function report(chains) {
  const counts = {}
  for (const chain of chains) {
    for (const [what, count] of Object.entries(chain.counts)) counts[what] = (counts[what] ?? 0) + count
  }
  const mib = chains.reduce((sum, chain) => sum + chain.verifiedBytes, 0) / MIB
  console.log(
    Object.entries(counts)
      .sort()
      .map(([what, count]) => `${what}: ${count}`)
      .join(', '),
  )
  console.log(`${mib.toFixed(0)} MiB verified, nothing left`)
}

const { seconds, seed } = readArguments()
console.log(`seed ${seed}, ${seconds} s, ${CHAIN_COUNT} chains`)
const folder = mkdtempSync(path.join(os.tmpdir(), 'offheap-torture-'))
process.on('exit', () => rmSync(folder, { recursive: true }))
try {
  report(await torture(seconds, seed, folder))
} catch (error) {
  console.error(error)
  console.error(`again: npm run torture -- --seed ${seed} --seconds ${seconds}`)
  process.exit(1)
}
