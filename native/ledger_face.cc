// The process's limit, and what this environment takes of it. Contracts are in the header.

#include "ledger_face.h"

#include "arguments.h"
#include "environment.h"
#include "ledger.h"

namespace offheap {
namespace {

Napi::Value ProcessLimit(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), LimitBytes()); }

void SetProcessLimit(const Napi::CallbackInfo& info) {
  if (!info[0].IsNumber()) throw InvalidType(info.Env(), "limitBytes", "of type number");
  const double limit_bytes = info[0].As<Napi::Number>().DoubleValue();
  if (!(limit_bytes >= 0)) throw OutOfRange(info.Env(), "limitBytes", ">= 0", limit_bytes);
  SetLimitBytes(limit_bytes);
}

Napi::Value ProcessTaken(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), TakenBytes()); }

Napi::Value Take(const Napi::CallbackInfo& info) {
  const auto bytes = static_cast<double>(IntegerIn(info, 0, "lengthBytes", 0, kMaxSafeInteger));
  const bool is_taken = TakeBytes(bytes);
  if (is_taken) InstanceOf(info.Env()).taken_bytes += bytes;
  return Napi::Boolean::New(info.Env(), is_taken);
}

void Give(const Napi::CallbackInfo& info) {
  Instance& instance = InstanceOf(info.Env());
  const auto bytes = static_cast<double>(IntegerIn(info, 0, "lengthBytes", 0, instance.taken_bytes));
  instance.taken_bytes -= bytes;
  GiveBytes(bytes);
}

}  // namespace

void AddLedgerFace(Napi::Env env, Napi::Object exports) {
  exports.Set("processLimit", Napi::Function::New(env, ProcessLimit, "processLimit"));
  exports.Set("setProcessLimit", Napi::Function::New(env, SetProcessLimit, "setProcessLimit"));
  exports.Set("processTaken", Napi::Function::New(env, ProcessTaken, "processTaken"));
  exports.Set("take", Napi::Function::New(env, Take, "take"));
  exports.Set("give", Napi::Function::New(env, Give, "give"));
}

}  // namespace offheap
