/** Builds the addon inside the installed package, by the command that the error message advises. */
import assert from 'node:assert/strict'
import { existsSync, rmSync } from 'node:fs'
import path from 'node:path'
import { run, runWell } from './processes.mjs'
import { makeProject } from './project.mjs'

const BUILT = 'native/build/Release/offheap.node'

async function build({ folder, tarball }) {
  const project = await makeProject(path.join(folder, 'source'), tarball)
  const installed = path.join(project, 'node_modules/offheap')
  rmSync(path.join(installed, 'prebuilds'), { recursive: true })
  const { code, output } = await run(process.execPath, ['first.cjs'], { cwd: project })
  assert.notEqual(code, 0)
  const advice = /Build one with "([^"]+)"/.exec(output)?.[1]
  assert.ok(advice !== undefined, `no advice in\n${output}`)
  await runWell('sh', ['-ec', advice], { cwd: project, seconds: 420 })
  assert.ok(existsSync(path.join(installed, BUILT)), `no ${BUILT}`)
  assert.match(await runWell(process.execPath, ['first.cjs'], { cwd: project }), /it works/)
  return advice.replaceAll(project, '…')
}

/** Adds the case of a build from source. */
export function sourceCases(context, runCase) {
  return [runCase('source: built in the installed package, as the error advises', () => build(context))]
}
