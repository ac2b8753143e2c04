/**
 * Lints native/: clang-format says whether the layout is that of `.clang-format`, clang-tidy runs the checks of
 * `.clang-tidy`. Both see the files with the defines and folders of binding.gyp. Exits with 1 when either finds something.
 */
import { execSync, spawn, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { headersBesideNode } from './headers.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** What the compiler is told of a file. Folders are a system's, so that nothing in them is a finding. */
function compilerArguments() {
  const nodeFolder = headersBesideNode() ?? process.env.npm_config_nodedir
  if (nodeFolder === undefined)
    fail("Node's headers are not beside node: set npm_config_nodedir to their folder")
  const withoutComments = readFileSync(join(root, 'binding.gyp'), 'utf8').replaceAll(/^\s*#.*$/gm, '')
  const [target] = JSON.parse(withoutComments).targets
  const folders = [...target.include_dirs.map(expand), join(nodeFolder, 'include/node')]
  return [
    '-std=c++17',
    ...target.defines.map(define => `-D${define}`),
    ...folders.flatMap(folder => ['-isystem', folder]),
  ]
}

/** What gyp makes of `<!(command)`: its output. */
function expand(folder) {
  const command = /^<!\((.*)\)$/.exec(folder)?.[1]
  if (command === undefined) return folder
  return execSync(command, { cwd: root, encoding: 'utf8' }).trim().replaceAll('"', '')
}

function fail(message) {
  console.error(`offheap: ${message}`)
  process.exit(1)
}

function requireTool(name) {
  if (spawnSync(name, ['--version'], { stdio: 'ignore' }).error)
    fail(`"${name}" was not found: on Debian or Ubuntu, "apt-get install clang-format clang-tidy"`)
}

/** Runs a command, prints what it says only if it fails, and resolves to whether it succeeded. */
function run(command, args) {
  return new Promise(resolve => {
    let output = ''
    const child = spawn(command, args, { cwd: root })
    for (const stream of [child.stdout, child.stderr]) stream.on('data', text => (output += text))
    child.on('close', code => {
      if (code !== 0) process.stdout.write(output)
      resolve(code === 0)
    })
  })
}

/** As many at a time as there are processors. */
async function tidyAll(files) {
  const compiler = compilerArguments()
  const left = [...files]
  let isClean = true
  const work = async () => {
    for (let file = left.shift(); file !== undefined; file = left.shift())
      if (!(await run('clang-tidy', ['--quiet', file, '--', ...compiler]))) isClean = false
  }
  await Promise.all(Array.from({ length: availableParallelism() }, work))
  return isClean
}

requireTool('clang-format')
requireTool('clang-tidy')
const files = readdirSync(join(root, 'native')).map(name => join('native', name))
const sources = files.filter(file => file.endsWith('.cc'))
const headers = files.filter(file => file.endsWith('.h'))
const isLaidOut = await run('clang-format', ['--dry-run', '--Werror', ...sources, ...headers])
const isTidy = await tidyAll(sources)
process.exit(isLaidOut && isTidy ? 0 : 1)
