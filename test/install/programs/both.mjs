// Both ways of loading in one process: there is one of each.
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import * as imported from 'offheap'
import * as importedHeap from 'offheap/heap'
import * as importedTesting from 'offheap/testing'

const require = createRequire(import.meta.url)
for (const [module, name] of [
  [imported, 'offheap'],
  [importedHeap, 'offheap/heap'],
  [importedTesting, 'offheap/testing'],
]) {
  const required = require(name)
  assert.deepEqual(Object.keys(module).sort(), Object.keys(required).sort())
  for (const key of Object.keys(module)) assert.equal(module[key], required[key], key)
}
const arena = new imported.Arena({ name: 'one' })
assert.deepEqual(
  require('offheap')
    .arenas()
    .map(({ name }) => name),
  ['one'],
)
arena.close()
console.log('it works')
