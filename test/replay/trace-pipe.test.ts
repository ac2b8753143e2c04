import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { describe, expect, it } from 'vitest'
import { TraceReader } from '../../src/replay/trace.js'
import { headerOf, sendColumns } from '../../src/replay/trace-pipe.js'

const RECEIVER = `
  import { receiveTrace } from ${JSON.stringify(new URL('../../.compiled/replay/trace-pipe.js', import.meta.url).href)}
  const trace = receiveTrace(JSON.parse(process.argv[1]))
  console.log(JSON.stringify({ ...trace, kind: trace.sizes.constructor.name }))
`

async function received(lines: string) {
  const reader = new TraceReader('test')
  reader.push(Buffer.from(lines))
  const trace = reader.finish()
  const child = spawn(process.execPath, [
    '--input-type=module',
    '-e',
    RECEIVER,
    JSON.stringify(headerOf(trace)),
  ])
  sendColumns(child.stdin, trace)
  return { trace, copy: JSON.parse(await text(child.stdout)) }
}

describe('sendColumns and receiveTrace', () => {
  it.each([
    ['short sizes', 'a 0 1\na 1 2147483647\nf 0\n', 'Int32Array'],
    ['long sizes', 'a 0 1\na 1 9007199254740991\nf 0\n', 'Float64Array'],
    ['more than a pipe holds', 'a 0 1\n'.concat('r 0 7\n'.repeat(100_000)), 'Int32Array'],
  ])('carry a recording with %s to another process', async (_, lines, kind) => {
    const { trace, copy } = await received(lines)
    expect(copy).toEqual(JSON.parse(JSON.stringify({ ...trace, wideSizes: undefined, kind })))
  })
})
