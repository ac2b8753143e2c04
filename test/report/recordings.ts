/** The recorded texts of /proc/self/smaps: `children/record.mjs` made them, on Linux 6.18 with glibc 2.36. */
import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'

export const RECORDINGS = ['node20', 'node24', 'node26', 'jemalloc', 'mimalloc', 'tcmalloc'] as const

export function recording(name: (typeof RECORDINGS)[number]): string {
  return gunzipSync(readFileSync(new URL(`recorded/${name}.smaps.gz`, import.meta.url))).toString('latin1')
}
