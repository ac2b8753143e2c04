// Preloaded, it holds up whoever moves the break by `sbrk`, right before. malloc, which calls it within libc, is not held up:
// so what malloc does at the worst moment, it does there.

#include <dlfcn.h>
#include <stdint.h>
#include <unistd.h>

extern "C" __attribute__((visibility("default"))) void* sbrk(intptr_t increment) noexcept {
  static void* (*const real)(intptr_t) = reinterpret_cast<void* (*)(intptr_t)>(dlsym(RTLD_NEXT, "sbrk"));
  if (increment != 0) usleep(300);
  return real(increment);
}
