// What the addon holds for one environment (the main thread or one Worker), and how that ends.
//
// Who gives mappings up, and when:
//   - Only `unmap` and the end of the environment do. What users had Buffers over keeps its addresses: see kept.h. A
//     finalizer never does: it also runs when the environment of the *first* owner ends, while an ArrayBuffer that was
//     moved to another thread still uses the memory.
//   - An environment that ends runs its event loop once more, then finalizes every ArrayBuffer, runs cleanup hooks and
//     deletes the instance data. In that last turn, after the finalizers of whatever was detached or collected before,
//     we look at each ArrayBuffer that is left. One without its memory has passed it on, perhaps to another thread, and
//     its mapping stays for as long as the process does. So does, rarely, that of one which was collected just now and
//     whose memory V8 has yet to let go: it looks the same, and a leak harms less than a fault.

#ifndef OFFHEAP_NATIVE_ENVIRONMENT_H_
#define OFFHEAP_NATIVE_ENVIRONMENT_H_

#include <napi.h>

#include <cstdint>
#include <memory>

#include "books.h"
#include "free_chunks.h"
#include "kept.h"

namespace offheap {

class LastTurn;

// The instance data of one environment. Deleted after all finalizers and hooks of this environment have run;
// then it gives up what is left.
struct Instance {
  Instance() = default;
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;
  ~Instance();

  std::shared_ptr<Books> books = std::make_shared<Books>();
  std::shared_ptr<FreeChunks> free_chunks = std::make_shared<FreeChunks>();
  double taken_bytes = 0;  // of the process's limit, by this environment
  const uint64_t thread = NewNumber();
  bool has_handles = true;        // the event loop is libuv's, and says which handles it has
  LastTurn* last_turn = nullptr;  // deletes itself when script runs no more
};

// Makes the instance data, and watches for the end.
void BeginEnvironment(Napi::Env env);

inline Instance& InstanceOf(Napi::Env env) { return *env.GetInstanceData<Instance>(); }

inline const std::shared_ptr<Books>& BooksOf(Napi::Env env) { return InstanceOf(env).books; }

// What late writers make resident of what is kept goes after a second, after ten and after a minute.
void PurgeKeptLater(Napi::Env env);

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_ENVIRONMENT_H_
