/**
 * Allocates, writes, frees, resizes, pins, trims and closes arenas until it is terminated, or ends in the middle of it by
 * itself: `end` is 'exit', 'throw' or 'natural' then.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { Arena } from '../../../dist/index.js'

const SIZES = [16, 100, 1_000, 5_000, 20_000, 64 * 1024, 200_000, 3 * 2 ** 20]
let state = workerData.seed

/** A number from 0 to below `count`: the same sequence for the same seed. */
function random(count) {
  state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
  return (state >>> 8) % count
}

function step(arena, live) {
  const index = random(live.length + 1)
  if (index === live.length || live.length < 20) {
    live.push(arena.allocUnsafe(SIZES[random(SIZES.length)]).fill(7))
  } else if (random(4) === 0) {
    live[index] = arena.realloc(live[index], SIZES[random(SIZES.length)])
  } else {
    arena.free(live[index])
    live[index] = live[live.length - 1]
    live.pop()
  }
}

let isFirst = true
function turn() {
  const arena = new Arena({ releaseAfterMs: 10 })
  const live = []
  for (let i = 0; i < 500; i++) step(arena, live)
  if (isFirst) parentPort.postMessage('running')
  isFirst = false
  if (live.length > 0 && random(2) === 0) arena.pin(live[0])
  if (random(3) === 0) {
    if (workerData.end === 'exit') process.exit()
    if (workerData.end === 'throw') throw new Error('on purpose')
    if (workerData.end === 'natural') return
  }
  if (random(2) === 0) arena.trim()
  // Some arenas are closed, some are left with live blocks and a timer.
  if (random(3) > 0 && arena.stats().pinnedBlocks === 0) arena.close()
  setTimeout(turn, random(3))
}
turn()
