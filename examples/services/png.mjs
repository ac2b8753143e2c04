/** Pixels scaled, compressed, and made a PNG. It does not know what memory they lie in. */
import { crc32, createDeflate } from 'node:zlib'
import { HttpError, lengthOf, lengthOfAll } from './http.mjs'
import { chunkSizeFor, zip } from './zip.mjs'

/** @import { IncomingMessage } from 'node:http' */

/**
 * Writes the rows of a picture half as wide and half as high to `rows`. Each pixel is the mean of four. Before each row is a byte 0, as PNG
 * has it: the row is not filtered.
 * @param {Buffer} pixels
 * @param {number} width in pixels, even
 * @param {Buffer} rows
 */
export function scale(pixels, width, rows) {
  const rowBytes = 4 * width
  let to = 0
  for (let from = 0; from < pixels.length; from += 2 * rowBytes) {
    rows[to++] = 0
    for (let above = from; above < from + rowBytes; above += 8) {
      const below = above + rowBytes
      for (let channel = 0; channel < 4; channel++) {
        const sum =
          pixels[above + channel] +
          pixels[above + channel + 4] +
          pixels[below + channel] +
          pixels[below + channel + 4]
        rows[to++] = (sum + 2) >>> 2
      }
    }
  }
}

/**
 * Compresses on another thread. Resolves to the parts of what comes out.
 * @param {Buffer} rows
 */
export const pack = rows => zip(createDeflate({ level: 1, chunkSize: chunkSizeFor(rows.length) }), rows)

const SIGNATURE = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1')
/** Eight bits for each of red, green, blue and alpha; deflate; filters by row; not interlaced. */
const FORMAT = [8, 6, 0, 0, 0]

/**
 * @param {string} type
 * @param {Buffer[]} data
 */
function pngChunk(type, data) {
  const head = Buffer.alloc(8)
  head.writeUInt32BE(lengthOfAll(data))
  head.write(type, 4)
  const sum = Buffer.alloc(4)
  sum.writeUInt32BE(data.reduce((crc, part) => crc32(part, crc), crc32(type)))
  return [head, ...data, sum]
}

/**
 * A PNG, in parts.
 * @param {number} width in pixels
 * @param {number} height
 * @param {Buffer[]} packed rows
 */
export function png(width, height, packed) {
  const size = Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, ...FORMAT])
  size.writeUInt32BE(width)
  size.writeUInt32BE(height, 4)
  return [SIGNATURE, ...pngChunk('IHDR', [size]), ...pngChunk('IDAT', packed), ...pngChunk('IEND', [])]
}

/**
 * The size that a request names, in pixels. Throws 400 if it is none, or not that of the body.
 * @param {IncomingMessage} request
 * @param {number} maxBytes
 */
export function sizeOf(request, maxBytes) {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost')
  if (request.method !== 'POST' || pathname !== '/half') throw new HttpError(404, 'there is POST /half')
  const [width, height] = ['width', 'height'].map(name => Number(searchParams.get(name)))
  const isSize = [width, height].every(side => Number.isInteger(side) && side > 0 && side % 2 === 0)
  if (!isSize) throw new HttpError(400, 'width and height must be even numbers of pixels')
  if (lengthOf(request, maxBytes) !== 4 * width * height)
    throw new HttpError(400, 'the body must have 4 bytes for each pixel')
  return { width, height }
}
