/** The package as it is installed, on each line of Node, and its command. */
import assert from 'node:assert/strict'
import { copyFileSync, readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import { cleanEnvironment, run, runWell } from './processes.mjs'
import { makeProject } from './project.mjs'

const LINES = [20, 22, 24, 26]
const PROGRAMS = ['first.mjs', 'first.cjs', 'both.mjs']

async function versionOf(node) {
  return (await runWell(node, ['--version'])).trim()
}

/** `OFFHEAP_NATIVE_BINDING` names another file, where the package has none. */
async function useNamedBinary(project, folder) {
  const binaries = path.join(project, 'node_modules/offheap/prebuilds')
  const named = path.join(folder, 'named.node')
  copyFileSync(path.join(binaries, `linux-${process.arch}/offheap.node`), named)
  rmSync(binaries, { recursive: true })
  const { code, output } = await run(process.execPath, ['first.mjs'], { cwd: project })
  assert.notEqual(code, 0)
  assert.match(output, /ERR_ARENA_NOT_SUPPORTED/, output)
  const env = { ...cleanEnvironment(), OFFHEAP_NATIVE_BINDING: named }
  assert.match(await runWell(process.execPath, ['first.mjs'], { cwd: project, env }), /it works/)
}

/** Adds the cases of the plain package. */
export async function plainCases({ folder, tools, tarball }, runCase) {
  const project = await makeProject(path.join(folder, 'plain'), tarball)
  const { version } = JSON.parse(readFileSync(path.join(tarball.unpacked, 'package.json'), 'utf8'))
  const onNode = LINES.flatMap(line =>
    PROGRAMS.map(program =>
      runCase(`plain: ${program} on Node ${line}`, async () => {
        const node = await tools.node(line)
        assert.match(await runWell(node, [program], { cwd: project }), /it works/)
        return versionOf(node)
      }),
    ),
  )
  return [
    ...onNode,
    runCase('plain: npx offheap --version', async () => {
      assert.equal((await runWell('npx', ['offheap', '--version'], { cwd: project })).trim(), version)
    }),
    runCase('plain: npx offheap demo', async () => {
      const output = await runWell('npx', ['offheap', 'demo'], { cwd: project })
      assert.match(output, /Arena/, output)
    }),
    runCase('plain: OFFHEAP_NATIVE_BINDING', async () =>
      useNamedBinary(await makeProject(path.join(folder, 'named'), tarball), folder),
    ),
  ]
}
