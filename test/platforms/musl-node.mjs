/**
 * A Node for musl, on Debian. No package that Debian's or npm's registry has is one. But pnpm for musl is a Node with a program
 * built in, linked to musl at run time. Three changes make a plain Node of a copy:
 *
 *  - The mark that says that there is a program in it is cleared.
 *  - It is started by the musl of Debian's package `musl`, under a name of our own. So musl reads from a file of ours where its
 *    libraries are.
 *  - There it finds Debian's libstdc++ and libgcc, and musl-shim.c, which has what these lack beside musl.
 */
import { execFileSync } from 'node:child_process'
import { chmodSync, copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const MUSL = '/usr/lib/x86_64-linux-musl/libc.so'
const INTERPRETER = '/lib/ld-musl-x86_64.so.1'
const FUSE = 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2'

/** Writes over the one place where `found` is. */
function overwrite(bytes, found, text) {
  const at = bytes.indexOf(found)
  if (at === -1) throw new Error(`there is no "${found}" in it`)
  if (bytes.indexOf(found, at + 1) !== -1) throw new Error(`there is more than one "${found}" in it`)
  bytes.fill(0, at, at + found.length)
  bytes.write(text, at, 'latin1')
}

/**
 * Makes the Node in `folder`, whose path must be short: that of the interpreter takes the place of the one that is there.
 * `pnpm` is the file of the package `@pnpm/linuxstatic-x64`. Returns the path of the Node.
 */
export function makeMuslNode(folder, pnpm) {
  const [lib, etc, bin] = ['lib', 'etc', 'bin'].map(name => path.join(folder, name))
  const interpreter = path.join(lib, 'ld')
  if (interpreter.length > INTERPRETER.length) throw new Error(`the path ${interpreter} is too long`)
  for (const made of [lib, etc, bin]) mkdirSync(made, { recursive: true })
  copyFileSync(MUSL, interpreter)
  chmodSync(interpreter, 0o755)
  writeFileSync(path.join(etc, 'ld-musl-x86_64.path'), `${lib}\n`)
  symlinkSync(interpreter, path.join(lib, 'libc.musl-x86_64.so.1'))
  for (const name of ['libstdc++.so.6', 'libgcc_s.so.1']) {
    const found = execFileSync('g++', [`-print-file-name=${name}`], { encoding: 'utf8' }).trim()
    copyFileSync(found, path.join(lib, name))
  }
  // glibc's libstdc++ asks for this one by name; to musl it is a library like others.
  const shim = path.join(lib, 'ld-linux-x86-64.so.2')
  const source = fileURLToPath(new URL('musl-shim.c', import.meta.url))
  execFileSync('gcc', ['-shared', '-nostdlib', '-fPIC', '-O1', '-fno-stack-protector', '-o', shim, source])

  const bytes = readFileSync(pnpm)
  overwrite(bytes, `${FUSE}:1`, `${FUSE}:0`)
  overwrite(bytes, `${INTERPRETER}\0`, interpreter)
  const node = path.join(bin, 'node')
  writeFileSync(node, bytes, { mode: 0o755 })
  return node
}
