// What the Node-API faces share: errors in Node's own form, and arguments checked before anything happens.

#ifndef OFFHEAP_NATIVE_ARGUMENTS_H_
#define OFFHEAP_NATIVE_ARGUMENTS_H_

#include <napi.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <system_error>

#include "books.h"
#include "environment.h"
#include "pages.h"

namespace offheap {

constexpr double kMaxSafeInteger = 9007199254740991.0;  // 2^53 - 1: every integer up to here is exact as a double

// --- Errors -------------------------------------------------------------------------------------------------------

template <class ErrorClass>
ErrorClass CodedError(Napi::Env env, const char* code, const std::string& message) {
  ErrorClass error = ErrorClass::New(env, message);
  error.Set("code", Napi::String::New(env, code));
  return error;
}

inline Napi::TypeError InvalidType(Napi::Env env, const char* name, const char* expected) {
  return CodedError<Napi::TypeError>(env, "ERR_INVALID_ARG_TYPE",
                                     std::string("The \"") + name + "\" argument must be " + expected + ".");
}

// A number with all its digits.
inline std::string DigitsOf(double number) {
  std::array<char, 32> digits = {};
  const int length = snprintf(digits.data(), digits.size(), "%.17g", number);
  return {digits.data(), static_cast<size_t>(length)};
}

inline Napi::RangeError OutOfRange(Napi::Env env, const char* name, const std::string& allowed, double received) {
  return CodedError<Napi::RangeError>(env, "ERR_OUT_OF_RANGE",
                                      std::string("The value of \"") + name + "\" is out of range. It must be " +
                                          allowed + ". Received " + DigitsOf(received));
}

// The names of the errors that the manual pages of our system calls list, and of those
// that filters usually answer with.
inline std::string ErrnoName(Errno error) {
  switch (error) {
    case EACCES: return "EACCES";
    case EAGAIN: return "EAGAIN";
    case EBADF: return "EBADF";
    case EBUSY: return "EBUSY";
    case ECANCELED: return "ECANCELED";
    case EEXIST: return "EEXIST";
    case EFAULT: return "EFAULT";
    case EINVAL: return "EINVAL";
    case EIO: return "EIO";
    case ENOMEM: return "ENOMEM";
    case ENOSYS: return "ENOSYS";
    case EOVERFLOW: return "EOVERFLOW";
    case EPERM: return "EPERM";
    default: return "errno " + std::to_string(error);
  }
}

// "mmap: Cannot allocate memory (ENOMEM)", with `code`, `errno` (negative, as everywhere in Node) and `syscall`.
inline Napi::Error SystemError(Napi::Env env, const char* syscall, Errno error) {
  const std::string name = ErrnoName(error);
  const std::string message = std::string(syscall) + ": " + std::generic_category().message(error) + " (" + name + ")";
  auto thrown = CodedError<Napi::Error>(env, name.c_str(), message);
  thrown.Set("errno", Napi::Number::New(env, -error));
  thrown.Set("syscall", Napi::String::New(env, syscall));
  return thrown;
}

inline void CheckCall(Napi::Env env, const char* syscall, Errno error) {
  if (error != 0) throw SystemError(env, syscall, error);
}

// --- Arguments ----------------------------------------------------------------------------------------------------

// Whether a number is an integer in [low, high]. NaN is none.
//
// Requires: -2^53 < low, high < 2^53.
inline bool IsIntegerIn(double number, double low, double high) {
  // Not `floor`: without the newer instructions of a processor that is a call.
  return number >= low && number <= high && number == static_cast<double>(static_cast<int64_t>(number));
}

// What an error says that such a number must be.
inline std::string IntegersIn(double low, double high) {
  return "an integer >= " + DigitsOf(low) + " && <= " + DigitsOf(high);
}

// The integer `info[index]`, in [low, high]. Throws a TypeError if it is no number, else a RangeError.
inline uint64_t IntegerIn(const Napi::CallbackInfo& info, size_t index, const char* name, double low, double high) {
  const Napi::Value value = info[index];
  if (!value.IsNumber()) throw InvalidType(info.Env(), name, "of type number");
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!IsIntegerIn(number, low, high)) throw OutOfRange(info.Env(), name, IntegersIn(low, high), number);
  return static_cast<uint64_t>(number);
}

inline void CheckWholePages(Napi::Env env, const char* name, uint64_t bytes) {
  if (bytes % PageBytes() == 0) return;
  throw OutOfRange(env, name, "a multiple of " + std::to_string(PageBytes()), static_cast<double>(bytes));
}

inline uint64_t MappingIdAt(const Napi::CallbackInfo& info, size_t index) {
  const uint64_t id = IntegerIn(info, index, "mapping", 0, kMaxSafeInteger);
  if (BooksOf(info.Env())->mappings.count(id) == 0) {
    throw OutOfRange(info.Env(), "mapping", "the id of a mapping that exists", static_cast<double>(id));
  }
  return id;
}

// A range of bytes inside one mapping, never empty.
struct Range {
  std::shared_ptr<Mapping> mapping;
  char* start;
  size_t length_bytes;
};

// Reads the arguments (mapping, offsetBytes, lengthBytes) that start at `info[0]`.
inline Range ByteRangeOf(const Napi::CallbackInfo& info) {
  const std::shared_ptr<Mapping> mapping = BooksOf(info.Env())->mappings.at(MappingIdAt(info, 0));
  const auto mapped_bytes = static_cast<double>(mapping->length_bytes);
  const uint64_t offset_bytes = IntegerIn(info, 1, "offsetBytes", 0, mapped_bytes - 1);
  const double left_bytes = mapped_bytes - static_cast<double>(offset_bytes);
  const uint64_t length_bytes = IntegerIn(info, 2, "lengthBytes", 1, left_bytes);
  return {mapping, mapping->start + offset_bytes, length_bytes};
}

inline Range PageRangeOf(const Napi::CallbackInfo& info) {
  Range range = ByteRangeOf(info);
  CheckWholePages(info.Env(), "offsetBytes", range.start - range.mapping->start);
  CheckWholePages(info.Env(), "lengthBytes", range.length_bytes);
  return range;
}

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_ARGUMENTS_H_
