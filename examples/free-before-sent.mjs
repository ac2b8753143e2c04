/**
 * A mistake, shown: `socket.write(block); arena.free(block)`. `write` only queues the block when the peer reads slowly. Once the
 * block is freed, the queue holds an empty view of it, or, for a small block, the bytes of the next block there. The
 * callbacks of `write` report success all the same.
 */
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { Arena } from 'offheap'

const MIB = 2 ** 20
const TOTAL_BYTES = 16 * MIB
const arena = new Arena()

/** Sends 16 MiB of sevens to a slow peer, in blocks. Returns how many arrived. */
async function send(sizeBytes, write) {
  let arrived = 0
  const server = createServer(peer => {
    peer.pause()
    setTimeout(() => peer.resume(), 100)
    peer.on('data', chunk => {
      for (const byte of chunk) if (byte === 7) arrived++
    })
  })
  server.listen(0)
  await once(server, 'listening')
  const socket = connect(server.address().port)
  await once(socket, 'connect')
  for (let sent = 0; sent < TOTAL_BYTES; sent += sizeBytes)
    write(socket, arena.allocUnsafe(sizeBytes).fill(7))
  // Other code of the program, which gets the same memory.
  const other = arena.allocUnsafe(MIB).fill(9)
  socket.end()
  server.close()
  await once(server, 'close')
  arena.free(other)
  return arrived
}

// #region wrong
const wrong = (socket, block) => {
  socket.write(block)
  arena.free(block)
}
// #endregion
// #region right
const right = (socket, block) => socket.write(block, () => arena.free(block))
// #endregion

const results = {}
for (const sizeBytes of [16 * 1024, 64 * 1024, MIB]) {
  results[`blocks of ${sizeBytes / 1024} KiB`] = {
    'right bytes, free after write': await send(sizeBytes, wrong),
    'right bytes, free in the callback': await send(sizeBytes, right),
  }
}
console.table(results)
await arena.closeWhenIdle()
const isRight = result => result['right bytes, free in the callback'] === TOTAL_BYTES
if (!Object.values(results).every(isRight)) process.exitCode = 1
