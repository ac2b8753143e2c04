/*
 * What a Node that was built for musl lacks on Debian, whose libstdc++ and libgcc were built for glibc and for an older gcc.
 * For the tests alone: the addon needs nothing of this.
 */
#define _GNU_SOURCE
#include <link.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* There are several threads. */
char __libc_single_threaded = 0;

/* Of libgcc: nothing is known of the processor. */
unsigned int __cpu_model[4] = {0, 0, 0, 0};
int __cpu_indicator_init(void) { return 0; }

uint32_t arc4random(void) { return (uint32_t)random(); }

size_t __strftime_l(char *text, size_t max_bytes, const char *format, const struct tm *time, locale_t locale) {
  return strftime_l(text, max_bytes, format, time, locale);
}

/* Where the unwinder finds the tables of the code at an address, as native/compat.cc does it. */
struct found {
  unsigned long long flags;
  void *map[3];
  void *eh_frame;
  unsigned long long reserved[7];
};

struct search {
  uintptr_t address;
  void *eh_frame;
};

static int look_into(struct dl_phdr_info *library, size_t size, void *data) {
  struct search *search = data;
  uintptr_t eh_frame = 0;
  int is_inside = 0;
  (void)size;
  for (int i = 0; i < library->dlpi_phnum; ++i) {
    uintptr_t start = library->dlpi_addr + library->dlpi_phdr[i].p_vaddr;
    if (library->dlpi_phdr[i].p_type == PT_GNU_EH_FRAME) eh_frame = start;
    if (library->dlpi_phdr[i].p_type == PT_LOAD && search->address - start < library->dlpi_phdr[i].p_memsz) is_inside = 1;
  }
  if (is_inside) search->eh_frame = (void *)eh_frame;
  return is_inside;
}

/* By its symbol: the headers declare it with a type of theirs. */
int find_object(void *address, struct found *found) __asm__("_dl_find_object");
int find_object(void *address, struct found *found) {
  struct search search = {(uintptr_t)address, NULL};
  dl_iterate_phdr(look_into, &search);
  memset(found, 0, sizeof *found);
  found->eh_frame = search.eh_frame;
  return search.eh_frame ? 0 : -1;
}

/* Destructors of a thread's variables, the last one first. */
struct destructor {
  void (*run)(void *);
  void *object;
  struct destructor *next;
};

static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void run_all(void *list) {
  struct destructor *first = list;
  pthread_setspecific(key, NULL);
  while (first) {
    struct destructor *next = first->next;
    first->run(first->object);
    free(first);
    first = next;
  }
}

static void make_key(void) { pthread_key_create(&key, run_all); }

int __cxa_thread_atexit_impl(void (*run)(void *), void *object, void *library) {
  struct destructor *entry = malloc(sizeof *entry);
  (void)library;
  if (!entry) return -1;
  pthread_once(&once, make_key);
  entry->run = run;
  entry->object = object;
  entry->next = pthread_getspecific(key);
  return pthread_setspecific(key, entry);
}

/* `std::string::_M_replace_cold` of gcc 13: replaces a part of a string by a text that may lie in that string. */
void replace_cold(void *string, char *at, size_t old_length, const char *text, size_t length, size_t tail_length)
    __asm__("_ZNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEE15_M_replace_coldEPcmPKcmm");
void replace_cold(void *string, char *at, size_t old_length, const char *text, size_t length, size_t tail_length) {
  (void)string;
  if (length && length <= old_length) memmove(at, text, length);
  if (tail_length && old_length != length) memmove(at + length, at + old_length, tail_length);
  if (length <= old_length) return;
  if (text + length <= at + old_length) {
    memmove(at, text, length);
  } else if (text >= at + old_length) {
    memcpy(at, text + (length - old_length), length);
  } else {
    size_t left = (size_t)(at + old_length - text);
    memmove(at, text, left);
    memcpy(at + left, at + length, length - left);
  }
}
