/**
 * Makes pictures half as wide and half as high: `POST /half?width=W&height=H` takes pixels, four bytes each (red, green, blue, alpha), and
 * answers with a PNG. Pixels come and are scaled in blocks of an arena; zlib compresses them on another thread.
 *
 *   PORT=8080 node transformer.mjs
 *   convert picture.jpg -depth 8 -resize 640x480! rgba:- | curl --data-binary @- 'http://localhost:8080/half?width=640&height=480' > half.png
 */
import { createServer } from 'node:http'
import { fileURLToPath } from 'node:url'
import { Arena } from 'offheap'
import { answering, HttpError, readBody, run, send } from './http.mjs'
import { pack, png, scale, sizeOf } from './png.mjs'
import { discardParts } from './zip.mjs'

const MIB = 2 ** 20

/**
 * @param {object} options
 * @param {Arena} options.arena its limit is what all pictures under way may take
 * @param {number} [options.maxBytes] of one picture
 */
export function createTransformer({ arena, maxBytes = 4 * MIB }) {
  // #region answer
  const server = createServer(
    answering(async (request, response) => {
      const { width, height } = sizeOf(request, maxBytes)
      const packed = await half(await readBody(arena, request, maxBytes), width, height)
      response.setHeader('content-type', 'image/png')
      await send(response, png(width / 2, height / 2, packed))
      // zlib made them for us alone, and they are sent.
      discardParts(packed)
    }),
  )

  /**
   * Scales and compresses. Frees `pixels`.
   * @param {Buffer} pixels
   * @param {number} width
   * @param {number} height
   */
  async function half(pixels, width, height) {
    const rowsBytes = (height / 2) * (1 + 2 * width)
    const rows = arena.tryAllocUnsafe(rowsBytes)
    if (rows !== undefined) scale(pixels, width, rows)
    arena.free(pixels)
    if (rows === undefined) throw new HttpError(503, 'all memory for pictures is in use: try again')
    try {
      return await arena.lend(rows, pack)
    } finally {
      arena.free(rows)
    }
  }
  // #endregion

  return server
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const arena = new Arena({ name: 'pictures', limitBytes: 128 * MIB })
  run(createTransformer({ arena }), arena)
}
