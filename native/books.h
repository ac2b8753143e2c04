// The books of one environment (the main thread or one Worker): its mappings, and the ArrayBuffers over them. What they
// mean, who changes them and the invariants they obey stand in addon.cc.

#ifndef OFFHEAP_NATIVE_BOOKS_H_
#define OFFHEAP_NATIVE_BOOKS_H_

#include <napi.h>

#include <cstdint>
#include <memory>
#include <unordered_map>

#include "kept.h"
#include "ledger.h"
#include "pages.h"
#include "program_break.h"
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

// One ArrayBuffer over part of a mapping. Owned by the finalizer's hint.
struct Wrap {
  napi_env env;
  uint64_t id;
  std::shared_ptr<Books> books;
  std::shared_ptr<Mapping> mapping;
  napi_ref buffer = nullptr;  // the ArrayBuffer, weakly; valid until the finalizer ran
  bool settled = false;       // no longer in the books
};

struct Books {
  uint64_t next_mapping_id = 1;
  std::unordered_map<uint64_t, std::shared_ptr<Mapping>> mappings;
  std::unordered_map<uint64_t, Wrap*> wraps;
  std::shared_ptr<Slab> slab;  // where the next piece comes from, or null
};

class LastTurn;

// The instance data of one environment. Deleted after all finalizers and hooks of this environment have run.
struct Instance {
  std::shared_ptr<Books> books = std::make_shared<Books>();
  double taken_bytes = 0;  // of the process's limit, by this environment
  const uint64_t thread = NewNumber();
  LastTurn* last_turn = nullptr;  // deletes itself when script runs no more

  ~Instance() {
    GiveBytes(taken_bytes);
    for (const auto& entry : books->mappings) {
      const Mapping& mapping = *entry.second;
      // Left mapped on purpose: a leak harms less than a fault in whoever may still hold this memory.
      const bool keeps = mapping.wrap_count > 0 || mapping.used_elsewhere;
      if (mapping.is_break) {
        LeaveBreak(&mapping, keeps);
        ForgetBreak(&mapping, keeps);
        continue;
      }
      if (mapping.slab != nullptr) {
        // Its slab goes with its last piece; the pages go now.
        if (keeps) new std::shared_ptr<Slab>(mapping.slab);  // never deleted
        else AdvisePages(mapping.start, mapping.length_bytes, kAdviceDontNeed);
        continue;
      }
      if (keeps) continue;
      if ((mapping.was_wrapped || mapping.is_cut) && !mapping.is_private) {
        KeepRange({thread, 0}, mapping.start, mapping.length_bytes);
        continue;
      }
      // A failure here has nobody to be told to; the mapping then lasts as long as the process.
      UnmapPages(mapping.start, mapping.length_bytes);
    }
    books->mappings.clear();
    books->slab.reset();
    EndThread(thread);
  }
};

inline const std::shared_ptr<Books>& BooksOf(Napi::Env env) { return env.GetInstanceData<Instance>()->books; }

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_BOOKS_H_
