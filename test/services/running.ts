/** A service on a port, with an arena of its own, and clients for it: polite ones, slow ones, and ones that hang up. */
import { once } from 'node:events'
import { Agent, type IncomingHttpHeaders, request as requestTo, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Arena, type ArenaOptions } from 'offheap'
import { assertNoLiveBlocks } from 'offheap/testing'

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

export interface Asking {
  readonly method?: string
  readonly body?: Uint8Array
  readonly headers?: Record<string, string>
  /** Rests after each chunk of the answer. */
  readonly isSlow?: boolean
}

/** Each load runs with both: the first finds uses after `free`, the second Buffers that nobody freed. */
export const ARENAS: ArenaOptions[] = [{ debug: true }, { leaks: 'all' }]

/** Starts a server on a port of its own. */
export async function listen(server: Server): Promise<string> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

export class Running {
  readonly arena: Arena
  readonly url: string
  readonly #server: Server
  readonly #agent = new Agent({ keepAlive: true })

  private constructor(arena: Arena, server: Server, url: string) {
    this.arena = arena
    this.#server = server
    this.url = url
  }

  static async start(make: (arena: Arena) => Server, options: ArenaOptions = {}): Promise<Running> {
    const arena = new Arena(options)
    const server = make(arena)
    return new Running(arena, server, await listen(server))
  }

  /** Resolves to the whole answer; rejects if the connection breaks. */
  async ask(
    path: string,
    { method = 'GET', body, headers = {}, isSlow = false }: Asking = {},
  ): Promise<Answer> {
    const hasLength = body !== undefined && headers['transfer-encoding'] === undefined
    const length = hasLength ? { 'content-length': `${body.length}` } : {}
    const options = { method, agent: this.#agent, headers: { ...length, ...headers } }
    const request = requestTo(`${this.url}${path}`, options)
    request.end(body)
    const [response] = await once(request, 'response')
    const chunks: Buffer[] = []
    for await (const chunk of response) {
      chunks.push(chunk)
      if (isSlow) await sleep(1)
    }
    return { status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks) }
  }

  /** Begins a request, and hangs up when the answer begins, or after `afterMs`. */
  async hangUp(path: string, { method = 'GET', body, headers = {} }: Asking, afterMs: number): Promise<void> {
    // It promises a byte more than it sends.
    const length = body === undefined ? {} : { 'content-length': `${body.length + 1}` }
    const request = requestTo(`${this.url}${path}`, {
      method,
      headers: { ...length, ...headers },
      agent: false,
    })
    const gone = new Promise(resolve => request.on('close', resolve))
    request.on('error', () => {})
    request.on('response', () => request.destroy())
    if (body === undefined) request.end()
    else request.write(body)
    await Promise.race([gone, sleep(afterMs)])
    request.destroy()
    await gone
  }

  /** Stops the service, and fails if a block is left. */
  async stop(): Promise<void> {
    this.#agent.destroy()
    const closed = once(this.#server, 'close')
    this.#server.close()
    await sleep(20)
    this.#server.closeAllConnections()
    await closed
    await assertNoLiveBlocks({ arenas: [this.arena], withinMs: 10_000 })
    this.arena.close()
  }
}
