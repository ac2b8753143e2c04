/**
 * Where the memory of a Node process is, in some plain cases, and what it costs to ask. Each case is a process of its own. Takes half a
 * minute.
 *
 *   npm run bench:report [-- --json]
 */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { answerHelp } from '../help.mjs'

answerHelp(import.meta.url)

/** @typedef {{ report: import('offheap').MemoryReport, cpuMs: number, mappings: number }} Result */

const CASES = [
  'fresh',
  'one Worker more',
  '240 MiB of Buffers, 1 in 64 kept',
  'the same in an arena',
  '5,000 uploads of 64 KiB, idle for 2 s',
  '500 MiB of Buffers of 2 KiB, every other one kept',
  '1 GiB in Buffers of 64 KiB',
  '1 GiB in an arena',
  '2,000 arenas',
]
const CHILD = fileURLToPath(new URL('child.mjs', import.meta.url))
const { values } = parseArgs({ options: { json: { type: 'boolean' } } })

/** @type {(Result & { name: string })[]} */
const results = []
for (const name of CASES) {
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', CHILD, name])
  results.push({ name, ...JSON.parse(stdout) })
}
if (values.json) console.log(JSON.stringify(results, null, 2))
else {
  /** @param {number | null} bytes */
  const mib = bytes => (bytes === null ? '' : (bytes / 2 ** 20).toFixed(1))
  console.log(`MiB, Node ${process.version.slice(1)}\n`)
  console.log(
    '| | Rss | arenas | malloc | in use | free | V8 | this heap | code, files | stacks | rest | mappings | CPU ms a report |',
  )
  console.log('|---|---|---|---|---|---|---|---|---|---|---|---|---|')
  for (const { name, report, cpuMs, mappings } of results) {
    const { residentBytes, arenas, malloc, v8, files, stacks, rest } = report
    const cells = [
      ...[residentBytes, arenas.residentBytes, malloc.residentBytes, malloc.inUseBytes, malloc.freeBytes],
      ...[v8.residentBytes, v8.usedBytes + v8.freeBytes],
      ...[files.residentBytes, stacks.residentBytes, rest.residentBytes],
    ].map(mib)
    console.log(`| ${[name, ...cells, mappings, cpuMs.toFixed(1)].join(' | ')} |`)
  }
}
