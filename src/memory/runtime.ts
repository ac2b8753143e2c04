/**
 * The interface to the runtime, V8 and Node-API: `ArrayBuffer`s over memory that the kernel mapped. It maps
 * and unmaps nothing. The addon implements it together with `Kernel`, because `unmap` asks whether a buffer
 * over the mapping is left.
 */
import type { Kernel, MappingId } from './kernel.js'

/** Names one call of `wrap`, for `isWrapped`. It comes from `newWrapId`. It is unique in this environment. */
export type WrapId = number

/**
 * The runtime: it shows mapped memory to script, and takes it away again. It knows only buffers that were
 * made in this environment (the main thread or one Worker).
 */
export interface Runtime {
  /**
   * Returns a number above 0 for a call of `wrap`. It was never returned before in this environment, not even
   * to another copy of this package that shares the addon.
   */
  newWrapId(): WrapId

  /** Tries whether the runtime makes an `ArrayBuffer` over memory that the addon has. Detaches no buffer. */
  allowsWraps(): boolean

  /**
   * Makes an external `ArrayBuffer` over part of a mapping. Wraps may overlap. The memory stays mapped until
   * the finalizer of the buffer has run. Throws where the runtime refuses: a length above its limit, no
   * memory, or a V8 with a sandbox (see nodejs/node-addon-api: `napi_no_external_buffers_allowed`).
   */
  wrap(mapping: MappingId, offsetBytes: number, lengthBytes: number, wrapId: WrapId): ArrayBuffer

  /**
   * Detaches a buffer: every view of it has length 0 from now on. Its finalizer runs on a later turn of the
   * event loop. Throws a `TypeError` where the runtime refuses to detach this buffer.
   */
  detach(buffer: ArrayBuffer): void

  /**
   * Whether the finalizer of that wrap has not run yet. An `ArrayBuffer` that other code moved stays wrapped.
   */
  isWrapped(wrapId: WrapId): boolean
}

/**
 * Tells once when the event loop of this thread has done some work. It has no timer, costs the loop next to nothing,
 * and keeps nothing alive (`native/loop_watch.h`).
 */
export interface LoopWatch {
  /**
   * Calls the function of this watch once, when the loop was active for `activeMs` milliseconds from now on.
   * Starting again begins anew.
   */
  start(activeMs: number): void
  /** The function is not called. Does nothing if none is due. */
  stop(): void
}

/** Both interfaces, for code that maps memory and shows it to script. One object has both. */
export type Addon = Kernel & Runtime
