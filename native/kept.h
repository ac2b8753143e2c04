// Addresses that were given up, and that somebody may still hold: kept mapped, empty, for whoever
// does. One set for the process.
//
// Code that was handed the address of a block may use it at any time later, and nothing counts it: a stream of HTTP/2
// that waits for its window, a socket that reads into a buffer of the program's, a read of a terminal. So addresses
// over which there was an ArrayBuffer are not unmapped: what is at them is replaced by a fresh mapping in one call,
// during which an access waits. Reads find zeros there, writes go nowhere, and nobody else is ever given these
// addresses; but the arena that gave them up may have them again.
//
// What that costs: addresses, of which a process has 128 TiB, and next to nothing else. Neighbours are one
// mapping to the kernel and one entry here. Page tables go with the pages, also those that two ranges share. What
// a late writer makes resident is purged a second, ten seconds and a minute later; after that it is as much as
// whoever still writes was handed.
//
// Addresses are unmapped where they are short: where `mmap` fails, where there are too many entries or bytes
// (`IsPressed`). Then only those of threads that have ended, and of the calling thread where its event loop has no
// request, stream or socket that can know an address.
//
// Invariants:
//   1. entries do not overlap; every byte of them is mapped
//   2. `kept_bytes` is the sum of their lengths
//   3. no address of an entry is given to anybody but its owner, while it is one

#ifndef OFFHEAP_NATIVE_KEPT_H_
#define OFFHEAP_NATIVE_KEPT_H_

#include <cstddef>
#include <cstdint>

#include "pages.h"

namespace offheap {

// Who gave addresses up: a thread (an environment) by a number of its own, and an arena of it by another. Owner 0:
// nobody asks for them again. Thread 0: it has ended.
struct Keeper {
  uint64_t thread;
  uint64_t owner;
};

// A number that the process has not used yet, for a thread or an owner: 1 or more.
uint64_t NewNumber();

// Keeps a range that the caller mapped and gives up. Cannot fail: where the kernel refuses a fresh
// mapping, the pages are purged.
void KeepRange(Keeper keeper, char* start, size_t length_bytes);

// Gives `keeper` a range of its own again, as from `MapPages`. Returns false where it has none that long.
bool TakeKept(Keeper keeper, size_t length_bytes, size_t align_bytes, void** start);

// Nobody asks for what `keeper` gave up any more.
void DisownKept(Keeper keeper);

// The thread has ended, and nothing of it holds an address.
void EndThread(uint64_t thread);

// Whether so much is kept that some should go.
bool IsPressed();

// Unmaps what threads kept that have ended, and, where `is_quiet`, what `thread` kept: nothing of it can hold an
// address. Returns how many bytes.
size_t UnmapKept(uint64_t thread, bool is_quiet);

// Purges what late writers have made resident in entries of the last two minutes.
void PurgeKept();

struct KeptSums {
  size_t bytes;
  size_t entries;
};
KeptSums SumsOfKept();

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_KEPT_H_
