// The owner of the program break, and its fence. Contracts and invariants are in the header.

#include "program_break.h"

#include <errno.h>
#include <sched.h>

#include <mutex>

namespace offheap {
namespace {

// Pages given up at the end go in steps that are shorter than what malloc asks for, as in break-source.ts.
constexpr size_t kStepBytes = 128 * 1024;

// malloc raises the break once in many of its calls, so that a few attempts to get in between are enough.
constexpr int kTakeAttempts = 16;

struct State {
  std::mutex lock;
  const void* owner = nullptr;
  std::string name;
  bool is_ours = false;
  char* found = nullptr;
  char* base = nullptr;
  char* top = nullptr;
  char* hole_end = nullptr;
  char* fence_end = nullptr;  // null: there is no fence, or one that nobody may touch
  size_t holders = 0;         // owners, past ones too, whose memory may still be reached
  bool keeps_fence = false;   // somebody may reach the memory under the fence for ever
};

// Never destroyed: a thread may end after static destructors ran.
State& TheState() {
  static State* const state = new State();
  return *state;
}

using Lock = std::lock_guard<std::mutex>;

char* AlignUp(char* address) {
  const uintptr_t mask = PageBytes() - 1;
  return reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(address) + mask) & ~mask);
}

CallResult Ok() { return {0, ""}; }

// Whether the break is at `address`, where we left it. Afterwards no call of malloc's is under way that began before the
// last move, and libc thinks the same as the kernel: a thread whose call was refused may have written down late where the
// break had been. A call that started from there after two more steps would lower the break under us.
bool IsBreakAt(char* address) {
  for (;;) {
    WaitForMalloc();
    if (KernelBreak() != address) return false;
    if (LibcBreak() == address) return true;
    TellLibcBreak(address);
  }
}

// The two differ for as long as another thread is in `sbrk`.
bool HasMovedFrom(const char* address) { return LibcBreak() != address || KernelBreak() != address; }

// Moves the break from `from`, and makes sure that nothing else did. ECANCELED: something did.
Errno MoveFrom(char* from, intptr_t increment_bytes) {
  if (!IsBreakAt(from)) return ECANCELED;
  char* old_break = nullptr;
  const Errno error = MoveBreak(increment_bytes, &old_break);
  if (error != 0) return error;
  char* const now = KernelBreak();
  if (old_break == from && now == from + increment_bytes) return 0;
  // libc reported success, and the kernel did nothing.
  return old_break == from && now == from ? ENOMEM : ECANCELED;
}

// Adds what is missing of the fence in [start, end).
Errno MapBetween(char* start, char* end) {
  return start < end ? MapPagesAt(start, static_cast<size_t>(end - start)) : 0;
}

// Leaves an opening of a page, and of the page that the kernel wants free behind it, under a fence. That of an earlier
// owner, which stands until nobody reaches the memory under it any more, is ours to use where it begins here.
Errno FenceForTrial(State& s) {
  const size_t page = PageBytes();
  char* const end = s.base + 2 * page;
  if (s.fence_end != nullptr) {
    const Errno opened = s.hole_end < end ? UnmapPages(s.hole_end, static_cast<size_t>(end - s.hole_end)) : 0;
    if (opened == 0 && s.hole_end < end) s.hole_end = end;
    return opened;
  }
  const Errno error = MapPagesAt(end, page);
  if (error != 0) return error;
  s.hole_end = end;
  s.fence_end = end + page;
  return 0;
}

void RemoveFence(State& s) {
  if (s.fence_end == nullptr) return;
  // A failure has nobody to be told to; the fence then lasts as long as the process.
  UnmapPages(s.hole_end, static_cast<size_t>(s.fence_end - s.hole_end));
  s.fence_end = nullptr;
}

// Up by the rest of a page and one page more, and down by that page.
CallResult TryBreak(State& s) {
  const intptr_t page = static_cast<intptr_t>(PageBytes());
  const Errno up = MoveFrom(s.found, s.base - s.found + page);
  if (up != 0) return {up, "sbrk"};
  const Errno down = MoveFrom(s.base + page, -page);
  if (down != 0) return {down, "sbrk"};
  const Errno closed = MapBetween(s.base, s.hole_end);
  if (closed != 0) {
    MoveFrom(s.base, s.found - s.base);
    return {closed, "mmap"};
  }
  s.hole_end = s.base;
  return Ok();
}

bool IsOwner(const State& s, const void* owner) { return s.owner == owner && owner != nullptr; }

bool IsStillOurs(State& s) {
  if (s.is_ours && !IsBreakAt(s.top)) s.is_ours = false;
  return s.is_ours;
}

// Down to `base` step by step, the fence closed behind each step; then by the rest of a page that was found.
bool LowerAll(State& s) {
  while (s.top > s.base) {
    const size_t left_bytes = static_cast<size_t>(s.top - s.base);
    const size_t step_bytes = left_bytes < kStepBytes ? left_bytes : kStepBytes;
    if (MoveFrom(s.top, -static_cast<intptr_t>(step_bytes)) != 0) return false;
    s.top -= step_bytes;
    if (MapBetween(s.top, s.hole_end) == 0) s.hole_end = s.top;
  }
  return MoveFrom(s.base, s.found - s.base) == 0;
}

// One attempt to fence the break where it is now, and to move it. All is as before where that fails.
CallResult FenceAndTry(State& s) {
  s.found = LibcBreak();
  if (KernelBreak() == nullptr) return {EPERM, "brk"};
  if (s.found != KernelBreak()) return {EINVAL, "sbrk"};
  char* const found_base = AlignUp(s.found);
  if (found_base != s.base && s.fence_end != nullptr) return {EEXIST, "mmap"};
  s.base = found_base;
  s.top = s.base;
  const Errno fenced = FenceForTrial(s);
  if (fenced != 0) return {fenced, "mmap"};
  const CallResult tried = TryBreak(s);
  if (tried.error != 0) {
    if (s.holders == 0) RemoveFence(s);
    else if (MapBetween(s.base, s.hole_end) == 0) s.hole_end = s.base;
  }
  return tried;
}

}  // namespace

CallResult TakeBreak(const void* owner, const std::string& name, char** base) {
  State& s = TheState();
  const Lock lock(s.lock);
  if (s.owner != nullptr) return {EBUSY, "sbrk"};
  CallResult tried = FenceAndTry(s);
  // While there is no fence, malloc in another thread may get in between, and then the place for it is elsewhere.
  for (int more = kTakeAttempts - 1; more > 0 && tried.error != 0 && HasMovedFrom(s.found); --more) {
    sched_yield();
    tried = FenceAndTry(s);
  }
  if (tried.error != 0) return tried;
  s.owner = owner;
  s.name = name;
  s.is_ours = true;
  s.holders += 1;
  *base = s.base;
  return Ok();
}

std::string OwnerName() {
  State& s = TheState();
  const Lock lock(s.lock);
  return s.owner != nullptr ? s.name : std::string();
}

bool IsBreakOurs(const void* owner) {
  State& s = TheState();
  const Lock lock(s.lock);
  return IsOwner(s, owner) && IsStillOurs(s);
}

CallResult OpenFence(const void* owner, size_t length_bytes) {
  State& s = TheState();
  const Lock lock(s.lock);
  if (!IsOwner(s, owner) || !s.is_ours) return {EINVAL, "munmap"};
  const size_t wanted_bytes = length_bytes + PageBytes();
  if (wanted_bytes > static_cast<size_t>(s.fence_end - s.top)) return {EINVAL, "munmap"};
  char* const end = s.top + wanted_bytes;
  if (end <= s.hole_end) return Ok();
  const Errno error = UnmapPages(s.hole_end, static_cast<size_t>(end - s.hole_end));
  if (error == 0) s.hole_end = end;
  return {error, "munmap"};
}

CallResult MoveOwnBreak(const void* owner, intptr_t increment_bytes, bool* has_moved) {
  State& s = TheState();
  const Lock lock(s.lock);
  *has_moved = false;
  if (!IsOwner(s, owner)) return {EINVAL, "sbrk"};
  if (!s.is_ours) return Ok();
  const intptr_t most_up = s.hole_end - s.top - static_cast<intptr_t>(PageBytes());
  if (increment_bytes > 0 ? increment_bytes > most_up : increment_bytes < s.base - s.top) return {EINVAL, "sbrk"};
  const Errno error = MoveFrom(s.top, increment_bytes);
  if (error == ECANCELED) {
    s.is_ours = false;
    return Ok();
  }
  if (error != 0) return {error, "sbrk"};
  s.top += increment_bytes;
  *has_moved = true;
  return Ok();
}

CallResult CloseFence(const void* owner, size_t reach_bytes, size_t* covered_bytes) {
  State& s = TheState();
  const Lock lock(s.lock);
  if (!IsOwner(s, owner) || !s.is_ours) return {EINVAL, "mmap"};
  *covered_bytes = static_cast<size_t>(s.fence_end - s.base);
  const Errno closed = MapBetween(s.top, s.hole_end);
  if (closed != 0) return {closed, "mmap"};
  s.hole_end = s.top;
  const Errno extended = MapBetween(s.fence_end, s.base + reach_bytes);
  if (extended != 0) return {extended, "mmap"};
  if (s.base + reach_bytes > s.fence_end) s.fence_end = s.base + reach_bytes;
  *covered_bytes = static_cast<size_t>(s.fence_end - s.base);
  return Ok();
}

size_t HeldBytes(const void* owner) {
  State& s = TheState();
  const Lock lock(s.lock);
  return IsOwner(s, owner) ? static_cast<size_t>(s.top - s.base) : 0;
}

bool LeaveBreak(const void* owner, bool keeps) {
  State& s = TheState();
  const Lock lock(s.lock);
  if (!IsOwner(s, owner)) return false;
  const bool is_back = !keeps && IsStillOurs(s) && LowerAll(s);
  // What is above may belong to others now, or to whoever still uses the memory: nobody touches that fence again.
  if (!is_back) s.fence_end = nullptr;
  s.owner = nullptr;
  s.is_ours = false;
  return is_back;
}

void ForgetBreak(const void* owner, bool keeps) {
  State& s = TheState();
  const Lock lock(s.lock);
  if (owner == nullptr || IsOwner(s, owner)) return;
  if (keeps) s.keeps_fence = true;
  s.holders -= 1;
  if (s.holders > 0 || s.owner != nullptr || s.keeps_fence) return;
  RemoveFence(s);
}

}  // namespace offheap
