/** The command line of the process benchmark. */
import { parseArgs } from 'node:util'
import { DELAY_CASES } from './delay-cases.mjs'
import { BODIES, VARIANTS } from './variants.mjs'

/** @import { Body, Variant } from './variants.mjs' */
/** @import { DelayCase } from './delay-cases.mjs' */

/**
 * `isChosen`: whether the variants were named. `json`: a path, or `-` for standard output. `given`: a module in the place of `offheap`.
 * @typedef {object} Options
 * @property {Variant[]} variants
 * @property {Body[]} bodies
 * @property {DelayCase[]} delayCases
 * @property {boolean} isChosen
 * @property {boolean} isDelay
 * @property {number} rounds
 * @property {number} seconds
 * @property {string | undefined} json
 * @property {string} node
 * @property {string | undefined} given
 */

/**
 * Throws if there is no such option, variant, body or case.
 * @param {string[]} args
 * @returns {Options}
 */
export function readOptions(args) {
  const { values } = parseArgs({
    args,
    options: {
      only: { type: 'string' },
      delay: { type: 'boolean', default: false },
      rounds: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '10' },
      json: { type: 'string' },
      node: { type: 'string', default: process.execPath },
      given: { type: 'string' },
    },
  })
  const wanted = values.only?.split(',') ?? []
  const kinds = values.delay ? [DELAY_CASES] : [VARIANTS, BODIES]
  requireNames(wanted, kinds.flat())
  return {
    variants: among(VARIANTS, wanted),
    bodies: among(BODIES, wanted),
    delayCases: among(DELAY_CASES, wanted),
    isChosen: VARIANTS.some(({ name }) => wanted.includes(name)),
    isDelay: values.delay,
    rounds: wholeNumber('rounds', values.rounds),
    seconds: wholeNumber('seconds', values.seconds),
    json: values.json,
    node: values.node,
    given: values.given,
  }
}

/**
 * Throws if one of the wanted names is none of theirs.
 * @param {string[]} wanted
 * @param {{ name: string }[]} all
 */
export function requireNames(wanted, all) {
  const names = all.map(({ name }) => name)
  for (const name of wanted) {
    if (!names.includes(name)) throw new Error(`--only: no '${name}': there are ${names.join(', ')}`)
  }
}

/**
 * Those that are wanted; all of them where none is.
 * @template {{ name: string }} Named
 * @param {Named[]} all
 * @param {string[]} wanted
 */
export function among(all, wanted) {
  const chosen = all.filter(({ name }) => wanted.includes(name))
  return chosen.length === 0 ? all : chosen
}

/**
 * @param {string} name
 * @param {string} text
 */
export function wholeNumber(name, text) {
  const number = Number(text)
  if (Number.isInteger(number) && number >= 1 && number <= 1000) return number
  throw new Error(`--${name} must be a whole number from 1 to 1000; got '${text}'`)
}
