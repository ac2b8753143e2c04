/**
 * `npm run check:binaries [-- FILE...]`: says whether binaries of the addon are what docs/binary.md promises. Without a FILE:
 * all in prebuilds/. Reads them with `readelf`. Prints each fault and exits with 1 where there is one.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

/**
 * @typedef {{ type: string, binding: string, section: string, name: string, version?: string }} DynamicSymbol
 * @typedef {{ type: string, flags: string, end: number, alignBytes: number }} Segment
 * @typedef {'x64' | 'arm64'} Arch
 */

const UNLISTED = 'on no list'
const MAX_BYTES = 400 * 1024

/** By the name of Node for it: what readelf calls it, and the longest pages that its kernels have. */
const MACHINES = {
  x64: { name: 'Advanced Micro Devices X86-64', pageBytes: 4096 },
  arm64: { name: 'AArch64', pageBytes: 65536 },
}

const EXPORTED = ['napi_register_module_v1', 'node_api_module_get_api_version_v1']

/**
 * What the addon may use of the C library. musl 1.2.3 and glibc 2.17 have all of these: `npm run test:platforms` compares.
 * A name may be added when both have it, and when glibc has no two versions of it that differ: without a version, the oldest
 * one is taken.
 */
export const LIBC = {
  both: `__cxa_atexit __errno_location __stack_chk_fail abort brk clock_gettime close dl_iterate_phdr fprintf fputc fputs free
    fwrite getenv getpid getrlimit gettext madvise malloc memcmp memcpy memmove memset mincore mmap mprotect munmap open prctl printf
    pthread_mutex_lock pthread_mutex_unlock read realloc sbrk sched_yield snprintf sprintf stderr strchr strcmp strerror strlen strncmp
    strrchr strstr syscall sysconf`.split(/\s+/),
  x64: ['__tls_get_addr', 'ceil', 'floor', 'fmax', 'fmin'],
  arm64: ['__stack_chk_guard', 'getauxval'],
  /**
   * Those that may be absent. musl has no `mallopt`. The unwinder takes the absence of `__pthread_key_create` for "no threads",
   * and then does a piece of work without a lock that comes out the same however often it is done.
   */
  weak: `_ITM_deregisterTMCloneTable _ITM_registerTMCloneTable __cxa_finalize __gmon_start__ __pthread_key_create mallopt
    pthread_once`.split(/\s+/),
}

/** What the addon may use of libuv: all of it is in libuv 1.39, and all but `uv_metrics_idle_time` in 1.0. Of Node-API its headers show only what version 8 has. */
const LIBUV =
  `uv_close uv_fileno uv_hrtime uv_idle_init uv_idle_start uv_idle_stop uv_is_active uv_is_readable uv_is_writable
  uv_metrics_idle_time uv_now uv_prepare_init uv_prepare_start uv_prepare_stop uv_ref uv_timer_init uv_timer_start uv_timer_stop uv_unref uv_update_time
  uv_walk`.split(/\s+/)

/** @param {...string} args */
function readelf(...args) {
  const { error, status, stdout, stderr } = spawnSync('readelf', ['--wide', ...args], {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C' },
  })
  if (error) throw new Error('"readelf" was not found: on Debian or Ubuntu, "apt-get install binutils"')
  if (status !== 0) throw new Error(`readelf: ${stderr.trim()}`)
  return stdout
}

/**
 * The dynamic symbols of an ELF file: `version` is `undefined` where the symbol has none.
 *
 * @param {string} file
 */
export function symbolsOf(file) {
  const line =
    /^ *\d+: [0-9a-f]+ +\S+ +(?<type>\S+) +(?<binding>\S+) +\S+ +(?:\[.*\] +)?(?<section>\S+) +(?<name>[^\s@]+)(?:@@?(?<version>\S+))?/gm
  return [...readelf('--dyn-syms', file).matchAll(line)].map(
    ({ groups }) => /** @type {DynamicSymbol} */ (groups),
  )
}

/**
 * The program headers. Rows are: type, offset, virtual and physical address, length in the file and in memory, flags, alignment.
 *
 * @param {string} file
 * @returns {Segment[]}
 */
function segmentsOf(file) {
  const line = /^ {2}([A-Z_]+) +\S+ +(0x[0-9a-f]+) +\S+ +\S+ +(0x[0-9a-f]+) +([RWE ]{3}) +(0x[0-9a-f]+)$/gm
  return [...readelf('--program-headers', file).matchAll(line)].map(
    ([, type, start, length, flags, align]) => ({
      type,
      flags,
      end: Number(start) + Number(length),
      alignBytes: Number(align),
    }),
  )
}

/**
 * Another libc, or another version of one, would not load it.
 *
 * @param {string} dynamic
 * @param {string} relocations
 * @param {DynamicSymbol[]} symbols
 */
function* loadingFaults(dynamic, relocations, symbols) {
  for (const [, tag, rest] of dynamic.matchAll(/^ 0x[0-9a-f]+ \((\w+)\) *(.*)$/gm)) {
    if (tag === 'NEEDED') yield `needs a library: ${rest.trim()}`
    if (tag === 'RPATH' || tag === 'RUNPATH') yield `names a folder to look for libraries in: ${rest.trim()}`
    if (tag === 'VERNEED' || tag === 'VERDEF') yield `has versions of symbols (${tag})`
    if (tag === 'RELR') yield 'has compressed relocations (RELR), which glibc before 2.36 does not know'
    if (tag === 'FLAGS' && rest.includes('STATIC_TLS'))
      yield 'has static TLS, for which a loaded library may find no room'
  }
  if (/IRELATIV/.test(relocations) || symbols.some(({ type }) => type === 'IFUNC'))
    yield 'has an indirect function (IFUNC), which musl does not know'
  if (!/GNU_HASH/.test(dynamic)) yield 'has no GNU hash table'
}

/**
 * @param {string} dynamic
 * @param {Segment[]} segments
 * @param {DynamicSymbol[]} symbols
 */
function* hardeningFaults(dynamic, segments, symbols) {
  if (!/\(FLAGS\).*BIND_NOW/.test(dynamic)) yield 'is bound lazily: without BIND_NOW'
  if (!segments.some(({ type }) => type === 'GNU_RELRO')) yield 'has no RELRO segment'
  if (/\(TEXTREL\)|\(FLAGS\).*TEXTREL/.test(dynamic)) yield 'has relocations in its code (TEXTREL)'
  if (!/\(FLAGS_1\).*NODELETE/.test(dynamic)) yield 'may be unloaded: without NODELETE'
  const stack = segments.find(({ type }) => type === 'GNU_STACK')
  if (stack === undefined || stack.flags.includes('E')) yield 'makes the stack executable'
  if (segments.some(({ flags }) => flags.includes('W') && flags.includes('E')))
    yield 'has code that can be written to'
  if (!symbols.some(({ name }) => name === '__stack_chk_fail')) yield 'has no stack protector'
}

/** @param {DynamicSymbol[]} symbols */
function* symbolFaults(symbols) {
  const named = symbols.filter(({ type }) => type !== 'SECTION')
  const exported = named.filter(({ section }) => section !== 'UND').map(({ name }) => name)
  for (const name of exported) if (!EXPORTED.includes(name)) yield `exports ${name}`
  for (const name of EXPORTED) if (!exported.includes(name)) yield `does not export ${name}`
  for (const { name, section, version } of named)
    if (section === 'UND' && version !== undefined) yield `asks for a version: ${name}@${version}`
}

/**
 * @param {Arch} arch
 * @param {string} header
 * @param {Segment[]} segments
 */
function* machineFaults(arch, header, segments) {
  const { name, pageBytes } = MACHINES[arch]
  const machine = /^ *Machine: *(.*)$/m.exec(header)?.[1]
  if (machine !== name) yield `is for ${machine}, not for ${name}`
  if (!/^ *Type: *DYN/m.test(header)) yield 'is no shared library'
  for (const { type, alignBytes } of segments) {
    if (type === 'LOAD' && alignBytes < pageBytes) yield `cannot be loaded where pages are ${pageBytes} bytes`
  }
}

/**
 * What was built for one machine may have these: another compiler's libstdc++ may ask for what only the C library there has.
 *
 * @param {Arch} arch
 * @param {string} file
 * @param {Segment[]} segments
 * @param {DynamicSymbol[]} symbols
 */
function* publishedFaults(arch, file, segments, symbols) {
  const { size } = statSync(file)
  const { pageBytes } = MACHINES[arch]
  if (size > MAX_BYTES) yield `has ${size} bytes, more than ${MAX_BYTES}`
  if (/ \.(symtab|debug_info) /.test(readelf('--sections', file))) yield 'is not stripped'
  if (segments.some(({ type, end }) => type === 'GNU_RELRO' && end % pageBytes !== 0))
    yield `has RELRO that ends inside a page of ${pageBytes} bytes`
  const known = new Set([...LIBC.both, ...LIBC[arch], ...LIBUV])
  for (const { name, binding, section, type } of symbols) {
    if (section !== 'UND' || type === 'SECTION') continue
    const isKnown =
      binding === 'WEAK' ? LIBC.weak.includes(name) : known.has(name) || name.startsWith('napi_')
    if (!isKnown)
      yield `uses ${name}${binding === 'WEAK' ? ' where it is there (weak)' : ''}, which is ${UNLISTED}`
  }
}

/** @returns {arch is Arch} @param {string} arch */
function isKnown(arch) {
  return arch in MACHINES
}

/**
 * What is wrong with a binary: sentences without a subject, none where nothing is.
 *
 * @param {string} file
 * @param {string} arch as in `process.arch`
 * @param {boolean} isPublished whether it must run on every machine, and be stripped and small
 * @returns {string[]}
 */
export function faultsOf(file, arch, isPublished = true) {
  if (!isKnown(arch)) return [`is for ${arch}, of which nothing is known`]
  const dynamic = readelf('--dynamic', file)
  const segments = segmentsOf(file)
  const symbols = symbolsOf(file)
  return [
    ...machineFaults(arch, readelf('--file-header', file), segments),
    ...loadingFaults(dynamic, readelf('--relocs', file), symbols),
    ...hardeningFaults(dynamic, segments, symbols),
    ...symbolFaults(symbols),
    ...(isPublished ? publishedFaults(arch, file, segments, symbols) : []),
  ]
}

/** The files of prebuilds/, whose folders have the names that the loader looks for. */
export function prebuilt() {
  const folder = path.join(root, 'prebuilds')
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter(name => name.endsWith('.node'))
    .map(name => path.join(folder, name))
}

/** @param {string[]} files */
function main(files) {
  let faultCount = 0
  for (const file of files) {
    const arch = path.basename(path.dirname(file)).split('-').at(-1) ?? ''
    const faults = faultsOf(file, arch)
    for (const fault of faults) console.error(`${file} ${fault}`)
    if (faults.some(fault => fault.includes(UNLISTED)))
      console.error(
        'The list is what gcc 12 of Debian 12 makes: libstdc++ of another version asks for other names.',
      )
    if (faults.length === 0) console.log(`${file}: ${statSync(file).size} bytes, nothing is wrong`)
    faultCount += faults.length
  }
  if (files.length === 0) console.error('There is no binary in prebuilds/: run "npm run prebuild"')
  return faultCount === 0 && files.length > 0
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const files = process.argv.slice(2)
  process.exit(main(files.length > 0 ? files : prebuilt()) ? 0 : 1)
}
