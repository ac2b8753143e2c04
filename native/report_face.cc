// What a report of the process asks. Script has the addresses from /proc/self/smaps; none is followed here but by
// system calls that refuse a wrong one. Contracts are in the header.

#include "report_face.h"

#include <cstddef>
#include <cstdint>
#include <vector>

#include "align.h"
#include "arguments.h"
#include "environment.h"
#include "malloc_stats.h"
#include "pages.h"
#include "places.h"

namespace offheap {
namespace {

constexpr size_t kPartNumbers = 4;

// An address as a number of script: exact, because an address has 48 bits, and 57 only where a program asks for it.
char* AddressOf(double number) {
  return reinterpret_cast<char*>(static_cast<uintptr_t>(number));  // NOLINT(performance-no-int-to-ptr)
}

// The first argument: starts and ends, by turns. Anything else than a stretch of whole pages is empty.
std::vector<Stretch> StretchesAt(const Napi::CallbackInfo& info) {
  if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_float64_array) {
    throw InvalidType(info.Env(), "bounds", "an instance of Float64Array");
  }
  const auto bounds = info[0].As<Napi::Float64Array>();
  std::vector<Stretch> stretches;
  for (size_t i = 0; i + 1 < bounds.ElementLength(); i += 2) {
    const double start = bounds[i];
    const double end = bounds[i + 1];
    const bool is_good = start >= 0 && end >= start && end <= kMaxSafeInteger;
    Stretch stretch = is_good ? Stretch{AddressOf(start), AddressOf(end)} : Stretch{nullptr, nullptr};
    const bool is_whole =
        AlignDown(stretch.start, PageBytes()) == stretch.start && AlignDown(stretch.end, PageBytes()) == stretch.end;
    if (!is_whole) stretch = {nullptr, nullptr};
    stretches.push_back(stretch);
  }
  return stretches;
}

Napi::Value TellPlaces(const Napi::CallbackInfo& info) {
  const std::vector<Part> parts = PartsOf(StretchesAt(info));
  auto numbers = Napi::Float64Array::New(info.Env(), parts.size() * kPartNumbers);
  for (size_t i = 0; i < parts.size(); ++i) {
    numbers[kPartNumbers * i] = static_cast<double>(parts[i].index);
    numbers[kPartNumbers * i + 1] = parts[i].owner;
    numbers[kPartNumbers * i + 2] = static_cast<double>(parts[i].bytes);
    numbers[kPartNumbers * i + 3] = parts[i].resident_bytes;
  }
  return {info.Env(), numbers};
}

Napi::Value TellOwners(const Napi::CallbackInfo& info) {
  const uint64_t thread = InstanceOf(info.Env()).thread;
  Napi::Array told = Napi::Array::New(info.Env());
  for (const OwnerName& found : OwnersWithPlaces()) {
    Napi::Object owner = Napi::Object::New(info.Env());
    owner.Set("owner", Napi::Number::New(info.Env(), static_cast<double>(found.owner)));
    owner.Set("name", Napi::String::New(info.Env(), found.name));
    owner.Set("isHere", Napi::Boolean::New(info.Env(), found.thread == thread));
    told.Set(told.Length(), owner);
  }
  return told;
}

Napi::Value TellMallocBytes(const Napi::CallbackInfo& info) {
  const std::vector<Stretch> stretches = StretchesAt(info);
  auto bytes = Napi::Float64Array::New(info.Env(), stretches.size());
  for (size_t i = 0; i < stretches.size(); ++i) {
    bytes[i] = static_cast<double>(MallocBytesIn(stretches[i].start, stretches[i].end));
  }
  return {info.Env(), bytes};
}

}  // namespace

void AddReportFace(Napi::Env env, Napi::Object exports) {
  exports.Set("placesIn", Napi::Function::New(env, TellPlaces, "placesIn"));
  exports.Set("placeOwners", Napi::Function::New(env, TellOwners, "placeOwners"));
  exports.Set("mallocBytesIn", Napi::Function::New(env, TellMallocBytes, "mallocBytesIn"));
}

}  // namespace offheap
