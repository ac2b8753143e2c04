// One handle of libuv, and the functions of a `LoopWatch` over it. Contracts are in the header.

#include "loop_watch.h"

#include <uv.h>

#include <cmath>
#include <cstdint>

#include "environment.h"
#include "handle_owner.h"

namespace offheap {
namespace {

constexpr double kNanosecondsPerMs = 1e6;

class LoopWatch : public HandleOwner {
 public:
  LoopWatch(const LoopWatch&) = delete;
  LoopWatch& operator=(const LoopWatch&) = delete;

  static LoopWatch* Make(Napi::Env env, const Napi::Function& on_active) { return new LoopWatch(env, on_active); }

  void Start(double active_ms) {
    if (is_closing()) return;
    active_until_ns_ = ActiveNs() + active_ms * kNanosecondsPerMs;
    looked_ms_ = uv_now(prepare_.loop);
    uv_prepare_start(&prepare_, OnTurn);
  }

  void Stop() {
    if (!is_closing()) uv_prepare_stop(&prepare_);
  }

 private:
  LoopWatch(Napi::Env env, const Napi::Function& on_active) : HandleOwner(env) {
    napi_value name = Napi::String::New(env, "offheap");
    if (napi_async_init(env, nullptr, name, &context_) != napi_ok) throw Napi::Error::New(env);
    on_active_ = Napi::Persistent(on_active);
    uv_prepare_init(LoopOf(env), &prepare_);
    Own({AsHandle(&prepare_)});
  }

  ~LoopWatch() override { napi_async_destroy(env(), context_); }

  // How long the loop was not waiting, in nanoseconds since some fixed moment.
  [[nodiscard]] double ActiveNs() const {
    return static_cast<double>(uv_hrtime()) - static_cast<double>(uv_metrics_idle_time(prepare_.loop));
  }

  static void OnTurn(uv_prepare_t* prepare) {
    auto& self = OwnerOf<LoopWatch>(AsHandle(prepare));
    const uint64_t now_ms = uv_now(prepare->loop);
    if (now_ms == self.looked_ms_) return;
    self.looked_ms_ = now_ms;
    if (self.ActiveNs() < self.active_until_ns_) return;
    // First: the function may start it again.
    uv_prepare_stop(prepare);
    self.Call(self.context_, self.on_active_);
  }

  napi_async_context context_ = nullptr;
  Napi::FunctionReference on_active_;
  uv_prepare_t prepare_ = {};
  double active_until_ns_ = 0;
  uint64_t looked_ms_ = 0;
};

LoopWatch& WatchOf(const Napi::CallbackInfo& info) { return *static_cast<LoopWatch*>(info.Data()); }

void Start(const Napi::CallbackInfo& info) {
  const double active_ms = info[0].IsNumber() ? info[0].As<Napi::Number>().DoubleValue() : 0;
  WatchOf(info).Start(std::fmax(active_ms, 0));
}

void Stop(const Napi::CallbackInfo& info) { WatchOf(info).Stop(); }

}  // namespace

Napi::Value MakeLoopWatch(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsFunction()) throw Napi::TypeError::New(env, "makeLoopWatch() takes a function.");
  if (!InstanceOf(env).has_handles) return env.Null();
  LoopWatch* const watch = LoopWatch::Make(env, info[0].As<Napi::Function>());
  Napi::Object functions = Napi::Object::New(env);
  functions.Set("start", Napi::Function::New(env, Start, "start", watch));
  functions.Set("stop", Napi::Function::New(env, Stop, "stop", watch));
  return functions;
}

}  // namespace offheap
