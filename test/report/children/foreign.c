/* Preloaded: 32 MiB that the library mapped for itself, as an addon may. */
#include <string.h>
#include <sys/mman.h>

__attribute__((constructor)) static void map(void) {
  void* memory = mmap(0, 32 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory != MAP_FAILED) memset(memory, 1, 32 << 20);
}
