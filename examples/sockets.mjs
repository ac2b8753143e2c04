/**
 * Clients that read into blocks, with no Buffer made for what comes, and a server that sends blocks. Then they are put under load:
 * 16 clients that read 8 MiB each, and 16 that hang up in the middle.
 */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { Arena } from 'offheap'
import { assertNoLiveBlocks } from 'offheap/testing'

const SIZE_BYTES = 8 * 2 ** 20
const arena = new Arena({ name: 'sockets', limitBytes: 128 * 2 ** 20 })

// #region read
/** Connects, and reads into one block. Calls `use` with the bytes that came; they are overwritten after it returns. */
function readInto(port, use) {
  const block = arena.allocUnsafe(64 * 1024)
  const callback = length => {
    use(block.subarray(0, length))
    return true // go on reading
  }
  const socket = connect({ port, onread: { buffer: block, callback } })
  // The kernel writes into the block until the socket has closed. So it is pinned, and its end waits for 'close'.
  arena.pin(block)
  socket.once('close', () => arena.unpin(block))
  arena.free(block)
  return socket
}
// #endregion

const content = randomBytes(SIZE_BYTES)
const sha256 = createHash('sha256').update(content).digest('hex')
let unsent = 0

const server = createServer(socket => {
  socket.on('error', () => {})
  // #region write
  const answer = arena.allocUnsafe(SIZE_BYTES)
  content.copy(answer)
  // The stream takes the block over. It ends when the socket has written it, or has closed.
  arena
    .stream(answer)
    .on('close', () => unsent--)
    .pipe(socket)
  // #endregion
  unsent++
})
server.listen(0)
await once(server, 'listening')
const { port } = server.address()

/** Returns whether all came. */
async function receive() {
  const hash = createHash('sha256')
  await once(
    readInto(port, bytes => hash.update(bytes)),
    'close',
  )
  return hash.digest('hex') === sha256
}

/** Hangs up after 1 MiB. */
async function hangUp() {
  let length = 0
  const socket = readInto(port, bytes => {
    length += bytes.length
    if (length > 2 ** 20) socket.destroy()
  })
  await once(socket, 'close')
}

let whole = 0
for (let round = 0; round < 4; round++) {
  const received = await Promise.all([1, 2, 3, 4].flatMap(() => [receive(), hangUp()]))
  whole += received.filter(isWhole => isWhole === true).length
}
server.close()
await assertNoLiveBlocks({ withinMs: 30_000 })
console.log(`${whole} of 16 clients received all, 16 others hung up; no block is live`)
await arena.closeWhenIdle()
if (whole !== 16 || unsent !== 0) process.exitCode = 1
