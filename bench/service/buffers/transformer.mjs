/** The transformer of `examples/services`, with pictures in Buffers. */
import { createServer } from 'node:http'
import { answering, send } from '../../../examples/services/http.mjs'
import { pack, png, scale, sizeOf } from '../../../examples/services/png.mjs'
import { readBody } from './body.mjs'

const MIB = 2 ** 20

/**
 * @param {object} options
 * @param {number} [options.maxBytes] of one picture
 */
export function createTransformer({ maxBytes = 4 * MIB }) {
  return createServer(
    answering(async (request, response) => {
      const { width, height } = sizeOf(request, maxBytes)
      const pixels = await readBody(request, maxBytes)
      const rows = Buffer.allocUnsafe((height / 2) * (1 + 2 * width))
      scale(pixels, width, rows)
      response.setHeader('content-type', 'image/png')
      await send(response, png(width / 2, height / 2, await pack(rows)))
    }),
  )
}
