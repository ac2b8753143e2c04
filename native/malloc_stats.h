// What the malloc of this process says of itself, and which memory is its own.

#ifndef OFFHEAP_NATIVE_MALLOC_STATS_H_
#define OFFHEAP_NATIVE_MALLOC_STATS_H_

#include <cstddef>

namespace offheap {

// A figure that the allocator does not tell.
constexpr double kUnknown = -1;

// In bytes. Free memory is what malloc has from the kernel and nobody uses: a part of it may not be resident.
struct MallocStats {
  double in_use_bytes = kUnknown;
  double free_bytes = kUnknown;
  double mapped_bytes = kUnknown;  // all that it has from the kernel
};

// Safe on any thread. glibc's walks its lists of free chunks, and holds the lock of each of its arenas meanwhile: it
// takes longer with more of them, and other threads wait in `malloc`.
MallocStats ReadMallocStats();

// How many bytes of the stretch are glibc's: heaps of its arenas for threads, chunks with a mapping of their own, and
// what the main arena mapped where the program break could not move. Reads what begins at its pages, by a system call
// that another thread's `munmap` does not harm. Returns all of it where another malloc serves, and where that call is
// forbidden: nobody can tell then.
//
// Requires: whole pages.
size_t MallocBytesIn(char* start, const char* end);

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_MALLOC_STATS_H_
