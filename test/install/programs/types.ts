// Uses what the package declares, so that a compiler reads all of it.
import {
  Arena,
  type ArenaBuffer,
  ArenaError,
  type ArenaErrorCode,
  type ArenaOptions,
  type ArenaStats,
  arenas,
  type LeakMessage,
  onPressure,
  type PressureSource,
  pressureSource,
  processLimit,
  type Ref,
  type Scope,
  Store,
  type StoreOptions,
  type StoreStats,
  setProcessLimit,
  totals,
} from 'offheap'
import { Heap, ArenaError as HeapError } from 'offheap/heap'
import { assertNoLiveBlocks, type LiveBlocksOptions } from 'offheap/testing'

const options: ArenaOptions = { name: 'types', limitBytes: 2 ** 26, leaks: 'off' }
const arena: Arena = new Arena(options)
const block: ArenaBuffer = arena.alloc(64 * 1024, { align: 4096 })
const bytes: Buffer = block
block.write('hello')
arena.free(arena.realloc(block, 128 * 1024))

const storeOptions: StoreOptions = { name: 'records', compact: 'manual' }
const store: Store = new Store(storeOptions)
const refs = new Map<string, Ref>([['a', store.put(new Uint8Array([1, 2]))]])
for (const ref of refs.values()) {
  const copy: Uint8Array = store.copy(ref, new Uint8Array(2))
  if (store.view(ref).length !== copy.length || store.readUInt8(ref, 1) !== 2) throw new Error('other bytes')
  store.free(ref)
}
// @ts-expect-error: a plain number is no ref
if (store.has(1)) store.free(1)
const records: StoreStats = store.stats()
if (records.records !== 0) throw new Error('a record is left')
store.close()

const scope: Scope = arena.scope()
scope.alloc(100)
scope.end()

const stats: ArenaStats = arena.stats()
const source: PressureSource = pressureSource()
const stop: () => void = onPressure(({ missingBytes }) => missingBytes.toFixed(0))
stop()
setProcessLimit(processLimit().limitBytes)

const codeOf = (error: unknown): ArenaErrorCode | undefined =>
  error instanceof ArenaError ? error.code : undefined
try {
  arena.free(bytes)
} catch (error) {
  if (codeOf(error) !== 'ERR_ARENA_DOUBLE_FREE') throw error
}
const onLeak = ({ blocks }: LeakMessage): number => blocks
const heap = new Heap({ capacityBytes: 2 ** 20 })
heap.free(heap.allocate(100))
const which: LiveBlocksOptions = { withinMs: 0 }
const last = arena.allocUnsafe(10)
const lent: Promise<number> = arena.lend(last, async buffer => buffer.length)
lent.then(async length => {
  arena.free(last)
  await assertNoLiveBlocks(which)
  arena.close()
  const results = [
    length,
    stats.liveBlocks,
    heap.stats().liveBlocks,
    arenas().length,
    totals().committedBytes,
  ]
  console.log(
    HeapError === ArenaError && `${results}` === '10,0,0,0,0' ? 'it works' : results,
    source,
    typeof onLeak,
  )
})
