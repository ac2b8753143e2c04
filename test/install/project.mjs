/** One project with the package and the tools that recipes use, in which each case has a folder of its own. */
import { cpSync, mkdirSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { installPackages } from './tools.mjs'

const PROGRAMS = fileURLToPath(new URL('programs/', import.meta.url))

/** Installs the tarball and `packages` into `folder`, with the programs of this folder beside it. */
export async function makeProject(folder, tarball, packages = []) {
  await installPackages(folder, [tarball.file, ...packages])
  for (const name of readdirSync(PROGRAMS)) cpSync(path.join(PROGRAMS, name), path.join(folder, name))
  return folder
}

/** A folder in the project for one case. */
export function folderFor(project, name) {
  const folder = path.join(project, name.toLowerCase().replaceAll(/\W+/g, '-'))
  mkdirSync(folder)
  return folder
}
