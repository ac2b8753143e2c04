/** Installs what the platforms need, with the ordinary clients, and says so. */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('../..', import.meta.url))

/** Runs a command, without a standard input. Throws, with the end of what it said, where it fails. Returns what it printed. */
export function runCommand(command, args, options = {}) {
  const done = spawnSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], ...options })
  if (done.error) throw done.error
  if (done.status === 0) return done.stdout
  const said = `${done.stdout}\n${done.stderr}`.trim().split('\n').slice(-15).join('\n')
  throw new Error(`${command} ${args.join(' ')}: ${done.signal ?? `exit code ${done.status}`}\n${said}`)
}

/** Debian's packages, by a file that each brings along. */
const PACKAGES = {
  'g++': '/usr/bin/g++',
  make: '/usr/bin/make',
  'g++-aarch64-linux-gnu': '/usr/bin/aarch64-linux-gnu-g++',
  musl: '/usr/lib/x86_64-linux-musl/libc.so',
  python3: '/usr/bin/python3',
  'qemu-user-static': '/usr/bin/qemu-aarch64-static',
}

export function installDebianPackages() {
  const missing = Object.entries(PACKAGES)
    .filter(([, file]) => !existsSync(file))
    .map(([name]) => name)
  if (missing.length === 0) return
  console.log(`Installing ${missing.join(', ')}`)
  runCommand('apt-get', ['update', '-qq'])
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  runCommand('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...missing], { env })
}

/** Installs packages of npm's registry into a folder, also such that are for another platform. Returns their folder. */
export function installNodePackages(folder, packages) {
  console.log(`Installing ${packages.join(', ')}`)
  const options = ['--force', '--no-save', '--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error']
  runCommand('npm', ['install', '--prefix', folder, ...options, ...packages])
  return path.join(folder, 'node_modules')
}

/** The package of the bundler that vitest uses, for another platform: `linux-x64-musl`, `linux-arm64-gnu`. */
export function bundlerFor(platform) {
  const vite = createRequire(
    createRequire(path.join(root, 'package.json')).resolve('vitest/package.json'),
  ).resolve('vite/package.json')
  const bundler = createRequire(vite).resolve('rolldown/package.json')
  const { version } = JSON.parse(readFileSync(bundler, 'utf8'))
  return { name: `@rolldown/binding-${platform}`, version, file: `rolldown-binding.${platform}.node` }
}
