/*
 * A fault of qemu-user (7.2, in Debian 12): asked for pages that are longer than those of the machine, its `mincore` writes a byte
 * for each page of the machine. That is more than the program has room for. This is loaded before libc, and makes of these
 * bytes what a kernel with such pages writes. It is for the emulated program, and nothing of it is in the addon.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MACHINE_PAGE 4096

int mincore(void *address, size_t length, unsigned char *residency) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  size_t ratio = page / MACHINE_PAGE;
  size_t count = (length + page - 1) / page;
  unsigned char *parts = malloc(count * ratio);
  int result;
  if (!parts) {
    errno = EAGAIN;
    return -1;
  }
  result = (int)syscall(SYS_mincore, address, count * page, parts);
  for (size_t i = 0; result == 0 && i < count; ++i) {
    residency[i] = 0;
    for (size_t k = 0; k < ratio; ++k) residency[i] |= parts[i * ratio + k] & 1;
  }
  free(parts);
  return result;
}
