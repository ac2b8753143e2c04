import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { describe, expect, it } from 'vitest'
import { loadAddon } from '../../src/memory/addon.js'
import { kernelMappingCount } from '../support/process.js'
import { type Random, randomFrom } from '../support/random.js'

const GIB = 2 ** 30

function startWorker(name: string, workerData = {}): Worker {
  return new Worker(new URL(`../fixtures/${name}.mjs`, import.meta.url), { workerData })
}

function ended(worker: Worker): Promise<number> {
  return new Promise((resolve, reject) => {
    worker.once('error', reject)
    worker.once('exit', resolve)
  })
}

function firstMessage(worker: Worker): Promise<unknown> {
  return new Promise((resolve, reject) => {
    worker.once('error', reject)
    worker.once('message', resolve)
  })
}

function addressSpaceBytes(): number {
  const match = /^VmSize:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'latin1'))
  return Number(match?.[1]) * 1024
}

/** Twenty Workers, four at a time, each ended at a random moment of its work. */
async function terminateTwenty(random: Random, keeps: boolean): Promise<void> {
  for (let batch = 0; batch < 5; batch++) {
    await Promise.all(Array.from({ length: 4 }, () => runAndTerminate(random.below(60), keeps)))
  }
}

function newSeed(): number {
  return (Date.now() ^ process.pid) | 0
}

async function runAndTerminate(delayMs: number, keeps: boolean): Promise<void> {
  const worker = startWorker('churn-worker', { keeps })
  const exit = ended(worker)
  await Promise.race([firstMessage(worker), exit])
  await sleep(delayMs)
  await worker.terminate()
  await exit
}

describe('Workers', () => {
  it('may be terminated at any moment, and leave no mapping behind', async () => {
    const seed = newSeed()
    loadAddon()
    await runAndTerminate(0, true)
    // What ended Workers had ArrayBuffers over stays, empty, for whoever may still hold an address of it.
    const mappedBytes = (): number => addressSpaceBytes() - loadAddon().kept().bytes
    const countBefore = kernelMappingCount()
    const bytesBefore = mappedBytes()
    await terminateTwenty(randomFrom(seed), true)
    // Each Worker has at least five mappings of 1 GiB at a time. What remains is V8's and malloc's own: the arenas of
    // ended threads, at 64 MiB and two mappings each, and spare pages of the heaps.
    expect(kernelMappingCount() - countBefore, `seed ${seed}`).toBeLessThan(400)
    expect(mappedBytes() - bytesBefore, `seed ${seed}`).toBeLessThan(5 * GIB)
  })

  it('may be terminated while the collector takes their ArrayBuffers', async () => {
    const seed = newSeed()
    await expect(terminateTwenty(randomFrom(seed), false), `seed ${seed}`).resolves.toBeUndefined()
  })

  it('may end while the main thread uses the same addon', async () => {
    const kernel = loadAddon()
    const mapping = kernel.map(kernel.pageBytes)
    const buffer = kernel.wrap(mapping, 0, kernel.pageBytes, 1)
    new Uint8Array(buffer).fill(9)
    await runAndTerminate(5, true)
    expect(new Uint8Array(buffer).every(byte => byte === 9)).toBe(true)
    kernel.detach(buffer)
  })

  it('leave mapped what was moved to another thread before they ended', async () => {
    const worker = startWorker('moving-worker')
    const exit = ended(worker)
    const moved = new Uint8Array((await firstMessage(worker)) as ArrayBuffer)
    await exit
    await sleep(50)
    expect(moved.length).toBeGreaterThan(0)
    expect(moved.every(byte => byte === 7)).toBe(true)
    moved.fill(8)
    expect(moved.every(byte => byte === 8)).toBe(true)
  })
})
