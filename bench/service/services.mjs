/** The services that are measured: where each is, with an arena and with Buffers, and what it is started with. */

/**
 * `create` is the name of the function that makes the server. `forwards`: whether it needs another server.
 * @typedef {object} Service
 * @property {string} name as in `--only`, and of the files
 * @property {string} create
 * @property {object} options
 * @property {boolean} [forwards]
 * @property {number} connections of the load
 */

const MIB = 2 ** 20

/**
 * What a service holds for a time, it drops after half a second: so after a wave hardly anything is live.
 * @type {Service[]}
 */
export const SERVICES = [
  { name: 'upload-proxy', create: 'createUploadProxy', options: {}, forwards: true, connections: 16 },
  { name: 'cache', create: 'createCache', options: { budgetBytes: 48 * MIB, ttlMs: 500 }, connections: 32 },
  { name: 'transformer', create: 'createTransformer', options: {}, connections: 16 },
  {
    name: 'broker',
    create: 'createBroker',
    options: { retainBytes: 16 * MIB, retainMs: 500, waitMs: 1000 },
    connections: 32,
  },
]

/**
 * The module of a service.
 * @param {string} name
 * @param {'buffers' | 'arena'} holds
 */
export const moduleOf = (name, holds) =>
  new URL(holds === 'arena' ? `../../examples/services/${name}.mjs` : `buffers/${name}.mjs`, import.meta.url)
    .href
