/**
 * Every way known to take an `ArrayBuffer` away from its arena, on every Node line at hand, each in a process of its own: it
 * is refused, or noticed and survived. No other block is harmed, nothing is unmapped that somebody sees, and the process ends
 * well.
 */
import { describe, expect, it } from 'vitest'
import type { ArenaOptions } from '../../src/arena/options.js'
import type { ArenaBuffer } from '../../src/buffers/owner.js'
import { someOf } from '../support/extent.js'
import { NODES, type NodeLine } from '../support/process.js'
import { expectToSurvive, type MisuseTools } from './processes.js'

if (NODES.length === 1) {
  console.log(
    `Only on Node ${process.version}: OFFHEAP_NODES, a list of binaries separated by ':', names no others`,
  )
}

type Kind = 'a window' | 'an own buffer' | 'a kept buffer' | 'a buffer in debug mode'

const KINDS: Record<Kind, { size: number; options: ArenaOptions }> = {
  'a window': { size: 1_000, options: {} },
  'an own buffer': { size: 70_000, options: {} },
  'a kept buffer': { size: 70_000, options: { detachFromBytes: Number.POSITIVE_INFINITY } },
  'a buffer in debug mode': { size: 1_000, options: { debug: true } },
}

/** Whether blocks other than the attacked one can be over the same buffer. */
const isShared = (kind: Kind): boolean => kind === 'a window'

/** Whether the buffer is the block's alone, and may be transferred. */
const isOwn = (kind: Kind): boolean => kind === 'an own buffer' || kind === 'a buffer in debug mode'

/** With what later lines of Node have. */
interface Transferring {
  transfer(length?: number): ArrayBuffer
  transferToFixedLength(): ArrayBuffer
}

interface Attack {
  readonly name: string
  /** The first major line of Node that has it. */
  readonly since?: number
  /** Runs in the child. Returns what shows the taken bytes now, or null where it was not taken. */
  readonly take: (
    tools: MisuseTools,
    view: ArenaBuffer,
    isOwn: boolean,
  ) => Uint8Array | null | Promise<Uint8Array | null>
}

const ATTACKS: readonly Attack[] = [
  {
    name: 'transfer()',
    since: 22,
    take: ({ assert, codeOf }, view, isOwn) => {
      const buffer = view.buffer as ArrayBuffer & Transferring
      if (isOwn) return new Uint8Array(buffer.transfer())
      assert.equal(
        codeOf(() => buffer.transfer()),
        'ERR_ARENA_NOT_TRANSFERABLE',
      )
      return null
    },
  },
  {
    name: 'transferToFixedLength()',
    since: 22,
    take: ({ assert, codeOf }, view, isOwn) => {
      const buffer = view.buffer as ArrayBuffer & Transferring
      if (isOwn) return new Uint8Array(buffer.transferToFixedLength())
      assert.equal(
        codeOf(() => buffer.transferToFixedLength()),
        'ERR_ARENA_NOT_TRANSFERABLE',
      )
      return null
    },
  },
  {
    name: 'transfer() of the prototype',
    since: 22,
    take: (_, view) => {
      const { transfer } = ArrayBuffer.prototype as ArrayBuffer & Transferring
      return new Uint8Array(transfer.call(view.buffer))
    },
  },
  {
    name: 'transfer() of the prototype to another length',
    since: 22,
    take: (_, view) => {
      const { transfer } = ArrayBuffer.prototype as ArrayBuffer & Transferring
      return new Uint8Array(transfer.call(view.buffer, 5))
    },
  },
  {
    name: 'transferToFixedLength() of the prototype',
    since: 22,
    take: (_, view) => {
      const { transferToFixedLength } = ArrayBuffer.prototype as ArrayBuffer & Transferring
      return new Uint8Array(transferToFixedLength.call(view.buffer))
    },
  },
  {
    name: 'a transfer list of structuredClone',
    take: ({ assert }, view) => {
      try {
        structuredClone(view, { transfer: [view.buffer] })
      } catch (error) {
        assert.equal((error as Error).name, 'DataCloneError')
      }
      assert.ok(view.length > 0)
      return null
    },
  },
  {
    name: 'a transfer list of postMessage',
    take: ({ assert }, view) => {
      const { port1, port2 } = new MessageChannel()
      try {
        port1.postMessage(view, [view.buffer])
      } catch (error) {
        assert.equal((error as Error).name, 'DataCloneError')
      }
      port1.close()
      port2.close()
      assert.ok(view.length > 0)
      return null
    },
  },
  { name: 'a byte stream that is given a view', take: ({ takeByStream }, view) => takeByStream(view) },
  {
    name: 'a byte stream that reads into a view',
    take: async (_, view) => {
      const stream = new ReadableStream({
        type: 'bytes',
        pull: controller => (controller.byobRequest as ReadableStreamBYOBRequest).respond(1),
      })
      return (await stream.getReader({ mode: 'byob' }).read(view)).value as Uint8Array
    },
  },
  {
    name: 'a byte stream that is cancelled with a view in it',
    take: async (_, view) => {
      const stream = new ReadableStream({ type: 'bytes', start: controller => controller.enqueue(view) })
      await stream.cancel()
      return null
    },
  },
]

interface Attacked {
  readonly take: Attack['take']
  readonly size: number
  readonly isShared: boolean
  readonly isOwn: boolean
  readonly isClosed: boolean
}

/** An attack, and what follows it: the block ends, others come, go and are looked at, the arena ends in one of the ways. */
async function attackAndUse(
  tools: MisuseTools,
  { take, size, isShared, isOwn, isClosed }: Attacked,
): Promise<void> {
  const { arena, assert, assertIntact, codeOf, collect } = tools
  const view = arena.alloc(size).fill(0x33)
  const neighbours = Array.from({ length: 5 }, () => arena.alloc(size).fill(0x34))
  const taken = await take(tools, view, isOwn)
  const isTaken = view.length === 0
  if (!isTaken) assert.ok(view.every(byte => byte === 0x33))
  if (!isTaken || !isShared) assertIntact()
  if (!isTaken || !isShared) assert.ok(neighbours.every(block => block.every(byte => byte === 0x34)))
  taken?.fill(0x44)
  arena.free(view)
  assert.equal(
    codeOf(() => arena.free(view)),
    'ERR_ARENA_DOUBLE_FREE',
  )
  arena.check()
  const blocks = Array.from({ length: 200 }, (_, i) => arena.allocUnsafe(i % 2 ? size : 64).fill(0x77))
  assert.ok(taken === null || taken.every(byte => byte === 0x44))
  taken?.fill(0x45)
  assert.ok(blocks.every(block => block.every(byte => byte === 0x77)))
  for (const block of [...neighbours, ...blocks]) arena.free(block)
  arena.trim()
  await collect()
  taken?.fill(0x46)
  arena.check()
  arena.reset()
  arena.check()
  await collect()
  taken?.fill(0x48)
  // Half of the processes end with the arena open.
  if (isClosed) arena.close()
  else arena.alloc(64)
  await collect()
  taken?.fill(0x47)
}

describe.concurrent.each(NODES.map((node): [string, NodeLine] => [node.version, node]))(
  'on Node %s',
  (_, node) => {
    // A sample of the kinds.
    describe.each(someOf(Object.keys(KINDS) as Kind[], 2))('%s', kind => {
      const attacks = ATTACKS.filter(({ since = 20 }) => node.major >= since)

      // A sample of the attacks.
      const cases = attacks.map((attack, index): [string, Attack, number] => [attack.name, attack, index])
      it.each(someOf(cases, 3))('survives %s', (_, attack, index) =>
        expectToSurvive(
          attackAndUse,
          {
            take: attack.take,
            size: KINDS[kind].size,
            isShared: isShared(kind),
            isOwn: isOwn(kind),
            isClosed: index % 2 === 0,
          },
          KINDS[kind].options,
          node.path,
        ),
      )

      it('survives markAsUntransferable(): where that forbids to detach, nobody else gets the memory', () =>
        expectToSurvive(
          async ({ assert, codeOf, arena, live, collect }, { size, isOwn }) => {
            const { markAsUntransferable } = process.getBuiltinModule('node:worker_threads')
            const bytes = await (async () => {
              const view = arena.alloc(size).fill(0x33)
              markAsUntransferable(view.buffer)
              arena.free(view)
              assert.equal(
                codeOf(() => arena.free(view)),
                'ERR_ARENA_DOUBLE_FREE',
              )
              const isHeld = view.length > 0 && isOwn
              for (let i = 0; i < 200; i++) arena.allocUnsafe(size).fill(0x77)
              if (isHeld) assert.ok(view.every(byte => byte === 0x33))
              arena.check()
              arena.reset()
              if (view.length > 0) view.fill(0x78)
              arena.check()
              arena.allocUnsafe(size).fill(0x79)
              if (view.length > 0) assert.ok(view.every(byte => byte === 0x78))
              arena.close()
              if (view.length > 0) assert.ok(view.fill(0x7a).every(byte => byte === 0x7a))
              return new WeakRef(view.buffer)
            })()
            // Node 24 and later abort where the process ends while the buffer lives (docs/lifetimes.md). V8 may take several
            // collections: what it compiles meanwhile holds on to what the code has seen.
            live.length = 0
            for (let n = 0; n < 50 && bytes.deref() !== undefined; n++) await collect()
            await collect()
          },
          { size: KINDS[kind].size, isOwn: isOwn(kind) },
          KINDS[kind].options,
          node.path,
        ))

      it('survives being sent to a Worker that ends before this process', () =>
        expectToSurvive(
          async ({ assert, takeByStream, arena, collect }, { size }) => {
            const { Worker } = process.getBuiltinModule('node:worker_threads')
            const view = arena.alloc(size).fill(0x33)
            const value = await takeByStream(view)
            const worker = new Worker(
              "require('worker_threads').parentPort.once('message', view => { view.fill(1) })",
              { eval: true, execArgv: [] },
            )
            try {
              worker.postMessage(value, [value.buffer])
            } catch (error) {
              assert.equal((error as Error).name, 'DataCloneError')
              worker.terminate()
            }
            await new Promise(resolve => worker.once('exit', resolve))
            arena.free(view)
            for (let i = 0; i < 100; i++) arena.allocUnsafe(size).fill(0x77)
            await collect()
            arena.trim()
            arena.check()
            arena.close()
            await collect()
          },
          { size: KINDS[kind].size },
          KINDS[kind].options,
          node.path,
        ))
    })
  },
)

it('counts the attacks', () => {
  expect(ATTACKS.length).toBe(10)
})
