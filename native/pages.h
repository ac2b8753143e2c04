// The operating-system seam: one function per system call, each with its contract, and nothing that decides anything.
//
// These functions own no state and check nothing: the caller guarantees the preconditions. They never log, never throw
// and know neither JavaScript nor what the memory is for.
//
// Words: an address range is *whole pages* when its start and its length are both multiples of `PageBytes()`. A result
// of type `Errno` is 0 on success and the (positive) `errno` of the system call otherwise.

#ifndef OFFHEAP_NATIVE_PAGES_H_
#define OFFHEAP_NATIVE_PAGES_H_

#include <cstddef>

namespace offheap {

using Errno = int;

// The kinds of advice that `AdvisePages` accepts, with the numbers of this kernel's headers.
extern const int kAdviceDontNeed;
extern const int kAdviceNoHugePage;
extern const int kAdviceHugePage;
extern const int kAdvicePopulateWrite;

// `sysconf(_SC_PAGESIZE)`: bytes of one page, a power of two. Does not fail on Linux.
size_t PageBytes();

// `mmap`: reserves `length_bytes` of private, anonymous, readable and writable memory at an address of the kernel's
// choice, not charged before it is touched. Every byte reads as zero. For an alignment above a page more is mapped, and
// what lies around the aligned part is unmapped again.
//
// Requires: `length_bytes` > 0, a multiple of the page size; `align_bytes` a power of two, a page or more.
// On success `*address` is the start, a multiple of `align_bytes`; otherwise it is left alone, and nothing is mapped.
// ENOMEM: no such gap in the address space, the limit on address space (RLIMIT_AS), the limit on the number of mappings
// (vm.max_map_count), or strict overcommit, which ignores MAP_NORESERVE.
Errno MapPages(size_t length_bytes, size_t align_bytes, void** address);

// `munmap`: gives addresses and memory back; any later access to the range is a fault.
//
// Requires: exactly the range of one earlier `MapPages`, in use by nobody.
// ENOMEM: the range had been merged with a neighbouring mapping, splitting it again would exceed vm.max_map_count. The
// range is then still mapped, bytes intact.
Errno UnmapPages(void* address, size_t length_bytes);

// `madvise`. `kAdviceDontNeed`: the pages go back to the kernel before the call returns, the addresses stay, and every
// byte reads as zero. `kAdviceNoHugePage`: the kernel puts no transparent huge pages there from now on. `kAdviceHugePage`: it
// does where it can. `kAdvicePopulateWrite`: every page is resident when the call returns, and writing faults no more.
//
// Requires: whole pages inside one mapping; `advice` is one of the four constants.
// EINVAL: locked pages with `kAdviceDontNeed`; a kernel built without huge pages with the two for these; a kernel before
// 5.14 with `kAdvicePopulateWrite`.
// ENOMEM: the kernel ran out of memory for, or of room in vm.max_map_count for, splitting the mapping.
Errno AdvisePages(void* address, size_t length_bytes, int advice);

// `mincore`: writes one byte per page of the range into `residency`, 1 where the page is resident now, else 0. A page
// that was only read counts too, although the zero page behind it costs no memory.
//
// Requires: whole pages inside one mapping; `residency` has room for a byte per page.
// EAGAIN: the kernel is out of memory for the moment. After any failure the content of `residency` is undefined.
Errno ResidentPages(void* address, size_t length_bytes, unsigned char* residency);

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_PAGES_H_
