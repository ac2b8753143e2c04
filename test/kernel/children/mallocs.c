/* Libraries and a program that have a malloc, or look as if they had one. A macro says which. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef WRAPPER /* stands before the malloc of the C library, as tools that count calls do */
void* malloc(size_t size) {
  static void* (*next)(size_t);
  if (next == NULL) next = (void* (*)(size_t))dlsym(RTLD_NEXT, "malloc");
  return next(size);
}
void free(void* memory) {
  static void (*next)(void*);
  if (next == NULL) next = (void (*)(void*))dlsym(RTLD_NEXT, "free");
  next(memory);
}
#endif

#ifdef HALF /* only frees */
void free(void* memory) {
  static void (*next)(void*);
  if (next == NULL) next = (void (*)(void*))dlsym(RTLD_NEXT, "free");
  next(memory);
}
#endif

#ifdef DECOY /* has functions of allocators, and serves nobody's malloc */
int mallctl(void) { return 0; }
void mi_collect(void) {}
void MallocExtension_ReleaseFreeMemory(void) {}
#endif

#ifdef PROGRAM /* has an allocator linked in */
static char heap[1 << 20];
static size_t taken;
void* malloc(size_t size) {
  void* memory = heap + taken;
  taken += (size + 15) / 16 * 16;
  return taken > sizeof heap ? NULL : memory;
}
void free(void* memory) { (void)memory; }
int mallctl(void) { return 0; }
const char* malloc_name(void);
int main(void) {
  puts(malloc_name());
  return 0;
}
#endif
