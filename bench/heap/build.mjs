/** Which build of the heap is measured. A run takes minutes; one whose heap was rebuilt meanwhile measured two of them. */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'

// All that `offheap/heap` is made of.
const FOLDER = new URL('../../dist/heap/', import.meta.url)

/** A short hash of the compiled heap. */
export function fingerprintBuild() {
  const hash = createHash('sha256')
  const files = readdirSync(FOLDER).filter(file => file.endsWith('.cjs'))
  for (const file of files.sort()) hash.update(file).update(readFileSync(new URL(file, FOLDER)))
  return hash.digest('hex').slice(0, 16)
}
