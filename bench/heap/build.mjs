/** Which build of the heap is measured. A run takes minutes; one whose heap was rebuilt meanwhile measured two of them. */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'

const DIST = new URL('../../dist/', import.meta.url)
// All that `offheap/heap` is made of.
const FOLDERS = ['heap/', 'base/']

/** A short hash of the compiled heap. */
export function fingerprintBuild() {
  const hash = createHash('sha256')
  for (const folder of FOLDERS) {
    const files = readdirSync(new URL(folder, DIST)).filter(file => file.endsWith('.js'))
    for (const file of files.sort()) hash.update(file).update(readFileSync(new URL(folder + file, DIST)))
  }
  return hash.digest('hex').slice(0, 16)
}
