/** Misuse that could conceivably end the process runs in one of its own. */
import { expect } from 'vitest'
import type { ArenaOptions } from '../../src/arena/options.js'
import { runFunction, type Tools, textOf } from '../support/child.js'

/** Live blocks of every kind of buffer, and the proof that nothing happened to them. */
function setUp({ Arena, assert, turn, gc, takeByStream }: Tools, options: ArenaOptions) {
  const arena = new Arena({ name: 'subject', ...options })
  const live = [64, 1_000, 5_000, 20_000, 70_000, 300_000].map((size, i) =>
    arena.allocUnsafe(size).fill(i + 1),
  )
  return {
    arena,
    live,
    assertIntact: (from = 0) => {
      arena.check()
      live.forEach((block, i) => {
        if (i >= from) assert.ok(block.length > 0 && block.every(byte => byte === i + 1), `block ${i}`)
      })
    },
    takeByStream,
    takeByByob: async (view: Uint8Array): Promise<Uint8Array<ArrayBuffer>> => {
      const stream = new ReadableStream({
        type: 'bytes',
        pull: controller => {
          const request = controller.byobRequest as ReadableStreamBYOBRequest
          ;(request.view as Uint8Array).fill(9)
          request.respond(1)
        },
      })
      return (await stream.getReader({ mode: 'byob' }).read(view)).value as Uint8Array<ArrayBuffer>
    },
    // The method of the prototype: that of a shared buffer itself is refused.
    takeByTransfer: (view: Uint8Array): Uint8Array<ArrayBuffer> => {
      const { byteOffset, length } = view
      const { transfer } = ArrayBuffer.prototype as unknown as { transfer(): ArrayBuffer }
      return new Uint8Array(transfer.call(view.buffer), byteOffset, length)
    },
    // Collects until the finalizers of what nothing refers to any more have run.
    collect: async () => {
      for (let i = 0; i < 4; i++) {
        gc()
        await turn()
      }
    },
  }
}

export type MisuseTools = Tools & ReturnType<typeof setUp>

/** The same for a body that is text. `options` is the source text of arena options. */
export function preludeOf(options: string): string {
  return `const { arena, live, assertIntact, takeByStream, takeByByob, takeByTransfer, collect } =
    (${textOf(setUp)})(tools, ${options})`
}

/** Runs `body` with an arena that has those options, and expects it to come to its end. */
export async function expectToSurvive<Args = unknown>(
  body: (tools: MisuseTools, args: Args) => unknown,
  args?: Args,
  options: ArenaOptions = {},
  node?: string,
): Promise<void> {
  const { code, signal, stdout, stderr } = await runFunction(
    async (tools, { setUp, options, body, args }) => {
      await body({ ...tools, ...setUp(tools, options) }, args as Args)
      console.log('survived')
    },
    { setUp, options, body, args },
    { nodeArgs: ['--expose-gc'], node },
  )
  expect({ code, signal, stdout, stderr }).toEqual({
    code: 0,
    signal: null,
    stdout: 'survived\n',
    stderr: '',
  })
}

export type Taker = 'takeByStream' | 'takeByByob' | 'takeByTransfer'

/** The ways in which other code takes an `ArrayBuffer` away on this line of Node. */
export const TAKERS: readonly Taker[] =
  'transfer' in ArrayBuffer.prototype
    ? ['takeByStream', 'takeByByob', 'takeByTransfer']
    : ['takeByStream', 'takeByByob']
