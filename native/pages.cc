// The system calls of pages.h, one function each. Contracts are in the header.

#include "pages.h"

#include <fcntl.h>
#include <linux/prctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <system_error>

#include "align.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000  // Linux 4.17; older kernels take the address for a hint
#endif

// glibc's. One binary serves all C libraries, so whether it is there shows when the binary is loaded. musl does not
// have it, and its malloc does not use the break.
extern "C" int mallopt(int parameter, int value) noexcept __attribute__((weak));

namespace offheap {

const int kAdviceDontNeed = MADV_DONTNEED;
const int kAdviceDontNeedLocked = 24;  // MADV_DONTNEED_LOCKED, not in headers older than Linux 5.18
const int kAdviceNoHugePage = MADV_NOHUGEPAGE;
const int kAdviceHugePage = MADV_HUGEPAGE;
#ifdef MADV_POPULATE_WRITE
const int kAdvicePopulateWrite = MADV_POPULATE_WRITE;
#else
const int kAdvicePopulateWrite = 23;  // headers older than Linux 5.14
#endif
// Not in headers older than Linux 6.13.
const int kAdviceGuardInstall = 102;
const int kAdviceGuardRemove = 103;
const int kAdviceDontFork = MADV_DONTFORK;
const int kAdviceDontDump = MADV_DONTDUMP;

size_t PageBytes() {
  static const auto page_bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return page_bytes;
}

namespace {

// Gives up what lies before and behind the aligned part of a mapping. The parts that go first or fail are no harm: all
// of it is one mapping of our own, in use by nobody.
Errno TrimTo(char* start, size_t mapped_bytes, char* aligned, size_t length_bytes) {
  const auto head_bytes = static_cast<size_t>(aligned - start);
  const size_t tail_bytes = mapped_bytes - head_bytes - length_bytes;
  if (head_bytes > 0 && munmap(start, head_bytes) != 0) return errno;
  if (tail_bytes > 0 && munmap(aligned + length_bytes, tail_bytes) != 0) return errno;
  return 0;
}

}  // namespace

Errno MapPages(size_t length_bytes, size_t align_bytes, void** address) {
  const size_t extra_bytes = align_bytes - PageBytes();
  if (length_bytes + extra_bytes < length_bytes) return ENOMEM;
  const size_t mapped_bytes = length_bytes + extra_bytes;
  void* start = mmap(nullptr, mapped_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED) return errno;
  char* const aligned = AlignUp(static_cast<char*>(start), align_bytes);
  const Errno error = TrimTo(static_cast<char*>(start), mapped_bytes, aligned, length_bytes);
  if (error != 0) {
    munmap(start, mapped_bytes);
    return error;
  }
  EmptyLocked(aligned, length_bytes);
  *address = aligned;
  return 0;
}

Errno ReservePages(size_t length_bytes, void** address) {
  void* start = mmap(nullptr, length_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED) return errno;
  *address = start;
  return 0;
}

Errno MapPagesAt(void* address, size_t length_bytes) {
  void* start = mmap(address, length_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  if (start == MAP_FAILED) return errno;
  if (start == address) {
    EmptyLocked(address, length_bytes);
    return 0;
  }
  munmap(start, length_bytes);
  return EEXIST;
}

Errno RemapPages(void* address, size_t length_bytes) {
  void* start = mmap(address, length_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  if (start == MAP_FAILED) return errno;
  EmptyLocked(address, length_bytes);
  return 0;
}

void EmptyLocked(void* address, size_t length_bytes) {
  unsigned char residency = 0;
  // One byte of a page stands for the page: so one byte is written, also by an emulator whose own pages are smaller.
  if (mincore(address, 1, &residency) != 0 || (residency & 1) == 0) return;
  if (madvise(address, length_bytes, MADV_DONTNEED) != 0) madvise(address, length_bytes, kAdviceDontNeedLocked);
}

Errno UnmapPages(void* address, size_t length_bytes) { return munmap(address, length_bytes) == 0 ? 0 : errno; }

Errno AdvisePages(void* address, size_t length_bytes, int advice) {
  return madvise(address, length_bytes, advice) == 0 ? 0 : errno;
}

Errno ProtectPages(void* address, size_t length_bytes, bool is_accessible) {
  return mprotect(address, length_bytes, is_accessible ? PROT_READ | PROT_WRITE : PROT_NONE) == 0 ? 0 : errno;
}

Errno ResidentPages(void* address, size_t length_bytes, unsigned char* residency) {
  if (mincore(address, length_bytes, residency) != 0) return errno;
  // Only the lowest bit of each byte has a meaning; the kernel reserves the others.
  const size_t page_count = length_bytes / PageBytes();
  for (size_t page = 0; page < page_count; ++page) residency[page] &= 1;
  return 0;
}

Errno NamePages(void* address, size_t length_bytes, const char* name) {
  // Not in headers older than Linux 5.17.
  constexpr int kSetVma = 0x53564d41;
  constexpr unsigned long kAnonymousName = 0;
  return prctl(kSetVma, kAnonymousName, address, length_bytes, name) == 0 ? 0 : errno;
}

Errno MoveBreak(intptr_t increment_bytes, char** old_break) {
  void* old = sbrk(increment_bytes);
  if (reinterpret_cast<intptr_t>(old) == -1) return errno;
  *old_break = static_cast<char*>(old);
  return 0;
}

char* LibcBreak() { return static_cast<char*>(sbrk(0)); }

void WaitForMalloc() {
  constexpr int kNoParameter = -4711;
  if (mallopt != nullptr) mallopt(kNoParameter, 0);
}

void TellLibcBreak(char* address) {
  // Cannot fail: the kernel has nothing to do. musl's always does, and needs no telling.
  if (brk(address) != 0) errno = 0;
}

namespace {

// The fields of /proc/self/stat by their numbers in proc(5); those before the fourth are left out.
using StatFields = std::array<uint64_t, 52>;

// Returns false where the fields cannot be read.
bool ReadStat(StatFields& fields) {
  std::array<char, 2048> text = {};
  const int file = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  const ssize_t length = read(file, text.data(), text.size() - 1);
  close(file);
  if (length <= 0) return false;
  // The second is the name, in brackets, which may hold anything.
  const char* at = strrchr(text.data(), ')');
  if (at == nullptr || at[1] == 0 || at[2] == 0) return false;
  const char* const end = text.data() + length;
  at += 3;  // the third is a letter
  for (size_t field = 4; field < fields.size(); ++field) {
    if (*at == ' ') ++at;
    if (*at == '-') ++at;  // none of those that are used
    // Not `strtoull`: newer headers of glibc make it a symbol that older ones, and musl, do not have.
    const std::from_chars_result number = std::from_chars(at, end, fields[field]);
    if (number.ec != std::errc()) return false;
    at = number.ptr;
  }
  return true;
}

}  // namespace

uint64_t ProcessResidentBytes() {
  constexpr const char* kLabel = "\nRss:";
  std::array<char, 4096> text = {};
  const int file = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  const ssize_t length = read(file, text.data(), text.size() - 1);
  close(file);
  const char* at = length > 0 ? strstr(text.data(), kLabel) : nullptr;
  if (at == nullptr) return 0;
  at += strlen(kLabel);
  while (*at == ' ') ++at;
  uint64_t kilobytes = 0;
  std::from_chars(at, text.data() + length, kilobytes);
  return kilobytes * 1024;
}

char* BreakStart() {
  static const uint64_t start = [] {
    StatFields fields = {};
    return ReadStat(fields) ? fields[47] : 0;
  }();
  return reinterpret_cast<char*>(start);  // NOLINT(performance-no-int-to-ptr): the kernel answers with a number
}

Errno SetBreak(const char* address) {
  StatFields fields = {};
  if (!ReadStat(fields)) return EPERM;
  prctl_mm_map map = {};
  map.start_code = fields[26];
  map.end_code = fields[27];
  map.start_stack = fields[28];
  map.start_data = fields[45];
  map.end_data = fields[46];
  map.start_brk = fields[47];
  map.brk = reinterpret_cast<uintptr_t>(address);
  map.arg_start = fields[48];
  map.arg_end = fields[49];
  map.env_start = fields[50];
  map.env_end = fields[51];
  map.exe_fd = static_cast<uint32_t>(-1);
  if (map.start_code == 0 || map.start_brk == 0 || map.start_brk > map.brk) return EPERM;
  return prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0) == 0 ? 0 : errno;
}

char* KernelBreak() {
  const intptr_t now = syscall(SYS_brk, nullptr);
  // The kernel answers with the address as a number.
  return now == -1 ? nullptr : reinterpret_cast<char*>(now);  // NOLINT(performance-no-int-to-ptr)
}

}  // namespace offheap
