/** Uses arenas in the way that the first argument says, and prints whether their bytes are right. */
import { Worker } from 'node:worker_threads'
import { Arena } from '#compiled/index.js'
import { addon } from '../../fixtures/addon.mjs'

const [, , way] = process.argv
const MIB = 2 ** 20

function use(name, sizeBytes) {
  const arena = new Arena({ name })
  const blocks = Array.from({ length: 3 }, () => arena.alloc(sizeBytes).fill(7))
  const isRight = blocks.every(block => block.equals(Buffer.alloc(sizeBytes, 7)))
  for (const block of blocks) arena.free(block)
  arena.close()
  return isRight
}

if (way === 'thousands') {
  const owner = addon.newOwner('many')
  for (let i = 0; i < 5000; i++) addon.map(addon.pageBytes, undefined, owner)
  console.log(use('more', MIB))
} else if (way === 'worker') {
  const text = `
    import('${new URL('../../../.compiled/index.js', import.meta.url)}').then(({ Arena }) => {
      new Arena({ name: 'of a worker' }).alloc(${MIB})
    })`
  new Worker(text, { eval: true }).on('exit', () => console.log(use('main', MIB)))
} else if (way === 'names') {
  const names = ['a\\b`c$d[e]f', 'tab\tnul\0del\x7f', 'Größe 🦄', 'x'.repeat(128)]
  console.log(names.every(name => use(name, MIB)))
} else if (way === 'small') {
  console.log(use('small', 100))
} else {
  console.log(use('up[loads]', MIB))
}
