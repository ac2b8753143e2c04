// The functions of each malloc that give memory back. Contracts are in the header.

#include "malloc_purge.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <ctime>
#include <initializer_list>

#include "malloc_kind.h"

namespace offheap {
namespace {

// jemalloc's `mallctl`, with neither a value to read nor one to write.
void Control(const char* name) {
  const auto control = MallocFunctionOf<int(const char*, void*, size_t*, void*, size_t)>("mallctl");
  if (control != nullptr) control(name, nullptr, nullptr, nullptr, 0);
}

void CollectMimalloc() {
  const auto collect = MallocFunctionOf<void(bool)>("mi_collect");
  if (collect != nullptr) collect(true);
}

size_t TcmallocProperty(const char* name) {
  const auto get = MallocFunctionOf<int(const char*, size_t*)>("MallocExtension_GetNumericProperty");
  size_t value = 0;
  return get != nullptr && get(name, &value) != 0 ? value : 0;
}

// A piece at a time: each call holds the lock of the page heap, which is not fair. Whoever waits for it gets it in a
// pause.
void ReleaseTcmalloc() {
  constexpr size_t kPieceBytes = size_t{1} << 20;
  constexpr timespec kPause = {0, 50'000};
  constexpr const char* kFreeBytes = "tcmalloc.pageheap_free_bytes";
  const auto release = MallocFunctionOf<void(size_t)>("MallocExtension_ReleaseToSystem");
  if (release == nullptr) {
    const auto release_all = MallocFunctionOf<void()>("MallocExtension_ReleaseFreeMemory");
    if (release_all != nullptr) release_all();
    return;
  }
  // It gives whole spans back. Where a span was longer than a piece, the next calls do nothing until they have made up
  // for it: so no call says that it was the last.
  for (size_t left = TcmallocProperty(kFreeBytes) / kPieceBytes + 1; left > 0; --left) {
    release(kPieceBytes);
    if (TcmallocProperty(kFreeBytes) == 0) return;
    syscall(SYS_nanosleep, &kPause, nullptr);
  }
}

}  // namespace

void FlushThread() {
  switch (WhichMalloc()) {
    case MallocKind::kJemalloc: Control("thread.tcache.flush"); return;
    case MallocKind::kMimalloc: CollectMimalloc(); return;
    case MallocKind::kTcmalloc:
      for (const char* name : {"MallocExtension_MarkThreadIdle", "MallocExtension_MarkThreadBusy"}) {
        const auto mark = MallocFunctionOf<void()>(name);
        if (mark != nullptr) mark();
      }
      return;
    default: return;
  }
}

void PurgeMalloc() {
  switch (WhichMalloc()) {
    case MallocKind::kGlibc: {
      const auto trim = MallocFunctionOf<int(size_t)>("malloc_trim");
      if (trim != nullptr) trim(0);
      return;
    }
    // 4096 stands for all arenas: MALLCTL_ARENAS_ALL.
    case MallocKind::kJemalloc: Control("arena.4096.purge"); return;
    case MallocKind::kMimalloc: CollectMimalloc(); return;
    case MallocKind::kTcmalloc: ReleaseTcmalloc(); return;
    default: return;
  }
}

}  // namespace offheap
