/** The functions under test, by name: those of `offheap`, or of a module that is given in its place. */
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

/**
 * What is used of a report of `reclaim()`.
 * @typedef {{ durationMs: number, longestPauseMs: number }} Reclaimed
 */

/**
 * @typedef {object} Functions
 * @property {(options?: object) => Promise<Reclaimed>} reclaim
 * @property {(options?: object) => () => void} reclaimWhenIdle
 */

/**
 * @param {string | undefined} given a path
 * @returns {Promise<Partial<Functions>>}
 */
function load(given) {
  return import(given === undefined ? 'offheap' : pathToFileURL(resolve(given)).href)
}

/**
 * @param {keyof Functions} name
 * @param {string | undefined} given
 */
export async function hasFunction(name, given) {
  return (await load(given))[name] !== undefined
}

/**
 * @template {keyof Functions} Name
 * @param {Name} name
 * @param {string | undefined} given
 * @returns {Promise<Functions[Name]>}
 */
export async function functionNamed(name, given) {
  const found = (await load(given))[name]
  if (found === undefined) throw new Error(`${given ?? 'offheap'} has no ${name}()`)
  return found
}
