/** What does not run on musl and under qemu, of the places that are named here. */

/** The folders of tests that run on musl. The others do not reach the addon. */
export const MUSL_PLACES = [
  'test/arena',
  'test/buffers',
  'test/bytes',
  'test/examples.test.ts',
  'test/fuzz',
  'test/kernel',
  'test/memory',
  'test/misuse',
  'test/notices',
  'test/pools',
  'test/process/reclaim.test.ts',
  'test/process/reclaimer.test.ts',
  'test/release',
  'test/supply',
]

const PRELOADS_GLIBC = 'preloads libraries that are made for glibc'
const NEEDS_BREAK = 'is about the program break, which nobody can move on musl'

export const MUSL_LEFT_OUT = [
  { file: 'test/arena/break-strangers.test.ts', reason: NEEDS_BREAK },
  { file: 'test/fuzz/heap.test.ts', reason: 'uses no addon' },
  { file: 'test/fuzz/compaction.test.ts', reason: 'uses no addon' },
  { file: 'test/kernel/both-sources.test.ts', reason: NEEDS_BREAK },
  {
    file: 'test/kernel/forking.test.ts',
    test: 'leaves no page of an arena to its child',
    reason: NEEDS_BREAK,
  },
  { file: 'test/kernel/malloc-kind.test.ts', test: 'a preloaded library', reason: PRELOADS_GLIBC },
  {
    file: 'test/kernel/malloc-stats.test.ts',
    test: 'tells nothing of a malloc that is not known',
    reason: PRELOADS_GLIBC,
  },
  { file: 'test/kernel/naming.test.ts', reason: PRELOADS_GLIBC },
  { file: 'test/kernel/naming-thousands.test.ts', reason: PRELOADS_GLIBC },
  { file: 'test/process/reclaim.test.ts', test: 'leaves an unknown malloc alone', reason: PRELOADS_GLIBC },
  {
    file: 'test/kernel/many-arenas.test.ts',
    test: 'are open at once, and are gone when they are closed',
    reason: 'counts what malloc gives back to the kernel: musl keeps more for itself',
  },
  { file: 'test/kernel/purging.test.ts', test: 'is found out, and alloc writes', reason: NEEDS_BREAK },
  {
    file: 'test/kernel/purging.test.ts',
    test: 'gives back what is free, and holds no page',
    reason: NEEDS_BREAK,
  },
  { file: 'test/misuse/copies.test.ts', test: 'the program break', reason: NEEDS_BREAK },
  { file: 'test/memory/binary.test.ts', reason: 'is about the loader, and loads no other binary' },
]

/** The files that run under qemu: those that use most of the addon. More of them would take more than minutes. */
export const ARM64_PLACES = [
  'test/arena/arena.test.ts',
  'test/arena/ownership.test.ts',
  'test/buffers/buffers.test.ts',
  'test/memory/addon.test.ts',
]

const ADVICE = 'gives advice to the kernel, of which qemu hands on only that to give pages back'

export const ARM64_LEFT_OUT = [
  {
    file: 'test/arena/arena.test.ts',
    test: 'of a size far above what can be mapped',
    reason: 'takes more than a minute under qemu',
  },
  { file: 'test/memory/addon.test.ts', test: 'starts at a multiple of the alignment', reason: ADVICE },
  { file: 'test/memory/addon.test.ts', test: 'leaves nothing mapped around it', reason: ADVICE },
  { file: 'test/memory/addon.test.ts', test: 'has none of what was mapped', reason: ADVICE },
  {
    file: 'test/memory/addon.test.ts',
    test: 'returns the number of kernel mappings to what it was',
    reason: 'counts mappings, which qemu lists in its own way',
  },
]
