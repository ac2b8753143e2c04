/**
 * A file of records that shrinks. Most records are removed, and the rest lie scattered over the file. A compaction moves them down into
 * the gaps, and the file is cut off behind the last one.
 */
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Heap } from 'offheap/heap'

class RecordFile {
  #file
  #heap = new Heap({ capacityBytes: 2 ** 36, granuleBytes: 64 })
  /** The block of each key, and the key of each block. */
  #blocks = new Map()
  #keys = new Map()

  constructor(path) {
    this.#file = openSync(path, 'w+')
  }

  put(key, text) {
    const bytes = Buffer.from(text)
    const block = this.#heap.allocate(bytes.length)
    if (block === -1) throw new Error('the file is full')
    writeSync(this.#file, bytes, 0, bytes.length, this.#heap.offsetOf(block))
    this.#name(key, block)
  }

  #name(key, block) {
    this.#blocks.set(key, block)
    this.#keys.set(block, key)
  }

  get(key) {
    return this.#read(this.#heap.offsetOf(this.#blocks.get(key)), this.#heap.sizeOf(this.#blocks.get(key)))
  }

  #read(offset, sizeBytes) {
    const bytes = Buffer.alloc(sizeBytes)
    readSync(this.#file, bytes, 0, sizeBytes, offset)
    return bytes
  }

  remove(key) {
    const block = this.#blocks.get(key)
    this.#blocks.delete(key)
    this.#keys.delete(block)
    this.#heap.free(block)
  }

  // #region compact
  compact() {
    const heap = this.#heap
    for (let moves = heap.compact(); moves.length > 0; moves = heap.compact()) {
      for (const { from, to, fromOffset, toOffset, sizeBytes } of moves) {
        writeSync(this.#file, this.#read(fromOffset, sizeBytes), 0, sizeBytes, toOffset)
        this.#name(this.#keys.get(from), to)
        this.#keys.delete(from)
        heap.free(from)
      }
    }
    ftruncateSync(this.#file, this.#end())
  }
  // #endregion

  /** The end of the last record. */
  #end() {
    let end = 0
    for (const block of this.#keys.keys()) {
      end = Math.max(end, this.#heap.offsetOf(block) + this.#heap.sizeOf(block))
    }
    return end
  }

  get kibibytes() {
    return Math.round(fstatSync(this.#file).size / 1024)
  }

  close() {
    closeSync(this.#file)
  }
}

const folder = mkdtempSync(join(tmpdir(), 'offheap-compact-'))
try {
  const records = new RecordFile(join(folder, 'records'))
  for (let key = 0; key < 20_000; key++) records.put(key, `record ${key}: ${'.'.repeat(key % 500)}`)
  for (let key = 0; key < 20_000; key++) if (key % 8 !== 7) records.remove(key)
  const before = records.kibibytes
  records.compact()
  console.log(`${before} KiB before, ${records.kibibytes} KiB after the compaction`)
  console.log(records.get(19_999).toString('utf8', 0, 13))
  records.close()
} finally {
  rmSync(folder, { recursive: true })
}
