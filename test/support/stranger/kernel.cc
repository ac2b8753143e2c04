// Preloaded, it stands between the addon and the kernel, and lets giving pages back go as the variable OFFHEAP_TEST_KERNEL says:
//
//   idle    accepted, and nothing is done: as an emulator (qemu-user before 7.1)
//   refuse  EPERM: as a filter
//   single  there is no `process_madvise`: as before Linux 5.10
//   old     `process_madvise` does not know this advice: as before Linux 6.13
//   short   `process_madvise` does one range of those it is given
//   locked  nothing is changed, but what the addon maps is locked (`mlock2`), for real
//
// Calls of others, V8's and libc's, go through.

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdint>

namespace {

constexpr int kDontNeedLocked = 24;
constexpr long kPidfdOpen = 434;
constexpr long kProcessMadvise = 440;

bool Is(const char* mode) {
  static const char* const set = getenv("OFFHEAP_TEST_KERNEL");
  return set != nullptr && strcmp(set, mode) == 0;
}

bool IsFromAddon(void* caller) {
  Dl_info info;
  return dladdr(caller, &info) != 0 && info.dli_fname != nullptr && strstr(info.dli_fname, "offheap.node") != nullptr;
}

bool IsPurge(long advice) { return advice == MADV_DONTNEED || advice == kDontNeedLocked; }

long Refused(int error) {
  errno = error;
  return -1;
}

}  // namespace

#define VISIBLE extern "C" __attribute__((visibility("default")))

VISIBLE int madvise(void* address, size_t length, int advice) noexcept {
  static const auto real = reinterpret_cast<int (*)(void*, size_t, int)>(dlsym(RTLD_NEXT, "madvise"));
  if (IsPurge(advice) && IsFromAddon(__builtin_return_address(0))) {
    if (Is("idle")) return 0;
    if (Is("refuse")) return static_cast<int>(Refused(EPERM));
  }
  return real(address, length, advice);
}

VISIBLE void* mmap(void* address, size_t length, int protection, int flags, int fd, off_t offset) noexcept {
  void* const start = reinterpret_cast<void*>(syscall(SYS_mmap, address, length, protection, flags, fd, offset));
  if (start != MAP_FAILED && Is("locked") && IsFromAddon(__builtin_return_address(0))) {
    syscall(SYS_mlock2, start, length, 1 /* MLOCK_ONFAULT */);
  }
  return start;
}

VISIBLE long syscall(long number, ...) noexcept {
  static const auto real = reinterpret_cast<long (*)(long, ...)>(dlsym(RTLD_NEXT, "syscall"));
  va_list list;
  va_start(list, number);
  long a[6];
  for (long& argument : a) argument = va_arg(list, long);
  va_end(list);
  if ((number == kProcessMadvise || number == kPidfdOpen) && IsFromAddon(__builtin_return_address(0))) {
    if (Is("single")) return Refused(ENOSYS);
    if (Is("refuse")) return Refused(EPERM);
    if (number == kProcessMadvise && Is("old")) return Refused(EINVAL);
    if (number == kProcessMadvise && Is("short") && a[2] > 1) a[2] = 1;
    if (number == kProcessMadvise && Is("idle")) {
      long bytes = 0;
      for (long i = 0; i < a[2]; ++i) bytes += static_cast<long>(reinterpret_cast<iovec*>(a[1])[i].iov_len);
      return bytes;
    }
  }
  return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
