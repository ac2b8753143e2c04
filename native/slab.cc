// Slabs: see the header.

#include "slab.h"

#include <cerrno>

#include "kept.h"
#include "zone.h"

namespace offheap {

namespace {

constexpr size_t kSlabBytes = 4 << 20;

// A kernel without huge pages, or a filter: nothing to prevent, or no way to.
bool IsForGood(Errno error) { return error == EINVAL || error == EPERM || error == EACCES || error == ENOSYS; }

}  // namespace

const size_t Slab::kMaxPieceBytes = 64 << 10;

Errno Slab::Take(std::shared_ptr<Slab>* current, uint64_t thread, size_t length_bytes, void** address,
                 std::shared_ptr<Slab>* owner) {
  if (*current == nullptr || kSlabBytes - (*current)->taken_bytes_ < length_bytes) {
    void* start = nullptr;
    // What is given up lies side by side then.
    bool is_cut = false;
    const Errno error = TakeFromZone(kSlabBytes, &start, &is_cut);
    if (error != 0) return error;
    const Errno refused = AdvisePages(start, kSlabBytes, kAdviceNoHugePage);
    if (refused != 0 && !IsForGood(refused)) {
      if (is_cut) KeepRange({thread, 0}, static_cast<char*>(start), kSlabBytes);
      else UnmapPages(start, kSlabBytes);
      return refused;
    }
    // Where the kernel refuses, forking takes longer: that is all.
    AdvisePages(start, kSlabBytes, kAdviceDontFork);
    *current = std::make_shared<Slab>(static_cast<char*>(start), thread);
  }
  Slab& slab = **current;
  *address = slab.start_ + slab.taken_bytes_;
  slab.taken_bytes_ += length_bytes;
  *owner = *current;
  return 0;
}

Slab::~Slab() {
  // Users had Buffers over its pieces.
  KeepRange({thread_, 0}, start_, kSlabBytes);
}

}  // namespace offheap
