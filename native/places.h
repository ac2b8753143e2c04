// Where the memory of this library lies, for all threads: each mapping in use, and the arena that it belongs to. One
// set for the process. It is for reports alone: nothing is decided by it.
//
// Invariants:
//   1. places do not overlap
//   2. an owner is here while it is open or has a place

#ifndef OFFHEAP_NATIVE_PLACES_H_
#define OFFHEAP_NATIVE_PLACES_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace offheap {

// The owner of what is no arena's: books, also those that many arenas share.
constexpr uint64_t kBooksOwner = 0;

// An arena begins.
void OpenOwner(uint64_t owner, uint64_t thread, std::string name);

// The arena is closed. What is left of its memory is still its own.
void CloseOwner(uint64_t owner);

// As `CloseOwner`, for all owners of a thread that has ended.
void CloseOwnersOf(uint64_t thread);

// From now on this range is the owner's: that of a new mapping, or in place of the range that begins there. Without
// memory for the entry it is nobody's.
void SetPlace(char* start, size_t length_bytes, uint64_t owner);

// Call it before the mapping is given up. Does nothing where there is none. Returns the owner.
uint64_t RemovePlace(char* start);

// The name of that owner, or an empty string.
std::string NameOf(uint64_t owner);

// A stretch of addresses: `start` is the first, `end` the one behind the last.
struct Stretch {
  char* start;
  char* end;
};

// A part of the stretch with that index. `owner` is -1 for what belongs to nobody here. `resident_bytes` is -1 where
// the part is the whole stretch: nobody needs it then.
struct Part {
  size_t index;
  double owner;
  size_t bytes;
  double resident_bytes;
};

// Says which parts of the stretches are whose. Stretches that are nobody's have no part. Counts the resident pages by
// `mincore`, of pages that another thread unmaps meanwhile none.
std::vector<Part> PartsOf(const std::vector<Stretch>& stretches);

struct OwnerName {
  uint64_t owner;
  uint64_t thread;
  std::string name;
};

// All owners that have a place.
std::vector<OwnerName> OwnersWithPlaces();

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_PLACES_H_
