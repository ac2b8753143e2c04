/** Tests that do not run under the sanitizers: whole files, or those that have `test` in their name. */

const COUNTS_MEMORY = "counts the process's memory, to which the sanitizer adds its own"
const LIMITS_ADDRESSES = "limits the address space, of which the sanitizer's shadow takes terabytes"
const PRELOADS = 'loads a library of its own first, as the sanitizer must'

export const LEFT_OUT = [
  { file: 'test/arena/addresses.test.ts', test: 'takes neither mappings nor page', reason: COUNTS_MEMORY },
  { file: 'test/arena/addresses.test.ts', test: 'those are unmapped that nothing', reason: LIMITS_ADDRESSES },
  { file: 'test/arena/addresses.test.ts', test: 'none is while a stream may hold', reason: LIMITS_ADDRESSES },
  {
    file: 'test/arena/break-strangers.test.ts',
    reason: "is about libc's malloc, which the sanitizer replaces",
  },
  { file: 'test/arena/unclosed.test.ts', test: 'leave nothing behind', reason: COUNTS_MEMORY },
  { file: 'test/arena/failures.test.ts', reason: 'takes four minutes, and what fails in it is TypeScript' },
  { file: 'test/supply/limits.test.ts', test: 'without a trace', reason: 'takes minutes' },
  { file: 'test/arena/scope.test.ts', test: 'takes time in proportion to them', reason: 'compares times' },
  { file: 'test/arena/workers.test.ts', reason: `${COUNTS_MEMORY}; its program runs here by itself` },
  { file: 'test/fuzz/heap.test.ts', reason: 'uses no addon' },
  { file: 'test/fuzz/compaction.test.ts', reason: 'uses no addon' },
  { file: 'test/kernel/books.test.ts', reason: COUNTS_MEMORY },
  { file: 'test/kernel/both-sources.test.ts', reason: COUNTS_MEMORY },
  { file: 'test/kernel/lifetimes.test.ts', test: 'as many kernel mappings', reason: COUNTS_MEMORY },
  { file: 'test/kernel/malloc-kind.test.ts', reason: PRELOADS },
  { file: 'test/kernel/malloc-stats.test.ts', reason: PRELOADS },
  { file: 'test/kernel/many-arenas.test.ts', reason: COUNTS_MEMORY },
  { file: 'test/kernel/naming.test.ts', reason: PRELOADS },
  { file: 'test/kernel/naming-thousands.test.ts', reason: PRELOADS },
  {
    file: 'test/kernel/pages-on-demand.test.ts',
    test: 'faults no more',
    reason: "counts page faults, some of the sanitizer's",
  },
  { file: 'test/kernel/purging.test.ts', reason: PRELOADS },
  { file: 'test/kernel/resident.test.ts', reason: COUNTS_MEMORY },
  {
    file: 'test/memory/program-break.test.ts',
    test: 'a fence that keeps malloc',
    reason: "the sanitizer's malloc never moves the break",
  },
]
