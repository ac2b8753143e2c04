/**
 * Which calls of Node copy their input before they return: what `docs/recipes/threads.md` says of them. Such a block may be freed
 * right after the call. Each call is made while the threads of the pool are busy, and then the bytes are changed.
 */
import { describe, expect, it } from 'vitest'
import { runFunction } from '../support/child.js'
import { someOf } from '../support/extent.js'
import { NODES } from '../support/process.js'

const COPYING = [
  'fetch',
  'new Response',
  'new Blob',
  'subtle.digest',
  'subtle.sign',
  'subtle.encrypt',
  'crypto.scrypt',
  'crypto.pbkdf2',
  'crypto.hkdf',
  'crypto.sign',
]

describe.each(someOf(NODES, 1))('on Node $version', ({ path }) => {
  it('these calls copy a block before they return', async () => {
    const { code, stdout, stderr } = await runFunction(
      async () => {
        const crypto = process.getBuiltinModule('node:crypto')
        const { createServer } = process.getBuiltinModule('node:http')
        const { promisify } = process.getBuiltinModule('node:util')
        const { subtle } = crypto
        const sizeBytes = 4 * 2 ** 20
        const pbkdf2 = promisify(crypto.pbkdf2)
        const busy = () => Promise.all([1, 2, 3, 4].map(() => pbkdf2('', '', 100_000, 32, 'sha256')))
        const hmac = await subtle.generateKey({ name: 'HMAC', hash: 'SHA-256' }, false, ['sign'])
        const aes = await subtle.generateKey({ name: 'AES-CTR', length: 128 }, false, ['encrypt'])
        const counter = new Uint8Array(16)
        const { privateKey } = crypto.generateKeyPairSync('ed25519')
        let arrived: Buffer[] = []
        const server = createServer((request, response) => {
          arrived = []
          request.on('data', chunk => arrived.push(chunk))
          request.on('end', () => response.end())
        })
        await new Promise<void>(resolve => server.listen(0, resolve))
        const url = `http://localhost:${(server.address() as { port: number }).port}/`
        const upload = async (body: Uint8Array<ArrayBuffer>) => {
          const sent = fetch(url, { method: 'PUT', body })
          await (await sent).text()
          return Buffer.concat(arrived)
        }
        const calls: Record<string, (block: Buffer<ArrayBuffer>) => Promise<ArrayBuffer>> = {
          fetch: block => upload(block) as Promise<unknown> as Promise<ArrayBuffer>,
          'new Response': block => new Response(block).arrayBuffer(),
          'new Blob': block => new Blob([block]).arrayBuffer(),
          'subtle.digest': block => subtle.digest('SHA-256', block),
          'subtle.sign': block => subtle.sign('HMAC', hmac, block),
          'subtle.encrypt': block => subtle.encrypt({ name: 'AES-CTR', counter, length: 64 }, aes, block),
          'crypto.scrypt': block => promisify(crypto.scrypt)(block, 'salt', 32) as Promise<ArrayBuffer>,
          'crypto.pbkdf2': block =>
            pbkdf2(block, 'salt', 10, 32, 'sha256') as Promise<unknown> as Promise<ArrayBuffer>,
          'crypto.hkdf': block => promisify(crypto.hkdf)('sha256', block, 'salt', '', 32),
          'crypto.sign': block =>
            new Promise((resolve, reject) =>
              crypto.sign(null, block, privateKey, (error, made) =>
                error ? reject(error) : resolve(made as unknown as ArrayBuffer),
              ),
            ),
        }
        const copying: string[] = []
        for (const [name, call] of Object.entries(calls)) {
          const expected = Buffer.from(await call(Buffer.alloc(sizeBytes, 1)))
          const block = Buffer.alloc(sizeBytes, 1)
          const plugs = busy()
          const result = call(block)
          block.fill(2)
          if (Buffer.from(await result).equals(expected)) copying.push(name)
          await plugs
        }
        server.close()
        server.closeAllConnections()
        console.log(JSON.stringify(copying))
      },
      undefined,
      { node: path },
    )
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(JSON.parse(stdout)).toEqual(COPYING)
  })
})
