// The bells of all threads. Contracts are in the header.

#include "bell.h"

#include <algorithm>
#include <mutex>
#include <vector>

#include "arguments.h"

namespace offheap {
namespace {

struct Bell {
  napi_env env;
  napi_threadsafe_function ring;
};

struct Bells {
  std::mutex lock;
  std::vector<Bell> all;
};

// Never destroyed: a thread may end after static destructors ran.
Bells& TheBells() {
  static auto* const bells = new Bells();
  return *bells;
}

// Runs when an environment ends, before its bell itself goes: hooks run from the last to the first, and the bell has an
// earlier one. From here on nobody can ring it.
void TakeDown(void* env) {
  Bells& bells = TheBells();
  const std::lock_guard<std::mutex> lock(bells.lock);
  const auto is_of_env = [env](const Bell& bell) { return bell.env == env; };
  bells.all.erase(std::remove_if(bells.all.begin(), bells.all.end(), is_of_env), bells.all.end());
}

void HangBell(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsFunction()) throw InvalidType(env, "onRing", "of type function");
  const napi_value name = Napi::String::New(env, "offheap.bell");
  Bell bell = {env, nullptr};
  // A queue of one: while a ring waits there, another is refused, and that is right.
  if (napi_create_threadsafe_function(env, info[0], nullptr, name, 1, 1, nullptr, nullptr, nullptr, nullptr,
                                      &bell.ring) != napi_ok ||
      napi_unref_threadsafe_function(env, bell.ring) != napi_ok) {
    throw Napi::Error::New(env);
  }
  Bells& bells = TheBells();
  {
    const std::lock_guard<std::mutex> lock(bells.lock);
    bells.all.push_back(bell);
  }
  napi_add_env_cleanup_hook(env, TakeDown, static_cast<napi_env>(env));
}

void RingOthers(const Napi::CallbackInfo& info) {
  Bells& bells = TheBells();
  const std::lock_guard<std::mutex> lock(bells.lock);
  for (const Bell& bell : bells.all) {
    if (bell.env != static_cast<napi_env>(info.Env()))
      napi_call_threadsafe_function(bell.ring, nullptr, napi_tsfn_nonblocking);
  }
}

}  // namespace

void AddBellFace(Napi::Env env, Napi::Object exports) {
  exports.Set("hangBell", Napi::Function::New<HangBell>(env, "hangBell"));
  exports.Set("ringOthers", Napi::Function::New<RingOthers>(env, "ringOthers"));
}

}  // namespace offheap
