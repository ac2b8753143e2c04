// Preloaded, it stands between the addon and the kernel, and lets giving pages back go as the variable OFFHEAP_TEST_KERNEL says:
//
//   idle    accepted, and nothing is done: as an emulator (qemu-user before 7.1)
//   refuse  EPERM: as a filter
//   single  there is no `process_madvise`: as before Linux 5.10
//   old     `process_madvise` does not know this advice: as before Linux 6.13
//   short   `process_madvise` does one range of those it is given
//   again   every third call is answered by EAGAIN, or ENOMEM in turn: as where memory is short
//   locked  nothing is changed, but what the addon maps is locked (`mlock2`), for real
//   bound   the same, and the kernel does not take back what is locked: as before Linux 5.18
//   all     nothing is changed, but the process locks all it has and will have (`mlockall`), for real
//   filter  nothing is changed, but a seccomp filter answers EPERM to every `madvise` and `process_madvise` of the process
//
// Calls of others, V8's and libc's, go through. V8 ends the process where the kernel refuses it: in the last two modes it is not
// told.

#include <dlfcn.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
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

// Of the calls that purge, in the mode `again`: whether this one is refused.
bool IsShort() {
  static std::atomic<unsigned> count{0};
  if (!Is("again")) return false;
  const unsigned call = count++;
  errno = call % 2 == 0 ? EAGAIN : ENOMEM;
  return call % 3 == 2;
}

void End(const char* what) {
  perror(what);
  _exit(99);
}

void Filter() {
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 1, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kProcessMadvise, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) End("PR_SET_NO_NEW_PRIVS");
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) End("PR_SET_SECCOMP");
}

// Before any thread is there: they inherit the filter.
__attribute__((constructor)) void Begin() {
  if (Is("all") && mlockall(MCL_CURRENT | MCL_FUTURE) != 0) End("mlockall");
  if (Is("filter")) Filter();
}

}  // namespace

#define VISIBLE extern "C" __attribute__((visibility("default")))

VISIBLE int madvise(void* address, size_t length, int advice) noexcept {
  static const auto real = reinterpret_cast<int (*)(void*, size_t, int)>(dlsym(RTLD_NEXT, "madvise"));
  if (IsPurge(advice) && IsFromAddon(__builtin_return_address(0))) {
    if (Is("idle")) return 0;
    if (Is("refuse")) return static_cast<int>(Refused(EPERM));
    if (IsShort()) return -1;
    if (Is("bound") && advice == kDontNeedLocked) return static_cast<int>(Refused(EINVAL));
  }
  const int result = real(address, length, advice);
  const bool is_told = IsFromAddon(__builtin_return_address(0)) || (!Is("all") && !Is("filter"));
  return is_told ? result : 0;
}

VISIBLE void* mmap(void* address, size_t length, int protection, int flags, int fd, off_t offset) noexcept {
  void* const start = reinterpret_cast<void*>(syscall(SYS_mmap, address, length, protection, flags, fd, offset));
  if (start != MAP_FAILED && (Is("locked") || Is("bound")) && IsFromAddon(__builtin_return_address(0))) {
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
    if (number == kProcessMadvise && Is("bound") && a[3] == kDontNeedLocked) return Refused(EINVAL);
    if (number == kProcessMadvise && IsShort()) return -1;
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
