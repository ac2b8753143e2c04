/** `collect` of what comes through sockets: requests, responses, and clients that hang up. */
import { once } from 'node:events'
import { createServer, type IncomingMessage, request as requestTo, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, it } from 'vitest'
import { open, turns } from '../support/world.js'
import { liveBlocksOf, rejectionOf } from './places.js'

const MIB = 2 ** 20

/** Runs `use` with the address of a server that answers so. */
async function serving(
  answer: (request: IncomingMessage, response: ServerResponse) => unknown,
  use: (url: string) => Promise<void>,
): Promise<void> {
  const server = createServer(answer)
  server.listen(0)
  await once(server, 'listening')
  try {
    await use(`http://localhost:${(server.address() as AddressInfo).port}/`)
  } finally {
    server.close()
    server.closeAllConnections()
  }
}

describe('collect of a request', () => {
  it('can be answered also if the body is too long, and the connection ends then', async () => {
    const { arena } = open()
    const answer = async (request: IncomingMessage, response: ServerResponse) => {
      const scope = arena.scope()
      try {
        const body = await scope.collect(request, { maxBytes: MIB })
        response.end(`${body.length}`)
      } catch (error) {
        const { code } = error as { code: string }
        response.writeHead(code === 'ERR_ARENA_TOO_LARGE' ? 413 : 500, { connection: 'close' }).end(code)
      } finally {
        scope.end()
      }
    }
    await serving(answer, async url => {
      for (const sizeBytes of [0, 1, 100_000, MIB]) {
        const response = await fetch(url, { method: 'POST', body: Buffer.alloc(sizeBytes) })
        expect([response.status, await response.text()]).toEqual([200, `${sizeBytes}`])
      }
      // By the client of Node, which hands on an answer that comes before all is sent.
      const request = requestTo(url, { method: 'POST' })
      request.on('error', () => {})
      request.write(Buffer.alloc(3 * MIB))
      const [response] = (await once(request, 'response')) as [IncomingMessage]
      response.resume()
      expect(response.statusCode).toBe(413)
      await once(request, 'close')
    })
    expect(liveBlocksOf(arena)).toBe(0)
  })

  it('rejects if the client hangs up, and leaves nothing behind', async () => {
    const { arena } = open()
    let collecting: Promise<unknown> | undefined
    const answer = (request: IncomingMessage) => {
      collecting = rejectionOf(arena.collect(request, { maxBytes: 10 * MIB }))
    }
    await serving(answer, async url => {
      for (let i = 0; i < 5; i++) {
        const request = requestTo(url, { method: 'POST', headers: { 'content-length': 4 * MIB } })
        request.on('error', () => {})
        request.write(Buffer.alloc(MIB))
        while (collecting === undefined || arena.stats().liveBlocks === 0) await turns()
        request.destroy()
        expect(['ECONNRESET', 'ERR_STREAM_PREMATURE_CLOSE']).toContain(
          ((await collecting) as { code: string }).code,
        )
        collecting = undefined
        expect(liveBlocksOf(arena)).toBe(0)
      }
    })
  })
})

describe('collect of a response', () => {
  it('reads that of fetch and that of node:http, and ends a connection that sends too much', async () => {
    const { arena } = open()
    let closed = 0
    const answer = (request: IncomingMessage, response: ServerResponse) => {
      response.on('close', () => closed++)
      if (request.url === '/short') response.end(Buffer.alloc(300_000, 'abc'))
      else response.write(Buffer.alloc(MIB))
    }
    await serving(answer, async url => {
      const { body } = await fetch(`${url}short`)
      if (body === null) throw new Error('there is no body')
      expect((await arena.collect(body, { maxBytes: MIB })).length).toBe(300_000)
      const [message] = (await once(requestTo(`${url}short`).end(), 'response')) as [IncomingMessage]
      const sizeHint = Number(message.headers['content-length'])
      expect((await arena.collect(message, { maxBytes: MIB, sizeHint })).length).toBe(300_000)
      expect(closed).toBe(2)
      const endless = await fetch(`${url}endless`)
      expect((await rejectionOf(arena.collect(endless.body as never, { maxBytes: 1_000 })))?.code).toBe(
        'ERR_ARENA_TOO_LARGE',
      )
      const request = requestTo(`${url}endless`).end()
      request.on('error', () => {})
      const [other] = (await once(request, 'response')) as [IncomingMessage]
      expect((await rejectionOf(arena.collect(other, { maxBytes: 1_000 })))?.code).toBe('ERR_ARENA_TOO_LARGE')
      while (closed < 4) await turns()
    })
    expect(liveBlocksOf(arena)).toBe(2)
  })
})
