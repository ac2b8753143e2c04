/**
 * Reading and writing numbers in records, without a view for each: the base class of `Store`. An access reads the ref's
 * slot, and then the memory through a `DataView` that all records of a window share.
 */
import { invalidArgType, outOfRange } from '../base/errors.js'
import { MadeOf, partsOf } from '../base/made-of.js'
import type { StoreParts } from './parts.js'
import { BLOCK, indexOf, type Ref, SIZE } from './slots.js'

const NO_DATA = new DataView(new ArrayBuffer(0))

export abstract class RecordAccess extends MadeOf<StoreParts> {
  readonly #slots = partsOf(this).slots
  readonly #records = partsOf(this).arena.buffers
  /** The memory that `#locate` found. */
  #data: DataView = NO_DATA

  /**
   * Returns the error of a ref that names no live record.
   *
   * @internal
   */
  protected abstract refused(method: string, ref: unknown): Error

  /**
   * Returns the byte at `offset` bytes from the start of record `ref`, from 0 to 255. Reading and writing numbers makes no
   * view. All these methods throw the errors of `view`, and `ERR_OUT_OF_RANGE` if the bytes do not lie in the record.
   */
  readUInt8(ref: Ref, offset: number): number {
    const at = this.#locate('readUInt8', ref, offset, 1)
    try {
      return this.#data.getUint8(at)
    } catch (error) {
      throw this.#fault(error, ref)
    }
  }

  /** Returns the unsigned 16-bit integer at `offset` of record `ref`, low byte first. Throws as `readUInt8` does. */
  readUInt16LE(ref: Ref, offset: number): number {
    const at = this.#locate('readUInt16LE', ref, offset, 2)
    try {
      return this.#data.getUint16(at, true)
    } catch (error) {
      throw this.#fault(error, ref)
    }
  }

  /** Returns the unsigned 32-bit integer at `offset` of record `ref`, low byte first. Throws as `readUInt8` does. */
  readUInt32LE(ref: Ref, offset: number): number {
    const at = this.#locate('readUInt32LE', ref, offset, 4)
    try {
      return this.#data.getUint32(at, true)
    } catch (error) {
      throw this.#fault(error, ref)
    }
  }

  /** Returns the signed 32-bit integer at `offset` of record `ref`, low byte first. Throws as `readUInt8` does. */
  readInt32LE(ref: Ref, offset: number): number {
    const at = this.#locate('readInt32LE', ref, offset, 4)
    try {
      return this.#data.getInt32(at, true)
    } catch (error) {
      throw this.#fault(error, ref)
    }
  }

  /** Returns the unsigned 64-bit integer at `offset` of record `ref`, low byte first. Throws as `readUInt8` does. */
  readBigUInt64LE(ref: Ref, offset: number): bigint {
    const at = this.#locate('readBigUInt64LE', ref, offset, 8)
    try {
      return this.#data.getBigUint64(at, true)
    } catch (error) {
      throw this.#fault(error, ref)
    }
  }

  /** Returns the 64-bit floating-point number at `offset` of record `ref`, low byte first. Throws as `readUInt8` does. */
  readDoubleLE(ref: Ref, offset: number): number {
    const at = this.#locate('readDoubleLE', ref, offset, 8)
    try {
      return this.#data.getFloat64(at, true)
    } catch (error) {
      throw this.#fault(error, ref)
    }
  }

  /**
   * Writes a byte, the lowest 8 bits of `value`, at `offset` of record `ref`. This method and those below throw as
   * `readUInt8` does, and `ERR_INVALID_ARG_TYPE` if `value` is no number, or no bigint where one is wanted.
   */
  writeUInt8(ref: Ref, value: number, offset: number): void {
    if (typeof value !== 'number') throw invalidArgType('value', 'of type number', value)
    const at = this.#locate('writeUInt8', ref, offset, 1)
    try {
      this.#data.setUint8(at, value)
    } catch (error) {
      throw this.#fault(error, ref)
    }
  }

  /** Writes the lowest 16 bits of `value`, low byte first, at `offset` of record `ref`. Throws as `readUInt8` does. */
  writeUInt16LE(ref: Ref, value: number, offset: number): void {
    if (typeof value !== 'number') throw invalidArgType('value', 'of type number', value)
    const at = this.#locate('writeUInt16LE', ref, offset, 2)
    try {
      this.#data.setUint16(at, value, true)
    } catch (error) {
      throw this.#fault(error, ref)
    }
  }

  /** Writes the lowest 32 bits of `value`, low byte first, at `offset` of record `ref`. Throws as `readUInt8` does. */
  writeUInt32LE(ref: Ref, value: number, offset: number): void {
    if (typeof value !== 'number') throw invalidArgType('value', 'of type number', value)
    const at = this.#locate('writeUInt32LE', ref, offset, 4)
    try {
      this.#data.setUint32(at, value, true)
    } catch (error) {
      throw this.#fault(error, ref)
    }
  }

  /** Writes the lowest 32 bits of `value`, low byte first, at `offset` of record `ref`. Throws as `readUInt8` does. */
  writeInt32LE(ref: Ref, value: number, offset: number): void {
    if (typeof value !== 'number') throw invalidArgType('value', 'of type number', value)
    const at = this.#locate('writeInt32LE', ref, offset, 4)
    try {
      this.#data.setInt32(at, value, true)
    } catch (error) {
      throw this.#fault(error, ref)
    }
  }

  /** Writes the lowest 64 bits of `value`, low byte first, at `offset` of record `ref`. Throws as `readUInt8` does. */
  writeBigUInt64LE(ref: Ref, value: bigint, offset: number): void {
    if (typeof value !== 'bigint') throw invalidArgType('value', 'of type bigint', value)
    const at = this.#locate('writeBigUInt64LE', ref, offset, 8)
    try {
      this.#data.setBigUint64(at, value, true)
    } catch (error) {
      throw this.#fault(error, ref)
    }
  }

  /** Writes `value` as a 64-bit floating-point number, low byte first, at `offset` of record `ref`. Throws as `readUInt8` does. */
  writeDoubleLE(ref: Ref, value: number, offset: number): void {
    if (typeof value !== 'number') throw invalidArgType('value', 'of type number', value)
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
    if (
      typeof offset !== 'number' ||
      (offset | 0) !== offset ||
      offset < 0 ||
      offset + byteCount > sizeBytes
    ) {
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
