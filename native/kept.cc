// Contracts and invariants are in the header.

#include "kept.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>
#include <iterator>
#include <map>
#include <mutex>

#include "align.h"

namespace offheap {
namespace {

// The stretches of addresses that one page of page tables covers, with pages of 4 KiB: of the
// lowest level, and of the next.
constexpr size_t kTableBytes = size_t{2} << 20;
constexpr size_t kUpperTableBytes = size_t{1} << 30;
// An eighth of the addresses of a process on x86-64 and on most arm64.
constexpr size_t kMaxBytes = size_t{16} << 40;
constexpr time_t kYoungS = 120;
constexpr size_t kDefaultMapCount = 65530;

struct Entry {
  char* end;
  Keeper keeper;
  time_t since_s;
};

struct State {
  std::mutex lock;
  std::map<char*, Entry> entries;  // by start
  size_t kept_bytes = 0;
  uint64_t next_number = 1;
};

// Never destroyed: a thread may end after static destructors ran.
State& TheState() {
  static auto* const state = new State();
  return *state;
}

using Lock = std::lock_guard<std::mutex>;

time_t NowS() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return now.tv_sec;
}

size_t ReadNumber(const char* path, size_t otherwise) {
  std::array<char, 32> text = {};
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return otherwise;
  const ssize_t length = read(file, text.data(), text.size() - 1);
  close(file);
  size_t number = otherwise;
  if (length > 0) std::from_chars(text.data(), text.data() + length, number);
  return number;
}

size_t MostEntries() {
  static const size_t most = ReadNumber("/proc/sys/vm/max_map_count", kDefaultMapCount) / 8;
  return most;
}

size_t MostBytes() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kMaxBytes;
  return std::min(kMaxBytes, static_cast<size_t>(limit.rlim_cur) / 8);
}

// Whether the kernel counts every writable page as if it were used (strict overcommit). Then what is kept can only be
// read: a write by the kernel fails (EFAULT), one by a thread is a fault.
bool IsStrict() {
  static const bool is_strict = ReadNumber("/proc/sys/vm/overcommit_memory", 0) == 2;
  return is_strict;
}

// In one call, so that there is never an instant without a mapping.
bool Renew(char* start, size_t length_bytes) {
  const int rights = IsStrict() ? PROT_READ : PROT_READ | PROT_WRITE;
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
  if (mmap(start, length_bytes, rights, flags, -1, 0) == MAP_FAILED) return false;
  // Or one late write would make 2 MiB resident; and neighbours of a kind are one mapping.
  AdvisePages(start, length_bytes, kAdviceNoHugePage);
  return true;
}

// How far what is kept reaches without a gap, below `start` and above `end`, up to the borders of what their page
// tables cover. Where that is all of it, the page tables are nobody else's, and go with it. Returns whether it is.
bool Widen(State& s, size_t unit, char** start, char** end) {
  char* const low = AlignDown(*start, unit);
  char* const high = AlignUp(*end, unit);
  auto at = s.entries.lower_bound(*start);
  while (*start > low && at != s.entries.begin()) {
    --at;
    if (at->second.end < *start) break;
    *start = std::max(low, at->first);
  }
  at = s.entries.lower_bound(*end);
  while (*end < high && at != s.entries.end() && at->first == *end) {
    *end = std::min(high, at->second.end);
    ++at;
  }
  return *start == low && *end == high;
}

// Whatever their age: who closes arenas for weeks has one entry, not one for each time.
bool IsSame(const Entry& a, const Entry& b) {
  return a.keeper.thread == b.keeper.thread && a.keeper.owner == b.keeper.owner;
}

void Insert(State& s, char* start, Entry entry) {
  s.kept_bytes += static_cast<size_t>(entry.end - start);
  auto next = s.entries.lower_bound(start);
  if (next != s.entries.end() && next->first == entry.end && IsSame(next->second, entry)) {
    entry.end = next->second.end;
    entry.since_s = std::max(entry.since_s, next->second.since_s);
    next = s.entries.erase(next);
  }
  if (next != s.entries.begin()) {
    Entry& before = std::prev(next)->second;
    if (before.end == start && IsSame(before, entry)) {
      before.end = entry.end;
      before.since_s = std::max(entry.since_s, before.since_s);
      return;
    }
  }
  s.entries.emplace_hint(next, start, entry);
}

}  // namespace

uint64_t NewNumber() {
  State& s = TheState();
  const Lock lock(s.lock);
  return s.next_number++;
}

void KeepRange(Keeper keeper, char* start, size_t length_bytes) {
  State& s = TheState();
  const Lock lock(s.lock);
  char* low = start;
  char* high = start + length_bytes;
  if (!Widen(s, kUpperTableBytes, &low, &high)) {
    low = start;
    high = start + length_bytes;
    Widen(s, kTableBytes, &low, &high);
  }
  if (!Renew(low, static_cast<size_t>(high - low)) && !Renew(start, length_bytes)) {
    AdvisePages(start, length_bytes, kAdviceDontNeed);
  }
  Insert(s, start, {start + length_bytes, keeper, NowS()});
}

bool TakeKept(Keeper keeper, size_t length_bytes, size_t align_bytes, void** start) {
  if (keeper.owner == 0) return false;
  State& s = TheState();
  const Lock lock(s.lock);
  for (auto at = s.entries.begin(); at != s.entries.end(); ++at) {
    const Entry entry = at->second;
    if (entry.keeper.owner != keeper.owner || entry.keeper.thread != keeper.thread) continue;
    char* const taken = AlignUp(at->first, align_bytes);
    if (taken > entry.end || static_cast<size_t>(entry.end - taken) < length_bytes) continue;
    if (RemapPages(taken, length_bytes) != 0) return false;
    char* const first = at->first;
    s.entries.erase(at);
    s.kept_bytes -= static_cast<size_t>(entry.end - first);
    if (first < taken) Insert(s, first, {taken, entry.keeper, entry.since_s});
    if (taken + length_bytes < entry.end) Insert(s, taken + length_bytes, entry);
    *start = taken;
    return true;
  }
  return false;
}

namespace {

// Gives entries that `has` picks to another keeper.
template <class Has>
void Hand(State& s, Has has, bool ends_thread) {
  for (auto at = s.entries.begin(); at != s.entries.end();) {
    if (!has(at->second.keeper)) {
      ++at;
      continue;
    }
    char* const start = at->first;
    Entry entry = at->second;
    at = s.entries.erase(at);
    s.kept_bytes -= static_cast<size_t>(entry.end - start);
    entry.keeper = {ends_thread ? 0 : entry.keeper.thread, 0};
    Insert(s, start, entry);
    at = s.entries.upper_bound(start);
  }
}

}  // namespace

void DisownKept(Keeper keeper) {
  State& s = TheState();
  const Lock lock(s.lock);
  Hand(
      s, [&](const Keeper& other) { return other.thread == keeper.thread && other.owner == keeper.owner; }, false);
}

void EndThread(uint64_t thread) {
  State& s = TheState();
  const Lock lock(s.lock);
  Hand(
      s, [&](const Keeper& other) { return other.thread == thread; }, true);
}

bool IsPressed() {
  State& s = TheState();
  const Lock lock(s.lock);
  return s.entries.size() > MostEntries() || s.kept_bytes > MostBytes();
}

size_t UnmapKept(uint64_t thread, bool is_quiet) {
  State& s = TheState();
  const Lock lock(s.lock);
  size_t unmapped_bytes = 0;
  for (auto at = s.entries.begin(); at != s.entries.end();) {
    const Entry& entry = at->second;
    const bool goes = entry.keeper.thread == 0 || (is_quiet && entry.keeper.thread == thread);
    const auto length_bytes = static_cast<size_t>(entry.end - at->first);
    if (!goes || UnmapPages(at->first, length_bytes) != 0) {
      ++at;
      continue;
    }
    unmapped_bytes += length_bytes;
    at = s.entries.erase(at);
  }
  s.kept_bytes -= unmapped_bytes;
  return unmapped_bytes;
}

void PurgeKept() {
  State& s = TheState();
  const Lock lock(s.lock);
  const time_t now_s = NowS();
  for (const auto& place : s.entries) {
    if (now_s - place.second.since_s > kYoungS) continue;
    AdvisePages(place.first, static_cast<size_t>(place.second.end - place.first), kAdviceDontNeed);
  }
}

KeptSums SumsOfKept() {
  State& s = TheState();
  const Lock lock(s.lock);
  return {s.kept_bytes, s.entries.size()};
}

}  // namespace offheap
