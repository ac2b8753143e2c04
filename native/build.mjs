/**
 * Builds the addon with the locally installed node-gyp. Exits with the compiler's own code.
 *
 *   node native/build.mjs                           build/Release/offheap.node, for this machine; compiles only what changed.
 *                                                   In a published package it is native/build/Release/offheap.node
 *   node native/build.mjs --prebuild [--arch=ARCH]  prebuilds/linux-ARCH/offheap.node, as it is published; ARCH is x64 or arm64
 *   node native/build.mjs --shared-runtime          as the first, with libstdc++, libgcc and libc as shared libraries
 *
 * Node's headers come from beside the running `node` (…/include/node next to …/bin/node) where they are there, else from
 * npm's `nodedir` setting, else node-gyp downloads them. The addon uses Node-API only, so any version of them will do.
 *
 * What the binary needs of a system: docs/binary.md.
 */
import { spawnSync } from 'node:child_process'
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, isAbsolute, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { headersBesideNode } from './headers.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
/** Where binding.gyp is, and so the folder build: in native/ of a published package, and in the root of a clone. */
const gypFolder = existsSync(join(root, 'binding.gyp')) ? root : join(root, 'native')
const require = createRequire(import.meta.url)

/** What Debian calls the tools for a processor: `aarch64-linux-gnu-g++`, from the package `g++-aarch64-linux-gnu`. */
const TRIPLES = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' }

function fail(message) {
  console.error(`offheap: ${message}`)
  process.exit(1)
}

/** What was asked for; ends the process with advice at an argument that is none. */
function readArguments() {
  const options = {
    prebuild: { type: 'boolean', default: false },
    arch: { type: 'string', default: process.arch },
    'shared-runtime': { type: 'boolean', default: false },
  }
  try {
    const { values } = parseArgs({ options })
    if (values.arch !== process.arch && !values.prebuild)
      fail('--arch is for --prebuild: build/Release is for this machine')
    if (values.prebuild && gypFolder !== root) fail('--prebuild is for a clone: the package has the binaries')
    if (values.prebuild && TRIPLES[values.arch] === undefined)
      fail(`--arch=${values.arch} is not one of ${Object.keys(TRIPLES).join(', ')}`)
    return values
  } catch (error) {
    return fail(error.message)
  }
}

/** The path of a command of an installed package; ends the process with advice when the package is missing. */
function commandOf(packageName, file) {
  try {
    return join(dirname(require.resolve(`${packageName}/package.json`)), file)
  } catch {
    return fail(`${packageName} is not installed: run "npm install --no-save node-gyp node-addon-api" first`)
  }
}

function requireTool(command, advice) {
  const [name] = command.split(' ')
  const found = spawnSync(name, ['--version'], { stdio: 'ignore' })
  if (found.error)
    fail(`"${name}" was not found. The addon needs a C++17 compiler, make and Python 3: ${advice}`)
}

/** The tools for that processor, as the variables that gyp and make read, and the advice where one is missing. */
function toolsFor(arch) {
  if (arch === process.arch) {
    const { CXX = 'g++', STRIP = 'strip' } = process.env
    return { env: { CXX }, strip: STRIP, advice: 'on Debian or Ubuntu, "apt-get install g++ make python3"' }
  }
  const triple = TRIPLES[arch]
  const env = { CC: `${triple}-gcc`, CXX: `${triple}-g++`, AR: `${triple}-ar` }
  const advice = `on Debian or Ubuntu, "apt-get install g++-${triple.replaceAll('_', '-')} make python3"`
  return { env, strip: `${triple}-strip`, advice }
}

/** Whether the compiler can put libstdc++ and libgcc into the binary: some distributions leave these files out. */
function hasStaticRuntime(compiler) {
  const [name, ...args] = compiler.split(' ')
  return ['libstdc++.a', 'libgcc_eh.a'].every(library => {
    const { stdout } = spawnSync(name, [...args, `-print-file-name=${library}`], { encoding: 'utf8' })
    return isAbsolute(stdout?.trim() ?? '')
  })
}

/** Runs a command, and ends the process with its code where it fails. */
function run(command, args, folder, env) {
  const done = spawnSync(command, args, { cwd: folder, env: { ...process.env, ...env }, stdio: 'inherit' })
  if (done.error) fail(done.error.message)
  if (done.status !== 0) process.exit(done.status ?? 1)
}

function runNodeGyp(steps, folder, env, isStatic) {
  const nodedir = headersBesideNode() ?? process.env.npm_config_nodedir
  const options = [`--static_runtime=${isStatic}`, '--jobs=max', '--loglevel=warn']
  const all = nodedir ? { ...env, npm_config_nodedir: nodedir } : env
  run(process.execPath, [commandOf('node-gyp', 'bin/node-gyp.js'), ...steps, ...options], folder, all)
}

/**
 * node-gyp need only write the Makefile again when what it derives from is newer or another. The Makefile names Node's
 * headers by a path that starts from its own folder.
 */
function buildHere(tools, isStatic) {
  const makefile = join(gypFolder, 'build/Makefile')
  const stamp = join(gypFolder, 'build/configured.json')
  const made = JSON.stringify({ gypFolder, node: process.execPath, version: process.version, isStatic })
  const isConfigured =
    existsSync(makefile) &&
    statSync(makefile).mtimeMs > statSync(join(gypFolder, 'binding.gyp')).mtimeMs &&
    existsSync(stamp) &&
    readFileSync(stamp, 'utf8') === made
  runNodeGyp(isConfigured ? ['build'] : ['configure', 'build'], gypFolder, tools.env, isStatic)
  writeFileSync(stamp, made)
}

/** In a folder of its own, so that build/Release stays as it is. Ends with the check of what was made. */
function prebuild(arch, tools) {
  const folder = join(root, 'build/prebuild', arch)
  const target = join(root, `prebuilds/linux-${arch}/offheap.node`)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  for (const name of ['binding.gyp', 'native'])
    cpSync(join(root, name), join(folder, name), { recursive: true })
  runNodeGyp(['configure', 'build', `--arch=${arch}`], folder, tools.env, true)
  mkdirSync(dirname(target), { recursive: true })
  const built = join(folder, 'build/Release/offheap.node')
  run(tools.strip, ['--strip-unneeded', built], root, {})
  copyFileSync(built, target)
  run(process.execPath, [join(root, 'native/check-binaries.mjs'), target], root, {})
}

const { prebuild: isPrebuild, arch, 'shared-runtime': isShared } = readArguments()
const tools = toolsFor(arch)
requireTool(tools.env.CXX, tools.advice)
requireTool('make', tools.advice)
if (isPrebuild) requireTool(tools.strip, tools.advice)
commandOf('node-addon-api', '.')

// Users build for one machine, and best with its own libraries. A clone builds as for publishing, to test that.
const isStatic = !isShared && gypFolder === root && hasStaticRuntime(tools.env.CXX)
if (isPrebuild) {
  if (!isStatic)
    fail(`"${tools.env.CXX}" has no libstdc++.a and libgcc_eh.a: the published binary contains them`)
  prebuild(arch, tools)
} else {
  buildHere(tools, isStatic)
}
