// Mappings: made, used and given up. Contracts are in the header, the invariants in books.h.

#include "pages_face.h"

#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "arguments.h"
#include "books.h"
#include "break_face.h"
#include "environment.h"
#include "kept.h"
#include "kept_face.h"
#include "naming.h"
#include "pages.h"
#include "places.h"
#include "purging.h"
#include "slab.h"
#include "zone.h"

namespace offheap {
namespace {

constexpr double kMaxAlignBytes = 1 << 30;

// --- Mapping and unmapping ----------------------------------------------------------------------------------------

// Finds addresses that the owner gave up, or new ones. Where the kernel has none left, unmaps some
// that are kept, and tries again.
Errno FindPages(Napi::Env env, Keeper keeper, size_t length_bytes, size_t align_bytes, void** start, bool* is_cut) {
  *is_cut = TakeKept(keeper, length_bytes, align_bytes, start);
  if (*is_cut) return 0;
  // What will be kept lies side by side. What has no owner will not be.
  const bool is_kept = keeper.owner != 0 && align_bytes == PageBytes();
  const auto map = [&] {
    return is_kept ? TakeFromZone(length_bytes, start, is_cut) : MapPages(length_bytes, align_bytes, start);
  };
  const Errno error = map();
  return error == ENOMEM && RelievePressure(env) ? map() : error;
}

// Returns the id of a new mapping. `make` maps it; it must not throw, or the entry would stay behind without memory.
template <class Make>
Napi::Value AddMapping(Napi::Env env, uint64_t owner, size_t length_bytes, const Make& make) {
  const auto& books = BooksOf(env);
  auto mapping = std::make_shared<Mapping>();
  // The entry comes first, so that running out of memory for it cannot lose a mapping.
  const auto entry = books->mappings.emplace(books->next_mapping_id, mapping).first;
  void* start = nullptr;
  const Errno error = make(*mapping, &start);
  if (error != 0) books->mappings.erase(entry);
  CheckCall(env, "mmap", error);
  mapping->start = static_cast<char*>(start);
  mapping->length_bytes = length_bytes;
  SetPlace(mapping->start, length_bytes, owner);
  return Napi::Number::New(env, static_cast<double>(books->next_mapping_id++));
}

Napi::Value Map(const Napi::CallbackInfo& info) {
  const uint64_t length_bytes = IntegerIn(info, 0, "lengthBytes", 1, kMaxSafeInteger);
  CheckWholePages(info.Env(), "lengthBytes", length_bytes);
  const auto page_bytes = static_cast<double>(PageBytes());
  const uint64_t align_bytes =
      info[1].IsUndefined() ? PageBytes() : IntegerIn(info, 1, "alignBytes", page_bytes, kMaxAlignBytes);
  if ((align_bytes & (align_bytes - 1)) != 0) {
    throw OutOfRange(info.Env(), "alignBytes", "a power of two", static_cast<double>(align_bytes));
  }
  const Keeper keeper = KeeperAt(info, 2);
  return AddMapping(info.Env(), keeper.owner, length_bytes, [&](Mapping& mapping, void** start) {
    mapping.is_private = keeper.owner == 0;
    const Errno error = FindPages(info.Env(), keeper, length_bytes, align_bytes, start, &mapping.is_cut);
    // Where the kernel refuses, for want of memory, forking takes longer: that is all.
    if (error == 0) AdvisePages(*start, length_bytes, kAdviceDontFork);
    if (error == 0) NameMapping(*start, length_bytes, keeper.owner);
    return error;
  });
}

Napi::Value MapPiece(const Napi::CallbackInfo& info) {
  const uint64_t length_bytes = IntegerIn(info, 0, "lengthBytes", 1, static_cast<double>(Slab::kMaxPieceBytes));
  CheckWholePages(info.Env(), "lengthBytes", length_bytes);
  const Keeper keeper = KeeperAt(info, 1);
  // Pieces have no names of their own: each name makes a mapping of its own to the kernel.
  return AddMapping(info.Env(), keeper.owner, length_bytes, [&](Mapping& mapping, void** start) {
    return Slab::Take(&BooksOf(info.Env())->slab, InstanceOf(info.Env()).thread, length_bytes, start, &mapping.slab);
  });
}

Napi::Value Unmap(const Napi::CallbackInfo& info) {
  const uint64_t id = MappingIdAt(info, 0);
  auto& mappings = BooksOf(info.Env())->mappings;
  const Mapping& mapping = *mappings.at(id);
  if (mapping.wrap_count > 0) return Napi::Boolean::New(info.Env(), false);
  if (mapping.is_break) {
    UnmapBreak(info.Env(), id);
    return Napi::Boolean::New(info.Env(), true);
  }
  // Before the addresses can be somebody else's.
  const uint64_t owner = RemovePlace(mapping.start);
  // A piece is purged; where the kernel refuses that, it goes with its slab all the same.
  if (mapping.slab != nullptr) {
    AdvisePages(mapping.start, mapping.length_bytes, kAdviceDontNeed);
    mappings.erase(id);
    return Napi::Boolean::New(info.Env(), true);
  }
  // With an owner: what had a view is kept, and what was cut from a zone, where unmapping would leave a hole.
  if ((mapping.was_wrapped || mapping.is_cut) && !info[1].IsUndefined()) {
    KeepRange(KeeperAt(info, 1), mapping.start, mapping.length_bytes);
    PurgeKeptLater(info.Env());
    if (IsPressed()) RelievePressure(info.Env());
  } else {
    const Errno error = UnmapPages(mapping.start, mapping.length_bytes);
    if (error != 0) SetPlace(mapping.start, mapping.length_bytes, owner);
    CheckCall(info.Env(), "munmap", error);
  }
  mappings.erase(id);
  return Napi::Boolean::New(info.Env(), true);
}

// --- Advice and access --------------------------------------------------------------------------------------------

void Advise(const Napi::CallbackInfo& info) {
  const Range range = PageRangeOf(info);
  const auto advice = static_cast<double>(IntegerIn(info, 3, "advice", 0, INT32_MAX));
  if (advice != kAdviceDontNeed && advice != kAdviceNoHugePage && advice != kAdviceHugePage &&
      advice != kAdvicePopulateWrite && advice != kAdviceGuardInstall && advice != kAdviceGuardRemove &&
      advice != kAdviceDontDump) {
    throw OutOfRange(info.Env(), "advice",
                     "MADV_DONTNEED, MADV_NOHUGEPAGE, MADV_HUGEPAGE, MADV_POPULATE_WRITE, MADV_GUARD_INSTALL, "
                     "MADV_GUARD_REMOVE or MADV_DONTDUMP",
                     advice);
  }
  const Errno error = advice == kAdviceDontNeed
                          ? PurgePages(range.start, range.length_bytes)
                          : AdvisePages(range.start, range.length_bytes, static_cast<int>(advice));
  CheckCall(info.Env(), "madvise", error);
}

// Takes (mapping, firstPage, runs, from, end). Returns how many pages went back; throws where none did.
Napi::Value Purge(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::shared_ptr<Mapping> mapping = BooksOf(env)->mappings.at(MappingIdAt(info, 0));
  const uint64_t first_page = IntegerIn(info, 1, "firstPage", 0, UINT32_MAX);
  if (!info[2].IsTypedArray() || info[2].As<Napi::TypedArray>().TypedArrayType() != napi_uint32_array) {
    throw InvalidType(env, "runs", "an instance of Uint32Array");
  }
  const auto words = info[2].As<Napi::Uint32Array>();
  const size_t run_count = words.ElementLength() / 2;
  const uint64_t from = IntegerIn(info, 3, "from", 0, static_cast<double>(run_count));
  const uint64_t end = IntegerIn(info, 4, "end", static_cast<double>(from), static_cast<double>(run_count));
  const uint64_t page_count = mapping->length_bytes / PageBytes();
  // Copied, so that what was checked is what is used: script of another thread may see the array.
  std::vector<PageRun> runs(end - from);
  for (uint64_t i = 0; i < runs.size(); ++i) {
    const uint64_t page = words[2 * (from + i)];
    const uint64_t count = words[2 * (from + i) + 1];
    if (page < first_page || count == 0 || page - first_page + count > page_count) {
      throw OutOfRange(env, "runs", "pages of the mapping", static_cast<double>(page));
    }
    runs[i] = {static_cast<uint32_t>(page - first_page), static_cast<uint32_t>(count)};
  }
  uint64_t done_pages = 0;
  const Errno error = PurgeRuns(mapping->start, runs.data(), runs.size(), &done_pages);
  if (done_pages == 0) CheckCall(env, "madvise", error);
  return Napi::Number::New(env, static_cast<double>(done_pages));
}

Napi::Value TellPurgesToZero(const Napi::CallbackInfo& info) { return Napi::Boolean::New(info.Env(), PurgesToZero()); }

void Protect(const Napi::CallbackInfo& info) {
  const Range range = PageRangeOf(info);
  if (!info[3].IsBoolean()) throw InvalidType(info.Env(), "isAccessible", "of type boolean");
  const bool is_accessible = info[3].As<Napi::Boolean>().Value();
  CheckCall(info.Env(), "mprotect", ProtectPages(range.start, range.length_bytes, is_accessible));
}

// --- Residency ----------------------------------------------------------------------------------------------------

void Residency(const Napi::CallbackInfo& info) {
  const Range range = PageRangeOf(info);
  const Napi::Value value = info[3];
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    throw InvalidType(info.Env(), "residency", "an instance of Uint8Array");
  }
  auto residency = value.As<Napi::Uint8Array>();
  const size_t page_count = range.length_bytes / PageBytes();
  if (residency.ElementLength() != page_count) {
    throw OutOfRange(info.Env(), "residency.length", std::to_string(page_count),
                     static_cast<double>(residency.ElementLength()));
  }
  CheckCall(info.Env(), "mincore", ResidentPages(range.start, range.length_bytes, residency.Data()));
}

}  // namespace

void AddPagesFace(Napi::Env env, Napi::Object exports) {
  exports.Set("pageBytes", Napi::Number::New(env, static_cast<double>(PageBytes())));
  exports.Set("MADV_DONTNEED", Napi::Number::New(env, kAdviceDontNeed));
  exports.Set("MADV_NOHUGEPAGE", Napi::Number::New(env, kAdviceNoHugePage));
  exports.Set("MADV_HUGEPAGE", Napi::Number::New(env, kAdviceHugePage));
  exports.Set("MADV_POPULATE_WRITE", Napi::Number::New(env, kAdvicePopulateWrite));
  exports.Set("MADV_GUARD_INSTALL", Napi::Number::New(env, kAdviceGuardInstall));
  exports.Set("MADV_GUARD_REMOVE", Napi::Number::New(env, kAdviceGuardRemove));
  exports.Set("MADV_DONTDUMP", Napi::Number::New(env, kAdviceDontDump));
  exports.Set("map", Napi::Function::New(env, Map, "map"));
  exports.Set("mapPiece", Napi::Function::New(env, MapPiece, "mapPiece"));
  exports.Set("unmap", Napi::Function::New(env, Unmap, "unmap"));
  exports.Set("advise", Napi::Function::New(env, Advise, "advise"));
  exports.Set("purge", Napi::Function::New(env, Purge, "purge"));
  exports.Set("purgesToZero", Napi::Function::New(env, TellPurgesToZero, "purgesToZero"));
  exports.Set("protect", Napi::Function::New(env, Protect, "protect"));
  exports.Set("residency", Napi::Function::New(env, Residency, "residency"));
}

}  // namespace offheap
