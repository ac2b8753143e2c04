/**
 * Finds and loads the addon's binary. Owns where binaries lie, and what to say where none can be had.
 *
 * Looked for is `build/Release` first, as `native/build.mjs` leaves it, then `prebuilds`, as prebuildify names them. Nothing
 * outside the package is read, and no folder is listed, so that a process under Node's permission model need allow no
 * more than the package: see `reasonOf`. Which C library there is, Node says itself.
 */
import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ArenaError } from '../base/errors.js'

// Both src/memory and dist/memory are two levels below the package.
const packageRoot = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const BUILT = `${packageRoot}/build/Release/offheap.node`

/** What `native/addon.cc` exports. Throws an `ArenaError` (`ERR_ARENA_NOT_SUPPORTED`) that says what to do. */
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

/** A binary for glibc may load on musl, and then fail in any way. */
function libcName(): 'glibc' | 'musl' {
  const { report } = process as { report?: NodeJS.ProcessReport }
  if (report === undefined) return 'glibc'
  // Else it looks up the name of every address that the process is connected to.
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
  // What may not be read looks as if it were absent on some lines of Node.
  const mayRead = permission?.has('fs.read', packageRoot) !== false
  if (
    permission !== undefined &&
    (code === 'ERR_DLOPEN_DISABLED' || code === 'ERR_ACCESS_DENIED' || !mayRead)
  ) {
    // All that is needed at once. Whether addons are allowed cannot be asked, and to allow them twice does no harm; a path that is
    // given twice makes Node 20 abort.
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

/** As a shell takes it for one word. */
function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}
