import type { BlockHeap } from '../../src/heap/block-heap.js'
import type { ReleasePolicy } from '../../src/release/policy.js'
import type { Releaser } from '../../src/release/releaser.js'
import type { Scavenger } from '../../src/release/scavenger.js'

export interface Sample {
  readonly ms: number
  readonly usedPages: number
  readonly dirtyPages: number
  readonly warmPages: number
  readonly promiseMs: number
  readonly refaultedPages: number
  readonly purgedPages: number
  readonly purgingMs: number
}

export class Simulation {
  constructor(
    modules: Record<string, unknown>,
    options: { releaseAfterMs: number; callMs?: number; pageMs?: number },
  )
  readonly time: { nowMs: number; readonly pendingTimers: number }
  readonly heap: BlockHeap
  readonly policy: ReleasePolicy
  readonly scavenger: Scavenger
  readonly releaser: Releaser
  readonly samples: Sample[]
  readonly purgingMs: number
  readonly longestSliceMs: number
  use(pageCount: number): number
  free(block: number): void
  wait(ms: number, sampleMs?: number): void
  check(): void
}
