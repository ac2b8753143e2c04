/**
 * Calls of an arena that do not come to their end. Afterwards the books are right, or the arena says that it is busy until the
 * next turn; no two live blocks share bytes, and nothing faults.
 *
 * - `overflow`: the stack overflows, at every depth near its end
 * - `terminate`: a script is terminated at any moment
 * - `thrown`, `cut`: the same as the two, at each place of the library where V8 could do it, by calls put in there: a seed
 *   says which, and the same one each time
 *
 *   node interrupter.mjs DIST overflow|terminate|thrown|cut SEED OPTIONS
 */
import assert from 'node:assert/strict'
import { register } from 'node:module'
import v8 from 'node:v8'
import vm from 'node:vm'
import { belowFrom } from '../support/below.mjs'

const [dist, kind, seedText, optionsText] = process.argv.slice(2)
const isPlaced = kind === 'thrown' || kind === 'cut'
if (isPlaced)
  register('../support/instrument.mjs', import.meta.url, { data: { url: new URL('.', dist).href } })
const { Arena } = await import(dist)
const rounds = Number(process.env.ROUNDS ?? { overflow: 12, terminate: 150, thrown: 500, cut: 500 }[kind])

const below = belowFrom(Number(seedText))

const SIZES = [0, 24, 24, 100, 1_000, 1_000, 5_000, 40_000, 70_000, 300_000]
const turn = () => new Promise(resolve => setImmediate(() => setImmediate(resolve)))
const arena = new Arena({ name: 'interrupted', ...JSON.parse(optionsText) })
/** Live blocks: each has its tag in all of its bytes. */
let live = []
let lastTag = 0
let interruptions = 0

function add(buffer) {
  if (buffer === null) return
  lastTag = (lastTag % 250) + 1
  buffer.fill(lastTag)
  live.push({ buffer, tag: lastTag, size: buffer.length })
}

/** A block of which a call that ended it was interrupted: it is live, or not, but not half. */
function settle(buffer) {
  try {
    arena.free(buffer)
  } catch (error) {
    if (error.code !== 'ERR_ARENA_DOUBLE_FREE') throw error
  }
}

function unpinAll(buffer) {
  try {
    for (;;) arena.unpin(buffer)
  } catch (error) {
    if (error.code !== 'ERR_ARENA_NOT_PINNED') throw error
  }
}

function verify() {
  arena.check()
  for (const { buffer, tag, size } of live) {
    assert.equal(buffer.length, size)
    for (let at = 0; at < size; at += 253) assert.equal(buffer[at], tag, `byte ${at} of ${size}`)
    if (size > 0) assert.equal(buffer[size - 1], tag, `the last of ${size} bytes`)
  }
}

const ALLOCS = ['alloc', 'alloc', 'alloc', 'allocAligned', 'from', 'concat']
const KINDS = [
  ...ALLOCS,
  'free',
  'free',
  'free',
  'realloc',
  'relocate',
  'trim',
  'scope',
  'pin',
  'pool',
  'stream',
  'stats',
]
const SOURCES = SIZES.map(size => new Uint8Array(size))
const PAIRS = SOURCES.map(source => [source, source])
const pools = [24, 5_000, 70_000].map(size => arena.pool(size, { maxIdle: 5 }))
/** What is to be done at each depth. Nothing but plain stores records it: a call might overflow. */
function planned(count) {
  const plan = []
  for (let i = 0; i < count; i++) {
    let kind = KINDS[below(KINDS.length)]
    let block = null
    if (['free', 'realloc', 'relocate', 'pin', 'stream'].includes(kind)) {
      if (live.length === 0) kind = 'alloc'
      else block = live.splice(below(live.length), 1)[0]
    }
    if (block === null && below(200) === 0) kind = 'reset'
    const index = below(SIZES.length)
    plan.push({ kind, block, index, size: SIZES[index], made: null, isBegun: false, isDone: false })
  }
  return plan
}

let plan = []
let next = 0
const align = { align: 64 }
/** Of a scope whose blocks could not be freed. */
let lastOfMany = new AggregateError([])
/** Runs into the end of the stack, then does one thing at each depth on the way back. */
function dive() {
  try {
    dive()
  } catch (error) {
    if (error instanceof AggregateError) lastOfMany = error
    else if (!(error instanceof RangeError)) throw error
  }
  if (next < plan.length) perform(plan[next++])
}

function perform(step) {
  step.isBegun = true
  const { kind, block, index, size } = step
  if (kind === 'alloc') step.made = arena.alloc(size)
  else if (kind === 'allocAligned') step.made = arena.allocUnsafe(size, align)
  else if (kind === 'from') step.made = arena.from(SOURCES[index])
  else if (kind === 'concat') step.made = arena.concat(PAIRS[index])
  else if (kind === 'stream') arena.stream(block.buffer).on('error', requireInterruption).destroy()
  else if (kind === 'free') arena.free(block.buffer)
  else if (kind === 'realloc') step.made = arena.realloc(block.buffer, size)
  else if (kind === 'relocate') step.made = arena.relocate(block.buffer)
  else if (kind === 'trim') arena.trim()
  else if (kind === 'stats') arena.stats()
  else if (kind === 'reset') arena.reset()
  else if (kind === 'pin') {
    arena.pin(block.buffer)
    arena.unpin(block.buffer)
  } else if (kind === 'pool') usePool(pools[size % 3])
  else {
    const scope = arena.scope()
    scope.allocUnsafe(100)
    scope.allocUnsafe(70_000)
    scope.end()
  }
  step.isDone = true
}

/** A stream tells of what went wrong while it is destroyed. */
function requireInterruption(error) {
  if (!(error instanceof RangeError)) throw error
}

/** Two Buffers that are handed out at once share no bytes, with each other or with a live block. */
function usePool(pool) {
  const one = pool.acquire()
  one.fill(251)
  const other = pool.acquire()
  other.fill(252)
  if (one[0] !== 251 || other[other.length - 1] !== 252) throw new Error('a Buffer was handed out twice')
  pool.release(one)
  pool.release(other)
  pool.use(() => {})
}

function learn({ kind, block, made, isBegun, isDone }) {
  if (block !== null && (!isBegun || kind === 'pin')) {
    unpinAll(block.buffer)
    live.push(block)
  } else if (block !== null && !isDone) {
    settle(block.buffer)
  }
  add(made)
}

/** What the steps of the plan left behind is known again, and right. */
function conclude() {
  if (plan.some(step => step.kind === 'reset' && step.isBegun)) {
    // Whatever became of it, all that was before it has ended, or ends now.
    for (const { block } of plan) {
      if (block === null) continue
      try {
        unpinAll(block.buffer)
      } catch {}
    }
    live = []
    arena.reset()
  } else {
    for (const step of plan) learn(step)
  }
  verify()
}

async function overflow() {
  // All is compiled before: the compiler needs more of the stack than what it compiles.
  plan = planned(1_000).filter(step => step.kind !== 'reset')
  for (const step of plan) perform(step)
  conclude()
  for (let round = 0; round < rounds; round++) {
    plan = planned(240)
    next = 0
    dive()
    for (const error of lastOfMany.errors) assert.ok(error instanceof RangeError, error)
    interruptions += plan.filter(step => step.isBegun && !step.isDone).length
    conclude()
    if (round % 4 === 3) await turn()
    while (live.length > 300) arena.free(live.pop().buffer)
  }
}

/** What the inserted calls throw. */
class Interruption extends RangeError {}
let left = Number.POSITIVE_INFINITY
let isUnwinding = false
let lastPlace = ''
function interrupt() {
  const interruption = new Interruption()
  lastPlace = interruption.stack
  throw interruption
}
globalThis.tick = () => {
  if (left-- > 0) return
  // A stack that overflows once does so again soon.
  left = kind === 'thrown' && below(3) === 0 ? below(20) : Number.POSITIVE_INFINITY
  isUnwinding = kind === 'cut'
  interrupt()
}
globalThis.unwind = () => {
  if (isUnwinding) interrupt()
}

function isInterruption(error) {
  if (error instanceof AggregateError) return error.errors.every(isInterruption)
  return error instanceof Interruption || error?.cause instanceof Interruption
}

/** `perform`, which is interrupted at the N-th place that it comes to. Whether it came to its end. */
function performInterrupted(step) {
  left = below(4) === 0 ? Number.POSITIVE_INFINITY : below([10, 40, 200, 1000][below(4)])
  try {
    perform(step)
  } catch (error) {
    if (error.code === 'ERR_ARENA_LIMIT' || error.code === 'ERR_ARENA_BUSY') return
    if (!isInterruption(error)) throw error
    interruptions++
  } finally {
    left = Number.POSITIVE_INFINITY
    isUnwinding = false
  }
}

async function placed() {
  for (let round = 0; round < rounds; round++) {
    plan = planned(1 + below(6))
    try {
      for (const step of plan) {
        performInterrupted(step)
        // What ends all blocks may have done so, or not.
        if (step.kind === 'reset') break
      }
      if (kind === 'cut') {
        orBusy(() => arena.check())
        orBusy(() => arena.free(arena.allocUnsafe(70_000)))
        await turn()
      }
      conclude()
    } catch (error) {
      console.error(`round ${round}, after ${plan.map(step => `${step.kind} ${step.size}`)}, at ${lastPlace}`)
      throw error
    }
    if (round % 16 === 0) await turn()
    while (live.length > 100) arena.free(live.pop().buffer)
  }
}

const SCRIPT = `
  for (;;) {
    const slot = slots[random(slots.length)]
    const size = sizes[random(sizes.length)]
    const choice = random(20)
    if (choice === 0) arena.trim()
    else if (choice === 1) {
      const scope = arena.scope()
      scope.allocUnsafe(size)
      scope.end()
    } else if (slot.buffer === null) {
      slot.isFilled = false
      if (choice === 2) slot.buffer = arena.allocUnsafe(size, align)
      else if (choice === 3) slot.buffer = arena.concat(pairs[random(pairs.length)])
      else slot.buffer = arena.alloc(size)
      slot.buffer.fill(slot.tag)
      slot.isFilled = true
    } else if (choice < 18) {
      const buffer = slot.buffer
      slot.ending = buffer
      slot.buffer = null
      const moved = choice < 14 ? arena.free(buffer) : arena.realloc(buffer, size)
      slot.ending = null
      if (moved !== undefined) {
        slot.isFilled = false
        slot.buffer = moved
        moved.fill(slot.tag)
        slot.isFilled = true
      }
    } else if (choice === 18) {
      const pool = pools[random(pools.length)]
      const [one, other] = [pool.acquire(), pool.acquire()]
      one.fill(251)
      other.fill(252)
      if (one[0] !== 251) throw new Error('a Buffer was handed out twice')
      pool.release(one)
      pool.release(other)
    } else {
      arena.pin(slot.buffer)
      arena.unpin(slot.buffer)
    }
  }
`

function orBusy(call) {
  try {
    call()
  } catch (error) {
    if (error.code !== 'ERR_ARENA_BUSY') throw error
    return 1
  }
  return 0
}

async function terminate() {
  const slots = Array.from({ length: 60 }, (_, i) => ({
    buffer: null,
    ending: null,
    tag: i + 1,
    isFilled: true,
  }))
  const random = n => Math.floor(Math.random() * n)
  const context = vm.createContext({ arena, pools, slots, sizes: SIZES, pairs: PAIRS, align, random })
  const script = new vm.Script(SCRIPT)
  let busy = 0
  for (let round = 0; round < rounds; round++) {
    try {
      script.runInContext(context, { timeout: 1 + below(3) })
    } catch (error) {
      if (error.code === 'ERR_ARENA_BUSY') busy++
      else if (error.code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error
    }
    interruptions++
    // In the same turn it may be busy, and nothing else. Asked once, it is open after the next.
    busy += orBusy(() => arena.check())
    orBusy(() => arena.free(arena.allocUnsafe(70_000)))
    await turn()
    live = []
    for (const slot of slots) {
      if (slot.ending !== null) settle(slot.ending)
      slot.ending = null
      if (slot.buffer === null) continue
      unpinAll(slot.buffer)
      if (!slot.isFilled) slot.buffer.fill(slot.tag)
      slot.isFilled = true
      live.push({ buffer: slot.buffer, tag: slot.tag, size: slot.buffer.length })
    }
    verify()
  }
  assert.ok(busy < rounds, `${busy} times busy`)
}

await (isPlaced ? placed() : kind === 'overflow' ? overflow() : terminate())
// A stream whose end was terminated holds its blocks until it is collected.
v8.setFlagsFromString('--expose-gc')
const collectGarbage = vm.runInNewContext('gc')
for (let i = 0; i < 20 && arena.stats().liveBlocks > live.length; i++) {
  plan = []
  collectGarbage()
  await turn()
}
arena.reset()
arena.check()
assert.equal(arena.lostBlocks, 0)
arena.free(arena.alloc(100))
arena.close()
arena.check()
assert.equal(arena.stats().committedBytes, 0)
await turn()
console.log(`never twice, interrupted ${interruptions > 3 ? 'often' : interruptions}`)
