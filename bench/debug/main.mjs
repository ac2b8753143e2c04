/**
 * What `debug: true` costs: `allocUnsafe` and `free` at once, on an arena with it and one without, which are interleaved in
 * one process for each size; medians over rounds.
 *
 *   npm run bench:debug [-- --rounds N] [-- --json]
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
  { name: '64 KiB', sizeBytes: 64 * KIB },
  { name: '1 MiB', sizeBytes: 1024 * KIB },
]

runSizes({
  child: fileURLToPath(new URL('child.mjs', import.meta.url)),
  cases: CASES,
  head: ['µs for one block, median (lowest–highest round)', 'plain', 'debug', 'debug / plain'],
  /** @param {{ name: string, plain: Figure, debug: Figure }} result */
  rowOf: ({ name, plain, debug }) => [
    name,
    show(plain, 1000, 2),
    show(debug, 1000, 2),
    (debug.median / plain.median).toFixed(1),
  ],
})
