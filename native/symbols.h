// The functions that the loaded files of this process define: the program, and its libraries.
//
// `dlsym` does not tell which file serves a name: where a program takes the address of a function of a library, as node
// does of `free`, it answers with a place in the program that only jumps there. So this reads the tables that the
// linker itself reads.

#ifndef OFFHEAP_NATIVE_SYMBOLS_H_
#define OFFHEAP_NATIVE_SYMBOLS_H_

#include <link.h>

#include <cstdint>

namespace offheap {

// The tables of one loaded file. They are valid until it is unloaded.
struct LoadedFile {
  ElfW(Addr) base = 0;
  const ElfW(Sym) * symbols = nullptr;
  const char* names = nullptr;
  const uint32_t* gnu_hash = nullptr;   // one of the two is there in every file that others can look into
  const uint32_t* sysv_hash = nullptr;  //
};

// Finds the first file, in the order in which the linker searches, that defines a function of that name: the one whose
// function other files call. Returns false where none does.
bool FindDefining(const char* name, LoadedFile* file);

// The address of a function that this file itself defines, or null.
void* FunctionIn(const LoadedFile& file, const char* name);

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_SYMBOLS_H_
