/** Makes the tarball as it is published, from a copy of the working tree, and looks at what is in it. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { run, runWell } from './processes.mjs'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const BIN = path.join(ROOT, 'node_modules/.bin')
const CPUS = ['x64', 'arm64']
const UNPACKED_LIMIT = 1_200_000
const LIFECYCLE = [
  'preinstall',
  'install',
  'postinstall',
  'prepublish',
  'preprepare',
  'prepare',
  'postprepare',
]

/** The files that belong to the project, committed or not. */
function workingFiles() {
  const { stdout, status } = spawnSync(
    'git',
    ['ls-files', '-z', '--cached', '--others', '--exclude-standard'],
    {
      cwd: ROOT,
      encoding: 'utf8',
    },
  )
  assert.equal(status, 0, 'git ls-files failed')
  return stdout.split('\0').filter(file => file !== '' && existsSync(path.join(ROOT, file)))
}

/** Copies the working tree, so that `npm pack` changes nothing in it. */
function copyWorkingTree(copy) {
  for (const file of workingFiles()) cpSync(path.join(ROOT, file), path.join(copy, file))
  cpSync(path.join(ROOT, 'prebuilds'), path.join(copy, 'prebuilds'), { recursive: true })
  symlinkSync(path.join(ROOT, 'node_modules'), path.join(copy, 'node_modules'))
}

/** When the newest of the addon's sources was changed, in milliseconds. */
function sourceTimeMs() {
  const sources = readdirSync(path.join(ROOT, 'native')).filter(file => /\.(cc|h|map)$/.test(file))
  const files = [...sources.map(file => `native/${file}`), 'binding.gyp']
  return Math.max(...files.map(file => statSync(path.join(ROOT, file)).mtimeMs))
}

/** Builds the binaries that are missing or older than their sources. */
async function ensurePrebuilds() {
  for (const cpu of CPUS) {
    const file = path.join(ROOT, `prebuilds/linux-${cpu}/offheap.node`)
    if (existsSync(file) && statSync(file).mtimeMs > sourceTimeMs()) continue
    console.log(`No new binary for linux-${cpu} in prebuilds: npm run prebuild -- --arch=${cpu}`)
    await runWell('npm', ['run', 'prebuild', '--', `--arch=${cpu}`], { cwd: ROOT, seconds: 600 })
  }
}

/** Resolves with the path of the tarball in `folder`, and with `unpacked`, the folder with what is in it. */
export async function makeTarball(folder) {
  await ensurePrebuilds()
  const copy = path.join(folder, 'copy')
  copyWorkingTree(copy)
  await runWell('npm', ['pack', '--pack-destination', folder], { cwd: copy, seconds: 300 })
  const name = readdirSync(folder).find(file => file.endsWith('.tgz'))
  const unpacked = path.join(folder, 'unpacked')
  mkdirSync(unpacked)
  await runWell('tar', ['-xzf', path.join(folder, name), '-C', unpacked, '--strip-components=1'])
  return { file: path.join(folder, name), unpacked }
}

function filesOf(folder) {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(file =>
    statSync(path.join(folder, file)).isFile(),
  )
}

/** Every path in a value of `exports`. */
function pathsIn(value) {
  return typeof value === 'string' ? [value] : Object.values(value).flatMap(pathsIn)
}

/** The source maps that a file names, and the sources that such a map names, which are not there. */
function danglingMaps(folder, file) {
  if (!/\.[cm]?[jt]s$/.test(file)) return []
  const text = readFileSync(path.join(folder, file), 'utf8')
  const names = [...text.matchAll(/^\/\/# sourceMappingURL=(\S+)/gm)].map(([, name]) => name)
  return names.flatMap(name => {
    const map = path.join(folder, path.dirname(file), name)
    if (!existsSync(map)) return [`${file}: ${name}`]
    const { sources, sourcesContent } = JSON.parse(readFileSync(map, 'utf8'))
    if (sourcesContent !== undefined) return []
    return sources.filter(source => !existsSync(path.join(path.dirname(map), source)))
  })
}

/** Adds the cases of the tarball. */
export function tarballCases({ tarball: { file, unpacked } }, runCase) {
  const manifest = JSON.parse(readFileSync(path.join(unpacked, 'package.json'), 'utf8'))
  const files = filesOf(unpacked)
  return [
    runCase('tarball: clients find nothing to build', () => {
      assert.ok(!files.includes('binding.gyp'), 'there is a binding.gyp in the root')
      assert.ok(files.includes('native/binding.gyp'), 'there is no native/binding.gyp')
      assert.deepEqual(
        LIFECYCLE.filter(name => manifest.scripts?.[name] !== undefined),
        [],
      )
      assert.deepEqual(manifest.dependencies ?? {}, {})
    }),
    runCase('tarball: every file that package.json names is there', () => {
      const named = [manifest.main, manifest.types, ...pathsIn(manifest.exports), ...pathsIn(manifest.bin)]
      const absent = named.filter(name => !existsSync(path.join(unpacked, name)))
      assert.deepEqual(absent, [])
      return `${named.length} names`
    }),
    runCase('tarball: a binary for each platform', () => {
      for (const cpu of CPUS) assert.ok(files.includes(`prebuilds/linux-${cpu}/offheap.node`), cpu)
    }),
    runCase('tarball: no source map without its sources', () => {
      assert.deepEqual(
        files.flatMap(name => danglingMaps(unpacked, name)),
        [],
      )
    }),
    runCase(`tarball: less than ${UNPACKED_LIMIT} bytes unpacked`, () => {
      const sizeBytes = files.reduce((sum, name) => sum + statSync(path.join(unpacked, name)).size, 0)
      assert.ok(sizeBytes < UNPACKED_LIMIT, `${sizeBytes} bytes`)
      return `${sizeBytes} bytes in ${files.length} files; packed ${statSync(file).size}`
    }),
    runCase('tarball: publint finds nothing', async () => {
      const output = await runWell(path.join(BIN, 'publint'), ['run', file, '--strict', '--pack=false'], {
        cwd: ROOT,
      })
      assert.match(output, /All good/, output)
    }),
    runCase('tarball: are-the-types-wrong finds nothing', async () => {
      const { code, output } = await run(path.join(BIN, 'attw'), [file, '--no-color', '--no-emoji'], {
        cwd: ROOT,
      })
      assert.equal(code, 0, output)
      assert.match(output, /No problems found/, output)
    }),
  ]
}
