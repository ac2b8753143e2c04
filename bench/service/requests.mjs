/** What clients ask of each service, and what they expect. The same requests in each run. */
import { createHash } from 'node:crypto'
import { makeText } from '../http-load.mjs'

/** @import { Request } from 'autocannon' */

/** Whole numbers below `count`. @typedef {(count: number) => number} Random */

/** Makes the requests of one connection, which it sends over and over. @typedef {(random: Random, client: number) => Request[]} MakeRequests */

const KIB = 1024
const MIB = 1024 * KIB

/**
 * @param {number} seed
 * @returns {Random}
 */
export function randomFrom(seed) {
  let state = seed + 1
  return count => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    return Math.floor((state / 2 ** 32) * count)
  }
}

/**
 * @template T
 * @param {T[]} items
 * @param {Random} random
 */
function shuffled(items, random) {
  const left = [...items]
  return items.map(() => left.splice(random(left.length), 1)[0])
}

/**
 * Ends the load: a wrong answer is no result.
 * @param {boolean} isRight
 * @param {() => string} what
 */
function expect(isRight, what) {
  if (!isRight) throw new Error(`a wrong answer: ${what()}`)
}

const text = makeText(4 * MIB)
/** So many of each size. */
const UPLOADS = [
  ...Array(8).fill(KIB),
  ...Array(8).fill(16 * KIB),
  ...Array(8).fill(64 * KIB),
  ...Array(4).fill(256 * KIB),
  ...Array(2).fill(MIB),
]
const uploads = [...new Set([...UPLOADS, 4 * MIB])].map(sizeBytes => {
  const body = text.subarray(0, sizeBytes)
  return { sizeBytes, body, sha256: createHash('sha256').update(body).digest('hex') }
})

/** @type {MakeRequests} */
function uploadRequests(random, client) {
  // One connection in four has a body of 4 MiB among its own.
  const sizes = shuffled(client % 4 === 0 ? [...UPLOADS, 4 * MIB] : UPLOADS, random)
  return sizes.map((sizeBytes, index) => {
    const { body, sha256 } = uploads.find(each => each.sizeBytes === sizeBytes) ?? uploads[0]
    return {
      method: 'PUT',
      path: `/${client}/${index}`,
      body,
      onResponse(status, answer) {
        expect(status === 201 && answer.includes(sha256), () => `${status} ${answer}`)
      },
    }
  })
}

const KEYS = 2000
/** From 1 to 256 KiB, by the key: many short ones, few long ones. @param {number} key */
const entryBytes = key => Math.floor(KIB * 2 ** ((8 * ((key * 619) % KEYS)) / KEYS))

/** @type {MakeRequests} */
function cacheRequests(random) {
  return Array.from({ length: 200 }, (_, index) => {
    // Low keys come more often than high ones.
    const key = Math.floor(KEYS * (random(1000) / 1000) ** 3)
    const path = `/${key}`
    const sizeBytes = entryBytes(key)
    if (index % 5 === 0) {
      const body = Buffer.from(text.subarray(0, sizeBytes))
      body.write(`${key}:`)
      /** @type {Request} */
      const put = { method: 'PUT', path, body }
      return put
    }
    return {
      method: 'GET',
      path,
      onResponse(status, answer) {
        if (status === 404) return
        const isRight = status === 200 && answer.length === sizeBytes && answer.startsWith(`${key}:`)
        expect(isRight, () => `${status}, ${answer.length} bytes of ${sizeBytes}, for key ${key}`)
      },
    }
  })
}

/** Width and height of the pictures, and how many there are of each. */
const PICTURES = [...Array(8).fill(128), ...Array(4).fill(256), ...Array(2).fill(512), ...Array(1).fill(1024)]
/** Stripes and noise. @param {number} side */
function makePicture(side) {
  const random = randomFrom(side)
  return Buffer.from(Uint8Array.from({ length: 4 * side * side }, (_, i) => ((i >>> 6) & 0xf8) + random(8)))
}
const pictures = new Map([...new Set(PICTURES)].map(side => [side, makePicture(side)]))
/** The length of each answer, as it came first. @type {Map<number, string>} */
const answered = new Map()

/** @type {MakeRequests} */
function pictureRequests(random) {
  return shuffled(PICTURES, random).map(side => ({
    method: 'POST',
    path: `/half?width=${side}&height=${side}`,
    body: pictures.get(side) ?? Buffer.alloc(0),
    onResponse(status, answer, _context, headers) {
      const length = `${Reflect.get(headers ?? {}, 'content-length')}`
      const isRight = status === 200 && answer.includes('PNG') && (answered.get(side) ?? length) === length
      expect(isRight, () => `${status}, ${length} bytes after ${answered.get(side)}, for side ${side}`)
      answered.set(side, length)
    },
  }))
}

const TOPICS = 8
const FRAMES = 200

/** Frames of 20 to 127 bytes: so each byte of a batch is a character of its own. @param {Random} random */
function makeBatch(random) {
  const frames = Array.from({ length: FRAMES }, () => {
    const from = random(MIB)
    const frame = Buffer.alloc(4 + 20 + random(108))
    frame.writeUInt32BE(frame.length - 4)
    text.copy(frame, 4, from, from + frame.length - 4)
    return frame
  })
  return Buffer.concat(frames)
}

/** @type {MakeRequests} */
function brokerRequests(random, client) {
  const path = `/topic-${client % TOPICS}`
  let after = 0
  /** @type {Request} */
  const read = {
    method: 'GET',
    path,
    setupRequest: request => ({ ...request, path: `${path}?after=${after}` }),
    onResponse(status, answer, _context, headers) {
      const [first, next] = ['x-first', 'x-next'].map(name => Number(Reflect.get(headers ?? {}, name)))
      let count = 0
      for (let at = 0; at < answer.length; count++) at += 4 + answer.charCodeAt(at + 3)
      const isRight = status === 200 && first + count === next + 1 && next >= after
      expect(isRight, () => `${status}, frames ${first} to ${next}, ${count} of them, after ${after}`)
      after = next
    },
  }
  // Each connection publishes a batch, then reads what all those of its topic have published: so a request is the same amount
  // of work however fast the server is. With readers of their own, a slower server would have fewer and longer answers.
  return Array.from({ length: 8 }, () => makeBatch(random)).flatMap(body => {
    /** @type {Request} */
    const publish = { method: 'POST', path, body }
    return [publish, read]
  })
}

/** By the name of the service. @type {Record<string, MakeRequests>} */
export const REQUESTS = {
  'upload-proxy': uploadRequests,
  cache: cacheRequests,
  transformer: pictureRequests,
  broker: brokerRequests,
}
