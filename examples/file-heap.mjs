/**
 * A file used as a heap. It has records of any length, at offsets that `Heap` gives. The books of the heap are saved beside the file. A
 * second run of the program (here: a second `open`) reads both. The integers that name the records stay valid.
 *
 * The books are written to a file with another name, which is then renamed. So a reader finds the old books or the new ones, and never
 * half of each. Between two saves, the file is newer than its books. If a program must survive a crash in between, it must first write
 * each change to a log.
 */
import {
  closeSync,
  fsyncSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Heap } from 'offheap/heap'

class Store {
  #path
  #file
  #heap

  constructor(path) {
    this.#path = path
    let books
    try {
      books = readFileSync(`${path}.books`, 'utf8')
    } catch (error) {
      if (error.code !== 'ENOENT') throw error
    }
    // A granule is a sector of 512 bytes, so no two records share a sector.
    this.#heap =
      books === undefined
        ? new Heap({ capacityBytes: 2 ** 40, granuleBytes: 512 })
        : Heap.from(JSON.parse(books))
    this.#file = openSync(path, books === undefined ? 'w+' : 'r+')
  }

  /** Writes a record: the length of the text, then the text. Returns the integer that names the record. */
  put(text) {
    const bytes = Buffer.from(`1234${text}`)
    bytes.writeUInt32LE(bytes.length - 4)
    const block = this.#heap.allocate(bytes.length)
    if (block === -1) throw new Error('the file is full')
    writeSync(this.#file, bytes, 0, bytes.length, this.#heap.offsetOf(block))
    return block
  }

  get(block) {
    const bytes = Buffer.alloc(this.#heap.sizeOf(block))
    readSync(this.#file, bytes, 0, bytes.length, this.#heap.offsetOf(block))
    return bytes.toString('utf8', 4, 4 + bytes.readUInt32LE())
  }

  remove(block) {
    this.#heap.free(block)
  }

  /** Saves the records first, then the books, so that the books never name a record that is not saved. */
  save() {
    fsyncSync(this.#file)
    writeFileSync(`${this.#path}.books.new`, JSON.stringify(this.#heap), { flush: true })
    renameSync(`${this.#path}.books.new`, `${this.#path}.books`)
  }

  close() {
    this.save()
    closeSync(this.#file)
  }

  stats() {
    return this.#heap.stats()
  }
}

const folder = mkdtempSync(join(tmpdir(), 'offheap-file-'))
try {
  const path = join(folder, 'records')
  const first = new Store(path)
  const names = ['a short one', 'another', 'a long one '.repeat(1000)].map(text => first.put(text))
  first.remove(names[1])
  first.close()

  const again = new Store(path)
  console.log('read again:', again.get(names[0]), again.get(names[2]).length)
  const reused = again.put('in the place of the removed one')
  console.log('uses the place of the removed record:', reused === names[1])
  const { liveBlocks, usedBytes, longestFreeBytes } = again.stats()
  console.log({ liveBlocks, usedBytes, longestFreeBytes })
  again.close()
} finally {
  rmSync(folder, { recursive: true })
}
