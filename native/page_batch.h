// Stretches of pages that lie anywhere, given back to the kernel many in one system call.

#ifndef OFFHEAP_NATIVE_PAGE_BATCH_H_
#define OFFHEAP_NATIVE_PAGE_BATCH_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "purging.h"

namespace offheap {

class PageBatch {
 public:
  // Adds whole pages. They go back now or at `End`.
  void Add(const char* start, size_t length_bytes);

  // Returns how many bytes went back in all. A stretch that the kernel refuses stays as it is.
  uint64_t End();

 private:
  // So many pages go back in one call: those who map memory meanwhile wait for them.
  static constexpr uint32_t kPages = 1024;
  static constexpr size_t kRuns = 128;

  void AddRun(uint64_t page, uint32_t page_count);
  void Purge();

  std::array<PageRun, kRuns> runs_ = {};
  std::array<uint64_t, kRuns> pages_ = {};  // where each run begins, counted from address 0
  size_t count_ = 0;
  uint64_t page_count_ = 0;
  uint64_t lowest_ = std::numeric_limits<uint64_t>::max();
  uint64_t highest_ = 0;
  uint64_t done_bytes_ = 0;
};

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_PAGE_BATCH_H_
