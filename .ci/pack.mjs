/**
 * Makes what only the published package has, before `npm pack` and `npm publish` (`prepack`); `--clean` removes it again
 * (`postpack`):
 *
 *  - `dist`, built anew, with the recording of the demo in its packed form
 *  - `native/binding.gyp`. At the root of a package, a `binding.gyp` makes some clients run node-gyp at each install.
 *  - `heap/package.json` and the like, for tools that do not know `exports`
 *
 * It builds no binary: those of all platforms must be in `prebuilds` (docs/binary.md).
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'

const root = join(import.meta.dirname, '..')
const SERVICE = join(root, 'bench/traces/node-json-scope.trace.gz')
/** A fifth of the recording, with the most live bytes at operation 30,921. The package has to stay below its limit. */
const PUBLISHED_LINES = 60_000

/** The names behind `offheap/` that are exported, with what `require` of them loads. */
const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const entries = Object.entries(exports)
  .filter(([name, { require }]) => name !== '.' && require !== undefined)
  .map(([name, { require }]) => [name, require])

function clean() {
  rmSync(join(root, 'native/binding.gyp'), { force: true })
  for (const [name] of entries) rmSync(join(root, name), { recursive: true, force: true })
}

function fail(message) {
  process.stderr.write(`offheap: ${message}\n`)
  process.exit(1)
}

function run(command, ...args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] })
  if (error !== undefined || status !== 0)
    fail(`${command} ${args.join(' ')} failed: ${error?.message ?? `exit code ${status}`}`)
}

/** Paths in a gyp file count from its folder. */
function writeGyp() {
  const gyp = readFileSync(join(root, 'binding.gyp'), 'utf8').replaceAll('"native/', '"')
  writeFileSync(join(root, 'native/binding.gyp'), gyp)
}

function writeEntries() {
  for (const [name, { default: main, types }] of entries) {
    mkdirSync(join(root, name), { recursive: true })
    const entry = { main: `.${main}`, types: `.${types}` }
    writeFileSync(join(root, name, 'package.json'), `${JSON.stringify(entry, null, 2)}\n`)
  }
}

/** The first part of the recording: any part from the start on is one. The package must stay below its limit. */
async function writeRecording() {
  const [{ TraceReader }, { packTrace }] = await Promise.all(
    ['trace', 'packed-trace'].map(name => import(`#compiled/replay/${name}.js`)),
  )
  const lines = gunzipSync(readFileSync(SERVICE)).toString('latin1').split('\n')
  const reader = new TraceReader('service')
  reader.push(Buffer.from(`${lines.slice(0, PUBLISHED_LINES).join('\n')}\n`))
  writeFileSync(join(root, 'dist/cli/service.trace'), packTrace(reader.finish()))
}

function checkBinaries() {
  const { prebuilds } = createRequire(import.meta.url)('../src/memory/prebuilds.cjs')
  const platforms = Object.keys(prebuilds)
  const missing = platforms.filter(platform => !existsSync(join(root, 'prebuilds', platform, 'offheap.node')))
  if (missing.length > 0)
    fail(
      `prebuilds has no binary for ${missing.join(' and ')}. Build them first: "npm run prebuild"; see docs/binary.md`,
    )
}

clean()
if (!process.argv.includes('--clean')) {
  run('npm', 'run', 'compile:ts')
  checkBinaries()
  writeGyp()
  writeEntries()
  await writeRecording()
}
