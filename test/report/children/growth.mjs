/**
 * Prints reports of this process as JSON: one before anything, then one after each of these took 64 MiB. With each the bytes that
 * the kernel counts (`Rss` of smaps_rollup), just before and just after it.
 */
import { readFileSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { Arena, memoryReport } from '#compiled/index.js'

const MIB = 2 ** 20
const held = []

function rss() {
  return Number(/^Rss:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/smaps_rollup', 'latin1'))[1]) * 1024
}

function look(step) {
  // What a call makes itself is resident by the second one.
  memoryReport()
  const before = rss()
  const report = memoryReport()
  return { step, report, rss: [before, rss()] }
}

const steps = {
  start: () => {},
  'short Buffers': () => {
    for (let i = 0; i < 8192; i++) held.push(Buffer.allocUnsafeSlow(8192).fill(1))
  },
  'long Buffers': () => {
    for (let i = 0; i < 2; i++) held.push(Buffer.allocUnsafeSlow(32 * MIB).fill(1))
  },
  objects: () => {
    for (let i = 0; i < 64; i++) held.push(Array.from({ length: MIB / 8 }, (_, j) => j + 0.5))
  },
  arena: () => {
    const arena = new Arena({ name: 'grown', releaseAfterMs: Number.POSITIVE_INFINITY })
    for (let i = 0; i < 64; i++) held.push(arena.alloc(MIB).fill(1))
    arena.free(held.pop())
    held.push(arena)
  },
  'sbrk arena': () => {
    const arena = new Arena({ name: 'break', source: 'sbrk' })
    for (let i = 0; i < 64; i++) held.push(arena.alloc(MIB).fill(1))
    held.push(arena)
  },
  Worker: () =>
    new Promise((resolve, reject) => {
      const text = `
        import('${new URL('../../../.compiled/index.js', import.meta.url)}').then(({ Arena }) => {
          globalThis.held = Array.from({ length: 256 }, () => Buffer.allocUnsafeSlow(65536).fill(1))
          globalThis.held.push(...Array.from({ length: 16 }, () => Array.from({ length: ${MIB / 8} }, (_, i) => i + 0.5)))
          globalThis.arena = new Arena({ name: 'of the Worker' })
          globalThis.held.push(...Array.from({ length: 32 }, () => globalThis.arena.alloc(${MIB}).fill(1)))
          require('node:worker_threads').parentPort.postMessage('ready')
          setInterval(() => {}, 1000)
        })`
      new Worker(text, { eval: true }).once('message', resolve).once('error', reject)
    }),
}

const looks = []
for (const step of process.argv[2].split(',')) {
  await steps[step]()
  looks.push(look(step))
}
console.log(JSON.stringify(looks))
process.exit(held.length < 0 ? 1 : 0)
