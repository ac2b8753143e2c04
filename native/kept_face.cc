// Addresses that were given up, and who may know them. Contracts are in the header.

#include "kept_face.h"

#include <unistd.h>
#include <uv.h>

#include <cstdint>
#include <string>
#include <utility>

#include "arguments.h"
#include "environment.h"
#include "places.h"

namespace offheap {
namespace {

// Standard output and error, which Node writes at once. It makes a stream of the latter
// as soon as any socket is closed.
bool IsOutput(const uv_handle_t* handle) {
  uv_os_fd_t file = -1;
  return uv_fileno(handle, &file) == 0 && (file == STDOUT_FILENO || file == STDERR_FILENO);
}

// Whether a handle can know no address of ours: it never reads or writes, or it reads into memory of Node's.
bool KnowsNoAddress(const uv_handle_t* handle) {
  switch (handle->type) {
    case UV_NAMED_PIPE:
    case UV_TCP:
    case UV_TTY: {
      // One that listens is neither.
      const auto* stream = reinterpret_cast<const uv_stream_t*>(handle);
      return IsOutput(handle) || (uv_is_readable(stream) == 0 && uv_is_writable(stream) == 0);
    }
    case UV_UDP:
    case UV_UNKNOWN_HANDLE: return false;
    default: return true;
  }
}

// Whether nothing of this thread's event loop can know an address: it has no request
// under way, and no stream or socket. False where nobody can tell.
bool IsQuiet(Napi::Env env) {
  if (!InstanceOf(env).has_handles) return false;
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok || loop->active_reqs.count > 0) return false;
  bool is_quiet = true;
  const auto look = [](uv_handle_t* handle, void* found) {
    if (!KnowsNoAddress(handle)) *static_cast<bool*>(found) = false;
  };
  uv_walk(loop, look, &is_quiet);
  return is_quiet;
}

std::string TextAt(const Napi::CallbackInfo& info, size_t index, const char* name) {
  if (info[index].IsUndefined()) return {};
  if (!info[index].IsString()) throw InvalidType(info.Env(), name, "of type string");
  return info[index].As<Napi::String>();
}

Napi::Value NewOwner(const Napi::CallbackInfo& info) {
  std::string name = TextAt(info, 0, "name");
  const uint64_t owner = NewNumber();
  OpenOwner(owner, InstanceOf(info.Env()).thread, std::move(name));
  return Napi::Number::New(info.Env(), static_cast<double>(owner));
}

void EndOwner(const Napi::CallbackInfo& info) { CloseOwner(KeeperAt(info, 0).owner); }

void Disown(const Napi::CallbackInfo& info) { DisownKept(KeeperAt(info, 0)); }

Napi::Value Kept(const Napi::CallbackInfo& info) {
  const KeptSums sums = SumsOfKept();
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("bytes", Napi::Number::New(info.Env(), static_cast<double>(sums.bytes)));
  result.Set("entries", Napi::Number::New(info.Env(), static_cast<double>(sums.entries)));
  return result;
}

}  // namespace

Keeper KeeperAt(const Napi::CallbackInfo& info, size_t index) {
  const uint64_t owner = info[index].IsUndefined() ? 0 : IntegerIn(info, index, "owner", 0, kMaxSafeInteger);
  return {InstanceOf(info.Env()).thread, owner};
}

bool RelievePressure(Napi::Env env) { return UnmapKept(InstanceOf(env).thread, IsQuiet(env)) > 0; }

void AddKeptFace(Napi::Env env, Napi::Object exports) {
  exports.Set("newOwner", Napi::Function::New(env, NewOwner, "newOwner"));
  exports.Set("closeOwner", Napi::Function::New(env, EndOwner, "closeOwner"));
  exports.Set("disown", Napi::Function::New(env, Disown, "disown"));
  exports.Set("kept", Napi::Function::New(env, Kept, "kept"));
}

}  // namespace offheap
