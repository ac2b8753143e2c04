// Giving scattered pages back. Contracts are in the header.

#include "page_batch.h"

#include <sched.h>

#include <algorithm>

#include "pages.h"

namespace offheap {

void PageBatch::Add(const char* start, size_t length_bytes) {
  const uint64_t page = reinterpret_cast<uintptr_t>(start) / PageBytes();
  for (uint64_t done = 0, pages = length_bytes / PageBytes(); done < pages;) {
    const auto some = static_cast<uint32_t>(std::min<uint64_t>(pages - done, kPages - page_count_));
    AddRun(page + done, some);
    done += some;
  }
}

uint64_t PageBatch::End() {
  Purge();
  return done_bytes_;
}

void PageBatch::AddRun(uint64_t page, uint32_t page_count) {
  // Pages of one call are counted from its lowest, in 32 bits.
  if (std::max(page, highest_) - std::min(page, lowest_) > std::numeric_limits<uint32_t>::max() / 2) Purge();
  lowest_ = std::min(lowest_, page);
  highest_ = std::max(highest_, page);
  pages_[count_] = page;
  runs_[count_++].page_count = page_count;
  page_count_ += page_count;
  if (count_ == runs_.size() || page_count_ == kPages) Purge();
}

void PageBatch::Purge() {
  if (count_ == 0) return;
  auto* const start = reinterpret_cast<char*>(lowest_ * PageBytes());  // NOLINT(performance-no-int-to-ptr)
  for (size_t i = 0; i < count_; ++i) runs_[i].first_page = static_cast<uint32_t>(pages_[i] - lowest_);
  // The kernel may refuse a stretch: one of huge pages of another kind, for one. The others go all the same.
  for (size_t i = 0; i < count_;) {
    uint64_t done_pages = 0;
    const Errno error = PurgeRuns(start, &runs_[i], count_ - i, &done_pages);
    done_bytes_ += done_pages * PageBytes();
    if (error == 0) break;
    for (; i < count_ && done_pages >= runs_[i].page_count; ++i) done_pages -= runs_[i].page_count;
    ++i;
  }
  // Whoever waits for this processor goes first: it may be the thread of the event loop.
  sched_yield();
  count_ = page_count_ = 0;
  lowest_ = std::numeric_limits<uint64_t>::max();
  highest_ = 0;
}

}  // namespace offheap
