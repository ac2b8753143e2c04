/**
 * What every platform must do, without a test runner: one that an emulator has to run takes minutes. Prints a line for each check,
 * and exits with 1 when one failed.
 *
 *   node smoke.mjs --page-bytes N --libc glibc|musl
 *
 * It is a user's program: it sits in a folder whose node_modules has the package as it is published, without build/Release.
 */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { Arena, setProcessLimit, totals } from 'offheap'
import { Heap } from 'offheap/heap'

const MIB = 2 ** 20
/** Of the package that this program uses. */
const ROOT = new URL('../', import.meta.resolve('offheap'))
const BINARY = `prebuilds/linux-${process.arch}/offheap.node`

/** Bytes of a pattern that depends on `seed`; `isIntact` says whether they are still there. */
function fill(block, seed) {
  for (let i = 0; i < block.length; i += 61) block[i] = (seed + i) % 251
}

function isIntact(block, seed) {
  for (let i = 0; i < block.length; i += 61) if (block[i] !== (seed + i) % 251) return false
  return true
}

/** Random work in one arena, every byte of it verified. Returns how many blocks there were. */
function churn(arena, rounds, seed) {
  let state = seed
  const random = below => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fff_ffff
    return state % below
  }
  const live = []
  for (let round = 0; round < rounds; round++) {
    if (live.length > 100 || (live.length > 0 && random(3) === 0)) {
      const [{ block, name }] = live.splice(random(live.length), 1)
      assert(isIntact(block, name), `block ${name} has other bytes`)
      arena.free(block)
    } else {
      const block = arena.allocUnsafe(1 + random(random(8) === 0 ? MIB / 4 : 5000))
      fill(block, round)
      live.push({ block, name: round })
    }
    if (round % 500 === 499) arena.trim()
  }
  for (const { block, name } of live) {
    assert(isIntact(block, name), `block ${name} has other bytes`)
    arena.free(block)
  }
  return rounds
}

function withArena(options, use) {
  const arena = new Arena(options)
  try {
    return use(arena)
  } finally {
    arena.close()
  }
}

const codeOf = call => {
  try {
    call()
  } catch (error) {
    return error.code
  }
  return 'nothing was thrown'
}

/** Kernel mappings need whole pages: the addon's own page size shows in what an arena commits. */
function commitsPagesOf(pageBytes) {
  withArena({}, arena => {
    const block = arena.alloc(1)
    assert.equal(arena.stats().committedBytes, pageBytes)
    arena.free(block)
  })
}

function keepsContents() {
  for (const options of [
    {},
    { detachFromBytes: 0 },
    { releaseAfterMs: 0 },
    { hugePages: true },
    { prefault: true },
  ])
    withArena(options, arena => churn(arena, 1500, 7))
}

function readsZero() {
  withArena({ releaseAfterMs: 0 }, arena => {
    for (const sizeBytes of [1, 100, 5000, 70_000, 3 * MIB])
      for (let turn = 0; turn < 3; turn++) {
        const block = arena.alloc(sizeBytes)
        assert(
          block.every(byte => byte === 0),
          `a new block of ${sizeBytes} bytes has bytes that are not zero`,
        )
        arena.free(block.fill(255))
      }
  })
}

function givesBack() {
  withArena({ releaseAfterMs: Number.POSITIVE_INFINITY }, arena => {
    const blocks = Array.from({ length: 8 }, () => arena.alloc(MIB).fill(1))
    assert(arena.residentBytes() >= 8 * MIB)
    for (const block of blocks) arena.free(block)
    assert(arena.trim() >= 8 * MIB)
    assert(arena.residentBytes() <= MIB, `${arena.residentBytes()} bytes are still resident`)
  })
}

async function givesBackByTime() {
  const arena = new Arena({ releaseAfterMs: 20 })
  const kept = arena.alloc(10).fill(3)
  arena.free(arena.alloc(4 * MIB).fill(1))
  for (let waited = 0; arena.residentBytes() > MIB && waited < 600; waited++) await sleep(50)
  assert(arena.residentBytes() <= MIB)
  assert.equal(kept[9], 3)
  arena.close()
}

function throwsByCode() {
  const arena = new Arena({ limitBytes: 2 * MIB })
  const block = arena.alloc(100)
  assert.equal(
    codeOf(() => arena.alloc(4 * MIB)),
    'ERR_ARENA_LIMIT',
  )
  assert.equal(
    codeOf(() => arena.alloc(-1)),
    'ERR_OUT_OF_RANGE',
  )
  assert.equal(
    codeOf(() => arena.alloc('1')),
    'ERR_INVALID_ARG_TYPE',
  )
  assert.equal(
    codeOf(() => arena.free(Buffer.alloc(8))),
    'ERR_ARENA_FOREIGN_BUFFER',
  )
  assert.equal(
    codeOf(() => arena.free(block.subarray(1))),
    'ERR_ARENA_NOT_OWNER',
  )
  arena.free(block)
  assert.equal(
    codeOf(() => arena.free(block)),
    'ERR_ARENA_DOUBLE_FREE',
  )
  arena.close()
  assert.equal(
    codeOf(() => arena.alloc(1)),
    'ERR_ARENA_CLOSED',
  )
}

/** The errors of the addon itself: C++ throws them, and catches them at the border to Node. */
function throwsFromTheAddon() {
  const addon = createRequire(import.meta.url)(fileURLToPath(new URL(BINARY, ROOT)))
  assert.throws(() => addon.map(2 ** 50), { code: 'ENOMEM', syscall: 'mmap' })
  assert.throws(() => addon.map('1'), { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' })
  assert.throws(() => addon.unmap(2 ** 40), { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' })
}

/** On musl nobody can move the program break. Elsewhere something may be mapped right above it: then EEXIST. */
function hasTheBreak(libc) {
  let arena
  try {
    arena = new Arena({ source: 'sbrk' })
  } catch (error) {
    assert.equal(error.code, 'ERR_ARENA_BREAK_UNAVAILABLE')
    if (libc === 'musl') assert.equal(error.cause.code, 'ENOMEM')
    else assert.equal(error.cause.code, 'EEXIST')
    return `not to be had: ${error.cause.message}`
  }
  assert.equal(libc, 'glibc')
  try {
    assert.equal(
      codeOf(() => new Arena({ source: 'sbrk' })),
      'ERR_ARENA_BREAK_IN_USE',
    )
    churn(arena, 500, 11)
  } finally {
    arena.close()
  }
  return 'moved'
}

function findsDamage() {
  withArena({ debug: true }, arena => {
    churn(arena, 300, 5)
    const block = arena.alloc(100)
    arena.free(block)
    assert.equal(
      codeOf(() => arena.free(block)),
      'ERR_ARENA_DOUBLE_FREE',
    )
    assert.equal(block.length, 0)
  })
}

function limitsTheProcess() {
  setProcessLimit(2 * MIB)
  try {
    withArena({}, arena =>
      assert.equal(
        codeOf(() => arena.alloc(3 * MIB)),
        'ERR_ARENA_LIMIT',
      ),
    )
  } finally {
    setProcessLimit(Number.POSITIVE_INFINITY)
  }
}

function dividesNumbers() {
  const heap = new Heap({ capacityBytes: MIB })
  heap.free(heap.allocate(1000))
  heap.free(heap.allocate(MIB))
}

/** Four end by themselves, two of them without `close`, and two are ended in the middle. */
async function runsWorkers() {
  const file = fileURLToPath(import.meta.url)
  const ended = Array.from({ length: 6 }, async (_, index) => {
    const worker = new Worker(file, { workerData: { index } })
    const code = new Promise((resolve, reject) => worker.on('exit', resolve).on('error', reject))
    await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
    if (index >= 4) await worker.terminate()
    else assert.equal(await code, 0)
  })
  await Promise.all(ended)
  assert.equal(totals().processTakenBytes, 0)
}

async function work({ index }) {
  const arena = new Arena({ debug: index === 1 })
  parentPort.postMessage(churn(arena, 400, index))
  if (index >= 4) for (;;) churn(arena, 100, index)
  if (index % 2 === 0) arena.close()
}

async function main({ 'page-bytes': pageBytes, libc }) {
  // Not by `process.report`: with pages of 16 KiB it ends the process under qemu.
  const hasGlibc = /\/libc(\.so\.6|-2\.\d+\.so)$/m.test(readFileSync('/proc/self/maps', 'latin1'))
  const checks = [
    ['runs on the C library that was meant', () => assert.equal(hasGlibc, libc === 'glibc')],
    ['has no binary but the published ones', () => assert(!existsSync(new URL('build', ROOT)))],
    ['commits whole pages', () => commitsPagesOf(Number(pageBytes))],
    ['keeps contents', keepsContents],
    ['reads zero', readsZero],
    ['gives pages back by trim', givesBack],
    ['gives pages back by time', givesBackByTime],
    ['throws errors by code', throwsByCode],
    ['throws errors of the addon', throwsFromTheAddon],
    ['has the program break or says why not', () => hasTheBreak(libc)],
    ['finds damage with debug', findsDamage],
    ['limits the process', limitsTheProcess],
    ['divides numbers', dividesNumbers],
    ['runs in Workers', runsWorkers],
  ]
  let failedCount = 0
  for (const [name, check] of checks)
    try {
      const note = await check()
      console.log(`passed: ${name}${typeof note === 'string' ? ` (${note})` : ''}`)
    } catch (error) {
      failedCount++
      console.log(`FAILED: ${name}: ${error.stack}`)
    }
  process.exitCode = failedCount === 0 ? 0 : 1
}

if (isMainThread) {
  const options = {
    'page-bytes': { type: 'string', default: '4096' },
    libc: { type: 'string', default: 'glibc' },
  }
  await main(parseArgs({ options }).values)
} else {
  await work(workerData)
}
