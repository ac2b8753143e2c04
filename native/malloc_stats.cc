// Contracts are in the header. The declarations of the functions that are looked up are those of the allocators.

#include "malloc_stats.h"

#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>

#include "align.h"
#include "malloc_kind.h"
#include "pages.h"

namespace offheap {
namespace {

// --- Statistics ---------------------------------------------------------------------------------------------------

// `struct mallinfo2` (glibc 2.33) and `struct mallinfo`: the same fields, of another type.
template <class Number>
struct MallInfo {
  Number arena;
  Number ordblks;
  Number smblks;
  Number hblks;
  Number hblkhd;
  Number usmblks;
  Number fsmblks;
  Number uordblks;
  Number fordblks;
  Number keepcost;
};

template <class Number>
MallocStats StatsOf(const MallInfo<Number>& info) {
  const auto mapped = static_cast<double>(info.hblkhd);
  return {static_cast<double>(info.uordblks) + mapped, static_cast<double>(info.fordblks),
          static_cast<double>(info.arena) + mapped};
}

MallocStats GlibcStats() {
  const auto newer = MallocFunctionOf<MallInfo<size_t>()>("mallinfo2");
  if (newer != nullptr) return StatsOf(newer());
  // Each number is right below 4 GiB.
  const auto older = MallocFunctionOf<MallInfo<uint32_t>()>("mallinfo");
  return older == nullptr ? MallocStats{} : StatsOf(older());
}

MallocStats JemallocStats() {
  const auto control = MallocFunctionOf<int(const char*, void*, size_t*, void*, size_t)>("mallctl");
  if (control == nullptr) return {};
  // The figures are of the last epoch: this begins one.
  uint64_t epoch = 1;
  size_t epoch_bytes = sizeof epoch;
  control("epoch", &epoch, &epoch_bytes, &epoch, epoch_bytes);
  const auto read = [&](const char* name) {
    size_t value = 0;
    size_t value_bytes = sizeof value;
    return control(name, &value, &value_bytes, nullptr, 0) == 0 ? static_cast<double>(value) : kUnknown;
  };
  const double in_use_bytes = read("stats.allocated");
  const double mapped_bytes = read("stats.mapped");
  if (in_use_bytes == kUnknown || mapped_bytes == kUnknown) return {in_use_bytes, kUnknown, mapped_bytes};
  return {in_use_bytes, std::max(0.0, mapped_bytes - in_use_bytes), mapped_bytes};
}

MallocStats MimallocStats() {
  using Figure = size_t*;
  const auto read =
      MallocFunctionOf<void(Figure, Figure, Figure, Figure, Figure, Figure, Figure, Figure)>("mi_process_info");
  if (read == nullptr) return {};
  size_t committed_bytes = 0;
  read(nullptr, nullptr, nullptr, nullptr, nullptr, &committed_bytes, nullptr, nullptr);
  return {kUnknown, kUnknown, static_cast<double>(committed_bytes)};
}

MallocStats TcmallocStats() {
  const auto get = MallocFunctionOf<int(const char*, size_t*)>("MallocExtension_GetNumericProperty");
  if (get == nullptr) return {};
  const auto read = [&](const char* name) {
    size_t value = 0;
    return get(name, &value) != 0 ? static_cast<double>(value) : kUnknown;
  };
  const double in_use_bytes = read("generic.current_allocated_bytes");
  const double heap_bytes = read("generic.heap_size");
  const double unmapped_bytes = read("tcmalloc.pageheap_unmapped_bytes");
  if (in_use_bytes == kUnknown || heap_bytes == kUnknown) return {in_use_bytes, kUnknown, kUnknown};
  const double mapped_bytes = heap_bytes - std::max(0.0, unmapped_bytes);
  return {in_use_bytes, std::max(0.0, mapped_bytes - in_use_bytes), mapped_bytes};
}

// --- glibc's memory -----------------------------------------------------------------------------------------------

// A heap of an arena that is not the main one: `HEAP_MAX_SIZE` of malloc/arena.c, at a multiple of it.
constexpr size_t kHeapBytes = size_t{64} << 20;
// The bits of the size of a chunk that are flags (malloc/malloc.c).
constexpr size_t kFlags = 7;
constexpr size_t kIsAfterUsed = 1;
constexpr size_t kIsMapped = 2;
// After so many pages that begin nothing of glibc's, the rest is taken for somebody else's.
constexpr int kMostMisses = 32;

// What lies at the start of a page of malloc's: of a heap, its arena, the heap before it, and its bytes in use; of a
// chunk, the size of the one before it, and its own.
using Head = std::array<size_t, 3>;

// Returns false where the page is not there, or where the call is forbidden (`*is_allowed`).
bool ReadHead(const char* address, Head* head, bool* is_allowed) {
  iovec into = {head->data(), sizeof *head};
  iovec from = {const_cast<char*>(address), sizeof *head};
  const auto pid = getpid();
  const auto read_bytes = syscall(SYS_process_vm_readv, pid, &into, 1UL, &from, 1UL, 0UL);
  if (read_bytes == static_cast<long>(sizeof *head)) return true;
  *is_allowed = errno == EFAULT;
  return false;
}

bool IsHeap(const char* address, const Head& head) {
  const size_t used_bytes = head[2];
  return AlignDown(const_cast<char*>(address), kHeapBytes) == address && head[0] != 0 &&
         head[0] % sizeof(size_t) == 0 && used_bytes > 0 && used_bytes % PageBytes() == 0 && used_bytes <= kHeapBytes;
}

bool IsMappedChunk(const Head& head) {
  const size_t length_bytes = head[1] & ~kFlags;
  return (head[1] & kFlags) == kIsMapped && length_bytes > 0 && length_bytes % PageBytes() == 0;
}

// A chunk of the main arena, as there are one behind the other where the program break could not move.
bool IsMainChunk(const Head& head) {
  const size_t length_bytes = head[1] & ~kFlags;
  return (head[1] & kFlags & ~kIsAfterUsed) == 0 && length_bytes >= 2 * sizeof(size_t) &&
         length_bytes % (2 * sizeof(size_t)) == 0;
}

// Whether a chunk of the main arena begins there, and behind it another one, or nothing.
bool BeginsMainChunks(const char* address, const Head& head, size_t left_bytes) {
  if ((head[1] & kIsAfterUsed) == 0 || !IsMainChunk(head)) return false;
  const size_t length_bytes = head[1] & ~kFlags;
  if (length_bytes == left_bytes) return true;
  Head next = {};
  bool is_allowed = true;
  return length_bytes < left_bytes && ReadHead(address + length_bytes, &next, &is_allowed) && IsMainChunk(next);
}

// How long the stretch of glibc's is that begins there: 0 if none does. A heap or a chunk may have grown since somebody
// asked the kernel where the stretch ends.
size_t GlibcBytesAt(const char* address, const Head& head, size_t left_bytes) {
  if (IsHeap(address, head)) return std::min(kHeapBytes, left_bytes);
  if (IsMappedChunk(head)) return std::min(head[1] & ~kFlags, left_bytes);
  return BeginsMainChunks(address, head, left_bytes) ? left_bytes : 0;
}

}  // namespace

MallocStats ReadMallocStats() {
  switch (WhichMalloc()) {
    case MallocKind::kGlibc: return GlibcStats();
    case MallocKind::kJemalloc: return JemallocStats();
    case MallocKind::kMimalloc: return MimallocStats();
    case MallocKind::kTcmalloc: return TcmallocStats();
    default: return {};
  }
}

size_t MallocBytesIn(char* start, const char* end) {
  const auto whole_bytes = static_cast<size_t>(end - start);
  if (WhichMalloc() != MallocKind::kGlibc) return whole_bytes;
  size_t found_bytes = 0;
  int misses = 0;
  for (char* at = start; at < end && misses < kMostMisses;) {
    Head head = {};
    bool is_allowed = true;
    const bool is_read = ReadHead(at, &head, &is_allowed);
    if (!is_allowed) return whole_bytes;
    const size_t length_bytes = is_read ? GlibcBytesAt(at, head, static_cast<size_t>(end - at)) : 0;
    if (length_bytes == 0) ++misses;
    found_bytes += length_bytes;
    at += length_bytes == 0 ? PageBytes() : length_bytes;
  }
  return found_bytes;
}

}  // namespace offheap
