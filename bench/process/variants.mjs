/** What is compared: ways to hold bodies, who serves `malloc`, and whether memory is given back when the process is idle. */
import { findPeers } from '../heap/peers.mjs'
import { hasFunction } from './given.mjs'

/** @import { Peer } from '../heap/peers.mjs' */

/**
 * What the server may be told to call `reclaimWhenIdle` with; `undefined`: it does not call it.
 * @typedef {{ collectGarbage?: 'none' | 'minor' | 'major' }} IdleOptions
 */

/**
 * `holds`: where the server puts a body. `preload`: the name of a peer. `variables`: of the server's environment.
 * @typedef {object} Variant
 * @property {string} name as in `--only`
 * @property {'buffers' | 'arena'} holds
 * @property {string} [preload]
 * @property {Record<string, string>} [variables]
 * @property {IdleOptions} [idle]
 */

/**
 * `sizeBytes` is what the server hashes; on the way it is shorter where `isGzip`.
 * @typedef {{ name: string, sizeBytes: number, isGzip: boolean }} Body
 */

const KIB = 1024
const MIB = 1024 * KIB

/** @type {Body[]} */
export const BODIES = [
  { name: '64k', sizeBytes: 64 * KIB, isGzip: false },
  { name: '1m', sizeBytes: MIB, isGzip: false },
  { name: '4m-gzip', sizeBytes: 4 * MIB, isGzip: true },
]

/** Each is run without and with `reclaimWhenIdle()`. */
/** @type {Variant[]} */
const MALLOCS = [
  { name: 'jemalloc', holds: 'buffers', preload: 'jemalloc' },
  {
    // A thread of jemalloc's that gives back what was free for a second, also while the process is idle.
    name: 'jemalloc-thread',
    holds: 'buffers',
    preload: 'jemalloc',
    variables: { MALLOC_CONF: 'background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0' },
  },
  { name: 'mimalloc', holds: 'buffers', preload: 'mimalloc' },
  { name: 'tcmalloc', holds: 'buffers', preload: 'tcmalloc' },
  { name: 'arena-max-2', holds: 'buffers', variables: { MALLOC_ARENA_MAX: '2' } },
]

/** @type {Variant[]} */
export const VARIANTS = [
  { name: 'buffers', holds: 'buffers' },
  { name: 'buffers+idle', holds: 'buffers', idle: {} },
  { name: 'buffers+idle-major', holds: 'buffers', idle: { collectGarbage: 'major' } },
  { name: 'arena', holds: 'arena' },
  { name: 'arena+idle', holds: 'arena', idle: {} },
  ...MALLOCS.flatMap(each => [each, { ...each, name: `${each.name}+idle`, idle: {} }]),
]

/** @type {Peer[] | undefined} */
let peers

/** @param {string} name */
function peerNamed(name) {
  peers ??= findPeers()
  const peer = peers.find(each => each.name === name)
  if (peer === undefined) throw new Error(`no allocator '${name}'`)
  return peer
}

/**
 * Why a variant cannot be measured here; `undefined` if it can.
 * @param {Variant} variant
 * @param {string | undefined} given the module that stands in for `offheap`
 * @returns {Promise<string | undefined>}
 */
async function reasonAgainst({ preload, idle }, given) {
  if (preload !== undefined) {
    const { package: from, library } = peerNamed(preload)
    if (library === undefined) return `${preload} is not installed (Debian package ${from})`
  }
  if (idle !== undefined && !(await hasFunction('reclaimWhenIdle', given)))
    return `${given ?? 'offheap'} has no reclaimWhenIdle()`
  return undefined
}

/**
 * A row for each variant, without figures. Throws if one that was named cannot be measured.
 * @param {Variant[]} variants
 * @param {boolean} isChosen whether they were named
 * @param {string} [given] the module that stands in for `offheap`
 * @returns {Promise<{ name: string, measurements: never[], reason?: string }[]>}
 */
export async function rowsFor(variants, isChosen, given) {
  const rows = []
  for (const variant of variants) {
    const reason = await reasonAgainst(variant, given)
    if (reason !== undefined && isChosen) throw new Error(`${variant.name}: ${reason}`)
    rows.push({ name: variant.name, measurements: [], ...(reason === undefined ? {} : { reason }) })
  }
  return rows
}

/**
 * The environment of a server of this variant.
 * @param {Variant} variant
 * @param {NodeJS.ProcessEnv} own of this process
 * @returns {NodeJS.ProcessEnv}
 */
export function environmentOf({ preload, variables }, own) {
  const library = preload === undefined ? undefined : peerNamed(preload).library
  return { ...own, ...variables, ...(library === undefined ? {} : { LD_PRELOAD: library }) }
}
