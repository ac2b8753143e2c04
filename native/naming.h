// Names of mappings, for whoever reads /proc/PID/smaps or runs `pmap`.

#ifndef OFFHEAP_NATIVE_NAMING_H_
#define OFFHEAP_NATIVE_NAMING_H_

#include <cstddef>
#include <cstdint>

namespace offheap {

// Names a new mapping after its owner, or as books. Does nothing where the kernel refused a name before, and after
// some thousand mappings: each name is a mapping of its own to the kernel, and a process has 65,530.
void NameMapping(void* start, size_t length_bytes, uint64_t owner);

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_NAMING_H_
