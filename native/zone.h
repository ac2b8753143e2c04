// Zones: long stretches of addresses that segments are cut from, one behind the other.
//
// What was given up stays mapped (kept.h). So that it is few mappings to the kernel, however many segments there were,
// they lie side by side: what was given up is then one mapping between those that are in use. Nothing else is ever in a
// zone. A zone that has not been cut is inaccessible and costs addresses only: it is neither charged, nor resident
// where a process locks its memory.

#ifndef OFFHEAP_NATIVE_ZONE_H_
#define OFFHEAP_NATIVE_ZONE_H_

#include <cstddef>

#include "pages.h"

namespace offheap {

// `length_bytes` of memory as from `MapPages`, whole pages, cut from the zone of the process. `*is_cut` is
// false where it is a mapping of its own: where addresses are rationed (RLIMIT_AS), and for a long
// stretch. Fails as `MapPages` does.
Errno TakeFromZone(size_t length_bytes, void** start, bool* is_cut);

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_ZONE_H_
