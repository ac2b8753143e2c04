/**
 * What a Buffer of a pool costs against a new one: `acquire` and `release`, beside `Buffer.allocUnsafe` with the garbage collection
 * that follows from it. Each Node line in a process of its own, three pools in it, all interleaved by rounds.
 *
 *   npm run bench:pool [-- --rounds N] [-- --node PATH]... [-- --json]
 */
import { spawnSync } from 'node:child_process'
import { loadavg } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { answerHelp } from '../help.mjs'
import { show } from '../sizes.mjs'

answerHelp(import.meta.url)

/** @import { Figure } from '../sizes.mjs' */

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '31' },
    node: { type: 'string', multiple: true, default: [] },
    json: { type: 'boolean', default: false },
  },
})
const child = fileURLToPath(new URL('child.mjs', import.meta.url))
/** @type {{ node: string, cases: { name: string, pool: Figure, buffer: Figure }[] }[]} */
const results = [process.execPath, ...values.node].map(node => {
  const { status, stdout, stderr } = spawnSync(node, [child, values.rounds], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${node}: ${stderr}`)
  return JSON.parse(stdout)
})
if (values.json) console.log(JSON.stringify(results, null, 2))
else {
  console.log(`load ${loadavg()[0].toFixed(2)}; ns for one pair, median (lowest–highest round)\n`)
  for (const { node, cases } of results) {
    for (const { name, pool, buffer } of cases) {
      const ratios = `${(buffer.median / pool.median).toFixed(1)}, lowest ${(buffer.low / pool.low).toFixed(1)}`
      console.log(`${node}  ${name}: pool ${show(pool, 1, 1)}, Buffer ${show(buffer, 1, 1)}, ratio ${ratios}`)
    }
  }
}
