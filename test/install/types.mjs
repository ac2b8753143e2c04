/**
 * A program that uses what the package declares, compiled by compilers of several years in each way of resolving modules, with
 * the strictest options. What they emit is run.
 */
import assert from 'node:assert/strict'
import { copyFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { runWell } from './processes.mjs'
import { folderFor, makeProject } from './project.mjs'

/** Each with types of Node of its time. */
const COMPILERS = {
  '5.0': ['typescript@~5.0', '@types/node@20.11'],
  5.6: ['typescript@~5.6', '@types/node@20'],
  5.9: ['typescript@~5.9', '@types/node@22'],
  7: ['typescript@7', '@types/node@24'],
}

/** The files of a mode say how they are loaded: `.mts` as ES modules, `.cts` as CommonJS. */
const MODES = {
  nodenext: { module: 'nodenext', moduleResolution: 'nodenext', files: ['types.mts', 'types.cts'] },
  node16: { module: 'node16', moduleResolution: 'node16', files: ['types.mts', 'types.cts'] },
  bundler: { module: 'esnext', moduleResolution: 'bundler', files: ['types.mts'] },
  node10: { module: 'commonjs', moduleResolution: 'node10', files: ['types.ts'] },
}
/** TypeScript 7 has no `node10` any more. */
const ABSENT = { 7: ['node10'] }

async function compile(project, mode) {
  const { files, ...modules } = MODES[mode]
  const folder = folderFor(project, mode)
  const compilerOptions = {
    ...modules,
    target: 'es2022',
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
    types: ['node'],
    outDir: 'out',
  }
  writeFileSync(path.join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }))
  for (const file of files) copyFileSync(path.join(project, 'types.ts'), path.join(folder, file))
  await runWell('npx', ['tsc'], { cwd: folder })
  for (const file of files) {
    const emitted = `out/${file.replace(/ts$/, 'js')}`
    assert.match(await runWell(process.execPath, [emitted], { cwd: folder }), /it works/)
  }
}

/** Adds the cases of the compilers. */
export function typesCases({ folder, tarball }, runCase) {
  return Object.entries(COMPILERS).map(async ([version, packages]) => {
    const project = path.join(folder, `types-${version}`)
    let making
    const modes = Object.keys(MODES).filter(mode => !(ABSENT[version] ?? []).includes(mode))
    await Promise.all(
      modes.map(mode =>
        runCase(`types: TypeScript ${version}, ${mode}`, async () => {
          making ??= makeProject(project, tarball, packages)
          await compile(await making, mode)
        }),
      ),
    )
  })
}
