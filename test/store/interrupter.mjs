/**
 * Calls of a store that do not come to their end. Afterwards the books are right, or the store says that it is busy until
 * the next turn; no two records share bytes, and each has its contents.
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
import vm from 'node:vm'
import { belowFrom } from '../support/below.mjs'

const [dist, kind, seedText, optionsText] = process.argv.slice(2)
const isPlaced = kind === 'thrown' || kind === 'cut'
if (isPlaced)
  register('../support/instrument.mjs', import.meta.url, { data: { url: new URL('.', dist).href } })
const { Store } = await import(dist)
const { SegmentSource } = await import(new URL('memory/segment-source.js', dist))
/** Nobody takes a buffer here. So no store may believe that, also not after an interruption. */
SegmentSource.prototype.keepForGood = () => {
  console.error(new Error('an interrupted call was taken for other code that took a buffer').stack)
  process.exit(1)
}
const rounds = Number(process.env.ROUNDS ?? { overflow: 12, terminate: 150, thrown: 500, cut: 500 }[kind])
const below = belowFrom(Number(seedText))
const SIZES = [0, 24, 24, 24, 100, 100, 1_000, 1_000, 5_000, 40_000, 70_000, 300_000]
const turn = () => new Promise(resolve => setImmediate(() => setImmediate(resolve)))
const options = { name: 'interrupted', ...JSON.parse(optionsText) }
const store = new Store(options)
/** The tag of each record that is known, which is in all of its bytes. */
const live = new Map()
let lastTag = 0
let interruptions = 0

function fill(ref, tag) {
  store.view(ref).fill(tag)
  live.set(ref, { tag, size: store.sizeOf(ref) })
}

function orBusy(call) {
  try {
    call()
  } catch (error) {
    if (error.code === 'ERR_ARENA_LIMIT') return 0
    if (error.code !== 'ERR_ARENA_BUSY') throw error
    return 1
  }
  return 0
}

function verify() {
  store.check()
  for (const [ref, { tag, size }] of live) {
    assert.ok(store.has(ref), `ref ${ref} is live`)
    const view = store.view(ref)
    assert.equal(view.length, size)
    for (let at = 0; at < size; at += 253) assert.equal(view[at], tag, `byte ${at} of ${size}`)
    if (size > 0) assert.equal(view[size - 1], tag, `the last of ${size} bytes`)
  }
}

const KINDS = [
  'alloc',
  'put',
  'alloc',
  'put',
  'free',
  'free',
  'realloc',
  'compact',
  'compact',
  'slice',
  'trim',
  'pin',
  'pin',
  'pinned',
  'pinned',
  'lend',
  'promise',
  'read',
  'thin',
]
/** Kinds that are about a record of their own. */
const OF_RECORDS = new Set(['free', 'realloc', 'pin', 'pinned', 'lend', 'promise', 'read'])
const PINNING = new Set(['pin', 'pinned', 'lend', 'promise'])
/** Random steps: as many as asked, or up to a reset where there may be one. */
function planned(count, mayReset = true) {
  const plan = []
  const refs = [...live.keys()]
  for (let i = 0; i < count; i++) {
    let kind = KINDS[below(KINDS.length)]
    let ref = -1
    if (OF_RECORDS.has(kind)) {
      if (refs.length === 0) kind = 'alloc'
      else ref = refs.splice(below(refs.length), 1)[0]
    }
    if (kind === 'thin' && below(20) > 0) kind = 'alloc'
    if (kind === 'alloc' && below(300) === 0 && mayReset) kind = 'reset'
    const size = SIZES[below(SIZES.length)]
    plan.push({ kind, ref, size, bytes: Buffer.alloc(size, 251), made: -1, isBegun: false, isDone: false })
    // What comes after it is about records that have ended.
    if (kind === 'reset') break
  }
  return plan
}

let plan = []
let next = 0
const one = { maxMs: 0 }
const all = { maxMs: 100 }
function dive() {
  try {
    dive()
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
  }
  if (next < plan.length) perform(plan[next++])
}

function perform(step) {
  step.isBegun = true
  try {
    begin(step)
    step.isDone = true
  } catch (error) {
    if (error.code !== 'ERR_ARENA_LIMIT') throw error
  }
}

function begin(step) {
  const { kind, ref, size } = step
  if (kind === 'alloc') step.made = store.alloc(size)
  else if (kind === 'put') step.made = store.put(step.bytes)
  else if (kind === 'free') store.free(ref)
  else if (kind === 'realloc') store.realloc(ref, size)
  else if (kind === 'compact') store.compact(all)
  else if (kind === 'slice') store.compact(one)
  else if (kind === 'trim') store.trim()
  else if (kind === 'reset') store.reset()
  else if (kind === 'lend') store.lend(ref, lengthOf)
  else if (kind === 'promise') store.lend(ref, later).catch(requireInterruption)
  else if (kind === 'read') read(ref)
  else if (kind === 'pin' || kind === 'pinned') {
    store.pin(ref)
    if (kind === 'pinned') store.free(ref)
    store.unpin(ref)
  }
}

const lengthOf = bytes => bytes.length
const resolved = Promise.resolve()
const later = () => resolved
function requireInterruption(error) {
  if (!(error instanceof RangeError)) throw error
}
function read(ref) {
  const { tag, size } = live.get(ref)
  if (size < 4) return
  assert.equal(store.readUInt8(ref, size - 1), tag)
  store.writeUInt8(ref, tag, 0)
  assert.equal(store.view(ref)[0], tag)
  assert.equal(store.copy(ref)[1], tag)
}

function unpinAll(ref) {
  try {
    for (;;) store.unpin(ref)
  } catch (error) {
    if (!['ERR_ARENA_NOT_PINNED', 'ERR_ARENA_DOUBLE_FREE'].includes(error.code)) throw error
  }
}

/** After a reset that may have been interrupted: the records before it are ending, and those that come now are not. */
function concludeReset() {
  live.clear()
  for (const size of SIZES) {
    // The old records may be live still, and take all room.
    orBusy(() => {
      const ref = store.put(Buffer.alloc(size, 9))
      live.set(ref, { tag: 9, size })
    })
  }
  for (const { ref, kind } of plan) if (PINNING.has(kind)) unpinAll(ref)
  store.compact(all)
  verify()
  if (below(2) > 0) return
  live.clear()
  store.reset()
}

/** What the steps of the plan left behind is known again, and right. */
async function conclude() {
  if (plan.some(step => step.kind === 'reset' && step.isBegun)) concludeReset()
  for (const { kind, ref, size, made, isBegun, isDone } of plan) {
    if (PINNING.has(kind)) unpinAll(ref)
    if (!isBegun) continue
    const known = live.get(ref)
    const mayEnd = kind === 'free' || kind === 'pinned'
    if (mayEnd && !store.has(ref)) live.delete(ref)
    else if (mayEnd) assert.ok(!isDone, 'free ends a record')
    if (kind === 'realloc' && known !== undefined) {
      const now = store.sizeOf(ref)
      assert.ok(
        isDone ? now === size : now === size || now === known.size,
        `${now} bytes, of ${known.size} to ${size}`,
      )
      const view = store.view(ref)
      const kept = Math.min(now, known.size)
      for (let at = 0; at < kept; at += 100) assert.equal(view[at], known.tag)
      fill(ref, known.tag)
    }
    if (made >= 0 && store.has(made)) {
      assert.ok(!live.has(made), `ref ${made} was given twice`)
      lastTag = (lastTag % 250) + 1
      fill(made, lastTag)
    }
  }
  // Records that were made, and whose ref did not come out.
  store.sweep(ref => live.has(ref))
  if (store.stats().pinnedRecords > 0) {
    // Loans end with their promises, and those that were terminated in the next turn.
    assert.ok(plan.some(step => (step.kind === 'promise' || step.kind === 'lend') && step.isBegun))
    await turn()
  }
  assert.equal(store.stats().pinnedRecords, 0)
  verify()
  if (below(8) > 0) return
  // Blocks that nobody knows of end with the next compaction.
  store.trim()
  assert.equal(store.lostBlocks, 0)
  verify()
}

function thin() {
  for (const ref of [...live.keys()]) {
    if (below(5) === 0) continue
    store.free(ref)
    live.delete(ref)
  }
}

async function overflow() {
  // All is compiled before: the compiler needs more of the stack than what it compiles.
  plan = planned(1_000, false)
  for (const step of plan) perform(step)
  await conclude()
  for (let round = 0; round < rounds; round++) {
    plan = planned(240)
    next = 0
    dive()
    interruptions += plan.filter(step => step.isBegun && !step.isDone).length
    await conclude()
    if (round % 4 === 3) await turn()
    if (live.size > 300) thin()
  }
}

class Interruption extends RangeError {}
// A cut call does not return its promise, so nobody waits for it.
process.on('unhandledRejection', error => {
  if (!(error instanceof Interruption)) throw error
})
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

/** `perform`, which is interrupted at the N-th place that it comes to. */
function performInterrupted(step) {
  const isLong = ['compact', 'slice', 'trim'].includes(step.kind)
  left =
    below(4) === 0
      ? Number.POSITIVE_INFINITY
      : below((isLong ? [100, 1_000, 5_000, 30_000] : [10, 40, 200, 1000])[below(4)])
  try {
    perform(step)
  } catch (error) {
    if (error.code === 'ERR_ARENA_BUSY') return
    if (!(error instanceof Interruption) && !(error?.cause instanceof Interruption)) throw error
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
        // What ends all records may have done so, or not.
        if (step.kind === 'reset') break
        // Other records come where something may be half done.
        if (below(3) === 0) {
          orBusy(() => {
            const ref = store.put(Buffer.alloc(100, 251))
            fill(ref, 251)
          })
        }
      }
      if (kind === 'cut') {
        orBusy(() => store.check())
        orBusy(() => store.free(store.allocUnsafe(70_000)))
        await turn()
      }
      await conclude()
    } catch (error) {
      console.error(`round ${round}, after ${plan.map(step => `${step.kind} ${step.size}`)}, at ${lastPlace}`)
      throw error
    }
    if (round % 16 === 0) await turn()
    if (live.size > 100 + below(200)) thin()
  }
}

const SCRIPT = `
  for (;;) {
    const slot = slots[random(slots.length)]
    const size = sizes[random(sizes.length)]
    const choice = random(30)
    if (choice === 0) store.trim()
    else if (choice < 4) store.compact(all)
    else if (slot.ref === -1) {
      slot.ref = store.put(slot.bytes)
      slot.isKnown = true
    } else if (choice < 24) {
      slot.isKnown = false
      store.free(slot.ref)
      slot.ref = -1
    } else if (choice < 27) {
      slot.isPinned = true
      store.pin(slot.ref)
      if (choice === 26) {
        slot.isKnown = false
        store.free(slot.ref)
      }
      store.unpin(slot.ref)
      slot.isPinned = false
      if (choice === 26) slot.ref = -1
      else store.lend(slot.ref, lengthOf)
    } else {
      slot.isKnown = false
      store.realloc(slot.ref, size)
      store.write(slot.ref, bytes.subarray(0, size).fill(slot.tag))
      slot.isKnown = true
    }
  }
`

async function terminate() {
  const slots = Array.from({ length: 400 }, (_, i) => {
    const tag = (i % 250) + 1
    const size = SIZES[below(SIZES.length)]
    return { ref: -1, tag, bytes: Buffer.alloc(size, tag), isKnown: false, isPinned: false }
  })
  const random = n => Math.floor(Math.random() * n)
  const bytes = Buffer.alloc(300_000)
  const context = vm.createContext({ store, slots, sizes: SIZES, all, random, bytes, lengthOf })
  const script = new vm.Script(SCRIPT)
  let busy = 0
  for (let round = 0; round < rounds; round++) {
    try {
      script.runInContext(context, { timeout: 1 + below(4) })
    } catch (error) {
      if (error.code === 'ERR_ARENA_BUSY') busy++
      else if (!['ERR_SCRIPT_EXECUTION_TIMEOUT', 'ERR_ARENA_LIMIT'].includes(error.code)) throw error
    }
    interruptions++
    // In the same turn it may be busy, and nothing else. Asked once, it is open after the next.
    busy += orBusy(() => store.check())
    orBusy(() => store.free(store.allocUnsafe(70_000)))
    await turn()
    live.clear()
    for (const slot of slots) {
      if (slot.isPinned) unpinAll(slot.ref)
      slot.isPinned = false
      if (slot.ref === -1 || !store.has(slot.ref)) {
        slot.ref = -1
        continue
      }
      if (!slot.isKnown) store.view(slot.ref).fill(slot.tag)
      slot.isKnown = true
      live.set(slot.ref, { tag: slot.tag, size: store.sizeOf(slot.ref) })
    }
    // Made, and not told.
    if (store.stats().pinnedRecords > 0) await turn()
    assert.equal(store.stats().pinnedRecords, 0)
    store.sweep(ref => live.has(ref))
    verify()
  }
  assert.ok(busy < rounds, `${busy} times busy`)
}

/** `close` calls that are interrupted. A second one does the rest. */
async function closed() {
  for (let round = 0; round < rounds / 10; round++) {
    await turn()
    const closing = new Store(options)
    for (const size of SIZES) closing.view(closing.put(Buffer.alloc(size, 1)))
    const pinned = closing.put(Buffer.alloc(100))
    closing.pin(pinned)
    closing.unpin(pinned)
    left = below([10, 40, 200, 1000, 4000][below(5)])
    try {
      closing.close()
    } catch (error) {
      if (!(error instanceof Interruption)) throw error
    } finally {
      left = Number.POSITIVE_INFINITY
      isUnwinding = false
    }
    if (kind === 'cut') {
      orBusy(() => closing.close())
      await turn()
    }
    closing.close()
    closing.check()
    assert.equal(closing.stats().committedBytes, 0, lastPlace)
  }
}

await (isPlaced ? placed() : kind === 'overflow' ? overflow() : terminate())
store.reset()
store.check()
assert.equal(store.lostBlocks, 0)
store.free(store.alloc(100))
store.close()
store.check()
assert.equal(store.stats().committedBytes, 0)
await turn()
if (isPlaced) await closed()
console.log(`never twice, interrupted ${interruptions > 3 ? 'often' : interruptions}`)
