/**
 * `npm run test:sanitize [-- FILTER...]`: the tests that use the real addon, with the addon built by AddressSanitizer and
 * UndefinedBehaviorSanitizer. FILTER is what vitest takes; the default is all that `FOLDERS` names, some three minutes.
 *
 * The library loads its addon from one place and takes no other name for it. So the tests run in a copy of the package,
 * build/sanitize, whose addon is the instrumented one. `node` itself is not instrumented: the sanitizer's library is loaded
 * before everything else, which replaces malloc, so that memory that the addon and Node hand each other is checked too.
 *
 * Fails when a test fails, and when a sanitizer reports anything, in whatever process.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { printLeftOut, vitestArguments } from '../support/left-out.mjs'
import { LEFT_OUT } from './left-out.mjs'

const root = fileURLToPath(new URL('../..', import.meta.url))
const copy = path.join(root, 'build/sanitize')
const reports = path.join(copy, 'reports')

const FOLDERS = ['test/memory', 'test/buffers', 'test/supply', 'test/arena', 'test/kernel', 'test/fuzz']
const COPIED = [
  '.compiled',
  'binding.gyp',
  'dist',
  'native',
  'package.json',
  'src',
  'test',
  'tsconfig.json',
  'vitest.config.ts',
]
const SANITIZE = '-fsanitize=address,undefined'

/** A guard page, and a signal that a test waits for, are the kernel's: the sanitizer leaves them alone. */
const ASAN_OPTIONS = [
  'handle_segv=0',
  'handle_sigbus=0',
  'detect_stack_use_after_return=1',
  `log_path=${reports}/asan`,
]
/** Writes to standard error, whatever it is told, and ends the process. */
const UBSAN_OPTIONS = ['print_stacktrace=1']

function fail(message) {
  console.error(`offheap: ${message}`)
  process.exit(1)
}

/** What was compiled there before stays, so that only what changed is compiled. */
function copyPackage() {
  mkdirSync(copy, { recursive: true })
  for (const name of COPIED) {
    rmSync(path.join(copy, name), { recursive: true, force: true })
    cpSync(path.join(root, name), path.join(copy, name), { recursive: true, preserveTimestamps: true })
  }
  if (!existsSync(path.join(copy, 'node_modules')))
    symlinkSync('../../node_modules', path.join(copy, 'node_modules'))
  rmSync(reports, { recursive: true, force: true })
  mkdirSync(reports)
}

function build() {
  const env = {
    ...process.env,
    CXX: 'g++',
    // The first fault ends the process. Instrumented code has more paths, and g++ warns of some that are none.
    CXXFLAGS: `${SANITIZE} -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g -Wno-error`,
    LDFLAGS: SANITIZE,
  }
  // The sanitizer looks into calls of libstdc++, which it can only where that is a library of its own.
  const arguments_ = ['native/build.mjs', '--shared-runtime']
  const { status } = spawnSync(process.execPath, arguments_, { cwd: copy, env, stdio: 'inherit' })
  if (status !== 0) process.exit(1)
}

/** The sanitizer's library, which must be loaded first. */
function sanitizerLibrary() {
  const file = spawnSync('g++', ['-print-file-name=libasan.so'], { encoding: 'utf8' }).stdout.trim()
  return path.isAbsolute(file) ? file : fail('g++ has no AddressSanitizer here')
}

/** Runs `node` in the copy. Returns whether it ended well. */
function runNode(args, asanOptions, more = {}) {
  const env = {
    ...process.env,
    ...more,
    // Children run on this line of Node alone.
    OFFHEAP_NODES: '',
    LD_PRELOAD: sanitizerLibrary(),
    ASAN_OPTIONS: [...ASAN_OPTIONS, ...asanOptions].join(':'),
    UBSAN_OPTIONS: UBSAN_OPTIONS.join(':'),
    LSAN_OPTIONS: `suppressions=${fileURLToPath(new URL('lsan.supp', import.meta.url))}:print_suppressions=0`,
  }
  return spawnSync(process.execPath, args, { cwd: copy, env, stdio: 'inherit' }).status === 0
}

/** Workers that end in every way. V8 leaves things behind itself where a process exits early, so tests are not looked at. */
function runLeaks() {
  console.log('Looking for what Workers leave behind.')
  return runNode(['test/arena/children/workers.mjs', '1', '40'], ['detect_leaks=1'])
}

/** Random work with files, zlib, crypto and Workers. */
function runTorture() {
  return runNode(['test/torture/main.mjs', '--seconds', '15'], ['detect_leaks=0'])
}

function runTests(filters) {
  // By name: the projects of vitest.config.ts have exclusions of their own, and take no others.
  const arguments_ = vitestArguments(FOLDERS, LEFT_OUT, filters)
  return runNode(['node_modules/vitest/vitest.mjs', 'run', ...arguments_], ['detect_leaks=0'], {
    OFFHEAP_FUZZ_STEPS: process.env.OFFHEAP_FUZZ_STEPS ?? '200',
  })
}

/** A sanitizer writes one file for each process that it finds a fault in. */
function printReports() {
  const files = readdirSync(reports)
  for (const file of files) console.error(readFileSync(path.join(reports, file), 'utf8'))
  if (files.length > 0) console.error(`offheap: ${files.length} processes with a fault; see ${reports}`)
  return files.length === 0
}

printLeftOut(LEFT_OUT)
copyPackage()
build()
const isWithoutLeaks = runLeaks()
const isTortured = runTorture()
const isPassed = runTests(process.argv.slice(2))
const isWithoutReports = printReports()
process.exit(isWithoutLeaks && isTortured && isPassed && isWithoutReports ? 0 : 1)
