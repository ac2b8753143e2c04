// The contract is in the header.

#include "naming.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <string>

#include "pages.h"
#include "places.h"

namespace offheap {
namespace {

constexpr int kMostNames = 4096;
constexpr const char* kPrefix = "offheap: ";
// What the kernel takes, without the zero behind it.
constexpr size_t kMaxBytes = 79;
constexpr std::array<char, 5> kRefused = {'\\', '`', '$', '[', ']'};

// How many more mappings may be named. None once the kernel refused.
std::atomic<int> names_left = kMostNames;

// Not by a search in a string: for that the compiler asks for functions that the binary must not need.
bool IsTaken(unsigned char byte) {
  const auto is_same = [&](char refused) { return byte == static_cast<unsigned char>(refused); };
  return byte >= 0x20 && byte <= 0x7e && std::none_of(kRefused.begin(), kRefused.end(), is_same);
}

// What the kernel refuses is `_`, one for each character of UTF-8, and what is too long is cut.
std::string MappingNameFor(uint64_t owner) {
  constexpr unsigned char kTopBits = 0xc0;
  constexpr unsigned char kContinued = 0x80;
  std::string name = kPrefix;
  for (const char letter : owner == kBooksOwner ? "books" : NameOf(owner)) {
    const auto byte = static_cast<unsigned char>(letter);
    if ((byte & kTopBits) != kContinued) name.push_back(IsTaken(byte) ? letter : '_');
  }
  if (name.size() > kMaxBytes) name.resize(kMaxBytes);
  return name;
}

}  // namespace

void NameMapping(void* start, size_t length_bytes, uint64_t owner) {
  if (names_left.load(std::memory_order_relaxed) <= 0) return;
  const Errno error = NamePages(start, length_bytes, MappingNameFor(owner).c_str());
  // ENOMEM is of this moment. All else is of this kernel, or of a filter.
  if (error == 0) names_left.fetch_sub(1, std::memory_order_relaxed);
  else if (error != ENOMEM) names_left.store(0, std::memory_order_relaxed);
}

}  // namespace offheap
