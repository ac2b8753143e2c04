/** Packs what it is sent, in blocks of an arena of its own. Told to end, it says whether all of that is free again. */
import { promisify } from 'node:util'
import { parentPort } from 'node:worker_threads'
import zlib from 'node:zlib'
import { Arena } from '../../dist/index.js'

const deflate = promisify(zlib.deflate)
const arena = new Arena({ name: 'worker', releaseAfterMs: 20 })

async function pack(bytes) {
  const block = arena.allocUnsafe(bytes.length)
  block.set(bytes)
  const packed = arena.lend(block, input => deflate(input, { level: 1 }))
  arena.free(block)
  return await packed
}

parentPort.on('message', async message => {
  if (message !== 'end') {
    parentPort.postMessage({ id: message.id, packed: await pack(message.bytes) })
    return
  }
  arena.trim()
  arena.check()
  const { liveBlocks, pinnedBlocks, usedBytes, dirtyBytes } = arena.stats()
  parentPort.postMessage({ left: { liveBlocks, pinnedBlocks, usedBytes, dirtyBytes } })
  await arena.closeWhenIdle()
  parentPort.close()
})
