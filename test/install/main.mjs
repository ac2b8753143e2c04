/**
 * `npm run test:install [-- --only=PART,… --section=TEXT --tools=FOLDER]`: packs the package, publishes it to a registry on this
 * machine, installs it with each package manager, and uses it with each compiler, bundler, test runner and runtime. They come from
 * the npm registry. Everything lies in a temporary folder, which is removed at the end.
 *
 * `--only` names the parts to run, `--section` a part of the names of the sections of docs/bundlers.md to follow. `--tools` keeps
 * the lines of Node, package managers and runtimes in that folder for the next run.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { printSum, runCase } from './cases.mjs'
import { clientCases } from './clients.mjs'
import { plainCases } from './plain.mjs'
import { run } from './processes.mjs'
import { recipeCases } from './recipes.mjs'
import { sourceCases } from './source.mjs'
import { makeTarball, tarballCases } from './tarball.mjs'
import { Tools } from './tools.mjs'
import { typesCases } from './types.mjs'

/** Each adds its cases. All but the first need the npm registry. */
const PARTS = {
  tarball: tarballCases,
  clients: clientCases,
  plain: plainCases,
  types: typesCases,
  source: sourceCases,
  recipes: recipeCases,
}
const NAMES = Object.keys(PARTS)

function readArguments() {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', default: NAMES.join(',') },
      section: { type: 'string', default: '' },
      tools: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  const parts = values.only.split(',')
  const unknown = parts.filter(part => !NAMES.includes(part))
  if (values.help || unknown.length > 0) {
    for (const part of unknown) console.error(`offheap: there is no part ${part}`)
    console.log('npm run test:install [-- --only=PART,… --section=TEXT --tools=FOLDER]')
    console.log(`PART: ${NAMES.join(', ')}`)
    process.exit(values.help ? 0 : 1)
  }
  return { ...values, parts }
}

/** Whether the registry that npm is set to answers. */
async function hasRegistry() {
  const { code, output } = await run('npm', ['view', 'npm', 'version'], { seconds: 60 })
  if (code !== 0) console.log(`The npm registry does not answer, so only the tarball is tested:\n${output}`)
  return code === 0
}

async function runParts(parts, context) {
  for (const part of parts) {
    try {
      await Promise.all(await PARTS[part](context, runCase))
    } catch (error) {
      await runCase(part, () => Promise.reject(error))
    }
  }
}

const { parts, section, tools } = readArguments()
const folder = mkdtempSync(path.join(os.tmpdir(), 'offheap-install-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(1))

const packing = path.join(folder, 'packing')
mkdirSync(packing)
const context = {
  folder,
  section: section.toLowerCase(),
  tools: new Tools(path.resolve(tools ?? path.join(folder, 'tools'))),
}
await runCase('npm pack', async () => {
  context.tarball = await makeTarball(packing)
})
if (context.tarball !== undefined)
  await runParts((await hasRegistry()) ? parts : parts.filter(part => part === 'tarball'), context)
process.exitCode = printSum() ? 0 : 1
