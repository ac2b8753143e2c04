// Which malloc serves this process. Found once: what serves it cannot change while it runs.
//
// A malloc is believed by two signs in one file: the file has the `malloc` and the `free` that all others call, and the
// function that only that allocator has. So a library that merely contains jemalloc is not believed, and neither is
// glibc where a preloaded library stands before its malloc (a wrapper, `libc_malloc_debug.so`).

#ifndef OFFHEAP_NATIVE_MALLOC_KIND_H_
#define OFFHEAP_NATIVE_MALLOC_KIND_H_

#include <cstdint>

namespace offheap {

// kNone: musl's, or one that is not known here.
enum class MallocKind : uint8_t { kNone, kGlibc, kJemalloc, kMimalloc, kTcmalloc };

// Safe on any thread. Takes the lock of the dynamic linker the first time, none later.
MallocKind WhichMalloc();

// `glibc`, `jemalloc`, `mimalloc`, `tcmalloc` or `none`.
const char* MallocName();

// The address of a function that the malloc of this process itself has, such as `malloc_trim`, or null: also where the
// kind is `kNone`. Safe on any thread.
void* MallocFunction(const char* name);

// The same, as a function of that type.
template <class Function>
Function* MallocFunctionOf(const char* name) {
  return reinterpret_cast<Function*>(MallocFunction(name));
}

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_MALLOC_KIND_H_
