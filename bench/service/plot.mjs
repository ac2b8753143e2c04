/**
 * Draws the memory of the services over time into `docs/services.svg`.
 *
 *   npm run plot:services [-- --from FILE] [-- --to FILE]
 *
 *   --from FILE   what `npm run bench:service -- --json FILE` wrote. Without it, everything is measured once: ten minutes
 *   --to FILE     another path for the SVG
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { answerHelp } from '../help.mjs'
import { measureService } from './measure.mjs'
import { readOptions } from './options.mjs'
import { plotServices } from './report.mjs'

answerHelp(import.meta.url)

const DOCS = fileURLToPath(new URL('../../docs/services.svg', import.meta.url))
const { values } = parseArgs({ options: { from: { type: 'string' }, to: { type: 'string', default: DOCS } } })

/** The first round of all. */
async function measureAll() {
  const options = readOptions(['--rounds', '1'])
  const parts = []
  for (const service of options.services)
    parts.push({ service: service.name, rows: await measureService(service, options) })
  return parts
}

const parts =
  values.from === undefined ? await measureAll() : JSON.parse(readFileSync(values.from, 'utf8')).parts
writeFileSync(values.to, await plotServices(parts))
