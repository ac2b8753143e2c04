/** Whether the C libraries have what native/check-binaries.mjs lets a binary use. */
import { execFileSync } from 'node:child_process'
import { LIBC, symbolsOf } from '../../native/check-binaries.mjs'

/** Of this machine. musl has the same functions on all of them. */
const MUSL = '/usr/lib/x86_64-linux-musl/libc.so'

/** By architecture: the compiler, which knows where its glibc is, and the libraries that glibc consists of. */
const LIBRARIES = {
  x64: { compiler: 'g++', glibc: ['libc.so.6', 'libm.so.6', 'ld-linux-x86-64.so.2'] },
  arm64: { compiler: 'aarch64-linux-gnu-g++', glibc: ['libc.so.6', 'libm.so.6', 'ld-linux-aarch64.so.1'] },
}

/** Newer than that no symbol may be: glibc 2.28 is the oldest that Node runs on, and 2.17 the first for 64-bit ARM. */
const OLDEST = [2, 17]

/**
 * More than one version, and the oldest one does as well: glibc 2.14 lets `memcpy` fail where source and destination overlap;
 * `clock_gettime` moved from one library to another.
 */
const ALIKE = ['clock_gettime', 'memcpy']

function isOld(version) {
  const [major, minor] = version.replace('GLIBC_', '').split('.').map(Number)
  return major < OLDEST[0] || (major === OLDEST[0] && minor <= OLDEST[1])
}

function definedIn(file) {
  return symbolsOf(file).filter(({ section }) => section !== 'UND')
}

/** Sentences of what is wrong with the list for that architecture. */
function* faultsOf(arch) {
  const { compiler, glibc } = LIBRARIES[arch]
  const names = [...LIBC.both, ...LIBC[arch]]
  const versions = new Map(names.map(name => [name, new Set()]))
  for (const library of glibc) {
    const file = execFileSync(compiler, [`-print-file-name=${library}`], { encoding: 'utf8' }).trim()
    for (const { name, version } of definedIn(file))
      if (version?.startsWith('GLIBC_2.')) versions.get(name)?.add(version)
  }
  for (const [name, all] of versions) {
    if (![...all].some(isOld)) yield `${arch}: glibc has ${name} since ${[...all].join(', ') || 'never'}`
    if (all.size > 1 && !ALIKE.includes(name))
      yield `${arch}: glibc has ${name} in versions ${[...all].join(', ')}`
  }
  const inMusl = new Set(definedIn(MUSL).map(({ name }) => name))
  for (const name of names) if (!inMusl.has(name)) yield `${arch}: musl does not have ${name}`
}

/** Sentences of what is wrong with the list of names, none where nothing is. */
export function nameFaults() {
  return Object.keys(LIBRARIES).flatMap(arch => [...faultsOf(arch)])
}
