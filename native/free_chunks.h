// Free memory of glibc's malloc, given back without holding anybody up.
//
// glibc's own `malloc_trim` gives back the whole pages of every free chunk. It holds the lock of the arena meanwhile,
// so a thread that allocates waits for all of it. Here the same pages go back in three steps, and none of them holds a
// lock for longer than one call of malloc does:
//
//   1. The thread whose arena it is takes free chunks by `malloc`, some in each turn of its event loop.
//   2. Any thread purges the pages inside of them. Nobody else may use them meanwhile, so no lock is needed. And
//      `malloc_trim`, which also visits the arenas of other threads, finds nothing long left to do in this one.
//   3. The first thread gives the chunks back by `free`, some in each turn.
//
// Which sizes to ask for: malloc keeps free chunks of 1 KiB and more in bins by size. It takes the smallest chunk that
// is long enough and splits it. So we ask for the least size of a bin, which finds the smallest chunk of that bin at
// once, and then have the chunk grow over the rest that was split off, in place. From the bin of the longest chunks
// down to that of chunks of a page: a bin is empty when malloc takes from the top of its arena, where it has memory
// that was never used or that lies behind all chunks. The top itself comes last.
//
// To see what was split off, this reads the sizes that glibc writes before each chunk. Their layout has been the same
// since 1996, and debuggers read them. `AreReadable` tries it before it is relied on.
//
// A chunk that is taken is in use: that neither it nor what follows it can be unmapped, and the program break not sink
// below it, is what makes reading beside it safe. See `SizeOf` and `NextOf` in the source.

#ifndef OFFHEAP_NATIVE_FREE_CHUNKS_H_
#define OFFHEAP_NATIVE_FREE_CHUNKS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace offheap {

// The free chunks that one thread has taken from its arena. Takes and gives back on the thread that made it.
class FreeChunks {
 public:
  // Whether malloc is glibc's, and writes sizes where this file reads them. False also where malloc fills what it hands
  // out (`MALLOC_PERTURB_`): that would touch all of it.
  static bool AreReadable();

  FreeChunks() = default;
  FreeChunks(const FreeChunks&) = delete;
  FreeChunks& operator=(const FreeChunks&) = delete;
  // Gives all of them back.
  ~FreeChunks();

  // Begins to take: from here on nobody else may begin. False where somebody has begun, and where there is no memory
  // for the list.
  bool Begin();

  // Takes chunks until `deadline_ns`, a time of `uv_hrtime`, has passed. One chunk at least. Returns whether all are
  // taken: true, too, where nobody has begun.
  //
  // Requires: neither `Purge` nor `GiveSome` was called since `Begin`.
  bool TakeSome(uint64_t deadline_ns);

  // Gives the pages inside of what was taken back to the kernel. Returns how many bytes. On any thread.
  //
  // Requires: only who has begun may call it, and calls nothing else until it returns.
  uint64_t Purge();

  // Gives chunks back to malloc until `deadline_ns` has passed. Returns whether all are back. Then somebody may begin
  // again.
  bool GiveSome(uint64_t deadline_ns);

 private:
  enum class Taken : uint8_t { kChunk, kFromTop, kNothing };
  // A free chunk, one in use, or none, ends where the next one begins.
  enum class Next : uint8_t { kOfFree, kOfUsed, kNothing };

  Taken TakeOne(size_t chunk_bytes);
  void GrowOverRest(char*& chunk);
  Next NextOf(const char* chunk, size_t chunk_bytes, bool is_main) const;
  bool IsBeforeTop(const char* chunk);
  bool IsHeldInPlace(const char* address, bool is_main) const;
  void TakeTop();
  void Add(char* chunk);

  char** chunks_ = nullptr;  // a mapping of its own: it must not come from the memory that is taken
  size_t count_ = 0;
  size_t given_ = 0;
  size_t bin_ = 0;      // the bin that is being emptied: an index into the table of their least sizes
  size_t sorting_ = 0;  // long calls for the first size
  char* highest_ = nullptr;
  const char* page_end_ = nullptr;  // where the last chunk ended that was not the top, but ends on a page
  bool has_reserve_ = false;
  std::atomic<bool> is_busy_{false};
};

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_FREE_CHUNKS_H_
