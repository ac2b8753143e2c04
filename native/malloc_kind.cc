// Contracts are in the header.

#include "malloc_kind.h"

#include <array>

#include "symbols.h"

namespace offheap {
namespace {

struct Known {
  MallocKind kind;
  const char* name;
  const char* sign;  // a function that no other allocator has
};

// In glibc's libc.so.6 the sign and malloc are in one file. musl has no such function, and a library that adds it there
// (gcompat) has no malloc.
constexpr std::array<Known, 4> kKnown = {{
    {MallocKind::kGlibc, "glibc", "gnu_get_libc_version"},
    {MallocKind::kJemalloc, "jemalloc", "mallctl"},
    {MallocKind::kMimalloc, "mimalloc", "mi_collect"},
    {MallocKind::kTcmalloc, "tcmalloc", "MallocExtension_ReleaseFreeMemory"},
}};

struct Found {
  MallocKind kind = MallocKind::kNone;
  LoadedFile file;
};

Found Find() {
  Found found;
  LoadedFile of_free;
  if (!FindDefining("malloc", &found.file) || !FindDefining("free", &of_free)) return {};
  if (of_free.symbols != found.file.symbols) return {};
  for (const Known& known : kKnown) {
    if (FunctionIn(found.file, known.sign) != nullptr) found.kind = known.kind;
  }
  return found;
}

const Found& TheMalloc() {
  static const Found found = Find();
  return found;
}

}  // namespace

MallocKind WhichMalloc() { return TheMalloc().kind; }

const char* MallocName() {
  for (const Known& known : kKnown) {
    if (known.kind == WhichMalloc()) return known.name;
  }
  return "none";
}

void* MallocFunction(const char* name) {
  const Found& found = TheMalloc();
  return found.kind == MallocKind::kNone ? nullptr : FunctionIn(found.file, name);
}

}  // namespace offheap
