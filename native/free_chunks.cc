// Free memory of glibc's malloc. Contracts are in the header.

#pragma GCC optimize("O2")

#include "free_chunks.h"

#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <uv.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "align.h"
#include "malloc_kind.h"
#include "page_batch.h"
#include "pages.h"

namespace offheap {
namespace {

// --- How glibc lays chunks out (malloc/malloc.c) ------------------------------------------------------------------
//
// A chunk of `n` bytes that begins at what `malloc` returned ends 8 bytes behind the place where the next one begins.
// Before each lie 8 bytes: its size, a multiple of 16, with three flags in the low bits. In a free chunk the last 8
// bytes repeat its size.

constexpr size_t kHeadBytes = sizeof(size_t);
constexpr size_t kLeastChunk = 32;
constexpr size_t kPreviousInUse = 1;  // of the chunk before this one
constexpr size_t kMmapped = 2;        // a mapping of its own: it has no neighbours
constexpr size_t kNotMain = 4;        // of the arena of a thread, not of the main one
constexpr size_t kFlags = 7;

// What `free` and the bins write to at the start of a chunk: up to six words.
constexpr size_t kLinkBytes = 6 * sizeof(size_t);

// The arenas of threads consist of heaps that start at multiples of this. Where a setting makes heaps longer, a part of
// one that starts there still lies in one heap.
constexpr size_t kThreadHeapBytes = size_t{64} << 20;

// malloc, realloc and free. By way of a variable that the compiler must read: else it knows what these functions
// return, and takes reading beside it for a mistake.

// NOLINTBEGIN(cppcoreguidelines-no-malloc): they are what this file is about

char* TakeChunk(size_t chunk_bytes) {
  void* volatile const chunk = malloc(chunk_bytes - kHeadBytes);
  return static_cast<char*>(chunk);
}

// In place or not. Leaves the chunk as it is where there is no memory.
char* ResizeChunk(char* chunk, size_t chunk_bytes) {
  void* volatile const resized = realloc(chunk, chunk_bytes - kHeadBytes);
  return resized != nullptr ? static_cast<char*>(resized) : chunk;
}

void FreeChunk(char* chunk) { free(chunk); }
// NOLINTEND(cppcoreguidelines-no-malloc)

size_t HeadOf(const char* chunk) {
  size_t head = 0;
  memcpy(&head, chunk - kHeadBytes, sizeof head);
  return head;
}

size_t SizeOf(const char* chunk) { return HeadOf(chunk) & ~kFlags; }

// The bin of free chunks of that size. A version of glibc with other bins would only cost time.
size_t BinOf(size_t bytes) {
  if (bytes >> 6 <= 48) return 48 + (bytes >> 6);
  if (bytes >> 9 <= 20) return 91 + (bytes >> 9);
  if (bytes >> 12 <= 10) return 110 + (bytes >> 12);
  if (bytes >> 15 <= 4) return 119 + (bytes >> 15);
  return bytes >> 18 <= 2 ? 124 + (bytes >> 18) : 126;
}

// The bins of chunks that can hold a whole page, from the longest chunks on.
struct Bins {
  std::array<size_t, 64> least_bytes = {};
  size_t count = 0;
};

const Bins& TheBins() {
  static const Bins bins = [] {
    Bins made;
    size_t bin = BinOf(std::numeric_limits<size_t>::max());
    const size_t least = PageBytes() + kLinkBytes;
    // Above 1 MiB there is one bin. `least` is in the last of the table.
    for (size_t bytes = size_t{1} << 20; bytes >= least; bytes -= 16) {
      const bool is_last = bytes < least + 16;
      if (BinOf(bytes - 16) == bin && !is_last) continue;
      bin = BinOf(bytes - 16);
      made.least_bytes[made.count++] = bytes;
    }
    return made;
  }();
  return bins;
}

// --- Reading what others may unmap --------------------------------------------------------------------------------

// Copies from an address that may be unmapped. False where it is, or where a filter forbids this call.
bool ReadSafely(const char* address, void* to, size_t bytes) {
  const iovec local = {to, bytes};
  const iovec remote = {const_cast<char*>(address), bytes};
  return syscall(SYS_process_vm_readv, getpid(), &local, 1, &remote, 1, 0) == static_cast<ssize_t>(bytes);
}

// 4 million chunks, in a list that costs nothing before it is touched.
constexpr size_t kMaxChunks = size_t{4} << 20;
constexpr size_t kListBytes = kMaxChunks * sizeof(char*);

// How many chunks are given between two looks at the clock. Each takes up to a microsecond.
constexpr size_t kChunksPerLook = 16;

// malloc sorts the chunks that were freed lately when it is asked for such a size: 10,000 in one call, which takes
// longer than this. So where the first size takes long it is asked for again, until all are sorted. At most so often,
// which is ten million of them: on some machines every call takes long.
constexpr uint64_t kLongCallNs = 50'000;
constexpr size_t kMaxSorting = 1000;

bool FillsMemory() {
  const char* const tunables = getenv("GLIBC_TUNABLES");
  return getenv("MALLOC_PERTURB_") != nullptr || (tunables != nullptr && strstr(tunables, "perturb") != nullptr);
}

// Whether a chunk of ours looks as described above.
bool LooksAsDescribed() {
  const auto usable_bytes = reinterpret_cast<size_t (*)(void*)>(MallocFunction("malloc_usable_size"));
  if (usable_bytes == nullptr) return false;
  constexpr size_t kTrialBytes = 5008;
  char* const chunk = TakeChunk(kTrialBytes);
  if (chunk == nullptr) return false;
  const size_t size = SizeOf(chunk);
  const bool is_plain = (HeadOf(chunk) & kMmapped) == 0 && reinterpret_cast<uintptr_t>(chunk) % 16 == 0;
  const bool is_as_described = is_plain && size % 16 == 0 && size >= kTrialBytes && size <= kTrialBytes + 16 &&
                               usable_bytes(chunk) == size - kHeadBytes && (HeadOf(chunk + size) & kPreviousInUse) != 0;
  FreeChunk(chunk);
  return is_as_described;
}

}  // namespace

bool FreeChunks::AreReadable() {
  static const bool are_readable =
      sizeof(size_t) == 8 && WhichMalloc() == MallocKind::kGlibc && !FillsMemory() && LooksAsDescribed();
  return are_readable;
}

FreeChunks::~FreeChunks() {
  if (is_busy_) GiveSome(std::numeric_limits<uint64_t>::max());
}

bool FreeChunks::Begin() {
  if (is_busy_.exchange(true)) return false;
  void* list = nullptr;
  if (MapPages(kListBytes, PageBytes(), &list) != 0) {
    is_busy_ = false;
    return false;
  }
  chunks_ = static_cast<char**>(list);
  count_ = given_ = bin_ = sorting_ = 0;
  highest_ = nullptr;
  page_end_ = nullptr;
  has_reserve_ = false;
  return true;
}

void FreeChunks::Add(char* chunk) {
  chunks_[count_++] = chunk;
  highest_ = std::max(highest_, chunk);
}

bool FreeChunks::TakeSome(uint64_t deadline_ns) {
  if (!is_busy_) return true;
  const Bins& bins = TheBins();
  uint64_t now_ns = uv_hrtime();
  while (bin_ < bins.count && count_ < kMaxChunks) {
    const uint64_t before_ns = now_ns;
    const Taken taken = TakeOne(bins.least_bytes[bin_]);
    now_ns = uv_hrtime();
    const bool may_sort = bin_ == 0 && now_ns - before_ns > kLongCallNs && sorting_++ < kMaxSorting;
    if (taken != Taken::kChunk && !may_sort) ++bin_;
    if (now_ns >= deadline_ns) return false;
  }
  if (count_ < kMaxChunks) TakeTop();
  return true;
}

// What lies where `chunk` ends, which lies behind one of ours. Another thread may take or free it at any time: what is
// returned is a hint.
FreeChunks::Next FreeChunks::NextOf(const char* chunk, size_t chunk_bytes, bool is_main) const {
  std::array<size_t, 2> words = {};  // the size of the chunk if it is free, and the head of the next one
  const char* const from = chunk + chunk_bytes - 2 * kHeadBytes;
  if (IsHeldInPlace(from + sizeof words, is_main)) memcpy(words.data(), from, sizeof words);
  else if (!ReadSafely(from, words.data(), sizeof words)) return Next::kNothing;
  if ((words[1] & kPreviousInUse) != 0) return Next::kOfUsed;
  return words[0] == chunk_bytes ? Next::kOfFree : Next::kNothing;
}

// Whether what follows is the top of the arena, its last chunk, which ends where its memory ends: on a page, with no
// chunk behind. What lies behind may be somebody else's and look like one. But then the next chunk from the top ends in
// the same place: so one is taken from the top by mistake, and no second.
//
// Outside of the program break the main arena consists of mappings, often one right behind the other, and a new one
// comes with every chunk that does not fit. There whatever ends on a page may be the top.
bool FreeChunks::IsBeforeTop(const char* chunk) {
  const char* const next = chunk + SizeOf(chunk);
  const size_t next_bytes = SizeOf(next);
  const char* const end = next + next_bytes - 2 * kHeadBytes;
  if (reinterpret_cast<uintptr_t>(end) % PageBytes() != 0) return false;
  const bool is_main = (HeadOf(chunk) & kNotMain) == 0;
  const char* const break_start = BreakStart();
  if (is_main && (break_start == nullptr || chunk < break_start || end >= LibcBreak())) return true;
  if (end == page_end_ || NextOf(next, next_bytes, is_main) == Next::kNothing) return true;
  page_end_ = end;
  return false;
}

// Whether nobody can unmap what lies there: malloc only unmaps above the last chunk in use of the break, or of a heap
// of a thread, and we hold a chunk above.
bool FreeChunks::IsHeldInPlace(const char* address, bool is_main) const {
  if (address >= highest_) return false;
  const char* const break_start = BreakStart();
  if (is_main) return break_start != nullptr && address >= break_start && highest_ < LibcBreak();
  return (reinterpret_cast<uintptr_t>(address) ^ reinterpret_cast<uintptr_t>(highest_)) < kThreadHeapBytes;
}

// Has `chunk` grow over the free chunk behind it, which was split off when it was taken. In place, unless another
// thread was faster: then it is copied, which is harmless.
void FreeChunks::GrowOverRest(char*& chunk) {
  const size_t bytes = SizeOf(chunk);
  const char* const rest = chunk + bytes;
  const size_t rest_bytes = SizeOf(rest);
  if (NextOf(rest, rest_bytes, (HeadOf(chunk) & kNotMain) == 0) != Next::kOfFree) return;
  chunk = ResizeChunk(chunk, bytes + rest_bytes);
}

FreeChunks::Taken FreeChunks::TakeOne(size_t chunk_bytes) {
  const char* const break_before = LibcBreak();
  char* chunk = TakeChunk(chunk_bytes);
  if (chunk == nullptr) return Taken::kNothing;
  if ((HeadOf(chunk) & kMmapped) != 0) {
    // Freed as a short one: after a long one malloc would map fewer blocks from now on.
    FreeChunk(ResizeChunk(chunk, kLeastChunk));
    return Taken::kNothing;
  }
  if (!IsBeforeTop(chunk)) {
    GrowOverRest(chunk);
    Add(chunk);
    return Taken::kChunk;
  }
  // The first that made the break rise is kept until the end, so that it rises once.
  if (!has_reserve_ && LibcBreak() > break_before) {
    has_reserve_ = true;
    Add(chunk);
  } else {
    FreeChunk(chunk);
  }
  return Taken::kFromTop;
}

// The free memory behind all chunks: all but the least that malloc wants there.
void FreeChunks::TakeTop() {
  char* chunk = TakeChunk(TheBins().least_bytes[TheBins().count - 1]);
  if (chunk == nullptr) return;
  if ((HeadOf(chunk) & kMmapped) == 0 && IsBeforeTop(chunk)) {
    const size_t bytes = SizeOf(chunk);
    const size_t top_bytes = SizeOf(chunk + bytes);
    if (top_bytes > 2 * kLeastChunk) chunk = ResizeChunk(chunk, bytes + top_bytes - 2 * kLeastChunk);
  }
  Add(chunk);
}

uint64_t FreeChunks::Purge() {
  PageBatch batch;
  for (size_t i = 0; i < count_; ++i) {
    // `free` writes to both ends.
    char* const start = AlignUp(chunks_[i] + kLinkBytes, PageBytes());
    char* const end = AlignDown(chunks_[i] + SizeOf(chunks_[i]) - 2 * kHeadBytes, PageBytes());
    if (start < end) batch.Add(start, static_cast<size_t>(end - start));
  }
  return batch.End();
}

// In the order in which they were taken, from the shortest of each bin on: so each goes to the end of its bin at once
// where malloc sorts it.
bool FreeChunks::GiveSome(uint64_t deadline_ns) {
  if (!is_busy_) return true;
  constexpr size_t kSortBytes = 1056;
  while (given_ < count_) {
    FreeChunk(chunks_[given_++]);
    if (given_ % kChunksPerLook != 0) continue;
    // malloc sorts what was freed at the next call for such a size. Without this one, that would be a user's, for all.
    FreeChunk(TakeChunk(kSortBytes));
    if (uv_hrtime() >= deadline_ns) return false;
  }
  UnmapPages(chunks_, kListBytes);
  chunks_ = nullptr;
  count_ = given_ = 0;
  is_busy_ = false;
  return true;
}

}  // namespace offheap
