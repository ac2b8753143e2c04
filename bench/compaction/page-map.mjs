/**
 * Draws docs/compaction.svg: what lies on each page of a store before and after a compaction, from a real run.
 *
 *   npm run plot:compaction [-- --mib N] [-- --out FILE]
 *
 * Two stores of --mib MiB (4) are filled. In one of them a random record in 16 is kept, in the other one in 2. The colour of a
 * page is the share of its bytes that lie in records. --out - writes the picture to stdout.
 */
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { partsOf } from '#compiled/base/made-of.js'
import { Store } from '#compiled/store/store.js'
import { answerHelp } from '../help.mjs'
import { compactAll, fill, freeMost, randomFrom, verify } from './measures/measuring.mjs'

answerHelp(import.meta.url)

/** @import { StoreParts } from '#compiled/store/parts.js' */

/**
 * The pages of a store: for each, the share of its bytes that lie in records.
 * @typedef {object} PageMap
 * @property {number[]} shares of the pages that the full store used, lowest address first
 * @property {number} liveBytes
 * @property {number} residentBytes
 */

const MIB = 2 ** 20
const { values } = parseArgs({
  options: {
    mib: { type: 'string', default: '4' },
    out: { type: 'string', default: fileURLToPath(new URL('../../docs/compaction.svg', import.meta.url)) },
  },
})
const mib = Number(values.mib)
if (!Number.isInteger(mib) || mib < 1) throw new Error(`'${values.mib}' is no whole number of at least 1`)

const CASES = [
  { name: '256 B, 1 record in 16 kept', sizes: { least: 256, most: 256 }, keep: 16 },
  { name: '16 B to 4 KiB, 1 record in 2 kept', sizes: { least: 16, most: 4096 }, keep: 2 },
]

/**
 * For each page number, the share of the page that lies in records.
 * @param {Store} store
 */
function sharesOf(store) {
  const { heap } = /** @type {StoreParts} */ (partsOf(store)).arena
  const { pageGranules } = heap
  /** @type {number[]} */
  const granules = []
  for (const block of heap.listLive()) {
    for (let at = block, end = heap.endOf(block); at < end; ) {
      const page = Math.floor(at / pageGranules)
      const upTo = Math.min(end, (page + 1) * pageGranules)
      granules[page] = (granules[page] ?? 0) + upTo - at
      at = upTo
    }
  }
  return Array.from(granules, count => (count ?? 0) / pageGranules)
}

/** @param {typeof CASES[number]} pageCase */
function run({ name, sizes, keep }) {
  const store = new Store({ compact: 'manual', releaseAfterMs: Number.POSITIVE_INFINITY })
  const random = randomFrom(1)
  const all = fill(store, sizes, mib * MIB, random)
  // Between two segments there are numbers of no page.
  const pages = sharesOf(store).flatMap((share, page) => (share > 0 ? [page] : []))
  /** @returns {PageMap} */
  const look = () => {
    const shares = sharesOf(store)
    return {
      shares: pages.map(page => shares[page] ?? 0),
      liveBytes: store.stats().liveBytes,
      residentBytes: store.residentBytes(),
    }
  }
  const kept = freeMost(store, all, keep, random)
  store.trim()
  const before = look()
  compactAll(store)
  store.trim()
  const after = look()
  verify(store, kept)
  store.close()
  return { name, before, after }
}

const CELL = 6
const COLUMNS = 64
const WIDTH = COLUMNS * CELL
const LEFT = 24
const GUTTER = 36
const TOP = 24
/** A page that is full, and one with a single byte. */
const [FULL, SPARSE] = [
  [22, 66, 120],
  [190, 214, 238],
]
const FREE = '#f4f4f4'

/** @param {number} share of the page that lies in records, 0 to 1 */
function colourOf(share) {
  if (share === 0) return FREE
  return `rgb(${SPARSE.map((from, index) => Math.round(from + (FULL[index] - from) * share)).join(',')})`
}

/**
 * The share as it is drawn: in sixteenths, and never 0 where something lies.
 * @param {number | undefined} share
 */
function levelOf(share = 0) {
  return Math.ceil(share * 16) / 16
}

/**
 * @param {PageMap} map
 * @param {number} x
 * @param {number} y
 * @param {string} title
 */
function panel({ shares, liveBytes, residentBytes }, x, y, title) {
  const figures = `${(liveBytes / MIB).toFixed(2)} MiB live, ${(residentBytes / MIB).toFixed(2)} MiB resident`
  const text = `<text x="${x}" y="${y - 8}"><tspan font-weight="bold">${title}</tspan> · ${figures}</text>`
  // One path for all pages of a colour, in units of a page, so that the file stays small.
  /** @type {Map<string, string>} */
  const paths = new Map()
  for (let page = 0; page < shares.length; ) {
    const share = levelOf(shares[page])
    const [column, row] = [page % COLUMNS, Math.floor(page / COLUMNS)]
    let count = 1
    while (column + count < COLUMNS && levelOf(shares[page + count]) === share) count++
    if (share > 0) paths.set(colourOf(share), `${paths.get(colourOf(share)) ?? ''}M${column} ${row}h${count}`)
    page += count
  }
  const [width, height] = [WIDTH, Math.ceil(shares.length / COLUMNS) * CELL]
  const cells = [
    `<rect x="${x}" y="${y}" width="${width}" height="${height}" fill="${FREE}"/>`,
    `<g transform="translate(${x} ${y + CELL / 2}) scale(${CELL})">`,
    ...Array.from(paths, ([colour, path]) => `  <path stroke="${colour}" d="${path}"/>`),
    '</g>',
    `<rect x="${x}" y="${y}" width="${width}" height="${height}" fill="url(#grid)"/>`,
  ]
  return [text, ...cells].join('\n  ')
}

/**
 * @param {number} x
 * @param {number} y
 */
function legend(x, y) {
  const shares = [0, 1 / 16, 1 / 4, 1 / 2, 3 / 4, 1]
  const labels = ['free, gone back', '1/16', '1/4', '1/2', '3/4', 'full of records']
  const lefts = [0, 130, 190, 245, 300, 355]
  return shares
    .map((share, index) => {
      const left = x + lefts[index]
      return `<rect x="${left}" y="${y - 10}" width="11" height="11" fill="${colourOf(share)}" stroke="#999" stroke-width="0.5"/><text x="${left + 17}" y="${y}">${labels[index]}</text>`
    })
    .join('\n  ')
}

const results = CASES.map(run)
let y = TOP
const parts = []
for (const { name, before, after } of results) {
  const height = Math.ceil(before.shares.length / COLUMNS) * CELL
  parts.push(`<text x="${LEFT}" y="${y}" font-size="14" fill="#555">${name}</text>`)
  y += 30
  parts.push(panel(before, LEFT, y, 'before'))
  parts.push(panel(after, LEFT + WIDTH + GUTTER, y, 'after'))
  y += height + 36
}
parts.push(legend(LEFT, y))
const [width, height] = [2 * LEFT + 2 * WIDTH + GUTTER, y + 16]
const title = 'What lies on each page of a store, lowest address first: before a compaction, and after it'
const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="Helvetica, Arial, sans-serif" font-size="12">
  <title>${title}</title>
  <defs>
    <pattern id="grid" width="${CELL}" height="${CELL}" patternUnits="userSpaceOnUse" patternTransform="translate(${LEFT} 0)">
      <path d="M${CELL - 0.5} 0V${CELL}M0 ${CELL - 0.5}H${CELL}" stroke="#ffffff"/>
    </pattern>
  </defs>
  <rect width="${width}" height="${height}" fill="#ffffff"/>
  ${parts.join('\n  ')}
</svg>
`
if (values.out === '-') process.stdout.write(svg)
else writeFileSync(values.out, svg)
