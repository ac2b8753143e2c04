// ArrayBuffers over mappings, and their finalizers. Contracts are in the header, the invariants in books.h.

#pragma GCC optimize("O2")

#include "wraps_face.h"

#include <cstdint>
#include <memory>

#include "arguments.h"
#include "books.h"
#include "environment.h"
#include "program_break.h"

namespace offheap {
namespace {

// After a million calls for that many the numbers are still exact in script.
constexpr double kMaxNewWrapIds = 4294967296;

void Register(Wrap& wrap) {
  wrap.books->wraps.emplace(wrap.id, &wrap);
  wrap.mapping->wrap_count += 1;
  wrap.is_registered = true;
}

void Unregister(Wrap& wrap) {
  if (!wrap.is_registered) return;
  wrap.is_registered = false;
  wrap.books->wraps.erase(wrap.id);
  wrap.mapping->wrap_count -= 1;
}

// The finalizer of one ArrayBuffer. Runs on the thread of its environment, at the latest while that one ends.
void OnFinalize(napi_env env, void* /* data */, void* hint) {
  const std::unique_ptr<std::shared_ptr<Wrap>> owner(static_cast<std::shared_ptr<Wrap>*>(hint));
  Wrap& wrap = **owner;
  Unregister(wrap);
  if (wrap.buffer == nullptr) return;
  napi_delete_reference(env, wrap.buffer);
  wrap.buffer = nullptr;
}

Napi::Error CreationError(Napi::Env env, napi_status status) {
  if (status == napi_no_external_buffers_allowed) {
    return CodedError<Napi::Error>(env, "ERR_ARENA_NOT_SUPPORTED",
                                   "This runtime does not allow ArrayBuffers over memory of an addon (a V8 with its "
                                   "sandbox, as in Electron). Use a plain Node.js.");
  }
  return Napi::Error::New(env);  // takes over the pending exception, or describes the last failed call
}

// Node reports some failures after it ran the finalizer (lengths above 4 GiB on Node 20), some after it created an
// ArrayBuffer that nobody will ever see and whose finalizer runs later, and some before either. `Unregister` works once
// whatever the order; the hint stays with the finalizer, and is lost (64 bytes) if that never runs.
napi_value CreateExternal(const std::shared_ptr<Wrap>& wrap, const Range& range) {
  napi_value buffer = nullptr;
  Register(*wrap);
  auto* hint = new std::shared_ptr<Wrap>(wrap);
  const napi_status status =
      napi_create_external_arraybuffer(wrap->env, range.start, range.length_bytes, OnFinalize, hint, &buffer);
  if (status == napi_ok) return buffer;
  Unregister(*wrap);
  throw CreationError(wrap->env, status);
}

void DeleteTrial(napi_env /* env */, void* data, void* /* hint */) { delete static_cast<char*>(data); }

// Whether the runtime makes an ArrayBuffer over memory of an addon. Yes where the trial fails for another reason, such
// as no memory: the first allocation then says so. Nobody detaches the buffer of the trial: after the first that is
// detached, V8 looks at each access of a typed array whether its own is.
Napi::Value AllowsWraps(const Napi::CallbackInfo& info) {
  auto* memory = new char();
  napi_value buffer = nullptr;
  const napi_status status =
      napi_create_external_arraybuffer(info.Env(), memory, sizeof *memory, DeleteTrial, nullptr, &buffer);
  // Whether the finalizer runs after another failure depends on the failure. So the byte is left to it.
  if (status == napi_no_external_buffers_allowed) delete memory;
  if (info.Env().IsExceptionPending()) info.Env().GetAndClearPendingException();
  return Napi::Boolean::New(info.Env(), status != napi_no_external_buffers_allowed);
}

Napi::Value WrapRange(const Napi::CallbackInfo& info) {
  const Range range = ByteRangeOf(info);
  const uint64_t id = IntegerIn(info, 3, "wrapId", 0, kMaxSafeInteger);
  const auto& books = BooksOf(info.Env());
  if (books->wraps.count(id) != 0) {
    throw OutOfRange(info.Env(), "wrapId", "an id that is not in use", static_cast<double>(id));
  }
  if (range.mapping->is_break) SeeBreak(range.mapping.get(), range.start + range.length_bytes);
  range.mapping->was_wrapped = true;
  auto wrap = std::make_shared<Wrap>();
  wrap->env = info.Env();
  wrap->id = id;
  wrap->books = books;
  wrap->mapping = range.mapping;
  napi_value buffer = CreateExternal(wrap, range);
  if (napi_create_reference(wrap->env, buffer, 0, &wrap->buffer) != napi_ok) throw Napi::Error::New(info.Env());
  return {info.Env(), buffer};
}

// Two copies of the package in one environment share these books. So the numbers come from here.
Napi::Value NewWrapIds(const Napi::CallbackInfo& info) {
  const uint64_t count = IntegerIn(info, 0, "count", 1, kMaxNewWrapIds);
  uint64_t& next = BooksOf(info.Env())->next_wrap_id;
  const uint64_t first = next;
  next += count;
  return Napi::Number::New(info.Env(), static_cast<double>(first));
}

Napi::Value IsWrapped(const Napi::CallbackInfo& info) {
  const uint64_t id = IntegerIn(info, 0, "wrapId", 0, kMaxSafeInteger);
  return Napi::Boolean::New(info.Env(), BooksOf(info.Env())->wraps.count(id) != 0);
}

void Detach(const Napi::CallbackInfo& info) {
  if (!info[0].IsArrayBuffer()) throw InvalidType(info.Env(), "buffer", "an instance of ArrayBuffer");
  bool is_detached = false;
  napi_is_detached_arraybuffer(info.Env(), info[0], &is_detached);
  if (is_detached) throw Napi::TypeError::New(info.Env(), "The ArrayBuffer is detached already.");
  if (napi_detach_arraybuffer(info.Env(), info[0]) != napi_ok) {
    throw Napi::TypeError::New(info.Env(), "This ArrayBuffer cannot be detached.");
  }
}

}  // namespace

void AddWrapsFace(Napi::Env env, Napi::Object exports) {
  exports.Set("allowsWraps", Napi::Function::New<AllowsWraps>(env, "allowsWraps"));
  exports.Set("wrap", Napi::Function::New<WrapRange>(env, "wrap"));
  exports.Set("newWrapIds", Napi::Function::New<NewWrapIds>(env, "newWrapIds"));
  exports.Set("isWrapped", Napi::Function::New<IsWrapped>(env, "isWrapped"));
  exports.Set("detach", Napi::Function::New<Detach>(env, "detach"));
}

}  // namespace offheap
