/* Preloaded: answers `prctl(PR_SET_VMA)` in the place of the kernel, and writes each name to standard error. ANSWER is the error
 * number, 0 for success. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SET_VMA 0x53564d41

int prctl(int option, ...) {
  unsigned long words[4];
  va_list list;
  va_start(list, option);
  for (int i = 0; i < 4; i++) words[i] = va_arg(list, unsigned long);
  va_end(list);
  if (option != SET_VMA) return syscall(SYS_prctl, option, words[0], words[1], words[2], words[3]);
  fprintf(stderr, "%lu %lu %s\n", words[0], words[2], (const char*)words[3]);
  errno = ANSWER;
  return ANSWER == 0 ? 0 : -1;
}
