// The bells of all threads. Contracts are in the header.

#include "bell.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "arguments.h"
#include "kept.h"

namespace offheap {
namespace {

struct Bell {
  uint64_t number;
  napi_threadsafe_function ring;
};

struct Bells {
  std::mutex lock;
  std::vector<const Bell*> all;
};

// Never destroyed: a thread may end after static destructors ran.
Bells& TheBells() {
  static auto* const bells = new Bells();
  return *bells;
}

// Runs when an environment ends, before the function of the bell goes: hooks run from the last to the first, and that
// has an earlier one. From here on nobody can ring it.
void TakeDown(void* data) {
  const std::unique_ptr<const Bell> bell(static_cast<const Bell*>(data));
  Bells& bells = TheBells();
  const std::lock_guard<std::mutex> lock(bells.lock);
  bells.all.erase(std::remove(bells.all.begin(), bells.all.end(), bell.get()), bells.all.end());
}

Napi::Value HangBell(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsFunction()) throw InvalidType(env, "onRing", "of type function");
  const napi_value name = Napi::String::New(env, "offheap.bell");
  auto bell = std::make_unique<Bell>(Bell{NewNumber(), nullptr});
  // A queue of one: while a ring waits there, another is refused, and that is right.
  if (napi_create_threadsafe_function(env, info[0], nullptr, name, 1, 1, nullptr, nullptr, nullptr, nullptr,
                                      &bell->ring) != napi_ok ||
      napi_unref_threadsafe_function(env, bell->ring) != napi_ok) {
    throw Napi::Error::New(env);
  }
  Bells& bells = TheBells();
  {
    const std::lock_guard<std::mutex> lock(bells.lock);
    bells.all.push_back(bell.get());
  }
  const auto number = static_cast<double>(bell->number);
  napi_add_env_cleanup_hook(env, TakeDown, bell.release());
  return Napi::Number::New(env, number);
}

void RingOthers(const Napi::CallbackInfo& info) {
  const uint64_t own = IntegerIn(info, 0, "bell", 0, kMaxSafeInteger);
  Bells& bells = TheBells();
  const std::lock_guard<std::mutex> lock(bells.lock);
  for (const Bell* bell : bells.all) {
    if (bell->number != own) napi_call_threadsafe_function(bell->ring, nullptr, napi_tsfn_nonblocking);
  }
}

}  // namespace

void AddBellFace(Napi::Env env, Napi::Object exports) {
  exports.Set("hangBell", Napi::Function::New(env, HangBell, "hangBell"));
  exports.Set("ringOthers", Napi::Function::New(env, RingOthers, "ringOthers"));
}

}  // namespace offheap
