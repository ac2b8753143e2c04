#include "turns.h"

#include <uv.h>

#include <cmath>
#include <memory>

namespace offheap {
namespace {

constexpr double kMaxDelayMs = 2147483647;

// The handles of one environment. Deletes itself when that ends.
class Turns {
 public:
  static Turns* Make(Napi::Env env, const Napi::Function& on_timer, const Napi::Function& on_turn) {
    uv_loop_t* loop = nullptr;
    if (napi_get_uv_event_loop(env, &loop) != napi_ok) throw Napi::Error::New(env);
    auto* self = new Turns(env);
    napi_value name = Napi::String::New(env, "offheap");
    if (napi_async_init(env, nullptr, name, &self->context_) != napi_ok) throw Napi::Error::New(env);
    uv_timer_init(loop, &self->timer_);
    uv_idle_init(loop, &self->turn_);
    self->timer_.data = self;
    self->turn_.data = self;
    uv_unref(reinterpret_cast<uv_handle_t*>(&self->timer_));
    uv_unref(reinterpret_cast<uv_handle_t*>(&self->turn_));
    napi_add_async_cleanup_hook(env, OnCleanup, self, &self->cleanup_);
    self->on_timer_ = Napi::Persistent(on_timer);
    self->on_turn_ = Napi::Persistent(on_turn);
    return self;
  }

  void SetTimer(uint64_t delay_ms) {
    if (is_closing_) return;
    uv_update_time(timer_.loop);
    uv_timer_start(&timer_, OnTimer, delay_ms, 0);
  }

  void ClearTimer() {
    if (!is_closing_) uv_timer_stop(&timer_);
  }

  // While this handle is active the event loop does not wait: the turn comes at once, however little else there is to do.
  void RequestTurn(bool is_awaited) {
    if (is_closing_) return;
    uv_idle_start(&turn_, OnTurn);
    if (is_awaited) uv_ref(reinterpret_cast<uv_handle_t*>(&turn_));
  }

 private:
  explicit Turns(Napi::Env env) : env_(env) {}

  static void OnTimer(uv_timer_t* timer) {
    auto* self = static_cast<Turns*>(timer->data);
    self->Run(self->on_timer_);
  }

  static void OnTurn(uv_idle_t* turn) {
    auto* self = static_cast<Turns*>(turn->data);
    // First: what runs may ask for another.
    uv_idle_stop(turn);
    uv_unref(reinterpret_cast<uv_handle_t*>(turn));
    self->Run(self->on_turn_);
  }

  // As a callback of the event loop: microtasks run after it, and what it throws is an uncaught exception.
  void Run(const Napi::FunctionReference& run) {
    const Napi::HandleScope scope(env_);
    napi_value global = nullptr;
    napi_value result = nullptr;
    napi_get_global(env_, &global);
    if (napi_make_callback(env_, context_, global, run.Value(), 0, nullptr, &result) == napi_ok) return;
    bool is_pending = false;
    napi_value error = nullptr;
    napi_is_exception_pending(env_, &is_pending);
    // Where script runs no more there is nobody to tell.
    if (is_pending && napi_get_and_clear_last_exception(env_, &error) == napi_ok) napi_fatal_exception(env_, error);
  }

  static void OnCleanup(napi_async_cleanup_hook_handle /* handle */, void* argument) {
    auto* self = static_cast<Turns*>(argument);
    self->is_closing_ = true;
    uv_close(reinterpret_cast<uv_handle_t*>(&self->timer_), OnTimerClosed);
  }

  static void OnTimerClosed(uv_handle_t* timer) {
    auto* self = static_cast<Turns*>(timer->data);
    uv_close(reinterpret_cast<uv_handle_t*>(&self->turn_), OnClosed);
  }

  static void OnClosed(uv_handle_t* turn) {
    const std::unique_ptr<Turns> self(static_cast<Turns*>(turn->data));
    // The environment is at its end, and takes references with it.
    self->on_timer_.SuppressDestruct();
    self->on_turn_.SuppressDestruct();
    napi_remove_async_cleanup_hook(self->cleanup_);
  }

  napi_env env_;
  napi_async_context context_ = nullptr;
  uv_timer_t timer_;
  uv_idle_t turn_;
  Napi::FunctionReference on_timer_;
  Napi::FunctionReference on_turn_;
  napi_async_cleanup_hook_handle cleanup_ = nullptr;
  bool is_closing_ = false;
};

Turns& TurnsOf(const Napi::CallbackInfo& info) { return *static_cast<Turns*>(info.Data()); }

Napi::Value Now(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(uv_hrtime()) / 1e6);
}

void SetTimer(const Napi::CallbackInfo& info) {
  const double delay_ms = info[0].IsNumber() ? info[0].As<Napi::Number>().DoubleValue() : 0;
  TurnsOf(info).SetTimer(static_cast<uint64_t>(std::ceil(std::fmin(std::fmax(delay_ms, 0), kMaxDelayMs))));
}

void ClearTimer(const Napi::CallbackInfo& info) { TurnsOf(info).ClearTimer(); }

void RequestTurn(const Napi::CallbackInfo& info) {
  TurnsOf(info).RequestTurn(info[0].IsBoolean() && info[0].As<Napi::Boolean>());
}

}  // namespace

Napi::Value MakeClock(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsFunction() || !info[1].IsFunction()) throw Napi::TypeError::New(env, "makeClock() takes two functions.");
  Turns* const turns = Turns::Make(env, info[0].As<Napi::Function>(), info[1].As<Napi::Function>());
  Napi::Object clock = Napi::Object::New(env);
  clock.Set("now", Napi::Function::New<Now>(env, "now"));
  clock.Set("setTimer", Napi::Function::New<SetTimer>(env, "setTimer", turns));
  clock.Set("clearTimer", Napi::Function::New<ClearTimer>(env, "clearTimer", turns));
  clock.Set("requestTurn", Napi::Function::New<RequestTurn>(env, "requestTurn", turns));
  return clock;
}

}  // namespace offheap
