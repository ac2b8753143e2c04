/** What becomes of views, pins and loans when records move: on each line of Node, in processes of their own. */
import { describe, expect, it } from 'vitest'
import { runFunction } from '../support/child.js'
import { possibleHere } from '../support/libc.js'
import { NODES } from '../support/process.js'

const SOURCES = possibleHere(['mmap', 'heap', 'sbrk'])

describe.each(NODES)('on Node $version', ({ path }) => {
  it.each(SOURCES)('a stale view has length 0, and pins and loans stay, with source %s', async source => {
    const { code, stdout, stderr } = await runFunction(
      async ({ Store, assert, turn }, name: 'mmap') => {
        const store = new Store({ name: 'subject', source: name, compact: 'manual' })
        const bytesOf = (index: number, size: number) => Buffer.alloc(size, (index % 250) + 1)
        const all = Array.from({ length: 30_000 }, (_, i) => {
          const size = 40 + (i % 200)
          return { ref: store.put(bytesOf(i, size)), i, size }
        })
        const kept = all.filter(({ i }) => i % 40 === 0)
        for (const { ref, i } of all) if (i % 40 !== 0) store.free(ref)
        // Pinned ones lie low, so that with source 'heap' most windows hold none.
        const pinned = kept.slice(0, 5).map(record => ({ ...record, bytes: store.pin(record.ref) }))
        const [lent] = kept.slice(5, 6)
        let settle = () => {}
        let lentBytes = Buffer.alloc(0)
        const loan = store.lend(lent.ref, bytes => {
          lentBytes = bytes
          return new Promise<void>(resolve => {
            settle = resolve
          })
        })
        const viewed = kept.slice(6).map(record => ({ ...record, view: store.view(record.ref) }))
        const addresses = viewed.map(({ view }) => view.byteOffset)
        while (!store.compact({ maxMs: 5 }).isDone) await turn()
        assert.ok(store.stats().movedRecords > kept.length / 3, `${store.stats().movedRecords} records moved`)
        let stale = 0
        viewed.forEach(({ ref, i, size, view }, at) => {
          if (view.length === 0) stale++
          else assert.equal(Buffer.compare(view, bytesOf(i, size)), 0, `record ${at} at ${addresses[at]}`)
          assert.equal(Buffer.compare(store.view(ref), bytesOf(i, size)), 0)
        })
        // A view of length 0 is what Node takes for an empty Buffer: it neither throws nor shows other bytes.
        const [gone] = viewed.map(({ view }) => view).filter(view => view.length === 0)
        assert.equal(gone.toString('hex'), '')
        assert.equal(gone[0], undefined)
        for (const { bytes, i, size } of pinned) assert.equal(Buffer.compare(bytes, bytesOf(i, size)), 0)
        assert.equal(Buffer.compare(lentBytes, bytesOf(lent.i, lent.size)), 0)
        settle()
        await loan
        for (const { ref } of pinned) store.unpin(ref)
        if (name === 'mmap') {
          assert.deepEqual([lentBytes.length, ...pinned.map(({ bytes }) => bytes.length)], [0, 0, 0, 0, 0, 0])
        }
        // All of them may move now.
        while (!store.compact({ gain: 0.05 }).isDone) await turn()
        for (const { ref, i, size } of kept)
          assert.equal(Buffer.compare(store.copy(ref), bytesOf(i, size)), 0)
        store.check()
        console.log(stale > kept.length / 3 ? 'stale' : `${stale} of ${kept.length} are stale`)
        store.close()
        store.check()
      },
      source as 'mmap',
      { node: path },
    )
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: 'stale\n', stderr: '' })
  })

  it('with debug no view outlives the turn, nor a change, and each record moves', async () => {
    const { code, stdout, stderr } = await runFunction(
      async ({ Store, assert, sleep }) => {
        const store = new Store({ name: 'subject', debug: true })
        const refs = [10, 100, 70_000].map(size => store.put(Buffer.alloc(size, 7)))
        const views = () => refs.map(ref => store.view(ref))
        const lengths = (list: Buffer[]) => list.map(view => view.length)
        const first = views()
        assert.deepEqual(lengths(first), [10, 100, 70_000])
        await null
        assert.deepEqual(lengths(first), [0, 0, 0])
        const second = views()
        store.put(Buffer.of(1))
        assert.deepEqual(lengths(second), [0, 0, 0])
        const third = views()
        store.compact()
        assert.deepEqual(lengths(third), [0, 0, 0])
        for (let i = 0; i < 500 && store.stats().movedRecords < 4; i++) await sleep(2)
        assert.ok(store.stats().movedRecords >= 4, 'every tick moves all')
        for (const view of views()) assert.ok(view.every(byte => byte === 7))
        const pinned = store.pin(refs[1])
        store.put(Buffer.of(1))
        await sleep(5)
        assert.ok(pinned.length === 100 && pinned.every(byte => byte === 7))
        store.unpin(refs[1])
        store.check()
        store.close()
        console.log('shown')
      },
      undefined,
      { node: path },
    )
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: 'shown\n', stderr: '' })
  })
})
