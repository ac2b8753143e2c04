/**
 * A file used as a heap: records of any length at offsets that `Heap` hands out, its books saved beside it. A second run of the
 * same program (here: a second `open`) goes on from both, and the integers that name the records are still good.
 *
 * The books are written to another name and renamed, so whoever reads them finds the old ones or the new ones. Between two
 * saves the file is ahead of its books; a program that must survive a crash in between writes what it does to a log first.
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
    // Sectors of 512 bytes: no two records share one.
    this.#heap =
      books === undefined
        ? new Heap({ capacityBytes: 2 ** 40, granuleBytes: 512 })
        : Heap.from(JSON.parse(books))
    this.#file = openSync(path, books === undefined ? 'w+' : 'r+')
  }

  /** Returns the integer that names the record: its length, and its text. */
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

  /** First the records, then the books that speak of them. */
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
  const reused = again.put('in the place of the one that was removed')
  console.log('goes where one was removed:', reused === names[1])
  const { liveBlocks, usedBytes, longestFreeBytes } = again.stats()
  console.log({ liveBlocks, usedBytes, longestFreeBytes })
  again.close()
} finally {
  rmSync(folder, { recursive: true })
}
