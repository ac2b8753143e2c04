/** Test files and tests that do not run in some place: for the programs that run vitest there. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))

/**
 * Prints what is left out and why: whole files, or those tests of a file that have `test` in their name. Throws where a name is no
 * longer that of a file or of a test.
 *
 * @param {readonly { file: string, test?: string, reason: string }[]} list
 */
export function printLeftOut(list) {
  for (const { file, test, reason } of list) {
    if (!existsSync(path.join(root, file))) throw new Error(`left out is ${file}, which is not there`)
    if (test !== undefined && !readFileSync(path.join(root, file), 'utf8').includes(test))
      throw new Error(`left out is "${test}", which is not in ${file}`)
    console.log(`Left out: ${file}${test === undefined ? '' : `, "${test}"`}: ${reason}`)
  }
}

/**
 * What vitest takes to run all tests of these folders and files but those of the list.
 *
 * @param {readonly string[]} places folders and files, from the root of the package
 * @param {readonly { file: string, test?: string }[]} list
 * @param {readonly string[]} filters of the files, those are taken whose path has one of these in it; none: all
 * @returns {string[]}
 */
export function vitestArguments(places, list, filters = []) {
  const files = list.filter(({ test }) => test === undefined).map(({ file }) => file)
  const names = list.flatMap(({ test }) => (test === undefined ? [] : [test]))
  const taken = places
    .flatMap(testFilesIn)
    .filter(file => !files.includes(file))
    .filter(file => filters.length === 0 || filters.some(filter => file.includes(filter)))
  return names.length > 0 ? [...taken, '--testNamePattern', patternWithout(names)] : taken
}

/** @param {string} place */
function testFilesIn(place) {
  if (place.endsWith('.test.ts')) return [place]
  return readdirSync(path.join(root, place), { recursive: true, encoding: 'utf8' })
    .filter(file => file.endsWith('.test.ts'))
    .map(file => `${place}/${file}`)
}

/**
 * Matches the full name of any test that holds none of these.
 *
 * @param {readonly string[]} names
 */
function patternWithout(names) {
  const escaped = names.map(name => name.replaceAll(/[$()*+.?[\\\]^{|}]/g, '\\$&'))
  return `^(?!.*(?:${escaped.join('|')}))`
}
