// How pages go back: many ranges in one system call where this kernel does that, one by one where it does not.
//
// `process_madvise` takes many ranges and flushes the address translations of all of them once; on a virtual machine
// that is most of the cost. The kernel lets a process do this to itself since Linux 6.13. Where it refuses, or a filter
// does, we learn that once and go on with `madvise`.
//
// This file owns what was learned of this process's kernel, shared by all threads: whether `process_madvise` works, by
// which descriptor, and which advice gives pages back. All of it may be learned twice at the same time without harm.

#ifndef OFFHEAP_NATIVE_PURGING_H_
#define OFFHEAP_NATIVE_PURGING_H_

#include <cstddef>
#include <cstdint>

#include "pages.h"

namespace offheap {

// Consecutive pages of one mapping.
struct PageRun {
  uint32_t first_page;
  uint32_t page_count;
};

// `madvise`: the pages go back before the call returns, the addresses stay, and every byte reads as zero. Locked pages
// go back too where the kernel knows how (Linux 5.18); they are locked again when they are touched.
//
// Requires: whole pages inside one mapping.
// EINVAL: the pages are locked, on an older kernel.
Errno PurgePages(void* address, size_t length_bytes);

// The same for `run_count` runs, in order, `first_page` counted from `start`. `*done_pages` is how many pages went back
// before the first one that did not: all of them where the result is 0.
//
// Requires: every run lies inside one mapping, and holds a page at least.
Errno PurgeRuns(char* start, const PageRun* runs, size_t run_count, uint64_t* done_pages);

// Whether a page that was given back really reads as zero: emulators accept the call and do nothing
// (qemu-user before 7.1). Looks once in a process, on a page of its own; where no page can be had for that,
// says yes and looks again next time.
bool PurgesToZero();

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_PURGING_H_
