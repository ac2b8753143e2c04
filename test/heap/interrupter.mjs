/**
 * Interrupts the heap wherever V8 could: at the start of each function, in each loop, and where it calls the runtime. It is loaded
 * with a call at each of these places, and the N-th throws.
 *
 *   node interrupter.mjs DIST SEED STEPS
 */
import assert from 'node:assert/strict'
import { register } from 'node:module'
import { belowFrom } from '../support/below.mjs'

const [dist, seedText, stepsText] = process.argv.slice(2)
register('../support/instrument.mjs', import.meta.url, { data: { url: new URL('.', dist).href } })

class Interruption extends Error {}
let left = Number.POSITIVE_INFINITY
globalThis.tick = () => {
  if (left-- === 0) throw new Interruption()
}

const { BlockHeap } = await import(new URL('heap/block-heap.js', dist).href)
const { Survey } = await import(new URL('heap/survey.js', dist).href)

const below = belowFrom(Number(seedText))

/** Does `change`, and interrupts it perhaps. Returns whether it came to its end. */
let interruptions = 0
function attempt(change) {
  left = below(3) === 0 ? Number.POSITIVE_INFINITY : below(below(4) === 0 ? 400 : 40)
  try {
    change()
    return true
  } catch (error) {
    if (!(error instanceof Interruption)) throw error
    interruptions++
    return false
  } finally {
    left = Number.POSITIVE_INFINITY
  }
}

const SIZES = [16, 16, 24, 100, 500, 500, 1_000, 3_000, 5_000, 5_000, 20_000, 70_000, 200_000]
const heap = new BlockHeap(4096, { wholePagesFromBytes: 65_536 })
const live = new Map()
let pages = 0

function verify() {
  heap.check()
  let end = 0
  let known = 0
  for (const block of heap.listLive()) {
    assert.ok(block * 16 >= end, `block ${block} overlaps the one before it`)
    end = block * 16 + heap.sizeOf(block)
    const bytes = live.get(block)
    if (bytes === undefined) continue
    known++
    assert.ok(heap.sizeOf(block) >= bytes, `block ${block} has ${heap.sizeOf(block)} bytes of ${bytes}`)
  }
  assert.equal(known, live.size, 'live blocks')
}

/** Ends a block past the stacks. */
function giveUp(block) {
  if (attempt(() => heap.giveUp(block))) live.delete(block)
  else {
    heap.mend()
    if (!heap.isLive(block)) live.delete(block)
  }
}

/** Moves some blocks down, as a compaction does. */
function compact(blocks) {
  let survey
  attempt(() => {
    heap.flush()
    const made = new Survey(heap, 1)
    made.walk(Number.POSITIVE_INFINITY)
    made.choose(1 / 3, Number.POSITIVE_INFINITY)
    made.end()
    survey = made
  })
  for (const from of survey === undefined ? [] : blocks) {
    heap.mend()
    const end = heap.endOf(from)
    if (!survey.isSource(from, end)) continue
    let to = -1
    const isDone = attempt(() => {
      to = heap.takeLowest(survey.gaps, end - from, survey.meet)
    })
    if (!isDone || to === -1) continue
    assert.ok(!live.has(to), `block ${to} was handed out twice`)
    live.set(to, live.get(from))
    giveUp(from)
  }
}

const steps = Number(stepsText)
for (let step = 0; step < steps; step++) {
  const choice = below(100)
  const blocks = [...live.keys()]
  const block = blocks[below(blocks.length)]
  if (choice < 45 || block === undefined) {
    const bytes = SIZES[below(SIZES.length)]
    let got = -1
    const isDone = attempt(() => {
      got = choice === 0 ? heap.allocateAligned(bytes, 64 << below(4)) : heap.allocate(bytes)
    })
    if (isDone && got === -1 && pages < 4_000) {
      const first = pages + (below(3) === 0 ? 256 : 0)
      if (
        attempt(() => heap.addRange(first, 256)) ||
        heap.ranges.some(range => first >= range.firstPage && first < range.firstPage + range.pageCount)
      )
        pages = first + 256
    } else if (isDone && got !== -1) {
      assert.ok(!live.has(got), `block ${got} was handed out twice`)
      live.set(got, bytes)
    }
  } else if (choice < 85) {
    if (attempt(() => assert.ok(heap.free(block)))) live.delete(block)
    else {
      heap.mend()
      if (!heap.isLive(block)) live.delete(block)
    }
  } else if (choice < 90) {
    const bytes = SIZES[below(SIZES.length)]
    if (
      attempt(() => {
        if (heap.resize(block, bytes)) live.set(block, bytes)
      }) === false
    ) {
      heap.mend()
      live.set(block, Math.min(live.get(block), heap.sizeOf(block)))
    }
  } else if (choice < 91) {
    giveUp(block)
  } else if (choice < 92) {
    attempt(() => heap.flush())
  } else if (choice < 96) {
    attempt(() => {
      heap.flush()
      for (let page = heap.nextDirty(0, false); page !== -1; ) {
        const end = heap.dirtyEnd(page, 64, false)
        heap.markPurged(page, end - page)
        page = heap.nextDirty(end, false)
      }
    })
  } else if (choice < 97) {
    attempt(() => heap.shrinkBooks())
  } else if (choice < 98) {
    attempt(() => {
      heap.flush()
      const range = heap.ranges[heap.ranges.length - 1]
      if (range === undefined || !heap.isRangeFree(range)) return
      heap.markPurged(range.firstPage, range.pageCount)
      heap.removeRange(range.firstPage, range.pageCount)
    })
    const last = heap.ranges[heap.ranges.length - 1]
    pages = last === undefined ? 0 : last.firstPage + last.pageCount
  } else if (choice === 98) {
    for (const other of blocks.slice(blocks.length >> 1)) {
      assert.ok(heap.free(other))
      live.delete(other)
    }
  } else if (below(2) === 0) {
    compact(blocks)
  } else {
    attempt(() => heap.ageDirtyPages())
  }
  if (step % 7 === 0) verify()
}
verify()
assert.ok(interruptions > steps / 20, `${interruptions} interruptions`)
// What nobody has is free when all is: the whole space can be had again.
for (const block of heap.listLive()) assert.ok(heap.free(block))
heap.flush()
heap.check()
assert.equal(heap.usedPages, 0)
console.log('never twice')
