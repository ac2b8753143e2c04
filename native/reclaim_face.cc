// What script asks of malloc's free memory. Contracts are in the headers.

#include "reclaim_face.h"

#include <uv.h>

#include <cstdint>
#include <memory>
#include <utility>

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

Napi::Value ReadsChunks(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), FreeChunks::AreReadable());
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

// Work on a thread of libuv's pool, whose result is a number of bytes. Deletes itself when it is done.
class Job {
 public:
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;
  virtual ~Job() = default;

  // Returns the promise of the result.
  static Napi::Value Start(Napi::Env env, std::unique_ptr<Job> job) {
    napi_value promise = nullptr;
    const napi_value name = Napi::String::New(env, "offheap.reclaim");
    if (napi_create_promise(env, &job->done_, &promise) != napi_ok ||
        napi_create_async_work(env, nullptr, name, OnPool, OnLoop, job.get(), &job->work_) != napi_ok ||
        napi_queue_async_work(env, job->work_) != napi_ok) {
      throw Napi::Error::New(env);
    }
    job.release();  // NOLINT(bugprone-unused-return-value): `OnLoop` deletes it
    return {env, promise};
  }

 protected:
  Job() = default;

 private:
  // Not abstract: that would need a function of the C++ runtime that the binary does without.
  virtual uint64_t Run() { return 0; }

  static void OnPool(napi_env /*env*/, void* data) {
    auto& job = *static_cast<Job*>(data);
    job.bytes_ = job.Run();
  }

  // Where it was cancelled, because the environment ends, nobody sees the promise.
  static void OnLoop(napi_env env, napi_status /*status*/, void* data) {
    const std::unique_ptr<Job> job(static_cast<Job*>(data));
    napi_delete_async_work(env, job->work_);
    napi_value bytes = nullptr;
    if (napi_create_double(env, static_cast<double>(job->bytes_), &bytes) != napi_ok) return;
    napi_resolve_deferred(env, job->done_, bytes);
  }

  uint64_t bytes_ = 0;
  napi_deferred done_ = nullptr;
  napi_async_work work_ = nullptr;
};

class Purge : public Job {
 public:
  // `chunks` is null where none are to be purged.
  Purge(std::shared_ptr<FreeChunks> chunks, bool asks_malloc) : chunks_(std::move(chunks)), asks_malloc_(asks_malloc) {}

 private:
  uint64_t Run() override {
    const uint64_t purged_bytes = chunks_ == nullptr ? 0 : chunks_->Purge();
    if (asks_malloc_) PurgeMalloc();
    return purged_bytes;
  }

  std::shared_ptr<FreeChunks> chunks_;
  bool asks_malloc_;
};

class Look : public Job {
  uint64_t Run() override { return ProcessResidentBytes(); }
};

Napi::Value PurgeFreeMemory(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsBoolean()) throw InvalidType(env, "hasBegun", "of type boolean");
  if (!info[1].IsBoolean()) throw InvalidType(env, "asksMalloc", "of type boolean");
  auto chunks = info[0].As<Napi::Boolean>() ? InstanceOf(env).free_chunks : nullptr;
  return Job::Start(env, std::make_unique<Purge>(std::move(chunks), info[1].As<Napi::Boolean>()));
}

Napi::Value LookAtResident(const Napi::CallbackInfo& info) { return Job::Start(info.Env(), std::make_unique<Look>()); }

void FlushThreadOfMalloc(const Napi::CallbackInfo& /*info*/) { FlushThread(); }

}  // namespace

void AddReclaimFace(Napi::Env env, Napi::Object exports) {
  exports.Set("readsChunks", Napi::Function::New(env, ReadsChunks, "readsChunks"));
  exports.Set("beginChunks", Napi::Function::New(env, BeginChunks, "beginChunks"));
  exports.Set("takeChunks", Napi::Function::New(env, TakeChunks, "takeChunks"));
  exports.Set("giveChunks", Napi::Function::New(env, GiveChunks, "giveChunks"));
  exports.Set("purgeMalloc", Napi::Function::New(env, PurgeFreeMemory, "purgeMalloc"));
  exports.Set("processResidentBytes", Napi::Function::New(env, LookAtResident, "processResidentBytes"));
  exports.Set("flushMallocThread", Napi::Function::New(env, FlushThreadOfMalloc, "flushMallocThread"));
}

}  // namespace offheap
