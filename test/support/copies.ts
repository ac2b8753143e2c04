/** Copies of the built package in folders of their own, as two installs of it are. */
import { copyFileSync, cpSync, linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const BINARY = 'build/Release/offheap.node'

/**
 * How the binary of a copy relates to that of the package. `'shared'`: it is the very file by another way, so Node returns the same
 * exports. `'linked'`: another name of the same file, so the system has it loaded already, and Node begins it anew.
 * `'own'`: another file.
 */
export type BinaryKind = 'shared' | 'linked' | 'own'

/** Makes a copy. Returns the address of its main module, and a function that removes the copy. */
export function makeCopy(kind: BinaryKind): { address: string; remove: () => void } {
  // Beside the package, because a hard link cannot reach into another file system.
  const folder = mkdtempSync(join(kind === 'linked' ? join(ROOT, 'build') : tmpdir(), 'copy-'))
  cpSync(join(ROOT, 'dist'), join(folder, 'dist'), { recursive: true })
  copyFileSync(join(ROOT, 'package.json'), join(folder, 'package.json'))
  if (kind === 'shared') symlinkSync(join(ROOT, 'build'), join(folder, 'build'))
  else {
    mkdirSync(join(folder, 'build/Release'), { recursive: true })
    if (kind === 'linked') linkSync(join(ROOT, BINARY), join(folder, BINARY))
    else copyFileSync(join(ROOT, BINARY), join(folder, BINARY))
  }
  return {
    address: pathToFileURL(join(folder, 'dist/index.js')).href,
    remove: () => rmSync(folder, { recursive: true, force: true }),
  }
}
