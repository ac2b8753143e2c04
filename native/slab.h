// Slabs: mappings that small ones are pieces of.
//
// A mapping of a few pages costs the kernel as much as a long one, and a process has 65,530. So those that ask for
// little get pieces of one, in order. A piece that is done with is purged and never handed out again: its addresses are
// given up with the slab, after its last piece.

#ifndef OFFHEAP_NATIVE_SLAB_H_
#define OFFHEAP_NATIVE_SLAB_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "pages.h"

namespace offheap {

class Slab {
 public:
  // A piece of `*current`, or of a new slab in its place where that has too little left. Whoever has the piece
  // holds `*owner`: the last one who lets go of a slab gives its addresses up (kept.h). Fails as `MapPages`
  // does; nothing has changed then.
  //
  // Requires: whole pages, at most `kMaxPieceBytes`.
  static Errno Take(std::shared_ptr<Slab>* current, uint64_t thread, size_t length_bytes, void** address,
                    std::shared_ptr<Slab>* owner);

  static const size_t kMaxPieceBytes;

  Slab(char* start, uint64_t thread) : start_(start), thread_(thread) {}
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;
  ~Slab();

 private:
  char* const start_;
  const uint64_t thread_;
  size_t taken_bytes_ = 0;
};

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_SLAB_H_
