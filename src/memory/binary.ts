/**
 * Finds and loads the binary of the addon. Knows where binaries lie, and what to say where there is none.
 *
 * It looks first for `build/Release`, which `native/build.mjs` makes, then for `prebuilds`, with the names of
 * prebuildify. It reads nothing outside of the package and lists no folder. So a process under Node's
 * permission model needs to allow no more than the package: see `reasonOf`. Node itself says which C library
 * there is.
 */
import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ArenaError } from '../base/errors.js'

// Both src/memory and dist/memory are two levels below the package.
const packageRoot = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const BUILT = `${packageRoot}/build/Release/offheap.node`

/**
 * Loads what `native/addon.cc` exports. Throws an `ArenaError` (`ERR_ARENA_NOT_SUPPORTED`) that says what to
 * do.
 */
export function loadBinary(): unknown {
  const require = createRequire(import.meta.url)
  try {
    try {
      return require(BUILT)
    } catch (error) {
      if (!isAbsent(error)) throw error
    }
    return require(prebuilt())
  } catch (cause) {
    throw new ArenaError('ERR_ARENA_NOT_SUPPORTED', `Cannot load the native addon: ${reasonOf(cause)}`, {
      cause,
    })
  }
}

function prebuilt(): string {
  return `${packageRoot}/prebuilds/${process.platform}-${process.arch}/node.${libcName()}.node`
}

/** The C library of this process. A binary for glibc may load on musl, and then fail in any way. */
function libcName(): 'glibc' | 'musl' {
  const { report } = process as { report?: NodeJS.ProcessReport }
  if (report === undefined) return 'glibc'
  // Without this, the report looks up the name of every address that the process is connected to.
  const { excludeNetwork } = report as { excludeNetwork?: boolean }
  Object.assign(report, { excludeNetwork: true })
  const { header } = report.getReport() as { header: { glibcVersionRuntime?: string } }
  Object.assign(report, { excludeNetwork })
  return header.glibcVersionRuntime === undefined ? 'musl' : 'glibc'
}

function isAbsent(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND'
}

function reasonOf(cause: unknown): string {
  const { code, message } = cause as NodeJS.ErrnoException
  const { permission } = process
  // On some Node lines a file that may not be read looks as if it were absent.
  const mayRead = permission?.has('fs.read', packageRoot) !== false
  if (
    permission !== undefined &&
    (code === 'ERR_DLOPEN_DISABLED' || code === 'ERR_ACCESS_DENIED' || !mayRead)
  ) {
    // The message names all flags that are needed, at once. A program cannot ask whether addons are allowed,
    // and a second `--allow-addons` does no harm. A path that is given twice makes Node 20 abort, so it is
    // named only if it is needed.
    const flags = mayRead ? '--allow-addons' : `--allow-addons ${shellWord(`--allow-fs-read=${packageRoot}`)}`
    return `the permission model forbids it; run node with ${flags}`
  }
  if (code === 'ERR_DLOPEN_DISABLED') return 'addons are disabled; run node without --no-addons.'
  if (!isAbsent(cause)) return message
  return (
    `no binary for ${process.platform}-${process.arch} (${libcName()}). Build one with ` +
    `"npm install --no-save node-gyp node-addon-api && node ${shellWord(`${packageRoot}/native/build.mjs`)}" ` +
    '(needs g++, make and Python 3).'
  )
}

/** The text, quoted if needed, so that a shell takes it for one word. */
function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}
