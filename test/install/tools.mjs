/**
 * The tools that the cases use, from the npm registry: other lines of Node, package managers, bundlers, test runners. Each is
 * installed when it is first asked for, into a folder of its own.
 */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { runWell } from './processes.mjs'

const cpu = process.arch

/** Installs packages into `folder`, if that is not done yet. Throws an `Error` with npm's words if it cannot. */
export async function installPackages(folder, packages, options = []) {
  const stamp = path.join(folder, 'installed.json')
  if (existsSync(stamp)) return folder
  mkdirSync(folder, { recursive: true })
  if (!existsSync(path.join(folder, 'package.json')))
    writeFileSync(path.join(folder, 'package.json'), '{ "private": true }\n')
  await runWell('npm', ['install', '--no-audit', '--no-fund', '--loglevel=error', ...options, ...packages], {
    cwd: folder,
    seconds: 300,
  })
  writeFileSync(stamp, JSON.stringify(packages))
  return folder
}

export class Tools {
  #root
  #asked = new Map()

  /** `root`: the folder for all tools. */
  constructor(root) {
    this.#root = root
  }

  #install(name, packages, options) {
    if (!this.#asked.has(name))
      this.#asked.set(name, installPackages(path.join(this.#root, name), packages, options))
    return this.#asked.get(name)
  }

  /** The path of a file of a package, which is installed if it is not there. */
  async fileOf(packageSpec, file) {
    const at = packageSpec.lastIndexOf('@')
    const packageName = packageSpec.slice(0, at)
    // Their install scripts fetch or move binaries, which lie in packages of their own.
    const folder = await this.#install(
      packageSpec.replaceAll(/[^\w.@-]/g, '-'),
      [packageSpec],
      ['--ignore-scripts'],
    )
    return path.join(folder, 'node_modules', packageName, file)
  }

  /** The path of a binary of that line of Node: 20, 22, … */
  async node(line) {
    if (process.versions.node.startsWith(`${line}.`)) return process.execPath
    const given = (process.env.OFFHEAP_NODES ?? '').split(':').find(file => file.includes(`/${line}/`))
    return given ?? (await this.fileOf(`node-linux-${cpu}@${line}`, 'bin/node'))
  }

  async bun() {
    return this.fileOf(`@oven/bun-linux-${cpu === 'x64' ? 'x64-baseline' : 'aarch64'}@1`, 'bin/bun')
  }

  async deno() {
    return this.fileOf(`@deno/linux-${cpu}-glibc@2`, 'deno')
  }
}
