/**
 * How often four threads of malloc take the break away, by the length of the steps in which it moves: `break-source.ts` has
 * 128 KiB. Many short runs, each in a process of its own, because malloc grows most in the beginning.
 *
 *   node bench/break/contend.mjs [RUNS]
 *
 * Builds the tests' helper with g++, and works on the addon itself, below everything that chooses the length of a step.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** @import { ProgramBreak } from '#compiled/memory/kernel.js' */

const KIB = 1024
const HELD_BYTES = 4096 * KIB
const RUN_MS = 400
const ADDON = fileURLToPath(new URL('../../build/Release/offheap.node', import.meta.url))
const STEPS = [128 * KIB, 1024 * KIB, 4096 * KIB]

/**
 * Moves the break up and down by `stepBytes` while threads malloc. Returns the moves, and whether the break is still ours.
 * @param {number} stepBytes
 * @param {string} strangerPath where the tests' helper was built
 */
function contend(stepBytes, strangerPath) {
  const require = createRequire(import.meta.url)
  /** @type {{ programBreak: ProgramBreak }} */
  const { programBreak } = require(ADDON)
  /** @type {{ exports: { startMalloc?: (threadCount: number) => void } }} */
  const module = { exports: {} }
  process.dlopen(module, strangerPath)
  const mapping = programBreak.take('contend')
  programBreak.closeFence(mapping, 2 * HELD_BYTES)
  if (module.exports.startMalloc === undefined) throw new Error(`${strangerPath} has no startMalloc`)
  module.exports.startMalloc(4)
  /** @param {number} incrementBytes */
  const move = incrementBytes => {
    if (incrementBytes > 0) programBreak.openFence(mapping, incrementBytes)
    if (!programBreak.sbrk(mapping, incrementBytes)) return false
    programBreak.closeFence(mapping, 0)
    return true
  }
  let moves = 0
  let isOurs = true
  try {
    for (const until = performance.now() + RUN_MS; isOurs && performance.now() < until; ) {
      for (let at = 0; isOurs && at < HELD_BYTES; at += stepBytes, moves++) isOurs = move(stepBytes)
      for (let at = 0; isOurs && at < HELD_BYTES; at += stepBytes, moves++) isOurs = move(-stepBytes)
    }
  } catch (error) {
    // Somebody's memory is where the fence should be.
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
    isOurs = false
  }
  return { moves, isOurs }
}

/** @param {number} runCount runs for each length of a step */
function main(runCount) {
  const directory = mkdtempSync(join(tmpdir(), 'offheap-contend-'))
  const stranger = join(directory, 'stranger.node')
  const source = fileURLToPath(new URL('../../test/support/stranger/stranger.cc', import.meta.url))
  execFileSync(process.env.CXX ?? 'g++', [
    '-std=c++17',
    '-O2',
    '-shared',
    '-fPIC',
    '-o',
    stranger,
    source,
    '-lpthread',
  ])
  const env = { ...process.env, MALLOC_ARENA_MAX: '1', MALLOC_MMAP_THRESHOLD_: String(2 ** 25) }
  for (const stepBytes of STEPS) {
    let lost = 0
    let moves = 0
    for (let run = 0; run < runCount; run++) {
      const args = [fileURLToPath(import.meta.url), 'run', String(stepBytes), stranger]
      const child = spawnSync(process.execPath, args, { encoding: 'utf8', env })
      if (child.stderr.includes('EEXIST')) {
        // V8's code lies right above the break: another process has one.
        run--
        continue
      }
      // A process that did not come to its end lost more than the break.
      const result = child.status === 0 ? JSON.parse(child.stdout) : { moves: 0, isOurs: false }
      moves += result.moves
      if (!result.isOurs) lost++
    }
    console.log(`steps of ${stepBytes / KIB} KiB: lost in ${lost} of ${runCount} runs, ${moves} moves in all`)
  }
  rmSync(directory, { recursive: true })
}

if (process.argv[2] === 'run') {
  console.log(JSON.stringify(contend(Number(process.argv[3]), process.argv[4])))
  // The threads still run.
  process.exit()
}
main(Number(process.argv[2] ?? 20))
