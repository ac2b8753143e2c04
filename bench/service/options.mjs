/** The command line of the service benchmark. */
import { parseArgs } from 'node:util'
import { among, requireNames, wholeNumber } from '../process/options.mjs'
import { VARIANTS } from '../process/variants.mjs'
import { SERVICES } from './services.mjs'

/** @import { Variant } from '../process/variants.mjs' */
/** @import { Service } from './services.mjs' */

/**
 * `isChosen`: whether the variants were named. `json`: a path, or `-` for standard output. `plot`: the path of an SVG.
 * @typedef {object} Options
 * @property {Service[]} services
 * @property {Variant[]} variants
 * @property {boolean} isChosen
 * @property {number} rounds
 * @property {number} seconds
 * @property {number} waves
 * @property {string | undefined} json
 * @property {string | undefined} plot
 * @property {string} node
 */

const MEASURED = ['buffers', 'jemalloc', 'mimalloc', 'tcmalloc', 'arena-max-2', 'arena', 'arena+idle']
const MEASURED_VARIANTS = VARIANTS.filter(({ name }) => MEASURED.includes(name))

/**
 * Throws if there is no such option, variant or service.
 * @param {string[]} args
 * @returns {Options}
 */
export function readOptions(args) {
  const { values } = parseArgs({
    args,
    options: {
      only: { type: 'string' },
      rounds: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '3' },
      waves: { type: 'string', default: '3' },
      json: { type: 'string' },
      plot: { type: 'string' },
      node: { type: 'string', default: process.execPath },
    },
  })
  const wanted = values.only?.split(',') ?? []
  requireNames(wanted, [...MEASURED_VARIANTS, ...SERVICES])
  return {
    services: among(SERVICES, wanted),
    variants: among(MEASURED_VARIANTS, wanted),
    isChosen: MEASURED.some(name => wanted.includes(name)),
    rounds: wholeNumber('rounds', values.rounds),
    seconds: wholeNumber('seconds', values.seconds),
    waves: wholeNumber('waves', values.waves),
    json: values.json,
    plot: values.plot,
    node: values.node,
  }
}
