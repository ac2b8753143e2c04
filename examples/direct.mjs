/**
 * Reads a file past the page cache (`O_DIRECT`). The kernel accepts only memory at multiples of the sector size. `align` gives
 * such memory.
 */
import { constants } from 'node:fs'
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Arena } from 'offheap'

const SIZE_BYTES = 64 * 1024
const arena = new Arena({ name: 'direct' })
const folder = await mkdtemp(join(tmpdir(), 'offheap-direct-'))
const path = join(folder, 'file')
await writeFile(path, Buffer.alloc(SIZE_BYTES, 7))

// #region read
async function readDirect(path) {
  const file = await open(path, constants.O_RDONLY | constants.O_DIRECT)
  const block = arena.allocUnsafe(SIZE_BYTES, { align: 4096 })
  try {
    const { bytesRead } = await arena.lend(block, bytes => file.read(bytes, 0, bytes.length, 0))
    return block.subarray(0, bytesRead).every(byte => byte === 7) ? bytesRead : 0
  } finally {
    arena.free(block)
    await file.close()
  }
}
// #endregion

try {
  console.log(`${await readDirect(path)} bytes read past the page cache`)
} catch (error) {
  // Some file systems do not have O_DIRECT.
  if (error.code !== 'EINVAL' || error.syscall !== 'open') throw error
  console.log(`the file system of ${tmpdir()} does not support O_DIRECT`)
}
arena.close()
await rm(folder, { recursive: true })
