// The Node-API face of program_break.h: what src/memory/kernel.ts promises, checked and translated.
//
// The memory above the break is a mapping like others in the books of its environment (`wrap`, `advise` and `residency`
// take it), but for its length, which is as far as the break and its fence reach, and for its end.

#include "break_face.h"

#include <cmath>
#include <memory>
#include <string>

#include "arguments.h"
#include "books.h"
#include "environment.h"
#include "kept_face.h"
#include "places.h"
#include "program_break.h"

namespace offheap {
namespace {

void Check(Napi::Env env, const CallResult& result) { CheckCall(env, result.syscall, result.error); }

// The first argument: the id of a mapping above the break.
Mapping& BreakAt(const Napi::CallbackInfo& info) {
  const uint64_t id = MappingIdAt(info, 0);
  Mapping& mapping = *BooksOf(info.Env())->mappings.at(id);
  if (mapping.is_break) return mapping;
  throw OutOfRange(info.Env(), "mapping", "the id that take() returned", static_cast<double>(id));
}

void SetLength(Mapping& mapping, size_t length_bytes) {
  const uint64_t owner = RemovePlace(mapping.start);
  mapping.length_bytes = length_bytes;
  SetPlace(mapping.start, length_bytes, owner);
}

uint64_t WholePagesAt(const Napi::CallbackInfo& info, const char* name) {
  const uint64_t bytes = IntegerIn(info, 1, name, 0, kMaxSafeInteger);
  CheckWholePages(info.Env(), name, bytes);
  return bytes;
}

Napi::Error TakingError(Napi::Env env, const CallResult& result) {
  Napi::Error error = SystemError(env, result.syscall, result.error);
  if (result.error == EBUSY) error.Set("owner", Napi::String::New(env, OwnerName()));
  return error;
}

Napi::Value Take(const Napi::CallbackInfo& info) {
  if (!info[0].IsString()) throw InvalidType(info.Env(), "name", "of type string");
  const std::string name = info[0].As<Napi::String>();
  const auto& books = BooksOf(info.Env());
  auto mapping = std::make_shared<Mapping>();
  mapping->is_break = true;
  const auto entry = books->mappings.emplace(books->next_mapping_id, mapping).first;
  const CallResult result = TakeBreak(mapping.get(), name, &mapping->start);
  if (result.error != 0) {
    books->mappings.erase(entry);
    throw TakingError(info.Env(), result);
  }
  CloseFence(mapping.get(), 0, &mapping->length_bytes);
  SetPlace(mapping->start, mapping->length_bytes, KeeperAt(info, 1).owner);
  return Napi::Number::New(info.Env(), static_cast<double>(books->next_mapping_id++));
}

Napi::Value IsOurs(const Napi::CallbackInfo& info) {
  const Mapping& mapping = BreakAt(info);
  return Napi::Boolean::New(info.Env(), IsBreakOurs(&mapping));
}

void Open(const Napi::CallbackInfo& info) {
  const Mapping& mapping = BreakAt(info);
  Check(info.Env(), OpenFence(&mapping, WholePagesAt(info, "lengthBytes")));
}

Napi::Value Sbrk(const Napi::CallbackInfo& info) {
  Mapping& mapping = BreakAt(info);
  if (!info[1].IsNumber()) throw InvalidType(info.Env(), "incrementBytes", "of type number");
  const double increment = info[1].As<Napi::Number>().DoubleValue();
  if (!(std::fabs(increment) <= kMaxSafeInteger) || increment != std::floor(increment)) {
    throw OutOfRange(info.Env(), "incrementBytes", "a safe integer", increment);
  }
  CheckWholePages(info.Env(), "incrementBytes", static_cast<uint64_t>(std::fabs(increment)));
  bool has_moved = false;
  Check(info.Env(), MoveOwnBreak(&mapping, static_cast<intptr_t>(increment), &has_moved));
  // What lies above may be somebody else's from now on.
  if (!has_moved) SetLength(mapping, HeldBytes(&mapping));
  return Napi::Boolean::New(info.Env(), has_moved);
}

void Close(const Napi::CallbackInfo& info) {
  Mapping& mapping = BreakAt(info);
  const uint64_t reach_bytes = WholePagesAt(info, "reachBytes");
  size_t covered_bytes = mapping.length_bytes;
  const CallResult result = CloseFence(&mapping, reach_bytes, &covered_bytes);
  SetLength(mapping, covered_bytes);
  Check(info.Env(), result);
}

Napi::Value Held(const Napi::CallbackInfo& info) {
  const Mapping& mapping = BreakAt(info);
  return Napi::Number::New(info.Env(), static_cast<double>(HeldBytes(&mapping)));
}

Napi::Value CanMoveViewed(const Napi::CallbackInfo& info) {
  const Mapping& mapping = BreakAt(info);
  return Napi::Boolean::New(info.Env(), CanMoveSeen(&mapping));
}

Napi::Value Leave(const Napi::CallbackInfo& info) {
  const Mapping& mapping = BreakAt(info);
  if (!info[1].IsBoolean()) throw InvalidType(info.Env(), "keeps", "of type boolean");
  return Napi::Boolean::New(info.Env(), LeaveBreak(&mapping, info[1].As<Napi::Boolean>()));
}

}  // namespace

void UnmapBreak(Napi::Env env, uint64_t mapping_id) {
  auto& mappings = BooksOf(env)->mappings;
  const Mapping& mapping = *mappings.at(mapping_id);
  RemovePlace(mapping.start);
  LeaveBreak(&mapping, false);
  ForgetBreak(&mapping, false);
  mappings.erase(mapping_id);
}

Napi::Object BreakFace(Napi::Env env) {
  Napi::Object face = Napi::Object::New(env);
  face.Set("take", Napi::Function::New(env, Take, "take"));
  face.Set("isOurs", Napi::Function::New(env, IsOurs, "isOurs"));
  face.Set("openFence", Napi::Function::New(env, Open, "openFence"));
  face.Set("sbrk", Napi::Function::New(env, Sbrk, "sbrk"));
  face.Set("closeFence", Napi::Function::New(env, Close, "closeFence"));
  face.Set("heldBytes", Napi::Function::New(env, Held, "heldBytes"));
  face.Set("canMoveViewed", Napi::Function::New(env, CanMoveViewed, "canMoveViewed"));
  face.Set("leave", Napi::Function::New(env, Leave, "leave"));
  return face;
}

}  // namespace offheap
