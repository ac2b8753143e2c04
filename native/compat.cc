// Stand-ins for four names that the compiler's own libraries want of the C library.
//
// The addon contains the code of libstdc++ and libgcc that it uses, so that it needs no particular version of them.
// That code was compiled for the glibc of the machine that builds. It names a few things that older versions of glibc,
// and musl, do not have. Here they are, for this addon alone: the symbols are hidden, so no other library sees them.
// Where the compiler's libraries do not ask for one of them, the linker drops it. docs/binary.md has the whole story.

#include <link.h>
#include <sys/auxv.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

// By its symbol: glibc's headers may declare a function of that name already.
// NOLINTNEXTLINE(cppcoreguidelines-macro-usage): attributes
#define STANDS_IN_FOR(symbol) __asm__(symbol) __attribute__((visibility("hidden")))

namespace {

// What glibc's <dlfcn.h> calls `struct dl_find_object`: written down here, because musl and older versions of glibc do
// not have it. It is the same on 64-bit x86 and ARM. Of all fields the unwinder reads `eh_frame`.
struct FoundObject {
  uint64_t flags;
  std::array<const void*, 3> map;
  const void* eh_frame;  // the segment PT_GNU_EH_FRAME: a table of the functions that an exception may pass
  std::array<uint64_t, 7> reserved;
};

struct Search {
  uintptr_t address;
  const void* eh_frame;
};

// Called for each library that is loaded. Returns 1 to end the search.
int LookInto(dl_phdr_info* library, size_t /*size*/, void* data) {
  auto& search = *static_cast<Search*>(data);
  uintptr_t eh_frame = 0;
  bool is_inside = false;
  for (size_t i = 0; i < library->dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = library->dlpi_phdr[i];
    const uintptr_t start = library->dlpi_addr + segment.p_vaddr;
    if (segment.p_type == PT_GNU_EH_FRAME) eh_frame = start;
    if (segment.p_type == PT_LOAD && search.address - start < segment.p_memsz) is_inside = true;
  }
  if (!is_inside) return 0;
  // An ELF file has addresses as numbers.
  search.eh_frame = reinterpret_cast<const void*>(eh_frame);  // NOLINT(performance-no-int-to-ptr)
  return 1;
}

}  // namespace

extern "C" {

// glibc 2.32. "There is one thread": then libstdc++ counts the owners of a `std::shared_ptr` without atomic
// instructions. Always no, because Node always has more threads.
extern char is_single_threaded STANDS_IN_FOR("__libc_single_threaded");
char is_single_threaded = 0;

// glibc 2.35. Where the unwinder of gcc 12 and later finds the tables for an exception. Earlier unwinders use
// `dl_iterate_phdr`, as this does. Returns 0 if it found them.
int FindObject(void* address, FoundObject* found) STANDS_IN_FOR("_dl_find_object");
int FindObject(void* address, FoundObject* found) {
  Search search = {reinterpret_cast<uintptr_t>(address), nullptr};
  dl_iterate_phdr(LookInto, &search);
  *found = {};
  found->eh_frame = search.eh_frame;
  return search.eh_frame == nullptr ? -1 : 0;
}

// glibc's own name of `getauxval`. libgcc asks for it on ARM, to learn which atomic instructions the processor has.
unsigned long GetAuxiliaryValue(unsigned long type) STANDS_IN_FOR("__getauxval");
unsigned long GetAuxiliaryValue(unsigned long type) { return getauxval(type); }

// `__gnu_cxx::__verbose_terminate_handler`: what libstdc++ calls where nobody catches an exception. Its own version
// prints the name of the type in C++, and brings along all that reads such names: a sixth of the addon.
[[noreturn]] void Terminate() STANDS_IN_FOR("_ZN9__gnu_cxx27__verbose_terminate_handlerEv");
void Terminate() { std::abort(); }
}
