// What script asks of malloc. Contracts are in the header.

#include "malloc_face.h"

#include <cstddef>
#include <cstdint>

#include "malloc_kind.h"
#include "malloc_stats.h"

namespace offheap {
namespace {

Napi::Value TellMallocName(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), MallocName()); }

Napi::Value FigureOf(Napi::Env env, double bytes) {
  return bytes == kUnknown ? env.Null() : Napi::Number::New(env, bytes).As<Napi::Value>();
}

Napi::Value TellMallocStats(const Napi::CallbackInfo& info) {
  const MallocStats stats = ReadMallocStats();
  Napi::Object told = Napi::Object::New(info.Env());
  told.Set("inUseBytes", FigureOf(info.Env(), stats.in_use_bytes));
  told.Set("freeBytes", FigureOf(info.Env(), stats.free_bytes));
  told.Set("mappedBytes", FigureOf(info.Env(), stats.mapped_bytes));
  return told;
}

}  // namespace

void AddMallocFace(Napi::Env env, Napi::Object exports) {
  exports.Set("mallocName", Napi::Function::New(env, TellMallocName, "mallocName"));
  exports.Set("mallocStats", Napi::Function::New(env, TellMallocStats, "mallocStats"));
}

}  // namespace offheap
