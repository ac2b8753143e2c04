/**
 * A Node for 64-bit ARM, run by qemu. No kernel starts it here by itself, so `process.execPath`, by which tests and vitest start
 * children, is that of a script that calls qemu.
 */
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const LIBRARIES = '/usr/aarch64-linux-gnu'

/** Makes the script and what goes with it in `folder`. Returns what `runVitest` and `spawn` take. */
export function makeArm64Node(folder, node, pageBytes = 4096) {
  const script = path.join(folder, `node-${pageBytes}`)
  const options = ['-L', LIBRARIES, '-p', String(pageBytes)]
  if (pageBytes > 4096) options.push('-E', `LD_PRELOAD=${buildMincore(folder)}`)
  writeFileSync(script, `#!/bin/sh\nexec qemu-aarch64-static ${options.join(' ')} '${node}' "$@"\n`, {
    mode: 0o755,
  })
  const setPath = path.join(folder, `exec-path-${pageBytes}.cjs`)
  writeFileSync(setPath, `process.execPath = ${JSON.stringify(script)}\n`)
  return { node: script, env: { NODE_OPTIONS: `--require ${setPath}` } }
}

function buildMincore(folder) {
  const library = path.join(folder, 'qemu-mincore.so')
  const source = fileURLToPath(new URL('qemu-mincore.c', import.meta.url))
  execFileSync('aarch64-linux-gnu-gcc', [
    '-shared',
    '-fPIC',
    '-O1',
    '-Wall',
    '-Werror',
    '-o',
    library,
    source,
  ])
  return library
}
