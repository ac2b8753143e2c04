/** How the texts in `recorded` were made: `node record.mjs FILE.smaps.gz`. A Worker, an arena of each kind, and blocks of malloc. */
import { readFileSync, writeFileSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { gzipSync } from 'node:zlib'
import { Arena } from '#compiled/index.js'

const MIB = 2 ** 20
const worker = new Worker('setInterval(() => {}, 1000)', { eval: true })
await new Promise(resolve => worker.once('online', resolve))
const blocks = ['mmap', 'sbrk'].map(source => new Arena({ name: source, source }).alloc(MIB).fill(1))
const buffers = Array.from({ length: 4 }, (_, i) => Buffer.alloc((i + 1) * 40_000, 1))
writeFileSync(process.argv[2], gzipSync(readFileSync('/proc/self/smaps'), { level: 9 }))
console.log(`${blocks.length + buffers.length} blocks`)
process.exit()
