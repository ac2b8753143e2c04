// What script asks of malloc. Contracts are in the header.

#include "malloc_face.h"

#include "malloc_kind.h"

namespace offheap {
namespace {

Napi::Value TellMallocName(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), MallocName()); }

}  // namespace

void AddMallocFace(Napi::Env env, Napi::Object exports) {
  exports.Set("mallocName", Napi::Function::New<TellMallocName>(env, "mallocName"));
}

}  // namespace offheap
