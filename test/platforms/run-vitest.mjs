/** Runs tests by vitest on another Node, in a copy of the package whose binary is a published one. */
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs'
import path from 'node:path'
import { printLeftOut, vitestArguments } from '../support/left-out.mjs'
import { root } from './install.mjs'

const COPIED = [
  '.compiled',
  'bench',
  'binding.gyp',
  'dist',
  'docs',
  'examples',
  'native',
  'package.json',
  'README.md',
  'src',
  'test',
  'tsconfig.json',
  'vitest.config.ts',
]
/** vitest does not end by itself where a process of a test hangs. */
const MAX_MS = 15 * 60_000

/** The tests take build/Release, so there the binary lies. */
function copyPackage(folder, binary) {
  mkdirSync(path.join(folder, 'build/Release'), { recursive: true })
  for (const name of COPIED) cpSync(path.join(root, name), path.join(folder, name), { recursive: true })
  cpSync(binary, path.join(folder, 'build/Release/offheap.node'))
  symlinkSync(path.join(root, 'node_modules'), path.join(folder, 'node_modules'))
}

/** What failed, with the first lines of why. */
function printFailures(file) {
  if (file.status === 'failed' && file.assertionResults.length === 0)
    console.log(`FAILED: ${file.name}: ${file.message}`)
  for (const { status, fullName, failureMessages } of file.assertionResults) {
    if (status !== 'failed') continue
    const lines = (failureMessages[0] ?? '').split('\n').filter(line => !line.includes('node_modules/'))
    console.log(`FAILED: ${file.name} > ${fullName}\n  ${lines.slice(0, 12).join('\n  ')}`)
  }
}

/**
 * @param {{ node: string, binary: string, folder: string, bundler: string, places: string[], leftOut: object[], env?: object }} run
 * `bundler`: the file of vitest's bundler for that platform; `folder` is where the copy goes.
 * @returns how many tests passed, failed, and were skipped: these say why themselves
 */
export function runVitest({ node, binary, folder, bundler, places, leftOut, env = {} }) {
  copyPackage(folder, binary)
  printLeftOut(leftOut)
  const report = path.join(folder, 'report.json')
  const options = ['run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`]
  const done = spawnSync(
    node,
    ['node_modules/vitest/vitest.mjs', ...options, ...vitestArguments(places, leftOut)],
    {
      cwd: folder,
      // The children run on this Node alone.
      env: { ...process.env, CI: 'true', OFFHEAP_NODES: '', NAPI_RS_NATIVE_LIBRARY_PATH: bundler, ...env },
      encoding: 'utf8',
      maxBuffer: 2 ** 28,
      timeout: MAX_MS,
      killSignal: 'SIGKILL',
    },
  )
  if (!existsSync(report)) {
    const said = `${done.stdout}\n${done.stderr}`.trim().split('\n').slice(-30).join('\n')
    throw new Error(`vitest ended without a report (${done.signal ?? done.status})\n${said}`)
  }
  const { testResults } = JSON.parse(readFileSync(report, 'utf8'))
  const count = { passed: 0, failed: 0, skipped: 0 }
  for (const file of testResults) {
    printFailures(file)
    if (file.status === 'failed' && file.assertionResults.length === 0) count.failed++
    for (const { status } of file.assertionResults)
      count[status === 'passed' || status === 'failed' ? status : 'skipped']++
  }
  // An error outside of any test.
  if (done.status !== 0 && count.failed === 0) {
    console.log(done.stdout.split('\n').slice(-40).join('\n'))
    count.failed++
  }
  return count
}
