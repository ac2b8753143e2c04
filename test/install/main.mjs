/**
 * `npm run test:install [-- --only=PART,… --tools=FOLDER]`: packs the package, publishes it to a registry on this machine,
 * installs it with each package manager, and uses it with each tool. Everything lies in a temporary folder, which is removed.
 *
 * PART is one of those that `--help` lists. `--tools` keeps other programs (Node, package managers, bundlers) in that folder, for
 * the next run.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { printSum, runCase } from './cases.mjs'
import { clientCases } from './clients.mjs'
import { plainCases } from './plain.mjs'
import { recipeCases } from './recipes.mjs'
import { sourceCases } from './source.mjs'
import { makeTarball, tarballCases } from './tarball.mjs'
import { Tools } from './tools.mjs'
import { typesCases } from './types.mjs'

const PARTS = {
  tarball: context => tarballCases(context.tarball, runCase),
  clients: context => clientCases(context, runCase),
  plain: context => plainCases(context, runCase),
  types: context => typesCases(context, runCase),
  source: context => sourceCases(context, runCase),
  recipes: context => recipeCases(context, runCase, context.section),
}

function readArguments() {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', default: Object.keys(PARTS).join(',') },
      tools: { type: 'string' },
      section: { type: 'string', default: '' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    console.log(
      `npm run test:install [-- --only=PART,… --tools=FOLDER]\nParts: ${Object.keys(PARTS).join(', ')}`,
    )
    process.exit(0)
  }
  const parts = values.only.split(',')
  const unknown = parts.filter(part => !Object.hasOwn(PARTS, part))
  if (unknown.length > 0)
    throw new Error(`no part ${unknown.join(', ')}; there are ${Object.keys(PARTS).join(', ')}`)
  return { parts, toolsFolder: values.tools, section: values.section.toLowerCase() }
}

const { parts, toolsFolder, section } = readArguments()
const folder = mkdtempSync(path.join(os.tmpdir(), 'offheap-install-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(1))

const packing = path.join(folder, 'packing')
mkdirSync(packing)
const tools = new Tools(path.resolve(toolsFolder ?? path.join(folder, 'tools')))
const tarball = await makeTarball(packing)
const context = { folder, tools, tarball, section }
for (const part of parts) await Promise.all(await PARTS[part](context))
process.exitCode = printSum() ? 0 : 1
