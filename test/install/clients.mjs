/**
 * Installs the package with each package manager, in an empty project, from a registry on this machine. Compilers and what else
 * a build from source needs are replaced by spies: a client that calls one has failed.
 */
import assert from 'node:assert/strict'
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { cleanEnvironment, runWell } from './processes.mjs'
import { startRegistry } from './registry.mjs'

const FIRST = fileURLToPath(new URL('programs/first.cjs', import.meta.url))
const SPIED = [
  'make',
  'cmake',
  'g++',
  'gcc',
  'cc',
  'c++',
  'clang',
  'clang++',
  'python',
  'python3',
  'node-gyp',
]
/** What clients say where they find something to build or to allow. */
const WARNING = /build script|install script|lifecycle script|approve-builds|allow-?scripts|node-gyp|blocked/i

const NPM = { file: 'bin/npm-cli.js', args: ['install', 'offheap'] }
const PNPM = { args: ['add', 'offheap'] }
const YARN_4 = { package: '@yarnpkg/cli-dist@4', file: 'bin/yarn.js', args: ['add', 'offheap'] }
const CLIENTS = {
  'npm 10': { ...NPM, package: 'npm@10' },
  'npm 11': { ...NPM, package: 'npm@11' },
  'npm 12': { ...NPM, package: 'npm@12' },
  'npm 12, strict': { ...NPM, package: 'npm@12', args: ['install', 'offheap', '--strict-allow-scripts'] },
  'pnpm 10': { ...PNPM, package: 'pnpm@10', file: 'bin/pnpm.cjs' },
  'pnpm 11': { ...PNPM, package: 'pnpm@11', file: 'bin/pnpm.mjs' },
  'pnpm 12': { ...PNPM, package: 'pnpm@12', file: 'bin/pnpm.mjs' },
  'yarn 1': { package: 'yarn@1', file: 'bin/yarn.js', args: ['add', 'offheap'] },
  'yarn 4, node_modules': { ...YARN_4, linker: 'node-modules' },
  'yarn 4, PnP': { ...YARN_4, linker: 'pnp' },
  'bun 1': { args: ['add', 'offheap'] },
}

/** A folder of programs that note that they were called, and fail. */
function makeSpies(folder) {
  mkdirSync(folder, { recursive: true })
  for (const name of SPIED) {
    const file = path.join(folder, name)
    writeFileSync(file, `#!/bin/sh\necho "${name} $*" >> "${folder}/calls"\nexit 1\n`)
    chmodSync(file, 0o755)
  }
}

/** What the project says of the registry, for each client. */
function writeProject(project, registry, linker) {
  mkdirSync(project, { recursive: true })
  const write = (name, text) => writeFileSync(path.join(project, name), text)
  write('package.json', '{ "name": "program", "version": "1.0.0", "private": true }\n')
  write('.npmrc', `registry=${registry.url}\n//${registry.host}/:_authToken=none\nupdate-notifier=false\n`)
  if (linker !== undefined) {
    write('yarn.lock', '')
    write(
      '.yarnrc.yml',
      `npmRegistryServer: "${registry.url}"\nunsafeHttpWhitelist: ["127.0.0.1"]\nnodeLinker: ${linker}\nenableTelemetry: false\n`,
    )
  }
  write('first.cjs', readFileSync(FIRST, 'utf8'))
}

/** The command of a client: a Node that all of them run on, and their own file. */
async function commandOf(name, client, tools) {
  if (name.startsWith('bun')) return [await tools.bun()]
  return [await tools.node(24), await tools.fileOf(client.package, client.file)]
}

/** An environment in which the client has nothing but its project: no settings, no caches of others. */
function environmentFor(home, node) {
  const { PATH } = process.env
  mkdirSync(home, { recursive: true })
  const kept = Object.entries(cleanEnvironment()).filter(
    ([name]) => !/^(npm_|XDG_|YARN_|PNPM_|BUN_)/i.test(name),
  )
  return {
    ...Object.fromEntries(kept),
    HOME: home,
    PATH: `${path.join(home, 'spies')}:${path.dirname(node)}:${PATH}`,
    // As on a machine where nobody can be asked.
    CI: 'true',
  }
}

async function install(name, client, { folder, tools }, registry) {
  const project = path.join(folder, 'clients', name.replaceAll(/\W+/g, '-'))
  const home = path.join(project, '../', `${path.basename(project)}-home`)
  const env = environmentFor(home, await tools.node(24))
  const spies = path.join(home, 'spies')
  makeSpies(spies)
  writeProject(project, registry, client.linker)
  const [command, ...before] = await commandOf(name, client, tools)
  const output = await runWell(command, [...before, ...client.args], { cwd: project, env, seconds: 180 })
  const calls = path.join(spies, 'calls')
  assert.ok(!existsSync(calls), `it called ${existsSync(calls) && readFileSync(calls, 'utf8')}\n${output}`)
  assert.doesNotMatch(output, WARNING, output)
  const runner = client.linker === 'pnp' ? [command, ...before, 'node'] : [process.execPath]
  const [first, ...rest] = [...runner, 'first.cjs']
  assert.match(await runWell(first, rest, { cwd: project, env }), /it works/)
}

/** Publishes the tarball to the registry, as it would be to the public one. */
async function publish(tarball, folder, registry) {
  const project = path.join(folder, 'publisher')
  writeProject(project, registry)
  const output = await runWell('npm', ['publish', tarball.file], { cwd: project })
  assert.doesNotMatch(output, /warn/i, output)
}

/** Adds the cases of the package managers. */
export async function clientCases(context, runCase) {
  const registry = await startRegistry()
  await runCase('publish: npm publish, without a warning', () =>
    publish(context.tarball, context.folder, registry),
  )
  const cases = Object.entries(CLIENTS).map(([name, client]) =>
    runCase(`install: ${name}`, () => install(name, client, context, registry)),
  )
  Promise.all(cases).then(() => registry.close())
  return cases
}
