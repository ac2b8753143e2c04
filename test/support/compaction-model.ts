/**
 * Memory in counts, with a clock that is only computed, compacted as `CompactionPolicy` says: what the tests of the policy run
 * curves on. It stands for whoever moves records, and keeps to the same order of calls.
 */
import { expect } from 'vitest'
import { CompactionPolicy } from '../../src/release/compaction-policy.js'

export const MIB_PAGES = 256
const PAGE_BYTES = 4096
const GRANULES = 256
/** What a survey takes for a page, and what it takes to make a page free. */
const SURVEY_MS = 0.0005
const MOVE_MS = 0.01
/** Between two looks at the clock. */
const QUANTUM_MS = 0.05

/** A round that ran. The end is NaN while it is under way. */
export interface Round {
  readonly beganMs: number
  endedMs: number
  freedPages: number
}

export interface ModelOptions {
  /** Pages in use for each page of live bytes at best. */
  readonly tightness?: number
  /** What a tick's turn of the event loop is late by, at most. */
  readonly lateMs?: () => number
}

export class CompactionModel {
  readonly policy: CompactionPolicy
  nowMs = 1_000
  usedPages = 0
  livePages = 0
  /** Pages that no round can free, and those of them that a survey promises all the same. */
  stuckPages = 0
  hiddenPages = 0
  warmPages = 0
  calls = 0
  readonly rounds: Round[] = []
  /** What compaction has taken in all, and the longest slice. */
  workMs = 0
  longestSliceMs = 0
  ticks = 0
  /** The longest promise in force after a tick. */
  longestPromiseMs = 0
  #dueMs = Number.POSITIVE_INFINITY
  /** What is left of the pass: milliseconds of its survey, then pages to free. */
  #isSurveying = false
  #surveyLeftMs = 0
  #leftPages = 0
  readonly #tightness: number
  readonly #lateMs: () => number

  constructor(releaseAfterMs: number, { tightness = 1.03, lateMs = () => 0 }: ModelOptions = {}) {
    this.policy = new CompactionPolicy(releaseAfterMs, () => this.nowMs, PAGE_BYTES)
    this.#tightness = tightness
    this.#lateMs = lateMs
  }

  get counts() {
    const { calls, usedPages, livePages, warmPages } = this
    return { calls, usedPages, liveGranules: livePages * GRANULES, warmPages }
  }

  get wastePages(): number {
    return this.usedPages - this.livePages
  }

  get hasTimer(): boolean {
    return this.#dueMs < Number.POSITIVE_INFINITY
  }

  /** Records worth so many pages come to live. They take what is free of the pages in use first. */
  alloc(pageCount: number): void {
    this.calls++
    this.livePages += pageCount
    this.usedPages = Math.max(this.usedPages, Math.ceil(this.livePages))
  }

  /** Records worth so many pages end; `emptied` pages come free by that, the others keep other records. */
  free(pageCount: number, emptied = 0): void {
    this.calls++
    this.livePages -= pageCount
    this.usedPages -= emptied
    this.noteFree()
  }

  noteFree(): void {
    if (this.hasTimer) return
    this.policy.watch(this.usedPages)
    this.#arm()
  }

  #arm(): void {
    const delayMs = this.policy.delayMs()
    this.#dueMs =
      delayMs < 0 ? Number.POSITIVE_INFINITY : this.nowMs + Math.max(1, Math.ceil(delayMs)) + this.#lateMs()
  }

  /** Lets time pass, and calls `call` every `everyMs`. */
  wait(ms: number, everyMs = Number.POSITIVE_INFINITY, call: () => void = () => {}): void {
    const endMs = this.nowMs + ms
    for (let callMs = this.nowMs; ; callMs += everyMs) {
      const untilMs = Math.min(endMs, callMs + everyMs)
      while (this.#dueMs <= untilMs) {
        this.nowMs = Math.max(this.nowMs, this.#dueMs)
        this.#tick()
      }
      this.nowMs = Math.max(this.nowMs, untilMs)
      if (untilMs === endMs) return
      call()
    }
  }

  #tick(): void {
    const { policy } = this
    this.ticks++
    const startMs = this.nowMs
    policy.observe(this.counts)
    if (policy.isStartDue) {
      policy.begin()
      this.rounds.push({ beganMs: startMs, endedMs: Number.NaN, freedPages: 0 })
      this.#beginPass()
    }
    if (policy.isCompacting && policy.mayWork(startMs)) {
      let isPartDone = false
      do isPartDone = this.#work()
      while (!isPartDone && policy.hasTime(startMs))
      const tookMs = this.nowMs - startMs
      policy.sliced(tookMs, this.counts)
      this.workMs += tookMs
      this.longestSliceMs = Math.max(this.longestSliceMs, tookMs)
      if (isPartDone) this.#endPart()
    }
    const round = this.rounds.at(-1)
    if (round !== undefined && Number.isNaN(round.endedMs) && !policy.isCompacting) round.endedMs = this.nowMs
    this.longestPromiseMs = Math.max(this.longestPromiseMs, policy.promiseMs)
    this.#arm()
    this.check()
  }

  get #bestPages(): number {
    return Math.ceil(this.livePages * this.#tightness) + this.stuckPages
  }

  #beginPass(): void {
    this.#isSurveying = true
    this.#surveyLeftMs = this.usedPages * SURVEY_MS
  }

  /** Does a little of the survey, or of the moves. Returns whether that part of the pass is done. */
  #work(): boolean {
    this.nowMs += QUANTUM_MS
    if (this.#isSurveying) {
      this.#surveyLeftMs -= QUANTUM_MS
      return this.#surveyLeftMs <= 0
    }
    // Others may have taken what the survey counted on.
    const left = Math.max(0, Math.min(this.#leftPages, this.usedPages - this.#bestPages))
    const freed = Math.min(left, QUANTUM_MS / MOVE_MS)
    this.usedPages -= freed
    this.rounds[this.rounds.length - 1].freedPages += freed
    this.#leftPages = left - freed
    return this.#leftPages <= 0
  }

  #endPart(): void {
    const { policy } = this
    if (this.#isSurveying) {
      this.#isSurveying = false
      this.#leftPages = Math.max(0, this.usedPages - this.#bestPages)
      policy.surveyed(this.#leftPages + Math.min(this.stuckPages, this.hiddenPages))
    } else if (policy.passed()) this.#beginPass()
  }

  /** While there is waste that a round might free, a tick is due. */
  check(): void {
    this.policy.check()
    const { isCompacting } = this.policy
    if (!this.hasTimer)
      expect({ isNeeded: this.policy.isTickNeeded(this.counts), isCompacting }).toEqual({
        isNeeded: false,
        isCompacting: false,
      })
  }
}
