import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { request as requestTo } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { someOf } from '../support/extent.js'
import { NODES } from '../support/process.js'

const SERVICES = fileURLToPath(new URL('../../examples/services/', import.meta.url))

/** What a service answers to a short body, and to a `GET` of where that was sent. */
const CASES = [
  { file: 'cache.mjs', method: 'PUT', path: '/1', body: Buffer.from('entry'), status: 204 },
  { file: 'broker.mjs', method: 'POST', path: '/1', body: Buffer.from([0, 0, 0, 1, 65]), status: 201 },
  // There is no other server.
  { file: 'upload-proxy.mjs', method: 'PUT', path: '/1', body: Buffer.from('upload'), status: 502 },
  {
    file: 'transformer.mjs',
    method: 'POST',
    path: '/half?width=2&height=2',
    body: Buffer.alloc(16),
    status: 200,
  },
]
const runs = CASES.flatMap(each =>
  someOf(NODES, 1).map(({ version, path: node }) => ({ ...each, version, node })),
)

async function portOf(child: ChildProcess): Promise<number> {
  let said = ''
  for await (const text of child.stdout?.setEncoding('utf8') ?? []) {
    said += text
    if (said.includes('\n')) break
  }
  return JSON.parse(said.slice(said.indexOf('{'))).port
}

describe('each service as a program', () => {
  it.concurrent.each(runs)('$file on $version ends after what it has begun', async run => {
    const env = { ...process.env, PORT: '0', UPSTREAM: 'http://127.0.0.1:1' }
    const child = spawn(run.node, [`${SERVICES}${run.file}`], { env })
    let stderr = ''
    child.stderr.setEncoding('utf8').on('data', text => {
      stderr += text
    })
    const ended = once(child, 'exit')
    const port = await portOf(child)
    const headers = { 'content-length': run.body.length }
    const request = requestTo({ port, method: run.method, path: run.path, headers })
    request.write(run.body.subarray(0, 1))
    await sleep(100)
    child.kill('SIGTERM')
    await sleep(100)
    request.end(run.body.subarray(1))
    const [response] = await once(request, 'response')
    response.resume()
    expect(response.statusCode).toBe(run.status)
    expect({ ended: await ended, stderr }).toEqual({ ended: [0, null], stderr: '' })
  })
})
