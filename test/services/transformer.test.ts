import { inflateSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { createTransformer } from '../../examples/services/transformer.mjs'
import { stepsOf, variablesOf } from '../support/extent.js'
import { fuzzSeed, type Random, randomFrom } from '../support/random.js'
import { ARENAS, Running } from './running.js'

const MIB = 2 ** 20
const CLIENTS = 8

const pathFor = (width: number, height: number): string => `/half?width=${width}&height=${height}`

function makePicture(width: number, height: number, random: Random): Buffer {
  const bytes = Buffer.alloc(4 * width * height)
  for (let i = 0; i < bytes.length; i += 7) bytes[i] = random.below(256)
  return bytes
}

/** What the service is to compute, pixel by pixel. */
function half(pixels: Buffer, width: number, height: number): Buffer {
  const at = (x: number, y: number, channel: number): number => pixels[4 * (y * width + x) + channel]
  const rows: number[] = []
  for (let y = 0; y < height; y += 2) {
    rows.push(0)
    for (let x = 0; x < width; x += 2) {
      for (let channel = 0; channel < 4; channel++) {
        const corners = [
          at(x, y, channel),
          at(x + 1, y, channel),
          at(x, y + 1, channel),
          at(x + 1, y + 1, channel),
        ]
        rows.push(Math.round(corners.reduce((sum, value) => sum + value, 0) / 4))
      }
    }
  }
  return Buffer.from(rows)
}

/** The size and the rows of a PNG. */
function readPng(png: Buffer): { width: number; height: number; rows: Buffer } {
  const chunks = new Map<string, Buffer>()
  for (let at = 8; at < png.length; ) {
    const length = png.readUInt32BE(at)
    chunks.set(png.toString('latin1', at + 4, at + 8), png.subarray(at + 8, at + 8 + length))
    at += 12 + length
  }
  expect([...chunks.keys()]).toEqual(['IHDR', 'IDAT', 'IEND'])
  const head = chunks.get('IHDR') ?? Buffer.alloc(13)
  const rows = inflateSync(chunks.get('IDAT') ?? Buffer.alloc(0))
  return { width: head.readUInt32BE(), height: head.readUInt32BE(4), rows }
}

/** One picture, now and then one that breaks off. Throws if the answer is wrong. */
async function askAnything(running: Running, random: Random): Promise<void> {
  const width = 2 * (1 + random.size(150))
  const height = 2 * (1 + random.size(150))
  const body = makePicture(width, height, random)
  const asking = { method: 'POST', body }
  if (random.oneIn(5)) return running.hangUp(pathFor(width, height), asking, random.below(20))
  const answer = await running.ask(pathFor(width, height), { ...asking, isSlow: random.oneIn(4) })
  expect({ status: answer.status, type: answer.headers['content-type'] }).toEqual({
    status: 200,
    type: 'image/png',
  })
  const png = readPng(answer.body)
  expect({ width: png.width, height: png.height }).toEqual({ width: width / 2, height: height / 2 })
  expect(png.rows.equals(half(body, width, height))).toBe(true)
}

describe('the transformer', () => {
  it.each(ARENAS)('answers with pictures of half the size: %j', async options => {
    const seed = fuzzSeed()
    const random = randomFrom(seed)
    const running = await Running.start(arena => createTransformer({ arena }), options)
    const steps = stepsOf(36, 3)
    try {
      await Promise.all(
        Array.from({ length: CLIENTS }, async () => {
          for (let step = 0; step < steps; step++) await askAnything(running, random)
        }),
      )
    } catch (error) {
      throw new Error(`with ${variablesOf(seed)}`, { cause: error })
    }
    await running.stop()
  })

  it('says what is wrong', async () => {
    const running = await Running.start(arena => createTransformer({ arena }))
    const statusOf = async (path: string, sizeBytes: number) =>
      (await running.ask(path, { method: 'POST', body: Buffer.alloc(sizeBytes) })).status
    expect(await statusOf('/double', 16)).toBe(404)
    expect(await statusOf(pathFor(3, 2), 24)).toBe(400)
    expect(await statusOf(pathFor(0, 0), 0)).toBe(400)
    expect(await statusOf('/half', 16)).toBe(400)
    expect(await statusOf(pathFor(2, 2), 15)).toBe(400)
    expect(await statusOf(pathFor(2048, 1024), 8 * MIB)).toBe(413)
    expect(await statusOf(pathFor(2, 2), 16)).toBe(200)
    await running.stop()
  })

  it('refuses pictures while the arena is full, and takes them after that', async () => {
    const running = await Running.start(arena => createTransformer({ arena }), { limitBytes: 6 * MIB })
    const ask = (width: number, height: number) =>
      running.ask(pathFor(width, height), { method: 'POST', body: Buffer.alloc(4 * width * height) })
    const other = running.arena.allocUnsafe(5 * MIB)
    expect((await ask(1024, 512)).status).toBe(503)
    running.arena.free(other)
    // There is room for the pixels, and none for the rows.
    const most = running.arena.allocUnsafe(4 * MIB - 65_536)
    expect((await ask(1024, 512)).status).toBe(503)
    running.arena.free(most)
    expect((await ask(1024, 512)).status).toBe(200)
    await running.stop()
  })
})
