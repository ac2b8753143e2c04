// Contracts are in the header. The tables are described in the ELF specification; that of `DT_GNU_HASH` in binutils.

#include "symbols.h"

#include <cstddef>
#include <cstring>

namespace offheap {
namespace {

constexpr uint32_t kWordBits = 8 * sizeof(ElfW(Addr));
constexpr unsigned char kTypeMask = 0xf;
constexpr unsigned kBindShift = 4;

// glibc writes addresses into the table where it can, musl leaves the offsets that the file has.
template <class T>
const T* TableAt(ElfW(Addr) base, ElfW(Addr) value) {
  // An ELF file has addresses as numbers.
  return reinterpret_cast<const T*>(value < base ? base + value : value);  // NOLINT(performance-no-int-to-ptr)
}

// Returns false where the file has no such tables.
bool ReadTables(const dl_phdr_info& loaded, LoadedFile* file) {
  *file = {};
  file->base = loaded.dlpi_addr;
  const ElfW(Dyn)* entry = nullptr;
  for (size_t i = 0; i < loaded.dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = loaded.dlpi_phdr[i];
    // NOLINTNEXTLINE(performance-no-int-to-ptr): as above
    if (segment.p_type == PT_DYNAMIC) entry = reinterpret_cast<const ElfW(Dyn)*>(file->base + segment.p_vaddr);
  }
  if (entry == nullptr) return false;
  for (; entry->d_tag != DT_NULL; ++entry) {
    const ElfW(Addr) value = entry->d_un.d_ptr;
    if (entry->d_tag == DT_SYMTAB) file->symbols = TableAt<ElfW(Sym)>(file->base, value);
    if (entry->d_tag == DT_STRTAB) file->names = TableAt<char>(file->base, value);
    if (entry->d_tag == DT_GNU_HASH) file->gnu_hash = TableAt<uint32_t>(file->base, value);
    if (entry->d_tag == DT_HASH) file->sysv_hash = TableAt<uint32_t>(file->base, value);
  }
  return file->symbols != nullptr && file->names != nullptr;
}

// A function with code in this file: one that is only used here has no section, and one that is chosen when the file is
// loaded (IFUNC) is another type.
bool Defines(const LoadedFile& file, const ElfW(Sym) & symbol, const char* name) {
  const int type = symbol.st_info & kTypeMask;
  const int bind = symbol.st_info >> kBindShift;
  return symbol.st_shndx != SHN_UNDEF && symbol.st_value != 0 && (type == STT_FUNC || type == STT_NOTYPE) &&
         (bind == STB_GLOBAL || bind == STB_WEAK) && strcmp(file.names + symbol.st_name, name) == 0;
}

uint32_t GnuHashOf(const char* name) {
  uint32_t hash = 5381;
  for (; *name != '\0'; ++name) hash = hash * 33 + static_cast<unsigned char>(*name);
  return hash;
}

const ElfW(Sym) * FindByGnuHash(const LoadedFile& file, const char* name) {
  const uint32_t bucket_count = file.gnu_hash[0];
  const uint32_t first_symbol = file.gnu_hash[1];
  const uint32_t bloom_words = file.gnu_hash[2];
  const uint32_t* const buckets = file.gnu_hash + 4 + size_t{bloom_words} * (kWordBits / 32);
  const uint32_t* const chain = buckets + bucket_count;
  if (bucket_count == 0) return nullptr;
  const uint32_t hash = GnuHashOf(name);
  uint32_t index = buckets[hash % bucket_count];
  if (index < first_symbol) return nullptr;
  for (;; ++index) {
    const uint32_t other = chain[index - first_symbol];
    if ((other | 1) == (hash | 1) && Defines(file, file.symbols[index], name)) return &file.symbols[index];
    // The last of a bucket has its lowest bit set.
    if ((other & 1) != 0) return nullptr;
  }
}

// Looks at every symbol, as many as the table has in its second word.
const ElfW(Sym) * FindBySysvHash(const LoadedFile& file, const char* name) {
  const uint32_t symbol_count = file.sysv_hash[1];
  for (uint32_t index = 0; index < symbol_count; ++index) {
    if (Defines(file, file.symbols[index], name)) return &file.symbols[index];
  }
  return nullptr;
}

struct Search {
  const char* name;
  LoadedFile* file;
};

// Called for each file that is loaded. Returns 1 to end the search.
int LookInto(dl_phdr_info* loaded, size_t /*size*/, void* data) {
  const auto& search = *static_cast<Search*>(data);
  LoadedFile file;
  if (!ReadTables(*loaded, &file) || FunctionIn(file, search.name) == nullptr) return 0;
  *search.file = file;
  return 1;
}

}  // namespace

bool FindDefining(const char* name, LoadedFile* file) {
  Search search = {name, file};
  return dl_iterate_phdr(LookInto, &search) == 1;
}

void* FunctionIn(const LoadedFile& file, const char* name) {
  const ElfW(Sym)* symbol = nullptr;
  if (file.gnu_hash != nullptr) symbol = FindByGnuHash(file, name);
  else if (file.sysv_hash != nullptr) symbol = FindBySysvHash(file, name);
  if (symbol == nullptr) return nullptr;
  return reinterpret_cast<void*>(file.base + symbol->st_value);  // NOLINT(performance-no-int-to-ptr)
}

}  // namespace offheap
