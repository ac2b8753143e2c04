// Two handles of libuv, and the functions of a `Clock` over them. Contracts are in the header.

#include "turns.h"

#include <uv.h>

#include <cmath>
#include <cstdint>

#include "handle_owner.h"

namespace offheap {
namespace {

constexpr double kMaxDelayMs = 2147483647;

// The timer and the turns of one clock.
class Turns : public HandleOwner {
 public:
  Turns(const Turns&) = delete;
  Turns& operator=(const Turns&) = delete;

  static Turns* Make(Napi::Env env, const Napi::Function& on_timer, const Napi::Function& on_turn) {
    return new Turns(env, on_timer, on_turn);
  }

  void SetTimer(uint64_t delay_ms) {
    if (is_closing()) return;
    uv_update_time(timer_.loop);
    uv_timer_start(&timer_, OnTimer, delay_ms, 0);
  }

  void ClearTimer() {
    if (!is_closing()) uv_timer_stop(&timer_);
  }

  // While this handle is active the event loop does not wait: the turn comes at once,
  // however little else there is to do.
  void RequestTurn(bool is_awaited) {
    if (is_closing()) return;
    uv_idle_start(&turn_, OnTurn);
    if (is_awaited) uv_ref(AsHandle(&turn_));
  }

 private:
  Turns(Napi::Env env, const Napi::Function& on_timer, const Napi::Function& on_turn) : HandleOwner(env) {
    uv_loop_t* const loop = LoopOf(env);
    napi_value name = Napi::String::New(env, "offheap");
    if (napi_async_init(env, nullptr, name, &context_) != napi_ok) throw Napi::Error::New(env);
    on_timer_ = Napi::Persistent(on_timer);
    on_turn_ = Napi::Persistent(on_turn);
    uv_timer_init(loop, &timer_);
    uv_idle_init(loop, &turn_);
    Own({AsHandle(&timer_), AsHandle(&turn_)});
  }

  ~Turns() override { napi_async_destroy(env(), context_); }

  static void OnTimer(uv_timer_t* timer) {
    const Turns& self = OwnerOf<Turns>(AsHandle(timer));
    self.Call(self.context_, self.on_timer_);
  }

  static void OnTurn(uv_idle_t* turn) {
    const Turns& self = OwnerOf<Turns>(AsHandle(turn));
    // First: what runs may ask for another.
    uv_idle_stop(turn);
    uv_unref(AsHandle(turn));
    self.Call(self.context_, self.on_turn_);
  }

  napi_async_context context_ = nullptr;
  Napi::FunctionReference on_timer_;
  Napi::FunctionReference on_turn_;
  uv_timer_t timer_ = {};
  uv_idle_t turn_ = {};
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
  if (!info[0].IsFunction() || !info[1].IsFunction()) {
    throw Napi::TypeError::New(env, "makeClock() takes two functions.");
  }
  Turns* const turns = Turns::Make(env, info[0].As<Napi::Function>(), info[1].As<Napi::Function>());
  Napi::Object clock = Napi::Object::New(env);
  clock.Set("now", Napi::Function::New(env, Now, "now"));
  clock.Set("setTimer", Napi::Function::New(env, SetTimer, "setTimer", turns));
  clock.Set("clearTimer", Napi::Function::New(env, ClearTimer, "clearTimer", turns));
  clock.Set("requestTurn", Napi::Function::New(env, RequestTurn, "requestTurn", turns));
  return clock;
}

}  // namespace offheap
