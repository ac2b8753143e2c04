// Preloaded, it refuses to have the kernel's numbers about this process changed, as a filter or a kernel without CONFIG_CHECKPOINT_RESTORE.

#include <errno.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

extern "C" __attribute__((visibility("default"))) int prctl(int option, ...) noexcept {
  va_list list;
  va_start(list, option);
  const unsigned long a = va_arg(list, unsigned long);
  const unsigned long b = va_arg(list, unsigned long);
  const unsigned long c = va_arg(list, unsigned long);
  const unsigned long d = va_arg(list, unsigned long);
  va_end(list);
  if (option == PR_SET_MM) {
    errno = EPERM;
    return -1;
  }
  return static_cast<int>(syscall(SYS_prctl, option, a, b, c, d));
}
