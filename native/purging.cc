// Giving pages back. Contracts are in the header.

#pragma GCC optimize("O2")

#include "purging.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <mutex>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434  // the same number on all architectures
#endif
#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif

namespace offheap {
namespace {

// The process itself, in place of a descriptor (Linux 6.14). Older kernels answer EBADF.
constexpr int kOwnProcess = -10001;
// Ranges for one system call: half of IOV_MAX. More gain nothing.
constexpr size_t kMaxRanges = 512;

std::atomic<int> purge_advice{MADV_DONTNEED};
// `process_madvise` is refused here, for good.
std::atomic<bool> is_batching_refused{false};
std::atomic<bool> is_own_process_unknown{false};

// A descriptor of this process. A child that was forked without `exec` has a process id of its own and inherits ours,
// which names its parent: so it is opened anew whenever the process id is another.
int OwnDescriptor() {
  static std::mutex mutex;
  static int descriptor = -1;
  static pid_t owner = 0;
  const std::lock_guard<std::mutex> lock(mutex);
  const pid_t pid = getpid();
  if (owner == pid) return descriptor;
  // Closed on `exec` by itself. The one that was inherited is left alone: it may have been
  // closed, and be another by now.
  descriptor = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  owner = pid;
  return descriptor;
}

// Returns the bytes that went back, or -1 with `errno`.
ssize_t AdviseRanges(const iovec* ranges, size_t count, int advice) {
  if (!is_own_process_unknown) {
    const ssize_t bytes = syscall(SYS_process_madvise, kOwnProcess, ranges, count, advice, 0);
    if (bytes >= 0 || errno != EBADF) return bytes;
    is_own_process_unknown = true;
  }
  const int descriptor = OwnDescriptor();
  if (descriptor < 0) {
    errno = EBADF;
    return -1;
  }
  return syscall(SYS_process_madvise, descriptor, ranges, count, advice, 0);
}

// Where the next range begins: a system call may stop after any of them.
struct Cursor {
  const PageRun* runs = nullptr;
  size_t run_count = 0;
  size_t run = 0;
  uint64_t page = 0;  // of that run
  uint64_t done_pages = 0;

  [[nodiscard]] bool AtEnd() const { return run == run_count; }

  [[nodiscard]] iovec Range(char* start, size_t index, uint64_t skipped_pages) const {
    const size_t page_bytes = PageBytes();
    return {start + (runs[index].first_page + skipped_pages) * page_bytes,
            (runs[index].page_count - skipped_pages) * page_bytes};
  }

  size_t Fill(char* start, iovec* ranges, size_t most) const {
    const size_t count = std::min(most, run_count - run);
    for (size_t i = 0; i < count; ++i) ranges[i] = Range(start, run + i, i == 0 ? page : 0);
    return count;
  }

  void Advance(uint64_t pages) {
    done_pages += pages;
    while (pages > 0) {
      const uint64_t step = std::min(pages, runs[run].page_count - page);
      pages -= step;
      page += step;
      if (page < runs[run].page_count) return;
      page = 0;
      ++run;
    }
  }
};

// By one `madvise` a run: at most `most` of them.
Errno PurgeOneByOne(char* start, Cursor& cursor, size_t most) {
  for (size_t n = 0; n < most && !cursor.AtEnd(); ++n) {
    const iovec range = cursor.Range(start, cursor.run, cursor.page);
    const Errno error = PurgePages(range.iov_base, range.iov_len);
    if (error != 0) return error;
    cursor.Advance(range.iov_len / PageBytes());
  }
  return 0;
}

// Whether an answer of `process_madvise` says that this kernel, or a filter, does not have it at all.
bool IsRefusal(Errno error) {
  return error == EINVAL || error == EPERM || error == EACCES || error == ENOSYS || error == EBADF;
}

Errno PurgeBatches(char* start, Cursor& cursor) {
  std::array<iovec, kMaxRanges> ranges;  // NOLINT(cppcoreguidelines-pro-type-member-init): Fill sets what is read
  while (!cursor.AtEnd()) {
    const size_t count = cursor.Fill(start, ranges.data(), ranges.size());
    const ssize_t bytes = AdviseRanges(ranges.data(), count, purge_advice);
    if (bytes > 0) {
      cursor.Advance(static_cast<uint64_t>(bytes) / PageBytes());
      continue;
    }
    const Errno refused = bytes < 0 ? errno : 0;
    // What `madvise` does with the same range says whether the range is to blame, or the way.
    const int advice = purge_advice;
    const Errno error = PurgeOneByOne(start, cursor, 1);
    if (error != 0) return error;
    if (IsRefusal(refused) && advice == purge_advice) {
      is_batching_refused = true;
      return PurgeOneByOne(start, cursor, cursor.run_count);
    }
  }
  return 0;
}

enum class Look { kZero, kBytes, kUnknown };

// Writes to two pages of our own, gives them back, and reads.
Look LookAtPurgedPages() {
  const size_t page_bytes = PageBytes();
  void* address = nullptr;
  if (MapPages(3 * page_bytes, page_bytes, &address) != 0) return Look::kUnknown;
  auto* const bytes = static_cast<volatile char*>(address);
  const std::array<PageRun, 2> runs = {{{0, 1}, {2, 1}}};
  uint64_t done_pages = 0;
  const auto purged = [&] {
    bytes[0] = 1;
    bytes[2 * page_bytes] = 1;
    return PurgeRuns(static_cast<char*>(address), runs.data(), runs.size(), &done_pages) == 0;
  };
  const auto reads_zero = [&] { return bytes[0] == 0 && bytes[2 * page_bytes] == 0; };
  bool is_refused = !purged();
  if (!is_refused && !reads_zero() && !is_batching_refused.exchange(true)) is_refused = !purged();
  const Look look = is_refused ? Look::kUnknown : reads_zero() ? Look::kZero : Look::kBytes;
  UnmapPages(address, 3 * page_bytes);
  return look;
}

}  // namespace

Errno PurgePages(void* address, size_t length_bytes) {
  const int advice = purge_advice;
  const Errno error = AdvisePages(address, length_bytes, advice);
  if (error != EINVAL || advice != MADV_DONTNEED) return error;
  if (AdvisePages(address, length_bytes, kAdviceDontNeedLocked) != 0) return error;
  // The process locks its memory: what is not locked goes back by this advice as well.
  purge_advice = kAdviceDontNeedLocked;
  return 0;
}

Errno PurgeRuns(char* start, const PageRun* runs, size_t run_count, uint64_t* done_pages) {
  Cursor cursor{runs, run_count};
  // One range is what `madvise` is for.
  const bool is_batch = run_count > 1 && !is_batching_refused;
  const Errno error = is_batch ? PurgeBatches(start, cursor) : PurgeOneByOne(start, cursor, run_count);
  *done_pages = cursor.done_pages;
  return error;
}

bool PurgesToZero() {
  static std::atomic<Look> known{Look::kUnknown};
  if (known == Look::kUnknown) known = LookAtPurgedPages();
  return known != Look::kBytes;
}

}  // namespace offheap
