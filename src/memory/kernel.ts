/**
 * The seam to the operating system: the calls this library makes, and nothing that decides when to make them.
 *
 * The addon implements it (`addon.ts`). Tests wrap the real one to count its calls or to make the N-th fail; nobody
 * replaces it by an imitation. A mapping is named by a small integer of this environment (one main thread or one
 * Worker), never by its address, so that no mistake above can reach memory that is not ours: every offset and length
 * is checked against the mapping in native code.
 */

import type { PageCount, PageNumber } from '../base/units.js'

/** Names one mapping for as long as it exists. Never used again afterwards in the same environment. */
export type MappingId = number

/** Names who gave up addresses and may have them again: an arena. 0: nobody. */
export type OwnerId = number

/** Names one `wrap`, chosen by the caller, unique in this environment: lets `isWrapped` ask about it later. */
export type WrapId = number

/** What `advise` asks of the kernel for a range of whole pages. */
export type Advice = 'dontneed' | 'nohugepage' | 'hugepage' | 'populate' | 'guard' | 'unguard' | 'dontdump'

/** A failed system call as the addon throws it; `errno` is negative, as everywhere in Node. */
export interface SystemError extends Error {
  code: string
  errno: number
  syscall: string
}

/** What `take` throws where the break has an owner already: `code` is `'EBUSY'`, and `owner` the name that one gave. */
export interface BreakInUse extends SystemError {
  code: 'EBUSY'
  owner: string
}

/**
 * The program break: the calls that move it and its fence, and nothing that decides when. `native/program_break.h` has the
 * whole contract.
 *
 * The break's memory is a mapping like others: `wrap`, `advise`, `residency` and `unmap` take it. It is as long as the fence
 * reaches. Offsets count from where the owner's pages begin; no address comes up here.
 */
export interface ProgramBreak {
  /**
   * Makes the caller the owner of the break of this process, for all threads, and puts the fence above it. No page is
   * taken yet. Throws a `SystemError`: `BreakInUse`, or why the break cannot be moved or fenced here.
   */
  take(name: string): MappingId

  /** Whether nobody else has moved the break, once every call of malloc's that might still do so has ended. */
  isOurs(mapping: MappingId): boolean

  /** Opens the fence so that the break can rise by that many bytes (whole pages). Throws a `SystemError`. */
  openFence(mapping: MappingId, lengthBytes: number): void

  /**
   * Waits for calls of malloc's under way, then moves the break by whole pages: up into what was opened, or down. Where there were
   * buffers, what it leaves reads as zero and takes any write, at every instant; elsewhere it is unmapped until the fence is
   * closed. Returns false where somebody else has moved the break: nothing that was gained by this call may be used then,
   * and the break is never ours again. Throws a `SystemError` where the kernel refuses; nothing has changed then.
   */
  sbrk(mapping: MappingId, incrementBytes: number): boolean

  /** How far the break is above where the owner's pages begin, by all moves that succeeded. */
  heldBytes(mapping: MappingId): number

  /**
   * Whether the break can move over memory over which there were buffers: where the kernel lets us move it as a number.
   * Elsewhere `sbrk` throws a `SystemError` (`EPERM`) for that.
   */
  canMoveViewed(mapping: MappingId): boolean

  /**
   * Closes what is open of the fence: those addresses read as zero and take any write. Then lets the fence reach to
   * `reachBytes`, if it does not reach so far. Throws a `SystemError`.
   */
  closeFence(mapping: MappingId, reachBytes: number): void

  /**
   * Ends the ownership: lowers the break to where it was found, unless `keeps`, or somebody else has moved it. Views of what
   * was there find the fence. Returns whether the break is back. `unmap` removes the fence.
   */
  leave(mapping: MappingId, keeps: boolean): boolean
}

export interface Kernel {
  /** The break of this process, and its fence. */
  readonly programBreak: ProgramBreak

  /** Bytes of one page: 4,096 on most systems, 16 or 64 KiB on some arm64 ones. A power of two. */
  readonly pageBytes: number

  /**
   * `mmap`: `lengthBytes` (whole pages) of zeroed, private, anonymous memory that is not charged before it is touched, and that a
   * forked child does not have (`MADV_DONTFORK`), so that forking does not copy its page tables.
   * It starts at a multiple of `alignBytes`, a power of two, a page where left out. `owner` may get addresses that it gave
   * up. Throws a `SystemError` (`ENOMEM`: no
   * address space, or the limits on memory or on the number of mappings).
   */
  map(lengthBytes: number, alignBytes?: number, owner?: OwnerId): MappingId

  /**
   * The same for 64 KiB at most, for a fraction of the cost: a piece of a larger mapping that others share. `unmap` purges it,
   * and its addresses are given up with those of its neighbours, never to be used again before. It has no huge pages.
   */
  mapPiece(lengthBytes: number): MappingId

  /**
   * Gives up the whole mapping. Returns false, and does nothing, while an `ArrayBuffer` over it has not been finalized yet.
   *
   * Without an owner: `munmap`. Throws a `SystemError`; the mapping is then still there. With one, and where there ever was an
   * `ArrayBuffer`: its pages go back, and its addresses are kept, mapped and empty, for whoever may still hold one. `map` gives
   * them to the same owner again, and to nobody else; 0 is an owner who never asks.
   */
  unmap(mapping: MappingId, owner?: OwnerId): boolean

  /** A number that nothing else in the process has: two copies of this package may share the addon. */
  newOwner(): OwnerId

  /** Nobody asks for what that owner gave up any more. */
  disown(owner: OwnerId): void

  /** What all threads of the process keep of given-up addresses, and in how many pieces. */
  kept(): { bytes: number; entries: number }

  /**
   * `madvise` over whole pages. `'dontneed'`: the pages go back now and read as zeros from now on. `'nohugepage'`: the
   * kernel does not put huge pages there; `'hugepage'`: it does where it can; both silently without effect on kernels that
   * have none, or where a filter (seccomp) refuses. `'populate'`: all pages are resident and writable from now on (`EINVAL`
   * before Linux 5.14). `'guard'`: the
   * pages go back, and every access to them is a fault from now on, which splits no kernel mapping (`EINVAL` before Linux
   * 6.13, or where the memory is locked); `'unguard'`: they read as zeros again. Throws a `SystemError`.
   */
  advise(mapping: MappingId, offsetBytes: number, lengthBytes: number, advice: Advice): void

  /**
   * `'dontneed'` for many stretches of pages of one mapping, in one crossing and, where this kernel has it (Linux 6.13), in few
   * system calls. `stretches[2 * i]` is the first page of the `i`-th, `stretches[2 * i + 1]` how many there are, at least 1;
   * those from `from` up to `end` are meant. Page numbers are the caller's own: `firstPage` is that of the mapping's first.
   *
   * Returns how many pages went back, in order: fewer than asked for where the kernel refused one, in the middle of a stretch
   * even. Where it refused the first, throws a `SystemError` (`EINVAL`: locked pages before Linux 5.18; `EPERM`: a filter).
   */
  purge(
    mapping: MappingId,
    firstPage: PageNumber,
    stretches: Uint32Array,
    from: number,
    end: number,
  ): PageCount

  /**
   * Whether pages that were given back read as zero. False under an emulator that accepts the call and does nothing (qemu-user
   * before 7.1); whoever promises zeros must write them then. The first call looks, on a page of its own.
   */
  purgesToZero(): boolean

  /**
   * `mprotect` over whole pages: every access to them is a fault from now on, or none is; their contents stay. A page in the
   * middle of a mapping makes two more kernel mappings of one. Throws a `SystemError` (`ENOMEM`: no room for those).
   */
  protect(mapping: MappingId, offsetBytes: number, lengthBytes: number, isAccessible: boolean): void

  /** Writes `byte` to a range of bytes, in which there must be no guard. */
  fill(mapping: MappingId, offsetBytes: number, lengthBytes: number, byte: number): void

  /** Offset, in a range of bytes, of the first that is not `byte`, or -1 where all are. The range must hold no guard. */
  firstOther(mapping: MappingId, offsetBytes: number, lengthBytes: number, byte: number): number

  /**
   * `mincore`: writes one byte a page into `residency`, 1 where the page is resident now. `residency` must hold
   * exactly one byte for each page of the range. Throws a `SystemError`.
   */
  residency(mapping: MappingId, offsetBytes: number, lengthBytes: number, residency: Uint8Array): void

  /**
   * An external `ArrayBuffer` over part of a mapping; wraps may overlap. The memory stays mapped until its finalizer
   * ran. Throws where the runtime refuses (length above its limit; out of memory; a V8 with a sandbox, see
   * nodejs/node-addon-api: `napi_no_external_buffers_allowed`).
   */
  wrap(mapping: MappingId, offsetBytes: number, lengthBytes: number, wrapId: WrapId): ArrayBuffer

  /**
   * Detaches: every view has length 0 from now on. Finalization follows on a later turn of the event loop. Throws a
   * `TypeError` where the runtime refuses to detach this buffer.
   */
  detach(buffer: ArrayBuffer): void

  /** Whether the finalizer of that wrap has yet to run. An ArrayBuffer moved by someone else stays wrapped. */
  isWrapped(wrapId: WrapId): boolean
}
