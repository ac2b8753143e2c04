/**
 * Builds the addon with the locally installed node-gyp; with `--prebuild`, makes the binary that is published, with
 * prebuildify. Compiles only what changed, on all cores. Exits with the compiler's own code.
 *
 * Node's headers come from beside the running `node` (…/include/node next to …/bin/node) where they are there, else from
 * npm's `nodedir` setting, else node-gyp downloads them. The addon uses Node-API only, so any version of them will do.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { headersBesideNode } from './headers.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const require = createRequire(import.meta.url)

/** The path of a command of an installed package; ends the process with advice when the package is missing. */
function commandOf(packageName, file) {
  try {
    return join(dirname(require.resolve(`${packageName}/package.json`)), file)
  } catch {
    return fail(`${packageName} is not installed: run "npm install --no-save node-gyp node-addon-api" first`)
  }
}

function fail(message) {
  console.error(`offheap: ${message}`)
  process.exit(1)
}

function requireTool(name, advice) {
  const found = spawnSync(name, ['--version'], { stdio: 'ignore' })
  if (found.error)
    fail(`"${name}" was not found. The addon needs a C++17 compiler, make and Python 3: ${advice}`)
}

/** node-gyp need only write the Makefile again when what it derives from is newer. */
function isConfigured() {
  const makefile = join(root, 'build/Makefile')
  return existsSync(makefile) && statSync(makefile).mtimeMs > statSync(join(root, 'binding.gyp')).mtimeMs
}

function run(script, args) {
  const nodedir = headersBesideNode() ?? process.env.npm_config_nodedir
  const env = nodedir ? { ...process.env, npm_config_nodedir: nodedir } : process.env
  const done = spawnSync(process.execPath, [script, ...args], { cwd: root, env, stdio: 'inherit' })
  if (done.error) fail(done.error.message)
  process.exit(done.status ?? 1)
}

requireTool(
  (process.env.CXX ?? 'g++').split(' ')[0],
  'on Debian or Ubuntu, "apt-get install g++ make python3"',
)
requireTool('make', 'on Debian or Ubuntu, "apt-get install make"')

commandOf('node-addon-api', '.')
if (process.argv.includes('--prebuild')) {
  const target = process.versions.node
  // `src/memory/binary.ts` looks for `node.<libc>.node`; prebuildify would name it after the package.
  const options = ['--napi', '--strip', '--tag-libc', '--name', 'node', '--target', target]
  run(commandOf('prebuildify', 'bin.js'), options)
} else {
  const steps = isConfigured() ? ['build'] : ['configure', 'build']
  run(commandOf('node-gyp', 'bin/node-gyp.js'), [...steps, '--jobs=max', '--loglevel=warn'])
}
