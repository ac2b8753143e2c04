/**
 * Code that holds an address of a block which nothing counts, after the block was freed and its arena closed: it finds zeros, its
 * writes go nowhere, and no other arena has the address. Each case in a process of its own, on each Node line.
 */
import { describe, expect, it } from 'vitest'
import { Arena } from '../../src/arena/arena.js'
import { eventLoop } from '../../src/base/deferral.js'
import { bareProgramOf, runFunction, type Thrown, type Tools } from '../support/child.js'
import { someOf, stepsOf } from '../support/extent.js'
import { FaultyKernel } from '../support/faulty-kernel.js'
import { DIST, NODES, type Outcome, runNode } from '../support/process.js'
import { turns } from '../support/world.js'

interface Held {
  readonly size: number
  readonly isSecure: boolean
}

const HELPERS = {
  /**
   * Frees `block`, closes its arena, and has others allocate where it might have been. What it returns says whether their bytes are
   * as they were.
   */
  succeed: async ({ Arena: ArenaClass, sleep, turns }: Tools, arena: Arena, block: Buffer) => {
    arena.free(block)
    arena.close()
    await turns(5)
    await sleep(300)
    const others = Array.from({ length: 8 }, () => new ArenaClass())
    const blocks = others.flatMap(other =>
      [1e3, 1e5, 1e6, 3e6].map(size => other.allocUnsafe(size).fill(0xbb)),
    )
    // The first byte, and each is as the one before.
    return () => blocks.every(block => block[0] === 0xbb && block.subarray(1).equals(block.subarray(0, -1)))
  },
  /** What both sides of a TLS connection without certificates need. */
  tlsOptions: () => {
    const key = Buffer.alloc(32, 7)
    const common = { ciphers: 'PSK-AES128-GCM-SHA256:PSK', maxVersion: 'TLSv1.2' } as const
    return {
      server: { ...common, pskCallback: () => key, pskIdentityHint: 'x' },
      client: {
        ...common,
        checkServerIdentity: () => undefined,
        rejectUnauthorized: false,
        pskCallback: () => ({ psk: key, identity: 'x' }),
      },
    }
  },
}

type Helpers = typeof HELPERS
type Body = (tools: Tools, helpers: Helpers, held: Held) => Promise<void>

const http2: Body = async (tools, { succeed, tlsOptions }, { size, isSecure }) => {
  const { Arena, assert, sleep } = tools
  const http2 = process.getBuiltinModule('node:http2')
  const settings = { initialWindowSize: 0 }
  const tls = tlsOptions()
  const server = isSecure ? http2.createSecureServer(tls.server) : http2.createServer()
  server.on('tlsClientError', error => {
    throw error
  })
  const arena = new Arena()
  const block = arena.allocUnsafe(size).fill(0xaa)
  const waiting = new Promise<void>(resolve => {
    server.on('stream', (stream: import('node:http2').ServerHttp2Stream) => {
      stream.on('error', () => {})
      stream.respond({ ':status': 200 })
      stream.end(block)
      resolve()
    })
  })
  await new Promise<void>(done => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as import('node:net').AddressInfo
  const client = isSecure
    ? http2.connect(`https://127.0.0.1:${port}`, { ...tls.client, settings })
    : http2.connect(`http://127.0.0.1:${port}`, { settings })
  client.on('error', () => {})
  const request = client.request({ ':path': '/' })
  const chunks: Buffer[] = []
  request.on('data', chunk => chunks.push(chunk)).on('error', () => {})
  const ended = new Promise(done => request.on('close', done))
  await waiting
  await sleep(50)
  const untouched = await succeed(tools, arena, block)
  client.settings({ initialWindowSize: 2 ** 24 })
  await ended
  assert.ok(untouched())
  assert.equal(Buffer.concat(chunks).includes(0xbb), false)
  console.log('nobody')
  process.exit()
}

const onread: Body = async (tools, { succeed, tlsOptions }, { size, isSecure }) => {
  const { Arena, assert, sleep } = tools
  const net = process.getBuiltinModule('node:net')
  const tls = process.getBuiltinModule('node:tls')
  const options = tlsOptions()
  const server = isSecure ? tls.createServer(options.server) : net.createServer()
  const accepted = new Promise<import('node:net').Socket>(done => {
    server.on(isSecure ? 'secureConnection' : 'connection', (socket: import('node:net').Socket) => {
      socket.on('error', () => {})
      done(socket)
    })
  })
  await new Promise<void>(done => server.listen(0, '127.0.0.1', done))
  const arena = new Arena()
  const block = arena.allocUnsafe(size).fill(0xaa)
  let readBytes = 0
  const address = {
    port: (server.address() as import('node:net').AddressInfo).port,
    host: '127.0.0.1',
    onread: {
      buffer: block,
      callback: (count: number) => {
        readBytes += count
        return true
      },
    },
  }
  const socket = isSecure ? tls.connect({ ...address, ...options.client }) : net.connect(address)
  socket.on('error', error => {
    throw error
  })
  const peer = await accepted
  await sleep(50)
  const untouched = await succeed(tools, arena, block)
  peer.write(Buffer.alloc(50_000, 0xcc))
  while (readBytes < 50_000) await sleep(5)
  assert.ok(untouched())
  console.log('nobody')
  process.exit()
}

const fifo: Body = async (tools, { succeed }, { size }) => {
  const { Arena, assert, sleep } = tools
  const fs = process.getBuiltinModule('node:fs')
  const { execFileSync } = process.getBuiltinModule('node:child_process')
  const path = `${fs.mkdtempSync('/tmp/offheap-fifo-')}/fifo`
  execFileSync('mkfifo', [path])
  const fd = fs.openSync(path, 'r+')
  const arena = new Arena()
  const block = arena.allocUnsafe(size).fill(0xaa)
  const read = new Promise(done =>
    fs.read(fd, block, 0, 1000, null, (error, count) => done(error?.code ?? count)),
  )
  await sleep(20)
  const untouched = await succeed(tools, arena, block)
  fs.writeSync(fd, Buffer.alloc(1000, 0xcc))
  assert.equal(await read, 1000)
  assert.ok(untouched())
  fs.rmSync(path)
  fs.rmdirSync(path.slice(0, -5))
  console.log('nobody')
  process.exit()
}

const CASES: readonly (readonly [name: string, body: Body, isSecure: boolean])[] = [
  ['a stream of HTTP/2 that waits for its window', http2, false],
  ['the same over TLS', http2, true],
  ['a socket that reads into a buffer of the program', onread, false],
  ['the same over TLS, onread', onread, true],
  ['a read of a pipe that lasts', fifo, false],
]

describe.concurrent.each(NODES)('on Node $version', ({ path }) => {
  // A sample of the cases.
  it.each(someOf(CASES, 3))('%s gets the bytes of no other arena', async (_, body, isSecure) => {
    const outcomes = await Promise.all(
      [1_000, 300_000].map(size =>
        runFunction(
          (tools, { body, helpers, held }) => body(tools, helpers, held),
          { body, helpers: HELPERS, held: { size, isSecure } },
          { node: path },
        ),
      ),
    )
    for (const outcome of outcomes)
      expect(outcome).toMatchObject({ code: 0, signal: null, stdout: 'nobody\n' })
  })
})

describe.concurrent('what is kept of closed arenas', () => {
  it('takes neither mappings nor page tables nor memory', async () => {
    const outcome = await runFunction(
      async ({ Arena, turn }, { count }) => {
        const { readFileSync } = process.getBuiltinModule('node:fs')
        const field = (name: string) =>
          Number(
            new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(readFileSync('/proc/self/status', 'latin1'))?.[1],
          )
        const look = () => ({
          maps: readFileSync('/proc/self/maps', 'latin1').split('\n').length,
          tables: field('VmPTE'),
        })
        const use = async (count: number) => {
          for (let i = 0; i < count; i++) {
            const arena = new Arena()
            arena.alloc(1000).fill(1)
            arena.alloc(100_000).fill(1)
            arena.close()
            if (i % 50 === 0) await turn()
          }
          for (let i = 0; i < 5; i++) await turn()
        }
        await use(200)
        const before = look()
        await use(count)
        const after = look()
        console.log(after.maps - before.maps, after.tables - before.tables)
      },
      { count: stepsOf(3_000, 3) },
    )
    const [maps, tables] = outcome.stdout.split(' ').map(Number)
    expect(outcome.code, outcome.stderr).toBe(0)
    expect(maps).toBeLessThan(300)
    // A page of page tables for each would be 12,000; 4,000 for the sample, a third.
    expect(tables).toBeLessThan(2_000)
  })

  it('is few mappings to the kernel also where lengths differ and other arenas live between', async () => {
    const outcome = await runFunction(
      async ({ Arena, turn }, { count }) => {
        const { readFileSync } = process.getBuiltinModule('node:fs')
        const maps = () => readFileSync('/proc/self/maps', 'latin1').split('\n').length
        const lasting: Arena[] = []
        const round = async () => {
          const arenas = Array.from({ length: 50 }, () => new Arena())
          for (const arena of arenas) for (const size of [64, 20_000, 1e5, 5e6, 3e7]) arena.alloc(size)[0] = 1
          lasting.push(...arenas.splice(0, 2))
          for (const arena of arenas) arena.close()
          for (let i = 0; i < 3; i++) await turn()
        }
        for (let i = 0; i < 2; i++) await round()
        const before = maps()
        for (let i = 0; i < count; i++) await round()
        console.log(maps() - before)
        for (const arena of lasting) arena.check()
      },
      { count: stepsOf(6, 2) },
    )
    expect(outcome.code, outcome.stderr).toBe(0)
    // 12 arenas more live on, with a few mappings each for segments and books; 288 came and went. In the sample half of that.
    expect(Number(outcome.stdout)).toBeLessThan(200)
  }, 30_000)

  it('is had again by the arena that gave it up, so that one that breathes takes no more addresses', async () => {
    const kernel = new FaultyKernel()
    const arena = new Arena({}, { addon: kernel, deferral: eventLoop, now: () => 0 })
    const breathe = async (): Promise<void> => {
      for (const block of Array.from({ length: 60 }, () => arena.alloc(4e6))) arena.free(block)
      arena.trim()
      for (let i = 0; i < 5; i++) await turns()
    }
    for (let i = 0; i < 5; i++) await breathe()
    const before = kernel.kept().bytes
    for (let i = 0; i < 20; i++) await breathe()
    // Without that: 2.4 GB and more.
    expect(kernel.kept().bytes - before).toBeLessThan(500e6)
    arena.check()
    arena.close()
  })
})

describe.concurrent('where addresses are short', () => {
  interface Short {
    readonly comeAndGo: (count: number) => Promise<void>
  }

  /** Under a limit of 6 GB of addresses (RLIMIT_AS; the sample takes 10 GB in all), what arenas of 64 MiB each come and go. */
  const runShort = <Args>(
    body: (short: Short, args: Args) => Promise<void>,
    args: Args,
  ): Promise<Outcome> => {
    const script = bareProgramOf(
      async (load, { path, body, args }) => {
        const { Arena } = (await load(path)) as typeof import('../../src/index.js')
        const turn = () => new Promise(done => setImmediate(done))
        const comeAndGo = async (count: number) => {
          for (let i = 0; i < count; i++) {
            const arena = new Arena()
            const block = arena.alloc(2 ** 26)
            if (block[0] !== 0 || block[block.length - 1] !== 0) throw new Error('not zero')
            block[0] = 1
            block[block.length - 1] = 1
            arena.close()
            await turn()
            await turn()
          }
        }
        await body({ comeAndGo }, args)
      },
      { path: new URL('index.js', DIST).href, body, args },
    )
    const nodeArgs = ['--input-type=module', '-e', script]
    return runNode(['-c', 'ulimit -v 6000000; exec "$0" "$@"', process.execPath, ...nodeArgs], '', 'bash')
  }

  it('those are unmapped that nothing can hold', async () => {
    const outcome = await runShort(
      async ({ comeAndGo }, { count }) => {
        await comeAndGo(count)
        console.log('all')
      },
      { count: stepsOf(300, 2) },
    )
    expect(outcome).toMatchObject({ code: 0, stdout: 'all\n', stderr: '' })
  })

  it('none is while a stream may hold one, and an allocation says that there is no memory', async () => {
    const outcome = await runShort(async ({ comeAndGo }) => {
      const { createServer, connect } = process.getBuiltinModule('node:net')
      const server = createServer(socket => socket.resume()).listen(0, '127.0.0.1')
      await new Promise(done => server.on('listening', done))
      const { port } = server.address() as import('node:net').AddressInfo
      const client = connect(port, '127.0.0.1')
      await new Promise(done => client.on('connect', done))
      const error: Thrown | undefined = await comeAndGo(300).then(
        () => undefined,
        error => error,
      )
      client.destroy()
      server.close()
      await new Promise(done => setTimeout(done, 200))
      await comeAndGo(100)
      console.log(error?.code, error?.cause?.code)
    }, undefined)
    expect(outcome).toMatchObject({ code: 0, stdout: 'ERR_ARENA_OUT_OF_MEMORY ENOMEM\n', stderr: '' })
  })
})
