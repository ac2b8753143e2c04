/**
 * Reading and writing numbers in records, without a view for each: the base class of `Store`. An access reads the ref's
 * slot, and then the memory through a `DataView` that all records of a window share.
 */
import { outOfRange } from '../base/errors.js'
import { MadeOf, partsOf } from '../base/made-of.js'
import type { StoreParts } from './parts.js'
import { BLOCK, indexOf, type Ref, SIZE } from './slots.js'

const NO_DATA = new DataView(new ArrayBuffer(0))

export abstract class RecordAccess extends MadeOf<StoreParts> {
  readonly #slots = partsOf(this).slots
  readonly #records = partsOf(this).arena.buffers
  /** The memory that `#locate` found. */
  #data: DataView = NO_DATA

  /** Returns the error of a ref that names no live record. */
  protected abstract refused(method: string, ref: unknown): Error

  /**
   * Returns the byte at `offset` of a record. This method and those below throw the errors of `view`, and
   * `ERR_OUT_OF_RANGE` if the bytes do not lie in the record.
   */
  readUInt8(ref: Ref, offset: number): number {
    const at = this.#locate('readUInt8', ref, offset, 1)
    try {
      return this.#data.getUint8(at)
    } catch (error) {
      throw this.#fault(error, ref)
    }
  }

  /** Returns the unsigned 16-bit integer at `offset` of a record, low byte first. */
  readUInt16LE(ref: Ref, offset: number): number {
    const at = this.#locate('readUInt16LE', ref, offset, 2)
    try {
      return this.#data.getUint16(at, true)
    } catch (error) {
      throw this.#fault(error, ref)
    }
  }

  /** Returns the unsigned 32-bit integer at `offset` of a record, low byte first. */
  readUInt32LE(ref: Ref, offset: number): number {
    const at = this.#locate('readUInt32LE', ref, offset, 4)
    try {
      return this.#data.getUint32(at, true)
    } catch (error) {
      throw this.#fault(error, ref)
    }
  }

  /** Returns the signed 32-bit integer at `offset` of a record, low byte first. */
  readInt32LE(ref: Ref, offset: number): number {
    const at = this.#locate('readInt32LE', ref, offset, 4)
    try {
      return this.#data.getInt32(at, true)
    } catch (error) {
      throw this.#fault(error, ref)
    }
  }

  /** Returns the unsigned 64-bit integer at `offset` of a record, low byte first. */
  readBigUInt64LE(ref: Ref, offset: number): bigint {
    const at = this.#locate('readBigUInt64LE', ref, offset, 8)
    try {
      return this.#data.getBigUint64(at, true)
    } catch (error) {
      throw this.#fault(error, ref)
    }
  }

  /** Returns the 64-bit floating-point number at `offset` of a record, low byte first. */
  readDoubleLE(ref: Ref, offset: number): number {
    const at = this.#locate('readDoubleLE', ref, offset, 8)
    try {
      return this.#data.getFloat64(at, true)
    } catch (error) {
      throw this.#fault(error, ref)
    }
  }

  /** Writes a byte, the lowest 8 bits of `value`, at `offset` of a record. */
  writeUInt8(ref: Ref, value: number, offset: number): void {
    const at = this.#locate('writeUInt8', ref, offset, 1)
    try {
      this.#data.setUint8(at, value)
    } catch (error) {
      throw this.#fault(error, ref)
    }
  }

  /** Writes an unsigned 16-bit integer, low byte first, at `offset` of a record. */
  writeUInt16LE(ref: Ref, value: number, offset: number): void {
    const at = this.#locate('writeUInt16LE', ref, offset, 2)
    try {
      this.#data.setUint16(at, value, true)
    } catch (error) {
      throw this.#fault(error, ref)
    }
  }

  /** Writes an unsigned 32-bit integer, low byte first, at `offset` of a record. */
  writeUInt32LE(ref: Ref, value: number, offset: number): void {
    const at = this.#locate('writeUInt32LE', ref, offset, 4)
    try {
      this.#data.setUint32(at, value, true)
    } catch (error) {
      throw this.#fault(error, ref)
    }
  }

  /** Writes a signed 32-bit integer, low byte first, at `offset` of a record. */
  writeInt32LE(ref: Ref, value: number, offset: number): void {
    const at = this.#locate('writeInt32LE', ref, offset, 4)
    try {
      this.#data.setInt32(at, value, true)
    } catch (error) {
      throw this.#fault(error, ref)
    }
  }

  /** Writes an unsigned 64-bit integer, low byte first, at `offset` of a record. */
  writeBigUInt64LE(ref: Ref, value: bigint, offset: number): void {
    const at = this.#locate('writeBigUInt64LE', ref, offset, 8)
    try {
      this.#data.setBigUint64(at, value, true)
    } catch (error) {
      throw this.#fault(error, ref)
    }
  }

  /** Writes a 64-bit floating-point number, low byte first, at `offset` of a record. */
  writeDoubleLE(ref: Ref, value: number, offset: number): void {
    const at = this.#locate('writeDoubleLE', ref, offset, 8)
    try {
      this.#data.setFloat64(at, value, true)
    } catch (error) {
      throw this.#fault(error, ref)
    }
  }

  /** Sets `#data`, and returns where in it `byteCount` bytes at `offset` of a record are. */
  #locate(method: string, ref: Ref, offset: number, byteCount: number): number {
    const words = this.#slots.wordsOf(ref)
    if (words === null) throw this.refused(method, ref)
    const sizeBytes = words[indexOf(ref) + SIZE]
    if ((offset | 0) !== offset || offset < 0 || offset + byteCount > sizeBytes) {
      throw outOfRange(
        'offset',
        `an integer from 0 to ${sizeBytes - byteCount}, in a record of ${sizeBytes} bytes`,
        offset,
      )
    }
    const block = words[indexOf(ref) + BLOCK]
    this.#data = this.#records.dataOf(block, sizeBytes)
    return this.#records.offsetIn(block, sizeBytes) + offset
  }

  #fault(error: unknown, ref: Ref): unknown {
    return this.#records.faultOf(error, this.#slots.blockOf(ref), this.#slots.sizeOf(ref))
  }
}
