/** The allocators that tests preload: Debian's packages libjemalloc2, libmimalloc2.0 and libtcmalloc-minimal4. */
import { existsSync } from 'node:fs'
import { isMusl } from './libc.js'

/** The path of a library of Debian, such as `jemalloc.so.2`, whether or not it is there. */
export function libraryOf(name: string): string {
  return `/usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu/lib${name}`
}

export interface Preloaded {
  readonly name: 'jemalloc' | 'mimalloc' | 'tcmalloc'
  readonly file: string
}

const ALL: readonly Preloaded[] = [
  { name: 'jemalloc', file: libraryOf('jemalloc.so.2') },
  { name: 'mimalloc', file: libraryOf('mimalloc.so.2') },
  { name: 'tcmalloc', file: libraryOf('tcmalloc_minimal.so.4') },
]

/** Those that can be preloaded here. What cannot is said. */
export const PRELOADED: readonly Preloaded[] = ALL.filter(({ name, file }) => {
  if (!isMusl && existsSync(file)) return true
  console.warn(`${name} is left out: ${isMusl ? 'its library is for glibc' : `${file} is not installed`}`)
  return false
})
