/**
 * The published declarations, as other people's compilers see them: those of TypeScript 5.9 and 7, with the types of each Node line,
 * and every declaration file checked (`skipLibCheck: false`).
 */
import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, it } from 'vitest'
import { IS_ALL, someOf } from '../support/extent.js'

const COMPILERS = ['typescript', 'typescript-5.9']
const NODE_TYPES = ['@types/node', 'types-node-22', 'types-node-24', 'types-node-25', 'types-node-26']

const NODE_ALONE = ['es2022']
const WITH_BROWSER = ['es2023', 'esnext.disposable', 'dom', 'dom.iterable']

/** What a user writes. Where an arena's Buffer goes, one of Node's goes. */
const CONSUMER = `
import { Arena, ArenaError, onPressure, Store, type AllocOptions, type CollectOptions, type ArenaBuffer, type ArenaOptions, type CompactReport, type Ref, type Scope, type StoreOptions } from 'offheap'
import { Heap, type HeapCompactOptions, type HeapMove } from 'offheap/heap'
import { assertNoLiveBlocks, assertResidentBelow } from 'offheap/testing'

const options: ArenaOptions = { name: 'types', debug: { quarantineBlocks: 1 } }
const arena = new Arena(options)
const scope: Scope = arena.scope()
const align: AllocOptions = { align: 64 }

const made: ArenaBuffer[] = [arena.alloc(1), arena.allocUnsafe(1, align), scope.alloc(1), scope.allocUnsafe(1)]
const tried: (ArenaBuffer | undefined)[] = [arena.tryAlloc(1), arena.tryAllocUnsafe(1), scope.tryAlloc(1), scope.tryAllocUnsafe(1)]
made.push(arena.realloc(made[0]!, 2), scope.realloc(made[1]!, 2), scope.keep(scope.alloc(3)), tried[0]!)

async function use(buffer: ArenaBuffer, nodes: ReturnType<typeof Buffer.alloc>): Promise<void> {
  for (const each of [buffer, nodes]) {
    new Blob([each])
    new Response(each)
    await crypto.subtle.digest('SHA-256', each)
    await fetch('http://localhost', { method: 'POST', body: each })
    const memory: ArrayBuffer = each.buffer as ArrayBuffer
    memory.byteLength
  }
  const same: ReturnType<typeof Buffer.alloc> = buffer
  const back: ArenaBuffer = nodes
  const plain: Buffer = same
  plain.toString(back.toString('hex') as 'hex')
  arena.free(buffer.subarray(1))
  const written: number = await arena.lend(buffer, async lent => {
    const mine: ArenaBuffer = lent
    return mine.length
  })
  written.toFixed()
}

GENERIC

const stop = onPressure(({ missingBytes }) => missingBytes.toFixed())
stop()
arena.on('limit', ({ committedBytes }) => committedBytes.toFixed())
const heap = new Heap({ capacityBytes: 1024 * 1024 })
heap.free(heap.allocate(100))
const limits: HeapCompactOptions = { maxMoves: 10, maxBytes: 1000, gain: 0.5, isPinned: block => block === 0 }
const moves: HeapMove[] = heap.compact(limits)
for (const { from, toOffset, sizeBytes } of moves.concat(heap.compact())) {
  if (toOffset + sizeBytes < 1000) heap.free(from)
}
scope[Symbol.dispose]()
{
  using inner = arena.scope()
  inner.alloc(1)
  using other = new Arena()
  other.stats().committedBytes.toFixed()
}
arena[Symbol.asyncDispose]().then(() => use(made[0]!, Buffer.alloc(1)))
export const isClosed = (error: unknown): boolean => error instanceof ArenaError && error.code === 'ERR_ARENA_CLOSED'

async function useStore(): Promise<void> {
  const storeOptions: StoreOptions = { name: 'records', source: 'heap', compact: 'manual', debug: true, limitBytes: 2 ** 20 }
  const store = new Store(storeOptions)
  const refs = new Map<string, Ref>([['a', store.put(new Uint8Array(4))]])
  const ref: Ref = refs.get('a') ?? store.alloc(1)
  const anyNumber: number = ref
  if (store.has(anyNumber)) store.free(anyNumber)
  const view: ArenaBuffer = store.view(ref)
  const copy: Buffer = store.copy(ref)
  const floats: Float64Array = new Float64Array(8)
  const target: MyBytes = store.copy(ref, new MyBytes(8))
  new Response(store.copy(ref))
  const lent: Promise<number> = store.lend(ref, async bytes => bytes.length)
  const same: Ref = store.realloc(ref, (await lent) + view.length + copy.length)
  const order: -1 | 0 | 1 = store.compare(same, target)
  const big: bigint = store.readBigUInt64LE(same, 0)
  store.writeBigUInt64LE(same, big, order + 1)
  const report: CompactReport = store.compact({ maxMs: 2, gain: 0.5 })
  const moved: number = report.movedRecords + store.stats().sparseBytes + store.stats().liveBytes
  for (const { ref: old, ageMs } of store.oldest(1)) store.readUInt8(old, ageMs + moved)
  store.sweep(each => each !== same)
  store.on('limit', ({ committedBytes }) => committedBytes.toFixed())
  await assertNoLiveBlocks({ arenas: [store, arena] })
  await assertResidentBelow(1, { arenas: [store] })
  {
    using inner = new Store()
    inner.reset()
  }
  // @ts-expect-error: a plain number is no ref
  store.free(1)
  // @ts-expect-error: nor is what may be undefined
  store.view(refs.get('b'))
  // @ts-expect-error: a target is a Uint8Array
  store.copy(ref, floats)
  // @ts-expect-error: no such way to compact
  new Store({ compact: 'never' })
  // @ts-expect-error: no option of a store
  new Store({ leaks: 'all' })
  // @ts-expect-error: records have no alignment
  store.alloc(1, { align: 64 })
  // @ts-expect-error: not public
  store.shuffle()
  // @ts-expect-error: not public
  store.lostBlocks
  // @ts-expect-error: not public
  store.refused('free', ref)
}
async function bytesIn(request: import('node:http').IncomingMessage, handle: import('node:fs/promises').FileHandle): Promise<void> {
  const options: CollectOptions = { maxBytes: 10, sizeHint: Number(request.headers['content-length']), signal: AbortSignal.timeout(10) }
  async function* pieces(): AsyncGenerator<Uint8Array> {
    yield new Uint8Array(1)
  }
  for (const by of [arena, scope]) {
    const copies: ArenaBuffer[] = [
      by.from('text'),
      by.from('00', 'hex'),
      by.from([1, 2]),
      by.from(new Set([1])),
      by.from(new Float64Array(1)),
      by.from(new DataView(new ArrayBuffer(1))),
      by.from(new ArrayBuffer(8), 1, 2),
      by.from(new SharedArrayBuffer(8), 1),
      by.from(Buffer.from('a').toJSON()),
      by.from(new String('a')),
      by.concat([Buffer.alloc(1), new Uint8Array(1)], 5),
      by.concat(new Set([Buffer.alloc(1)])),
    ]
    const read: ArenaBuffer[] = [
      await by.collect(request, options),
      await by.collect(new Blob(['a']).stream(), options),
      await by.collect(pieces(), { maxBytes: Infinity }),
      await by.readFile('a'),
      await by.readFile(new URL('file:///a'), { maxBytes: 1 }),
      await by.readFile(handle),
    ]
    const refused: (ArenaBuffer | undefined)[] = [
      by.tryFrom('a'),
      by.tryConcat([]),
      await by.tryCollect(request, options),
      await by.tryReadFile(Buffer.from('a')),
    ]
    const { body } = await fetch('http://localhost')
    if (body !== null) read.push(await by.collect(body, options))
    copies.concat(read, refused.filter(each => each !== undefined) as ArenaBuffer[])
  }
  // @ts-expect-error: a limit is required
  arena.collect(request, {})
  // @ts-expect-error: text is no stream
  arena.collect('text', { maxBytes: 1 })
  // @ts-expect-error: a number is no bytes
  arena.from(1)
  // @ts-expect-error: no list of bytes
  arena.concat(['a'])
  // @ts-expect-error: not public
  arena.allocating()
}
bytesIn

class MyBytes extends Uint8Array {
  readonly mine = true
}
useStore()

// @ts-expect-error: no such option
new Arena({ limit: 1 })
// @ts-expect-error: no number
arena.alloc('1')
`

/** With declarations of Node that know what memory a Buffer is over. */
const GENERIC = `
const precise: Buffer<ArrayBuffer> = arena.alloc(1)
const floats: Float32Array<ArrayBuffer> = new Float32Array(precise.buffer, precise.byteOffset, 0)
const bytes: Uint8Array<ArrayBuffer> = scope.allocUnsafe(1)
const view: DataView<ArrayBuffer> = new DataView(arena.realloc(precise, 2).buffer)
export const all = [floats, bytes, view]
`

const folder = mkdtempSync(join(tmpdir(), 'offheap-types-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const packageRoot = fileURLToPath(new URL('../../', import.meta.url))
const require = createRequire(import.meta.url)
const installed = (name: string): string => realpathSync(join(packageRoot, 'node_modules', name))

/** A project that has the published package, and those types of Node. */
function projectWith(nodeTypes: string, lib: string[], consumer: string): string {
  const project = mkdtempSync(join(folder, 'project-'))
  const modules = join(project, 'node_modules')
  mkdirSync(join(modules, '@types'), { recursive: true })
  symlinkSync(installed(nodeTypes), join(modules, '@types', 'node'))
  const published = join(modules, 'offheap')
  cpSync(join(packageRoot, 'dist'), join(published, 'dist'), {
    recursive: true,
    filter: source => !/\.(js|map)$/.test(source),
  })
  cpSync(join(packageRoot, 'package.json'), join(published, 'package.json'))
  const compilerOptions = {
    target: 'es2022',
    lib,
    module: 'nodenext',
    moduleResolution: 'nodenext',
    types: ['node'],
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    skipLibCheck: false,
    noEmit: true,
  }
  writeFileSync(join(project, 'package.json'), '{ "type": "module" }')
  writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['consumer.ts'] }))
  writeFileSync(join(project, 'consumer.ts'), consumer)
  return project
}

function compile(compiler: string, project: string): Promise<string> {
  const { bin } = require(join(installed(compiler), 'package.json'))
  const tsc = join(installed(compiler), typeof bin === 'string' ? bin : bin.tsc)
  return new Promise(resolve => {
    execFile(process.execPath, [tsc, '-p', project], { cwd: dirname(tsc) }, (error, stdout, stderr) =>
      resolve(error === null ? '' : stdout + stderr),
    )
  })
}

const CASES = COMPILERS.flatMap(compiler => [
  ...NODE_TYPES.map(types => [compiler, types, NODE_ALONE] as const),
  [compiler, 'types-node-24', WITH_BROWSER] as const,
])

// In a sample the newest compiler alone, which is the fastest too, with one of the types.
it.concurrent.each(someOf(IS_ALL ? CASES : CASES.filter(([compiler]) => compiler === 'typescript'), 1))(
  'the declarations, to %s with %s and %o, are what Node’s own are',
  async (compiler, types, lib) => {
    const project = projectWith(types, [...lib], CONSUMER.replace('GENERIC', GENERIC))
    expect(await compile(compiler, project)).toBe('')
  },
)
