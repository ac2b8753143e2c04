// What script asks of malloc's free memory. Contracts are in the headers.

#include "reclaim_face.h"

#include <uv.h>

#include <cstdint>
#include <memory>

#include "arguments.h"
#include "environment.h"
#include "free_chunks.h"
#include "malloc_purge.h"

namespace offheap {
namespace {

constexpr double kMaxBudgetUs = 1e6;

FreeChunks& ChunksOf(Napi::Env env) { return *InstanceOf(env).free_chunks; }

uint64_t DeadlineAt(const Napi::CallbackInfo& info) {
  return uv_hrtime() + IntegerIn(info, 0, "budgetUs", 0, kMaxBudgetUs) * 1000;
}

Napi::Value BeginChunks(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), FreeChunks::AreReadable() && ChunksOf(info.Env()).Begin());
}

Napi::Value TakeChunks(const Napi::CallbackInfo& info) {
  const uint64_t deadline_ns = DeadlineAt(info);
  return Napi::Boolean::New(info.Env(), ChunksOf(info.Env()).TakeSome(deadline_ns));
}

Napi::Value GiveChunks(const Napi::CallbackInfo& info) {
  const uint64_t deadline_ns = DeadlineAt(info);
  return Napi::Boolean::New(info.Env(), ChunksOf(info.Env()).GiveSome(deadline_ns));
}

// One purge on a thread of libuv's pool. Deletes itself when it is done.
struct Purge {
  std::shared_ptr<FreeChunks> chunks;  // null: none are purged
  bool asks_malloc = false;
  uint64_t purged_bytes = 0;
  napi_deferred done = nullptr;
  napi_async_work work = nullptr;
};

// On the pool's thread.
void RunPurge(napi_env /*env*/, void* data) {
  auto& purge = *static_cast<Purge*>(data);
  if (purge.chunks != nullptr) purge.purged_bytes = purge.chunks->Purge();
  if (purge.asks_malloc) PurgeMalloc();
}

// On the thread of the event loop. Where it was cancelled, because the environment ends, nobody sees the promise.
void EndPurge(napi_env env, napi_status /*status*/, void* data) {
  const std::unique_ptr<Purge> purge(static_cast<Purge*>(data));
  napi_delete_async_work(env, purge->work);
  napi_value bytes = nullptr;
  if (napi_create_double(env, static_cast<double>(purge->purged_bytes), &bytes) != napi_ok) return;
  napi_resolve_deferred(env, purge->done, bytes);
}

Napi::Value PurgeFreeMemory(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsBoolean()) throw InvalidType(env, "hasBegun", "of type boolean");
  if (!info[1].IsBoolean()) throw InvalidType(env, "asksMalloc", "of type boolean");
  auto purge = std::make_unique<Purge>();
  if (info[0].As<Napi::Boolean>()) purge->chunks = InstanceOf(env).free_chunks;
  purge->asks_malloc = info[1].As<Napi::Boolean>();
  napi_value promise = nullptr;
  const napi_value name = Napi::String::New(env, "offheap.purge");
  if (napi_create_promise(env, &purge->done, &promise) != napi_ok ||
      napi_create_async_work(env, nullptr, name, RunPurge, EndPurge, purge.get(), &purge->work) != napi_ok ||
      napi_queue_async_work(env, purge->work) != napi_ok) {
    throw Napi::Error::New(env);
  }
  purge.release();  // NOLINT(bugprone-unused-return-value): `EndPurge` deletes it
  return {env, promise};
}

void FlushThreadOfMalloc(const Napi::CallbackInfo& /*info*/) { FlushThread(); }

}  // namespace

void AddReclaimFace(Napi::Env env, Napi::Object exports) {
  exports.Set("beginChunks", Napi::Function::New<BeginChunks>(env, "beginChunks"));
  exports.Set("takeChunks", Napi::Function::New<TakeChunks>(env, "takeChunks"));
  exports.Set("giveChunks", Napi::Function::New<GiveChunks>(env, "giveChunks"));
  exports.Set("purgeMalloc", Napi::Function::New<PurgeFreeMemory>(env, "purgeMalloc"));
  exports.Set("flushMallocThread", Napi::Function::New<FlushThreadOfMalloc>(env, "flushMallocThread"));
}

}  // namespace offheap
