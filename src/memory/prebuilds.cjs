/**
 * Loads the binary that is published for a platform. The names are written out, in CommonJS: so bundlers and
 * tools that trace files (webpack, esbuild, ncc, @vercel/nft) see which binaries belong to the package.
 */

/**
 * By platform and CPU: loads the binary, and returns what it exports. Throws Node's error where the file is
 * absent or cannot be loaded.
 *
 * @type {Readonly<Record<string, () => unknown>>}
 */
exports.prebuilds = {
  // @ts-expect-error: a binary has no types.
  'linux-arm64': () => require('../../prebuilds/linux-arm64/offheap.node'),
  // @ts-expect-error: a binary has no types.
  'linux-x64': () => require('../../prebuilds/linux-x64/offheap.node'),
}
