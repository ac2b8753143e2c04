// The bytes of mappings. Contracts are in src/memory/kernel.ts, the invariants in books.h.

#pragma GCC optimize("O2")

#include "bytes_face.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "arguments.h"
#include "books.h"
#include "environment.h"

namespace offheap {
namespace {

void Fill(const Napi::CallbackInfo& info) {
  const Range range = ByteRangeOf(info);
  memset(range.start, static_cast<int>(IntegerIn(info, 3, "byte", 0, 255)), range.length_bytes);
}

Napi::Value FirstOther(const Napi::CallbackInfo& info) {
  const Range range = ByteRangeOf(info);
  const char byte = static_cast<char>(IntegerIn(info, 3, "byte", 0, 255));
  // All bytes are the same where each is the same as the next.
  const bool is_uniform = range.start[0] == byte && memcmp(range.start, range.start + 1, range.length_bytes - 1) == 0;
  if (is_uniform) return Napi::Number::New(info.Env(), -1);
  size_t index = 0;
  while (index < range.length_bytes && range.start[index] == byte) ++index;
  // Somebody wrote another byte, and then this one again, between the two looks.
  if (index == range.length_bytes) return Napi::Number::New(info.Env(), -1);
  return Napi::Number::New(info.Env(), static_cast<double>(index));
}

// --- Moves --------------------------------------------------------------------------------------------------------

// Numbers of a move, as script gives it: mapping and offset of the source, the same of the target, and the length.
constexpr size_t kMoveNumbers = 5;

// A move that was checked.
struct ByteMove {
  const char* source;
  char* target;
  size_t length_bytes;
};

// Reads moves, and checks each number of them. Reads a number once: another thread may write to the array meanwhile,
// and what is used must be what was checked.
class MoveReader {
 public:
  MoveReader(Napi::Env env, const double* numbers) : env_(env), numbers_(numbers) {}

  ByteMove At(size_t move) {
    const size_t index = kMoveNumbers * move;
    const Place source = PlaceAt(index, &source_);
    const Place target = PlaceAt(index + 2, &target_);
    const double most_bytes = std::min(source.left_bytes, target.left_bytes);
    return {source.start, target.start, IntegerAt(index + 4, 1, most_bytes)};
  }

 private:
  // The mapping of the move before: most moves of a call are between the same two.
  struct Found {
    double id = 0;
    const Mapping* mapping = nullptr;
  };

  struct Place {
    char* start;
    double left_bytes;
  };

  // The place whose mapping is the number at `index`, and whose offset is the next one.
  Place PlaceAt(size_t index, Found* found) const {
    const double id = numbers_[index];
    if (found->mapping == nullptr || found->id != id) *found = {id, &MappingAt(index, id)};
    const Mapping& mapping = *found->mapping;
    const auto mapped_bytes = static_cast<double>(mapping.length_bytes);
    const uint64_t offset_bytes = IntegerAt(index + 1, 0, mapped_bytes - 1);
    return {mapping.start + offset_bytes, mapped_bytes - static_cast<double>(offset_bytes)};
  }

  [[nodiscard]] const Mapping& MappingAt(size_t index, double id) const {
    const auto& mappings = BooksOf(env_)->mappings;
    const auto entry = IsIntegerIn(id, 0, kMaxSafeInteger) ? mappings.find(static_cast<uint64_t>(id)) : mappings.end();
    if (entry == mappings.end()) throw OutOfRange(env_, NameOf(index).c_str(), "the id of a mapping that exists", id);
    return *entry->second;
  }

  [[nodiscard]] uint64_t IntegerAt(size_t index, double low, double high) const {
    const double number = numbers_[index];
    if (!IsIntegerIn(number, low, high)) throw OutOfRange(env_, NameOf(index).c_str(), IntegersIn(low, high), number);
    return static_cast<uint64_t>(number);
  }

  static std::string NameOf(size_t index) { return "moves[" + std::to_string(index) + "]"; }

  Napi::Env env_;
  const double* numbers_;
  Found source_;
  Found target_;
};

// Takes (moves, count).
void Move(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_float64_array) {
    throw InvalidType(env, "moves", "an instance of Float64Array");
  }
  const auto numbers = info[0].As<Napi::Float64Array>();
  const size_t most_moves = numbers.ElementLength() / kMoveNumbers;
  std::vector<ByteMove> moves(IntegerIn(info, 1, "count", 0, static_cast<double>(most_moves)));
  MoveReader reader(env, numbers.Data());
  for (size_t i = 0; i < moves.size(); ++i) moves[i] = reader.At(i);
  for (const ByteMove& move : moves) memmove(move.target, move.source, move.length_bytes);
}

}  // namespace

void AddBytesFace(Napi::Env env, Napi::Object exports) {
  exports.Set("fill", Napi::Function::New(env, Fill, "fill"));
  exports.Set("firstOther", Napi::Function::New(env, FirstOther, "firstOther"));
  exports.Set("move", Napi::Function::New(env, Move, "move"));
}

}  // namespace offheap
