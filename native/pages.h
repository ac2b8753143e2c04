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
#include <cstdint>

namespace offheap {

using Errno = int;

// The kinds of advice that `AdvisePages` accepts, with the numbers of this kernel's headers.
extern const int kAdviceDontNeed;
extern const int kAdviceDontNeedLocked;
extern const int kAdviceNoHugePage;
extern const int kAdviceHugePage;
extern const int kAdvicePopulateWrite;
extern const int kAdviceGuardInstall;
extern const int kAdviceGuardRemove;
extern const int kAdviceDontFork;
extern const int kAdviceDontDump;

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

// `mmap`: reserves `length_bytes` of addresses, inaccessible, at a place of the kernel's choice. `ProtectPages` makes
// parts of them as from `MapPages`.
//
// Requires: `length_bytes` > 0, whole pages. ENOMEM: as for `MapPages`.
Errno ReservePages(size_t length_bytes, void** address);

// `mmap` at a place: `length_bytes` of memory as from `MapPages` at exactly `address`.
//
// Requires: whole pages.
// EEXIST: something is mapped in that range; it is left alone. ENOMEM: as for `MapPages`.
Errno MapPagesAt(void* address, size_t length_bytes);

// `mmap` over what is there: the range reads as zero from now on, holds no memory and no page tables of its own, and
// has none of the advice it was given before. Never an instant without a mapping: an access meanwhile waits.
//
// Requires: whole pages, mapped by the caller.
// ENOMEM: as for `MapPages`; the range is then as it was.
Errno RemapPages(void* address, size_t length_bytes);

// Where the process locks what it will map (`mlockall(MCL_FUTURE)`), the kernel makes every page of a new mapping
// resident. They go back, so that it is clean before it is used; what is touched later is locked then. The functions
// above do this themselves. Where the kernel refuses (before Linux 5.18), the pages stay.
//
// Requires: whole pages that were just mapped by the caller, and not used yet.
void EmptyLocked(void* address, size_t length_bytes);

// `munmap`: gives addresses and memory back; any later access to the range is a fault.
//
// Requires: a range that the caller mapped, in use by nobody.
// ENOMEM: the range had been merged with a neighbouring mapping, splitting it again would exceed vm.max_map_count. The
// range is then still mapped, bytes intact.
Errno UnmapPages(void* address, size_t length_bytes);

// `madvise`. `kAdviceDontNeed`: the pages go back to the kernel before the call returns, the addresses stay, and every
// byte reads as zero. `kAdviceNoHugePage`: the kernel puts no transparent huge pages there from now on.
// `kAdviceHugePage`: it does where it can. `kAdvicePopulateWrite`: every page is resident when the call returns, and
// writing faults no more. `kAdviceGuardInstall`: the pages go back, and every access to them is a fault from now on;
// the kernel's mapping is not split. `kAdviceDontDump`: core files leave the pages out. `kAdviceGuardRemove`: they read
// as zero again; other pages of the range are left alone. `kAdviceDontFork`: a child that is forked from now on has
// nothing mapped there, until it calls `exec`.
//
// Requires: whole pages inside one mapping; `advice` is one of these constants.
// EINVAL: locked pages with `kAdviceDontNeed` and `kAdviceGuardInstall`; a kernel built without huge pages with the two
// for these; a kernel before 5.14 with `kAdvicePopulateWrite`; one before 6.13 with the two for guards.
// ENOMEM: the kernel ran out of memory for, or of room in vm.max_map_count for, splitting the mapping.
Errno AdvisePages(void* address, size_t length_bytes, int advice);

// `mprotect`: every access to the pages is a fault from now on, or none is (`is_accessible`). Their contents stay.
//
// Requires: whole pages inside one mapping of our own.
// ENOMEM: the kernel has no memory for, or no room in vm.max_map_count for, splitting the mapping: a page in
// the middle makes two more of one.
Errno ProtectPages(void* address, size_t length_bytes, bool is_accessible);

// `mincore`: writes one byte per page of the range into `residency`, 1 where the page is resident now, else 0. A page
// that was only read counts too, although the zero page behind it costs no memory.
//
// Requires: whole pages inside one mapping; `residency` has room for a byte per page.
// EAGAIN: the kernel is out of memory for the moment. After any failure the content of `residency` is undefined.
Errno ResidentPages(void* address, size_t length_bytes, unsigned char* residency);

// `sbrk`: moves the program break by `increment_bytes`, up or down, and stores where it was before in `*old_break`.
// What lies between becomes private, zeroed memory, or is unmapped.
//
// Requires: what is given up is in use by nobody, and lies above everything that malloc took from the break.
// Not safe against another thread that calls `sbrk` (glibc's malloc does) at the same moment: libc reads the break it
// remembers, asks the kernel, and writes down the answer, without a lock. The caller compares `*old_break` and
// `KernelBreak()` with what it expects. They also tell where libc reports success although nothing moved: glibc does so
// when the kernel refuses to lower the break, or when a filter refuses the call with an error number.
// ENOMEM: a mapping lies in the way or right behind it (the kernel wants a free page there), a limit (RLIMIT_DATA,
// overcommit), or a libc that never moves the break (musl).
Errno MoveBreak(intptr_t increment_bytes, char** old_break);

// `sbrk(0)`: where libc thinks that the program break is. Makes no system call.
char* LibcBreak();

// `Rss` of /proc/self/smaps_rollup: the resident bytes of this process, which the kernel sums from the page tables now.
// Takes some 10 ms for each GiB: not for the thread of an event loop. 0 where the file cannot be read.
uint64_t ProcessResidentBytes();

// Where the program break began, or null where /proc does not say. Makes a few system calls the first time only.
char* BreakStart();

// Waits until every `sbrk` that malloc was in the middle of has ended. glibc's malloc calls it only while it holds the
// lock of its main arena; `mallopt`, here with a parameter that does not exist, takes that lock and gives it back.
// Where malloc is another one, does nothing.
void WaitForMalloc();

// `brk(address)`: makes libc think that the program break is at `address`, where the kernel has it already.
//
// Requires: `KernelBreak() == address`; otherwise the break moves.
void TellLibcBreak(char* address);

// `prctl(PR_SET_MM, PR_SET_MM_MAP)`: the kernel's break is at `address` from now on. Nothing is mapped or unmapped, and
// libc is told nothing. Needs no privilege.
//
// Requires: nothing else moves the break meanwhile, what lies below `address` from the old break on is mapped.
// EINVAL: a kernel built without CONFIG_CHECKPOINT_RESTORE, or RLIMIT_DATA. EPERM: a filter, or no /proc.
Errno SetBreak(const char* address);

// `brk` with an address it never accepts: where the kernel says that the program break is, or null
// where a filter forbids to ask.
char* KernelBreak();

// `prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME)`: /proc/PID/smaps and maps show the range as `[anon:NAME]` from now on. The
// kernel copies the name.
//
// Requires: whole pages, mapped by the caller; a name of 1 to 79 printable characters of ASCII, none of \ ` $ [ ].
// EINVAL: a kernel without CONFIG_ANON_VMA_NAME, or before 5.17. ENOMEM: no memory for the name, or no room in
// vm.max_map_count: ranges with different names are different mappings.
Errno NamePages(void* address, size_t length_bytes, const char* name);

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_PAGES_H_
