/** Misuse that could conceivably end the process runs in one of its own. */
import { expect } from 'vitest'
import { runScript } from '../support/process.js'

// Live blocks of every kind of buffer, and the proof that nothing happened to them.
export const PRELUDE = `
  const arena = new Arena({ name: 'subject', ...globalThis.options })
  const live = [64, 1_000, 5_000, 20_000, 70_000, 300_000].map((size, i) => arena.allocUnsafe(size).fill(i + 1))
  const assertIntact = (from = 0) => {
    arena.check()
    live.forEach((block, i) => i < from || assert.ok(block.length > 0 && block.every(byte => byte === i + 1), 'block ' + i))
  }
  // What byte streams do to a view: its whole ArrayBuffer moves into another one.
  const takeByStream = async view => {
    const stream = new ReadableStream({ type: 'bytes', start: controller => controller.enqueue(view) })
    return (await stream.getReader().read()).value
  }
  const takeByByob = async view => {
    const stream = new ReadableStream({ type: 'bytes', pull: controller => {
      controller.byobRequest.view.fill(9)
      controller.byobRequest.respond(1)
    } })
    return (await stream.getReader({ mode: 'byob' }).read(view)).value
  }
  // The method of the prototype: that of a shared buffer itself is refused.
  const takeByTransfer = view => {
    const { byteOffset, length } = view
    return new Uint8Array(ArrayBuffer.prototype.transfer.call(view.buffer), byteOffset, length)
  }
  // Collects until the finalizers of what nothing refers to any more have run.
  const collect = async () => { for (let i = 0; i < 4; i++) { globalThis.gc(); await turn() } }
`

/** Runs `body` with arena options `options` (a source text), and expects it to come to its end. */
export async function expectToSurvive(body: string, options = '{}', node?: string): Promise<void> {
  const script = `globalThis.options = ${options}; ${PRELUDE} ${body}; console.log('survived')`
  const { code, signal, stdout, stderr } = await runScript(script, ['--expose-gc'], node)
  expect({ code, signal, stdout, stderr }).toEqual({
    code: 0,
    signal: null,
    stdout: 'survived\n',
    stderr: '',
  })
}

/** The ways in which other code takes an `ArrayBuffer` away on this line of Node. */
export const TAKERS: readonly string[] =
  'transfer' in ArrayBuffer.prototype
    ? ['takeByStream', 'takeByByob', 'takeByTransfer']
    : ['takeByStream', 'takeByByob']
