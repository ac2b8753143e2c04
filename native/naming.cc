// The contract is in the header.

#include "naming.h"

#include <atomic>
#include <cerrno>

#include "pages.h"
#include "places.h"

namespace offheap {
namespace {

constexpr int kMostNames = 4096;
constexpr MappingName kBooksName = {"offheap: books"};

// How many more mappings may be named. None once the kernel refused.
std::atomic<int> names_left = kMostNames;

}  // namespace

void NameMapping(void* start, size_t length_bytes, uint64_t owner) {
  if (names_left.load(std::memory_order_relaxed) <= 0) return;
  const MappingName name = owner == kBooksOwner ? kBooksName : MappingNameOf(owner);
  if (name.front() == '\0') return;
  const Errno error = NamePages(start, length_bytes, name.data());
  // ENOMEM is of this moment. All else is of this kernel, or of a filter.
  if (error == 0) names_left.fetch_sub(1, std::memory_order_relaxed);
  else if (error != ENOMEM) names_left.store(0, std::memory_order_relaxed);
}

}  // namespace offheap
