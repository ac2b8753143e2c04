import { afterEach, beforeEach, expect, it } from 'vitest'
import { SetAside } from '../../src/buffers/set-aside.js'
import type { PageSource } from '../../src/memory/page-source.js'

let wrapped: Set<number>
let setAside: SetAside
let freed: number[]

const free = (block: number) => freed.push(block)

beforeEach(() => {
  wrapped = new Set([1, 2])
  freed = []
  setAside = new SetAside({ isWrapped: (wrapId: number) => wrapped.has(wrapId) } as PageSource)
  setAside.add(100, 1)
  setAside.add(200, 2)
})

afterEach(() => {
  expect([100, 200].filter(block => setAside.has(block) === freed.includes(block))).toEqual([])
})

it('holds each block until the finalizer of its wrap has run', () => {
  setAside.recover(free)
  expect([setAside.size, freed]).toEqual([2, []])
  wrapped.delete(2)
  setAside.recover(free)
  expect([setAside.size, freed]).toEqual([1, [200]])
  setAside.recover(free)
  expect(freed).toEqual([200])
})

it('tells through which wraps the blocks may be reached', () => {
  expect(setAside.reaches).toEqual([
    { startBytes: 1_600, wrapId: 1 },
    { startBytes: 3_200, wrapId: 2 },
  ])
})

it('lets all go at once where their memory is not used again', () => {
  setAside.abandon(free)
  expect([setAside.size, freed, setAside.reaches]).toEqual([0, [100, 200], []])
})
