// The books of one environment (the main thread or one Worker): its mappings, and the ArrayBuffers over them.
//
// Invariants:
//   1. `mapping.wrap_count` is the number of entries of `books.wraps` that refer to it.
//   2. A mapping in `books.mappings` is mapped. One that is not there is unmapped, kept empty, or left mapped for good.
//   3. A `Wrap` is in `books.wraps` from just before its ArrayBuffer exists until its finalizer ran: while it is
//      there, the memory is mapped.
//   4. No system call is made with a range that does not lie inside one mapping of these books.

#ifndef OFFHEAP_NATIVE_BOOKS_H_
#define OFFHEAP_NATIVE_BOOKS_H_

#include <napi.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>

#include "slab.h"

namespace offheap {

struct Mapping {
  char* start = nullptr;
  size_t length_bytes = 0;
  bool is_cut = false;          // from a zone
  bool was_wrapped = false;     // somebody may hold an address of it for ever
  bool is_private = false;      // no user was ever handed an address of it
  size_t wrap_count = 0;        // ArrayBuffers over it whose finalizer has yet to run
  bool used_elsewhere = false;  // another thread may use the memory: never unmap
  std::shared_ptr<Slab> slab;   // what it is a piece of, or null
  bool is_break = false;        // the memory above the program break: program_break.h says how that ends
};

struct Books;

// One ArrayBuffer over part of a mapping. Owned by the finalizer's hint. It holds its books and its mapping, so that
// the finalizer finds both in whatever order things end.
struct Wrap {
  napi_env env = nullptr;
  uint64_t id = 0;
  std::shared_ptr<Books> books;
  std::shared_ptr<Mapping> mapping;
  napi_ref buffer = nullptr;   // the ArrayBuffer, weakly; valid until the finalizer ran
  bool is_registered = false;  // in `books`
};

struct Books {
  uint64_t next_mapping_id = 1;
  uint64_t next_wrap_id = 1;
  std::unordered_map<uint64_t, std::shared_ptr<Mapping>> mappings;
  std::unordered_map<uint64_t, Wrap*> wraps;
  std::shared_ptr<Slab> slab;  // where the next piece comes from, or null
};

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_BOOKS_H_
