// Rounding addresses. By arithmetic on the pointer, so that the result points into the same memory.

#ifndef OFFHEAP_NATIVE_ALIGN_H_
#define OFFHEAP_NATIVE_ALIGN_H_

#include <cstddef>
#include <cstdint>

namespace offheap {

// The highest multiple of `unit`, a power of two, that is not above `address`.
inline char* AlignDown(char* address, size_t unit) {
  return address - (reinterpret_cast<uintptr_t>(address) & (unit - 1));
}

// The lowest multiple of `unit`, a power of two, that is not below `address`.
inline char* AlignUp(char* address, size_t unit) {
  return address + (-reinterpret_cast<uintptr_t>(address) & (unit - 1));
}

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_ALIGN_H_
