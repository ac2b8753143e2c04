/**
 * What a block costs against a Buffer: `allocUnsafe` and `free` at once, beside `Buffer.allocUnsafe` with the garbage
 * collection that follows from it. Each case in a process of its own, arena and Buffer interleaved, medians over rounds.
 *
 *   npm run bench:arena [-- --rounds N] [-- --json]
 */
import { fileURLToPath } from 'node:url'
import { answerHelp } from '../help.mjs'
import { runSizes, show } from '../sizes.mjs'

answerHelp(import.meta.url)

/** @import { Figure } from '../sizes.mjs' */

const KIB = 1024
const CASES = [
  { name: '64 B', sizeBytes: 64 },
  { name: '1 KiB', sizeBytes: KIB },
  { name: '4 KiB', sizeBytes: 4 * KIB },
  { name: '32 KiB', sizeBytes: 32 * KIB },
  { name: '64 KiB, detached', sizeBytes: 64 * KIB },
  { name: '64 KiB, detachFromBytes: Infinity', sizeBytes: 64 * KIB, keepsBuffers: true },
  { name: '1 MiB, detachFromBytes: Infinity', sizeBytes: 1024 * KIB, keepsBuffers: true },
  { name: '64 KiB, zero-filled, detached', sizeBytes: 64 * KIB, isZeroFilled: true },
]

runSizes({
  child: fileURLToPath(new URL('child.mjs', import.meta.url)),
  cases: CASES,
  head: ['ns for one block, median (lowest–highest round)', 'Buffer', 'Arena', 'Buffer / Arena'],
  /** @param {{ name: string, buffer: Figure, arena: Figure }} result */
  rowOf: ({ name, buffer, arena }) => [
    name,
    show(buffer, 1, 0),
    show(arena, 1, 0),
    (buffer.median / arena.median).toFixed(1),
  ],
})
