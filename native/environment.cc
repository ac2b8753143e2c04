// The last turn of an environment, and its end. Contracts are in the header.

#include "environment.h"

#include <uv.h>

#include <utility>

#include "handle_owner.h"
#include "ledger.h"
#include "pages.h"
#include "places.h"
#include "program_break.h"

namespace offheap {
namespace {

// Whether the ArrayBuffer is detached or collected.
bool LostItsMemory(const Wrap& wrap) {
  napi_value buffer = nullptr;
  if (wrap.buffer == nullptr || napi_get_reference_value(wrap.env, wrap.buffer, &buffer) != napi_ok) return true;
  if (buffer == nullptr) return true;
  bool is_detached = true;
  return napi_is_detached_arraybuffer(wrap.env, buffer, &is_detached) != napi_ok || is_detached;
}

// Decides anew each time: a finalizer that was only late may have run since the turn before.
void KeepWhatWasMoved(const Books& books) {
  for (const auto& entry : books.mappings) entry.second->used_elsewhere = false;
  for (const auto& entry : books.wraps) {
    const Wrap& wrap = *entry.second;
    if (LostItsMemory(wrap)) wrap.mapping->used_elsewhere = true;
  }
}

// Whether JavaScript may no longer run: any call that could run some says so.
bool IsEnding(napi_env env) {
  napi_value value = nullptr;
  return napi_get_boolean(env, true, &value) != napi_ok || napi_coerce_to_bool(env, value, &value) != napi_ok;
}

// Gives up one mapping of a thread that ends. A failure has nobody to be told to: the mapping
// then lasts as long as the process.
void GiveUp(const Mapping& mapping, uint64_t thread) {
  // Left mapped on purpose: a leak harms less than a fault in whoever may still hold this memory.
  const bool keeps = mapping.wrap_count > 0 || mapping.used_elsewhere;
  if (!keeps) RemovePlace(mapping.start);
  if (mapping.is_break) {
    LeaveBreak(&mapping, keeps);
    ForgetBreak(&mapping, keeps);
    return;
  }
  if (mapping.slab != nullptr) {
    // Its slab goes with its last piece; the pages go now.
    if (keeps) new std::shared_ptr<Slab>(mapping.slab);  // never deleted
    else AdvisePages(mapping.start, mapping.length_bytes, kAdviceDontNeed);
    return;
  }
  if (keeps) return;
  if ((mapping.was_wrapped || mapping.is_cut) && !mapping.is_private) {
    KeepRange({thread, 0}, mapping.start, mapping.length_bytes);
    return;
  }
  UnmapPages(mapping.start, mapping.length_bytes);
}

}  // namespace

// Watches the turns of one environment's event loop for the last one, and purges now and then what late writers made
// resident.
class LastTurn : public HandleOwner {
  static constexpr uint64_t kFirstPurgeMs = 1000;
  static constexpr uint64_t kLastPurgeMs = 64 * kFirstPurgeMs;

 public:
  static LastTurn* Watch(napi_env env, std::shared_ptr<Books> books) { return new LastTurn(env, std::move(books)); }

  // What late writers make resident of what is kept goes after a second, after ten and after a minute.
  void PurgeLater() {
    if (uv_is_active(AsHandle(&purge_)) != 0 && purge_after_ms_ == kFirstPurgeMs) return;
    purge_after_ms_ = kFirstPurgeMs;
    uv_timer_start(&purge_, OnPurge, purge_after_ms_, 0);
  }

 private:
  LastTurn(napi_env env, std::shared_ptr<Books> books) : HandleOwner(env), books_(std::move(books)) {
    uv_loop_t* const loop = LoopOf(env);
    uv_timer_init(loop, &purge_);
    uv_prepare_init(loop, &turn_);
    uv_prepare_start(&turn_, OnTurn);
    Own({AsHandle(&purge_), AsHandle(&turn_)});
  }

  static void OnTurn(uv_prepare_t* turn) {
    const LastTurn& self = OwnerOf<LastTurn>(AsHandle(turn));
    if (self.books_->wraps.empty()) return;
    const Napi::HandleScope scope(self.env());
    if (IsEnding(self.env())) KeepWhatWasMoved(*self.books_);
  }

  static void OnPurge(uv_timer_t* timer) {
    auto& self = OwnerOf<LastTurn>(AsHandle(timer));
    PurgeKept();
    self.purge_after_ms_ *= 8;
    if (self.purge_after_ms_ <= kLastPurgeMs) uv_timer_start(timer, OnPurge, self.purge_after_ms_, 0);
  }

  std::shared_ptr<Books> books_;
  uv_timer_t purge_ = {};
  uv_prepare_t turn_ = {};
  uint64_t purge_after_ms_ = kFirstPurgeMs;
};

Instance::~Instance() {
  GiveBytes(taken_bytes);
  for (const auto& entry : books->mappings) GiveUp(*entry.second, thread);
  books->mappings.clear();
  books->slab.reset();
  EndThread(thread);
  CloseOwnersOf(thread);
}

// Bun (1.4) has a few functions of libuv. A call of another one, such as `uv_walk`, ends the process.
static bool IsBun(Napi::Env env) {
  const Napi::Value process = env.Global().Get("process");
  if (!process.IsObject()) return false;
  const Napi::Value versions = process.As<Napi::Object>().Get("versions");
  return versions.IsObject() && versions.As<Napi::Object>().Has("bun");
}

void BeginEnvironment(Napi::Env env) {
  auto* instance = new Instance();
  instance->has_handles = !IsBun(env);
  env.SetInstanceData(instance);
  instance->last_turn = LastTurn::Watch(env, instance->books);
}

void PurgeKeptLater(Napi::Env env) { InstanceOf(env).last_turn->PurgeLater(); }

}  // namespace offheap
