// The contract is in the header.

#include "zone.h"

#include <sys/resource.h>

#include <mutex>

namespace offheap {
namespace {

constexpr size_t kZoneBytes = size_t{1} << 30;
constexpr size_t kMaxCutBytes = kZoneBytes / 4;

bool AreAddressesRationed() {
  rlimit limit = {};
  return getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur != RLIM_INFINITY;
}

struct State {
  std::mutex lock;
  // What is left. The next piece is at its end, so that where a zone ends unused the next one
  // may lie right below what was cut.
  char* low = nullptr;
  size_t left_bytes = 0;
};

// Never destroyed: a thread may end after static destructors ran.
State& TheState() {
  static auto* const state = new State();
  return *state;
}

bool Cut(size_t length_bytes, void** start) {
  State& s = TheState();
  const std::lock_guard<std::mutex> lock(s.lock);
  if (length_bytes > s.left_bytes) {
    // Nobody was ever handed an address of what is left.
    if (s.left_bytes > 0 && UnmapPages(s.low, s.left_bytes) != 0) return false;
    s.left_bytes = 0;
    void* low = nullptr;
    if (ReservePages(kZoneBytes, &low) != 0) return false;
    s.low = static_cast<char*>(low);
    s.left_bytes = kZoneBytes;
  }
  char* const piece = s.low + s.left_bytes - length_bytes;
  if (ProtectPages(piece, length_bytes, true) != 0) return false;
  // Where all memory is locked, the kernel has just made it resident.
  EmptyLocked(piece, length_bytes);
  s.left_bytes -= length_bytes;
  *start = piece;
  return true;
}

}  // namespace

Errno TakeFromZone(size_t length_bytes, void** start, bool* is_cut) {
  *is_cut = length_bytes <= kMaxCutBytes && !AreAddressesRationed() && Cut(length_bytes, start);
  return *is_cut ? 0 : MapPages(length_bytes, PageBytes(), start);
}

}  // namespace offheap
