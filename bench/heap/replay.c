/*
 * Replays one recording on this process's malloc, whichever library was preloaded, and prints one line of JSON.
 *
 *     replay speed|memory|bare TRACE [MIN_PASSES [MIN_MS]]
 *
 *   speed   whole passes with no memory touched and no clock inside; one pass uncounted, then at least MIN_PASSES (5)
 *           and at least MIN_MS (40); the median pass. What the recording leaves live is freed with the clock stopped.
 *   bare    the same loop with nothing where the allocator's calls are: what of `speed` is the loop's own.
 *   memory  one pass in which every block's pages are written (blocks of up to 4096 bytes wholly) and the growth of what
 *           the kernel counts as resident is read at the operation of peak live bytes and at about 100 even points.
 *
 * TRACE is plain text, a line for each operation: `a ID SIZE`, `r ID SIZE`, `f ID`; blank lines and `#` lines mean
 * nothing. Any other line ends the run with status 2, and so does an operation that does not fit what is live.
 *
 * 1. All tables of ours are mappings, populated before the baseline, so the allocator under test starts fresh and none
 *    of what it is charged with is ours.
 * 2. Nothing of ours calls malloc while something is measured.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { ALLOCATE, RESIZE, FREE };
enum { MAX_ID = (1 << 26) - 1, MAX_PASSES = 4096, SAMPLES = 100, TOUCH_WHOLE_BYTES = 4096 };

typedef struct {
  uint64_t size_bytes; /* 0 at a FREE */
  uint32_t id;
  uint32_t operation;
} step_t;

typedef struct {
  const char *name;
  step_t *steps;
  size_t count;
  size_t id_count; /* length of `blocks` and `live` */
  void **blocks;
  uint8_t *live; /* by ID, after the last operation */
  uint64_t peak_live_bytes;
  size_t peak_step; /* the first operation after which the peak was live */
} trace_t;

static void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  exit(2);
}

/* Zeroed and resident memory that is not malloc's. */
static void *map_table(size_t bytes) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE;
  void *table = mmap(NULL, bytes + 1, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (table == MAP_FAILED) fail("replay: no memory for a table of %zu bytes", bytes);
  return table;
}

/* Reading the recording */

/* The file with a final NUL; leaves its length in `length`. */
static char *read_text(const char *path, size_t *length) {
  struct stat status;
  int file = open(path, O_RDONLY);
  if (file < 0 || fstat(file, &status) != 0) fail("replay: cannot read %s", path);
  char *text = map_table((size_t)status.st_size);
  *length = 0;
  for (ssize_t got; (got = read(file, text + *length, (size_t)status.st_size - *length)) > 0;) *length += (size_t)got;
  close(file);
  return text;
}

/* Reads " DIGITS" at `*at` and moves past it; 0 if it is not there or is more than `max`. */
static int read_number(const char **at, uint64_t max, uint64_t *value) {
  const char *cursor = *at;
  if (*cursor++ != ' ' || *cursor < '0' || *cursor > '9') return 0;
  for (*value = 0; *cursor >= '0' && *cursor <= '9'; cursor++) {
    *value = *value * 10 + (uint64_t)(*cursor - '0');
    if (*value > max) return 0;
  }
  *at = cursor;
  return 1;
}

/* One line that ends with LF or NUL; what is wrong with it, or NULL. */
static const char *parse_step(const char *line, step_t *step) {
  const char *cursor = line + 1;
  uint64_t id = 0;
  switch (*line) {
    case 'a': step->operation = ALLOCATE; break;
    case 'r': step->operation = RESIZE; break;
    case 'f': step->operation = FREE; break;
    default: return "expected \"a ID SIZE\", \"r ID SIZE\" or \"f ID\"";
  }
  if (!read_number(&cursor, MAX_ID, &id)) return "the ID must be a whole number below 2^26";
  step->id = (uint32_t)id;
  step->size_bytes = 0;
  if (step->operation != FREE && !read_number(&cursor, (uint64_t)1 << 53, &step->size_bytes)) {
    return "the SIZE must be a whole number up to 2^53";
  }
  return *cursor == '\n' || *cursor == 0 ? NULL : "there is more on the line than the operation takes";
}

static void parse_trace(trace_t *trace, const char *text, size_t length) {
  size_t line_count = 1;
  for (size_t at = 0; at < length; at++) line_count += text[at] == '\n';
  trace->steps = map_table(line_count * sizeof *trace->steps);
  size_t number = 0;
  for (const char *line = text; line < text + length; number++) {
    const char *end = memchr(line, '\n', (size_t)(text + length - line));
    if (*line != '\n' && *line != '#') {
      step_t *step = &trace->steps[trace->count++];
      const char *fault = parse_step(line, step);
      if (fault) fail("%s, line %zu: %s", trace->name, number + 1, fault);
      if (step->id >= trace->id_count) trace->id_count = step->id + 1;
    }
    line = end ? end + 1 : text + length;
  }
  if (trace->count == 0) fail("%s: there is no operation in it", trace->name);
}

/* Finds the peak, and refuses an operation that does not fit what is live. */
static void follow_trace(trace_t *trace) {
  trace->blocks = map_table(trace->id_count * sizeof *trace->blocks);
  trace->live = map_table(trace->id_count);
  uint64_t *sizes = map_table(trace->id_count * sizeof *sizes);
  uint64_t live_bytes = 0;
  for (size_t index = 0; index < trace->count; index++) {
    const step_t *step = &trace->steps[index];
    int is_live = trace->live[step->id];
    if (is_live != (step->operation != ALLOCATE)) {
      fail("%s, operation %zu: block %" PRIu32 " is %s", trace->name, index + 1, step->id,
           is_live ? "live already" : "not live");
    }
    live_bytes += step->size_bytes - sizes[step->id];
    sizes[step->id] = step->size_bytes;
    trace->live[step->id] = step->operation != FREE;
    if (live_bytes > trace->peak_live_bytes) {
      trace->peak_live_bytes = live_bytes;
      trace->peak_step = index;
    }
  }
  munmap(sizes, trace->id_count * sizeof *sizes + 1);
}

static void free_leftovers(trace_t *trace) {
  for (size_t id = 0; id < trace->id_count; id++) {
    if (trace->live[id]) free(trace->blocks[id]);
  }
}

/* Speed */

static double now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* realloc to 0 bytes may mean free: asked for as 1 byte, so that the block stays live. */
static inline void *resize(void *block, size_t size_bytes) { return realloc(block, size_bytes ? size_bytes : 1); }

/* Stand-ins that do nothing; the empty asm keeps the load of the block that a real free would need. */
static inline void *bare_allocate(size_t size_bytes) { return (void *)size_bytes; }
static inline void *bare_resize(void *block, size_t size_bytes) {
  __asm__ volatile("" : : "r"(block));
  return (void *)size_bytes;
}
static inline void bare_free(void *block) { __asm__ volatile("" : : "r"(block)); }

/* The timed loop. Inlined into each caller, so that the calls in it are direct. */
static inline __attribute__((always_inline)) void pass(trace_t *trace, void *(*allocate_block)(size_t),
                                                       void *(*resize_block)(void *, size_t),
                                                       void (*free_block)(void *)) {
  void **blocks = trace->blocks;
  const step_t *end = trace->steps + trace->count;
  for (const step_t *step = trace->steps; step < end; step++) {
    if (step->operation == ALLOCATE) blocks[step->id] = allocate_block(step->size_bytes);
    else if (step->operation == FREE) free_block(blocks[step->id]);
    else blocks[step->id] = resize_block(blocks[step->id], step->size_bytes);
  }
}

static int by_value(const void *left, const void *right) {
  double a = *(const double *)left, b = *(const double *)right;
  return (a > b) - (a < b);
}

static void measure_speed(trace_t *trace, int is_bare, int min_passes, double min_ns) {
  static double passes_ns[MAX_PASSES];
  int count = 0;
  double total_ns = 0;
  for (int index = -1; count < min_passes || (total_ns < min_ns && count < MAX_PASSES); index++) {
    double start_ns = now_ns();
    if (is_bare) pass(trace, bare_allocate, bare_resize, bare_free);
    else pass(trace, malloc, resize, free);
    double pass_ns = now_ns() - start_ns;
    if (!is_bare) free_leftovers(trace);
    if (index < 0) continue;
    passes_ns[count++] = pass_ns;
    total_ns += pass_ns;
  }
  qsort(passes_ns, (size_t)count, sizeof *passes_ns, by_value);
  double median_ns = (passes_ns[count / 2] + passes_ns[(count - 1) / 2]) / 2;
  printf("\"nsPerOperation\":%.4f,\"passes\":%d", median_ns / (double)trace->count, count);
}

/* Memory */

static void touch(unsigned char *block, size_t size_bytes) {
  if (size_bytes <= TOUCH_WHOLE_BYTES) {
    memset(block, 1, size_bytes);
    return;
  }
  /* No supported system has smaller pages; the last one may begin within the last step. */
  for (size_t at = 0; at < size_bytes; at += 4096) ((volatile unsigned char *)block)[at] = 1;
  ((volatile unsigned char *)block)[size_bytes - 1] = 1;
}

static uint64_t resident_bytes(int rollup) {
  static char text[4096];
  ssize_t length = pread(rollup, text, sizeof text - 1, 0);
  text[length > 0 ? length : 0] = 0;
  const char *line = strstr(text, "\nRss:");
  if (!line) fail("replay: no Rss in /proc/self/smaps_rollup");
  return strtoull(line + 5, NULL, 10) * 1024;
}

static void measure_memory(trace_t *trace) {
  int rollup = open("/proc/self/smaps_rollup", O_RDONLY);
  if (rollup < 0) fail("replay: cannot read /proc/self/smaps_rollup");
  resident_bytes(rollup); /* the reading's own pages, before the baseline */
  uint64_t baseline = resident_bytes(rollup), peak = baseline;
  size_t stride = trace->count / SAMPLES + 1;
  for (size_t index = 0; index < trace->count; index++) {
    const step_t *step = &trace->steps[index];
    void **block = &trace->blocks[step->id];
    if (step->operation == FREE) {
      free(*block);
    } else {
      *block = step->operation == ALLOCATE ? malloc(step->size_bytes) : resize(*block, step->size_bytes);
      if (!*block && step->size_bytes) fail("%s, operation %zu: no memory", trace->name, index + 1);
      touch(*block, step->size_bytes);
    }
    if (index == trace->peak_step || index % stride == stride - 1 || index + 1 == trace->count) {
      uint64_t resident = resident_bytes(rollup);
      if (resident > peak) peak = resident;
    }
  }
  free_leftovers(trace);
  uint64_t end = resident_bytes(rollup);
  printf("\"peakResidentBytes\":%" PRIu64 ",\"endResidentBytes\":%" PRIu64, peak - baseline,
         end > baseline ? end - baseline : 0);
}

/* The file that the malloc of this process comes from: a preload that did not take must not pass for one that did. */
static const char *malloc_library(void) {
  Dl_info info;
  return dladdr(dlsym(RTLD_DEFAULT, "malloc"), &info) && info.dli_fname ? info.dli_fname : "";
}

int main(int count, char **arguments) {
  const char *mode = count > 2 ? arguments[1] : "";
  int is_bare = strcmp(mode, "bare") == 0;
  if (!is_bare && strcmp(mode, "speed") != 0 && strcmp(mode, "memory") != 0) {
    fail("usage: replay speed|memory|bare TRACE [MIN_PASSES [MIN_MS]]");
  }
  int min_passes = count > 3 ? atoi(arguments[3]) : 5;
  double min_ms = count > 4 ? atof(arguments[4]) : 40;
  if (min_passes < 1 || min_passes > MAX_PASSES) fail("replay: MIN_PASSES must be from 1 to %d", MAX_PASSES);

  trace_t trace = {.name = arguments[2]};
  size_t length;
  char *text = read_text(trace.name, &length);
  parse_trace(&trace, text, length);
  munmap(text, length + 1);
  follow_trace(&trace);

  free(malloc(16)); /* what an allocator sets up once in a process is not the recording's */
  printf("{\"library\":\"%s\",\"operations\":%zu,\"peakLiveBytes\":%" PRIu64 ",", malloc_library(), trace.count,
         trace.peak_live_bytes);
  fflush(stdout);
  if (strcmp(mode, "memory") == 0) measure_memory(&trace);
  else measure_speed(&trace, is_bare, min_passes, min_ms * 1e6);
  puts("}");
  return 0;
}
