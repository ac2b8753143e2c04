// Other code in the process, as tests need it: it writes where a Buffer is or was; threads of it use malloc, or move the
// program break themselves; and limits forbid to move it. Built by stranger.ts; not part of the package.
//
// The few functions of Node-API are declared here, so that no header of any Node is needed to build this.

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <vector>

extern "C" {
typedef struct napi_env__* napi_env;
typedef struct napi_value__* napi_value;
typedef struct napi_callback_info__* napi_callback_info;
typedef napi_value (*napi_callback)(napi_env, napi_callback_info);
int napi_create_function(napi_env, const char*, size_t, napi_callback, void*, napi_value*);
int napi_set_named_property(napi_env, napi_value, const char*, napi_value);
int napi_get_cb_info(napi_env, napi_callback_info, size_t*, napi_value*, napi_value*, void**);
int napi_get_value_double(napi_env, napi_value, double*);
int napi_create_double(napi_env, double, napi_value*);
int napi_get_typedarray_info(napi_env, napi_value, int*, size_t*, void**, napi_value*, size_t*);
}

namespace {

double ArgumentAt(napi_env env, napi_callback_info info, size_t index) {
  napi_value arguments[2] = {nullptr, nullptr};
  size_t count = 2;
  double number = 0;
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  if (index < count) napi_get_value_double(env, arguments[index], &number);
  return number;
}

napi_value NumberOf(napi_env env, double number) {
  napi_value value = nullptr;
  napi_create_double(env, number, &value);
  return value;
}

// addressOf(bytes): where a Uint8Array's memory is.
napi_value AddressOf(napi_env env, napi_callback_info info) {
  napi_value bytes = nullptr;
  size_t count = 1;
  void* data = nullptr;
  napi_get_cb_info(env, info, &count, &bytes, nullptr, nullptr);
  napi_get_typedarray_info(env, bytes, nullptr, nullptr, &data, nullptr, nullptr);
  return NumberOf(env, static_cast<double>(reinterpret_cast<uintptr_t>(data)));
}

// poke(address, byte): writes one byte there, whatever it is now.
napi_value Poke(napi_env env, napi_callback_info info) {
  auto* const address = reinterpret_cast<volatile unsigned char*>(static_cast<uintptr_t>(ArgumentAt(env, info, 0)));
  *address = static_cast<unsigned char>(ArgumentAt(env, info, 1));
  return nullptr;
}

// readInFork(address): forks, and the child reads a byte there and ends. Returns the signal that ended it, or 0.
napi_value ReadInFork(napi_env env, napi_callback_info info) {
  const auto* const address =
      reinterpret_cast<volatile unsigned char*>(static_cast<uintptr_t>(ArgumentAt(env, info, 0)));
  const pid_t child = fork();
  if (child < 0) return NumberOf(env, -1);
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);
    static_cast<void>(*address);
    _exit(0);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return NumberOf(env, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

// breakAt(): the program break, as libc has it.
napi_value BreakAt(napi_env env, napi_callback_info) {
  return NumberOf(env, static_cast<double>(reinterpret_cast<uintptr_t>(sbrk(0))));
}

// move(bytes): moves the break up or down, as malloc does where it can. Returns 1, or 0 where it cannot.
napi_value Move(napi_env env, napi_callback_info info) {
  const bool has_moved = sbrk(static_cast<intptr_t>(ArgumentAt(env, info, 0))) != reinterpret_cast<void*>(-1);
  return NumberOf(env, has_moved ? 1 : 0);
}

// seize(bytes): removes whatever lies above the break, and raises the break by so much, without a word to anybody.
// Returns where the seized memory begins, all of it written to, or 0.
napi_value Seize(napi_env env, napi_callback_info info) {
  const intptr_t bytes = static_cast<intptr_t>(ArgumentAt(env, info, 0));
  char* const start = static_cast<char*>(sbrk(0));
  munmap(start, bytes + sysconf(_SC_PAGESIZE));
  if (sbrk(bytes) != start) return NumberOf(env, 0);
  memset(start, 0x5a, bytes);
  return NumberOf(env, static_cast<double>(reinterpret_cast<uintptr_t>(start)));
}

extern "C" void* __curbrk;

// misremember(bytes): libc thinks from now on that the break is so much lower, as after a call that a thread was suspended in.
napi_value Misremember(napi_env env, napi_callback_info info) {
  __curbrk = static_cast<char*>(__curbrk) - static_cast<intptr_t>(ArgumentAt(env, info, 0));
  return nullptr;
}

// isIntact(start, bytes): whether seized memory is as it was left.
napi_value IsIntact(napi_env env, napi_callback_info info) {
  const char* const start = reinterpret_cast<char*>(static_cast<uintptr_t>(ArgumentAt(env, info, 0)));
  const size_t bytes = static_cast<size_t>(ArgumentAt(env, info, 1));
  for (size_t i = 0; i < bytes; ++i) {
    if (start[i] != 0x5a) return NumberOf(env, 0);
  }
  return NumberOf(env, 1);
}

// limitData(bytes): RLIMIT_DATA of this process. Returns errno.
napi_value LimitData(napi_env env, napi_callback_info info) {
  struct rlimit limit;
  getrlimit(RLIMIT_DATA, &limit);
  limit.rlim_cur = static_cast<rlim_t>(ArgumentAt(env, info, 0));
  return NumberOf(env, setrlimit(RLIMIT_DATA, &limit) == 0 ? 0 : errno);
}

// filterBrk(error): from now on a seccomp filter answers every brk of this thread with that errno; 0 is how the kernel
// itself refuses. Returns errno. glibc takes an errno for an address, and so would give malloc memory that is not there:
// malloc gets so much beforehand that it does not ask.
napi_value FilterBrk(napi_env env, napi_callback_info info) {
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  mallopt(M_MMAP_MAX, 0);
  void* volatile spare = malloc(64 << 20);  // volatile, or the compiler leaves both calls out
  free(spare);
  mallopt(M_MMAP_MAX, 65536);
  const uint32_t answer = static_cast<uint32_t>(ArgumentAt(env, info, 0)) & SECCOMP_RET_DATA;
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_brk, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | answer),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return NumberOf(env, errno);
  return NumberOf(env, prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0 ? 0 : errno);
}

// --- Threads that use malloc --------------------------------------------------------------------------------------

struct Block {
  unsigned char* start;
  size_t bytes;
  unsigned char tag;
};

std::atomic<bool> is_running{false};
std::atomic<uint64_t> block_count{0};
std::atomic<uint64_t> damaged_count{0};
std::vector<pthread_t> threads;

constexpr size_t kTopBytes = 32 * 1024 * 1024;

uint32_t Next(uint32_t* state) {
  *state = *state * 1664525u + 1013904223u;
  return *state >> 8;
}

// A few bytes at each page's border and at both ends are enough to see an overlap, and leave time for more blocks.
void Mark(const Block& block) {
  for (size_t i = 0; i < block.bytes; i += 512) block.start[i] = block.tag;
  block.start[block.bytes - 1] = block.tag;
}

bool IsMarked(const Block& block) {
  for (size_t i = 0; i < block.bytes; i += 512) {
    if (block.start[i] != block.tag) return false;
  }
  return block.start[block.bytes - 1] == block.tag;
}

void End(const Block& block) {
  if (!IsMarked(block)) damaged_count += 1;
  free(block.start);
}

// Grows and shrinks a set of blocks, so that malloc wants more memory again and again, and gives some back.
void* UseMalloc(void* argument) {
  uint32_t state = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(argument));
  std::vector<Block> live;
  size_t most = 400;
  while (is_running) {
    const bool grows = live.size() < most && Next(&state) % 8 != 0;
    if (grows) {
      const size_t bytes = 64 + Next(&state) % 100000;
      Block block = {static_cast<unsigned char*>(malloc(bytes)), bytes, static_cast<unsigned char>(Next(&state))};
      if (block.start == nullptr) abort();
      Mark(block);
      live.push_back(block);
      block_count += 1;
      continue;
    }
    if (live.size() >= most) most = 200 + Next(&state) % 400;
    const size_t count = 1 + Next(&state) % (live.empty() ? 1 : live.size());
    for (size_t i = 0; i < count && !live.empty(); ++i) {
      const size_t index = Next(&state) % live.size();
      End(live[index]);
      live[index] = live.back();
      live.pop_back();
    }
  }
  for (const Block& block : live) End(block);
  return nullptr;
}

// Asks for memory of the break as malloc does, as often as it can, and gives back at once what it gets, if that is the top.
void* AskForBreak(void*) {
  const intptr_t bytes = 132 * 1024;
  while (is_running) {
    void* const start = sbrk(bytes);
    block_count += 1;
    if (start != reinterpret_cast<void*>(-1)) damaged_count += 1;
  }
  return nullptr;
}

// Frees a block now and then that malloc takes for a reason to lower the break by a page or two, down to a few MiB.
void* GiveBack(void*) {
  for (size_t kept = kTopBytes - kTopBytes / 8; kept > kTopBytes / 8 && is_running; kept -= 8192) {
    mallopt(M_TOP_PAD, static_cast<int>(kept));
    const void* const before = sbrk(0);
    void* volatile block = malloc(100000);
    free(block);
    if (sbrk(0) < before) block_count += 1;
    usleep(100);
  }
  mallopt(M_TOP_PAD, 128 * 1024);
  return nullptr;
}

unsigned char* used_start = nullptr;
size_t used_bytes = 0;

// Reads and writes a byte of each page of a range, again and again.
void* UseRange(void*) {
  const size_t page_bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  while (is_running) {
    for (size_t at = 0; at < used_bytes; at += page_bytes) {
      volatile unsigned char& byte = used_start[at];
      byte = byte + 1;
    }
    block_count += used_bytes / page_bytes;
  }
  return nullptr;
}

void Start(size_t count, void* (*run)(void*)) {
  is_running = true;
  block_count = 0;
  damaged_count = 0;
  for (size_t i = 0; i < count; ++i) {
    pthread_t thread;
    if (pthread_create(&thread, nullptr, run, reinterpret_cast<void*>(i * 7919 + 1)) != 0) abort();
    threads.push_back(thread);
  }
}

// startMalloc(threads)
napi_value StartMalloc(napi_env env, napi_callback_info info) {
  Start(static_cast<size_t>(ArgumentAt(env, info, 0)), UseMalloc);
  return nullptr;
}

// startUsing(address, bytes): a thread reads and writes there, as one that was handed the address of a block does.
napi_value StartUsing(napi_env env, napi_callback_info info) {
  used_start = reinterpret_cast<unsigned char*>(static_cast<uintptr_t>(ArgumentAt(env, info, 0)));
  used_bytes = static_cast<size_t>(ArgumentAt(env, info, 1));
  Start(1, UseRange);
  return nullptr;
}

// startAsking(threads)
napi_value StartAsking(napi_env env, napi_callback_info info) {
  Start(static_cast<size_t>(ArgumentAt(env, info, 0)), AskForBreak);
  return nullptr;
}

// startGivingBack(): malloc has 32 MiB of free memory right below the break, and gives it back bit by bit.
napi_value StartGivingBack(napi_env, napi_callback_info) {
  mallopt(M_MMAP_THRESHOLD, 2 * kTopBytes / 4);
  mallopt(M_TRIM_THRESHOLD, 2 * kTopBytes);
  mallopt(M_TOP_PAD, kTopBytes);
  void* const pieces[] = {malloc(kTopBytes / 4), malloc(kTopBytes / 4), malloc(kTopBytes / 4), malloc(kTopBytes / 4)};
  for (void* piece : pieces) free(piece);
  mallopt(M_TRIM_THRESHOLD, 4096);
  Start(1, GiveBack);
  return nullptr;
}

// stop(): ends the threads. Returns how many blocks they made, how often they asked, or how often they lowered the break.
napi_value Stop(napi_env env, napi_callback_info) {
  is_running = false;
  for (pthread_t thread : threads) pthread_join(thread, nullptr);
  threads.clear();
  return NumberOf(env, static_cast<double>(block_count));
}

// damaged(): blocks that were not as they had been left; or how often the break was given to who asked.
napi_value Damaged(napi_env env, napi_callback_info) { return NumberOf(env, static_cast<double>(damaged_count)); }

void Export(napi_env env, napi_value exports, const char* name, napi_callback function) {
  napi_value value = nullptr;
  napi_create_function(env, name, strlen(name), function, nullptr, &value);
  napi_set_named_property(env, exports, name, value);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) napi_value napi_register_module_v1(napi_env env, napi_value exports) {
  Export(env, exports, "addressOf", AddressOf);
  Export(env, exports, "poke", Poke);
  Export(env, exports, "readInFork", ReadInFork);
  Export(env, exports, "breakAt", BreakAt);
  Export(env, exports, "move", Move);
  Export(env, exports, "seize", Seize);
  Export(env, exports, "isIntact", IsIntact);
  Export(env, exports, "misremember", Misremember);
  Export(env, exports, "limitData", LimitData);
  Export(env, exports, "filterBrk", FilterBrk);
  Export(env, exports, "startMalloc", StartMalloc);
  Export(env, exports, "startUsing", StartUsing);
  Export(env, exports, "startAsking", StartAsking);
  Export(env, exports, "startGivingBack", StartGivingBack);
  Export(env, exports, "stop", Stop);
  Export(env, exports, "damaged", Damaged);
  return exports;
}
