/** Finds the C allocators' shared libraries on this system. Nothing here loads one. */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { glibcVersion } from './machine.mjs'

/** Names of the libraries in order of preference, and the Debian package that brings them. */
const PRELOADED = [
  { name: 'jemalloc', files: ['libjemalloc.so.2', 'libjemalloc.so'], package: 'libjemalloc2' },
  {
    name: 'mimalloc',
    files: ['libmimalloc.so.2', 'libmimalloc.so.2.0', 'libmimalloc.so'],
    package: 'libmimalloc2.0',
  },
  {
    name: 'tcmalloc',
    files: ['libtcmalloc_minimal.so.4', 'libtcmalloc_minimal.so'],
    package: 'libtcmalloc-minimal4',
  },
]

const LDCONFIG = ['/sbin/ldconfig', '/usr/sbin/ldconfig', 'ldconfig']
const DIRECTORIES = ['/usr/lib', '/usr/lib64', '/lib', '/usr/local/lib']

/**
 * @typedef {{ name: string, package: string, library: string | undefined }} Peer
 * `library`: the path to preload; `''` for the system's own malloc; `undefined` where it is not installed.
 */

/**
 * All four peers, installed or not.
 * @param {string} [directory] look there only
 * @returns {Peer[]}
 */
export function findPeers(directory) {
  const listed = directory === undefined ? ldconfigPaths() : []
  const directories = directory === undefined ? systemDirectories() : [directory]
  /** @param {string[]} files names of one library, the best first */
  const find = files => {
    const inDirectories = files.flatMap(file => directories.map(folder => join(folder, file)))
    const inListing = files.flatMap(file => listed.filter(path => path.endsWith(`/${file}`)))
    const found = [...inListing, ...inDirectories].find(existsSync)
    return found === undefined ? undefined : realpathSync(found)
  }
  const system = { name: 'glibc', package: 'libc6', library: glibcVersion() !== undefined ? '' : undefined }
  return [
    system,
    ...PRELOADED.map(({ name, files, package: from }) => ({ name, package: from, library: find(files) })),
  ]
}

/** Paths of libraries for this architecture's own loader come first in what `ldconfig -p` prints. */
function ldconfigPaths() {
  for (const command of LDCONFIG) {
    try {
      const text = execFileSync(command, ['-p'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
      return [...text.matchAll(/ => (\/.+)$/gm)].map(match => match[1])
    } catch {
      // Not there, or not one that can print: the directories are still to be searched.
    }
  }
  return []
}

/** The usual directories and those below them that are named after a target, such as `x86_64-linux-gnu`. */
function systemDirectories() {
  return DIRECTORIES.filter(existsSync).flatMap(directory => {
    const targets = readdirSync(directory).filter(name => name.endsWith('-linux-gnu'))
    return [directory, ...targets.map(name => join(directory, name))]
  })
}
