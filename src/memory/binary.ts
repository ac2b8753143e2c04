/**
 * Finds and loads the binary of the addon. Knows where binaries lie, and what to say where there is none.
 *
 * It looks first at the path that the program or the environment names. Then for a binary that was built from
 * source on this machine, then for the one that is published for this platform. It reads nothing outside of
 * the package and lists no folder. So a process under Node's permission model needs to allow no more than the
 * package: see `reasonOf`.
 */
import { createRequire } from 'node:module'
import { dirname, isAbsolute } from 'node:path'
import { ArenaError } from '../base/errors.js'
import { OWN_FOLDER } from '../base/own-folder.js'
import { faultOfFile } from './binary-file.js'
import { noBinaryFor } from './platform.js'
import { prebuilds } from './prebuilds.cjs'

/** The environment variable that names the path of the binary to load. */
const BINDING_VARIABLE = 'OFFHEAP_NATIVE_BINDING'

/** Undefined in a bundle, where only a path that is named and the bundled binaries can be loaded. */
const packageRoot = OWN_FOLDER === undefined ? undefined : dirname(OWN_FOLDER)
/** Where `native/build.mjs` puts what it builds: in a clone, and in an installed package. */
const BUILDS = ['build/Release/offheap.node', 'native/build/Release/offheap.node']
const platform = `${process.platform}-${process.arch}`

/** The path that the environment names. A variable that is empty names none. */
export function bindingOfEnvironment(): string | undefined {
  // biome-ignore lint/style/noProcessEnv: whoever starts a program that was bundled has no other way to say it.
  const path = process.env[BINDING_VARIABLE]
  return path === '' ? undefined : path
}

/**
 * Loads what `native/addon.cc` exports: from `path`, which must be absolute, or if it is undefined from where
 * the head of this file says. The system must be Linux. Throws an `ArenaError` that says what to do:
 * `ERR_ARENA_UNSUPPORTED_PLATFORM` if there is no binary for this CPU, `ERR_ARENA_NOT_SUPPORTED` if it is
 * missing or cannot be loaded.
 */
export function loadBinary(path?: string): unknown {
  if (path !== undefined) return checked(loadNamed(path), path)
  try {
    return checked(built() ?? prebuilt(), undefined)
  } catch (cause) {
    if (cause instanceof ArenaError) throw cause
    throw cannotLoad(reasonOf(cause), cause)
  }
}

function loadNamed(path: string): unknown {
  if (!isAbsolute(path)) {
    throw cannotLoad(
      `the path that nativeBinding or ${BINDING_VARIABLE} names must be absolute; it is ${path}`,
    )
  }
  const fault = faultOfFile(path)
  if (fault !== undefined) throw cannotLoad(`${path}: ${fault}`)
  try {
    return requireFile(path)
  } catch (cause) {
    throw cannotLoad(`${path}: ${permissionReason(cause, dirname(path)) ?? (cause as Error).message}`, cause)
  }
}

/**
 * The number of the interface that `native/addon.cc` exports. It tells this addon from others, and from those of
 * versions that this JavaScript cannot work with. Change both when a function or its arguments change.
 */
const INTERFACE = 3

/** Returns what a binary exports. Throws if it is the binary of something else. */
function checked(native: unknown, path: string | undefined): unknown {
  const found = (native as { offheapInterface?: unknown } | null)?.offheapInterface
  if (found === INTERFACE) return native
  throw cannotLoad(
    `${path ?? 'the binary of the package'} is not the addon of this version of offheap: ` +
      `its interface is ${found ?? 'none'}, not ${INTERFACE}. Name or build one of this version`,
  )
}

/** Loads a file whose name a bundler need not know. */
function requireFile(path: string): unknown {
  return createRequire(path)(path)
}

/** Loads the binary that was built from source, or returns undefined if there is none. */
function built(): unknown {
  if (packageRoot === undefined) return undefined
  for (const path of BUILDS) {
    try {
      return requireFile(`${packageRoot}/${path}`)
    } catch (error) {
      if (!isAbsent(error)) throw error
    }
  }
  return undefined
}

function prebuilt(): unknown {
  if (!Object.hasOwn(prebuilds, platform)) throw noBinaryFor(platform, buildAdvice())
  return prebuilds[platform]()
}

function cannotLoad(reason: string, cause?: unknown): ArenaError {
  return new ArenaError('ERR_ARENA_NOT_SUPPORTED', `Cannot load the native addon: ${reason}`, { cause })
}

function isAbsent(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND'
}

function reasonOf(cause: unknown): string {
  const permission = permissionReason(cause, packageRoot)
  if (permission !== undefined) return permission
  if ((cause as NodeJS.ErrnoException).code === 'ERR_DLOPEN_DISABLED')
    return 'addons are disabled; run node without --no-addons.'
  const { message } = cause as Error
  if (packageRoot === undefined) return `${message.split('\n')[0]}. ${buildAdvice()}`
  return isAbsent(cause) ? `there is no binary for ${platform}. ${buildAdvice()}` : message
}

/** Which flags of Node's permission model are missing to load from `folder`; undefined if that is not the cause. */
function permissionReason(cause: unknown, folder: string | undefined): string | undefined {
  const { code } = cause as NodeJS.ErrnoException
  const { permission } = process
  if (permission === undefined) return undefined
  // On some Node lines a file that may not be read looks as if it were absent.
  const mayRead = folder === undefined || permission.has('fs.read', folder)
  if (code !== 'ERR_DLOPEN_DISABLED' && code !== 'ERR_ACCESS_DENIED' && mayRead) return undefined
  // The message names all flags that are needed, at once. A program cannot ask whether addons are allowed,
  // and a second `--allow-addons` does no harm. A path that is given twice makes Node 20 abort, so it is
  // named only if it is needed.
  const flags = mayRead ? '--allow-addons' : `--allow-addons ${shellWord(`--allow-fs-read=${folder}`)}`
  return `the permission model forbids it; run node with ${flags}`
}

function buildAdvice(): string {
  if (packageRoot === undefined)
    return (
      `Have the bundler copy prebuilds/${platform}/offheap.node of the package, or name the path of a copy in the ` +
      `option nativeBinding or the environment variable ${BINDING_VARIABLE}.`
    )
  return (
    'Build one with "npm install --no-save node-gyp node-addon-api && ' +
    `node ${shellWord(`${packageRoot}/native/build.mjs`)}" (needs g++, make and Python 3).`
  )
}

/** The text, quoted if needed, so that a shell takes it for one word. */
function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}
