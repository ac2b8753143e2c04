// The owner of the program break, and its fence. Contracts and invariants are in the header.

#include "program_break.h"

#include <sched.h>

#include <cerrno>
#include <cstdlib>
#include <mutex>

#include "align.h"

namespace offheap {
namespace {

// Pages given up at the end go in steps that are shorter than what malloc asks for, as in break-source.ts.
constexpr size_t kStepBytes = size_t{128} << 10;

// malloc raises the break once in many of its calls, so that a few attempts to get in between are enough.
constexpr int kAttempts = 16;
// The least that a trial needs: the page it moves by, the one the kernel wants free behind it, and one that stays.
constexpr size_t kFirstFencePages = 3;

struct State {
  std::mutex lock;
  const void* owner = nullptr;
  std::string name;
  bool is_ours = false;
  bool is_resting = true;
  bool can_set = false;  // the break can be moved as a number
  char* found = nullptr;
  char* floor = nullptr;
  char* base = nullptr;
  char* top = nullptr;
  char* hole_end = nullptr;
  char* open_end = nullptr;
  char* seen_end = nullptr;
  char* fence_end = nullptr;  // null: there is no fence, or one that nobody may touch
  size_t holders = 0;         // owners, past ones too, whose memory may still be reached
  bool keeps_fence = false;   // somebody may reach the memory under the fence for ever
};

// Never destroyed: a thread may end after static destructors ran.
State& TheState() {
  static auto* const state = new State();
  return *state;
}

using Lock = std::lock_guard<std::mutex>;

// The page border at `address`, or the next above it.
char* PageUp(char* address) { return AlignUp(address, PageBytes()); }

CallResult Ok() { return {0, ""}; }

// Whether the break is at `address`, where we left it. Afterwards no call of malloc's is under way that began before
// the last move, and libc thinks the same as the kernel: a thread whose call was refused may have written down late
// where the break had been. A call that started from there after two more steps would lower the break under us.
bool IsBreakAt(char* address) {
  for (;;) {
    WaitForMalloc();
    if (KernelBreak() != address) return false;
    if (LibcBreak() == address) return true;
    TellLibcBreak(address);
  }
}

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

// Moves the break from `from` as a number: nothing is mapped or unmapped. ECANCELED: something else moved it.
Errno SetFrom(char* from, intptr_t increment_bytes) {
  if (!IsBreakAt(from)) return ECANCELED;
  char* const to = from + increment_bytes;
  const Errno error = SetBreak(to);
  if (error != 0) return error;
  if (KernelBreak() != to) return ECANCELED;
  TellLibcBreak(to);
  return 0;
}

// Adds what is missing of the fence in [start, end).
Errno MapBetween(char* start, char* end) {
  return start < end ? MapPagesAt(start, static_cast<size_t>(end - start)) : 0;
}

Errno UnmapBetween(char* start, char* end) {
  return start < end ? UnmapPages(start, static_cast<size_t>(end - start)) : 0;
}

// All of it but what there were views of: nobody knows who still holds an address there.
// The next owner begins above that.
void RemoveFence(State& s) {
  if (s.fence_end == nullptr) return;
  const bool was_seen = s.seen_end > s.floor;
  char* const kept_end = was_seen ? s.seen_end : s.floor;
  // A failure has nobody to be told to; the fence then lasts as long as the process.
  UnmapBetween(kept_end > s.hole_end ? kept_end : s.hole_end, s.fence_end);
  s.fence_end = was_seen ? kept_end : nullptr;
  s.base = s.top = s.hole_end = s.open_end = kept_end;
}

// Moves the break with the pages of the owner. Over pages that nobody ever had a view of by `sbrk`. Over others as a
// number, under which their mapping stays: the pages that it moves over are mapped anew, in one call each step, so that
// they are empty, and there is no instant at which an access to them faults.
Errno MoveTop(State& s, intptr_t increment_bytes) {
  char* const to = s.top + increment_bytes;
  if ((increment_bytes > 0 ? s.top : to) >= s.seen_end) {
    const Errno error = MoveFrom(s.top, increment_bytes);
    if (error == 0) s.top = to;
    return error;
  }
  if (!s.can_set) return EPERM;
  if (increment_bytes > s.fence_end - s.top) return EINVAL;
  if (!IsBreakAt(s.top)) return ECANCELED;
  Errno error = MapBetween(s.top, s.hole_end);
  if (error == 0) s.hole_end = s.top;
  char* const low = increment_bytes > 0 ? s.top : to;
  // Up as well: somebody may have written there meanwhile.
  if (error == 0) error = RemapPages(low, static_cast<size_t>(std::abs(increment_bytes)));
  if (error == 0) error = SetFrom(s.top, increment_bytes);
  if (error == 0) s.top = s.hole_end = to;
  return error;
}

// --- At rest ------------------------------------------------------------------------------------------------------

// While no page is held, the break is malloc's, below `base`: it lowers it where its own top is free, and may
// raise it up to the fence again.

// Whether what lies between the break at rest and `base`, or the page at `base`, is a fence that must stay mapped.
bool IsFencedForGood(const State& s) { return s.floor < s.base || s.base < s.seen_end; }

// From `base` to where the break was found, step by step. Where it does not go on, it rests where it is.
void Rest(State& s) {
  if (s.floor < s.base) {
    if (SetFrom(s.base, s.found - s.base) == 0) UnmapBetween(PageUp(s.found), s.floor);
    s.is_resting = true;
    return;
  }
  char* at = s.base;
  while (at > s.found) {
    const auto left_bytes = static_cast<size_t>(at - s.found);
    const size_t step_bytes = left_bytes < kStepBytes ? left_bytes : kStepBytes;
    if (MoveFrom(at, -static_cast<intptr_t>(step_bytes)) != 0) break;
    at -= step_bytes;
  }
  s.is_resting = true;
}

// From where the break was found to `base`, as a number, under a fence that covers all of that. EAGAIN: as below.
Errno SetToBase(State& s) {
  const Errno error = s.can_set ? SetFrom(s.found, s.base - s.found) : EPERM;
  if (error != 0) {
    UnmapBetween(PageUp(s.found), s.floor);
    return error == ECANCELED ? EAGAIN : error;
  }
  if (!IsBreakAt(s.base)) return EAGAIN;
  s.is_resting = false;
  return 0;
}

// From where the break was found, under a fence that begins there, to `base`, step by step. EAGAIN: malloc lowered it
// meanwhile, which it may; nothing of ours is below `base` then.
//
// A thread that gives memory back asks where the break is, finds it at the end of malloc's own memory, and lowers it by
// so much. Between the two it may be as slow as it likes, and the break be ours. So the last of these threads is waited
// for at `base`, which is no end of malloc's memory: from there on none begins.
Errno RaiseToBase(State& s) {
  if (IsFencedForGood(s)) return SetToBase(s);
  Errno error = 0;
  char* at = s.found;
  while (error == 0 && at < s.base) {
    char* const start = PageUp(at);
    char* const to = start + kStepBytes < s.base ? start + kStepBytes : s.base;
    char* const opened = to + PageBytes();
    if (!IsBreakAt(at)) {
      UnmapBetween(start, s.base);
      return EAGAIN;
    }
    error = UnmapBetween(start, opened);
    if (error != 0) break;
    error = MoveFrom(at, to - at);
    if (error == ECANCELED) {
      UnmapBetween(opened, s.base);
      const Errno closed = MapBetween(s.base, opened);
      return closed == 0 ? EAGAIN : ECANCELED;
    }
    if (error == 0) at = to;
    const Errno closed = MapBetween(PageUp(at), opened);
    if (error == 0) error = closed;
  }
  if (error == 0) {
    if (!IsBreakAt(s.base)) return EAGAIN;
    s.is_resting = false;
    return 0;
  }
  if (at > s.found) MoveFrom(at, s.found - at);
  UnmapBetween(PageUp(s.found), s.base);
  return error;
}

// Raises the break to `base` from wherever malloc has it. ECANCELED: it is above the floor.
Errno Wake(State& s) {
  const Errno closed = MapBetween(s.base, s.hole_end);
  if (closed != 0) return closed;
  s.hole_end = s.open_end = s.base;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    WaitForMalloc();
    char* const now = KernelBreak();
    if (now == nullptr) return EPERM;
    if (now > s.floor) return ECANCELED;
    const Errno fenced = MapBetween(PageUp(now), s.floor);
    if (fenced != 0 && fenced != EEXIST) return fenced;
    if (fenced == 0 && IsBreakAt(now)) {
      s.found = now;
      const Errno raised = RaiseToBase(s);
      if (raised != EAGAIN) return raised;
    } else if (fenced == 0) {
      // malloc moved it meanwhile.
      UnmapBetween(PageUp(now), s.floor);
    }
    sched_yield();
  }
  return EAGAIN;
}

// Opens the fence so that the break can rise by `length_bytes`. Before that, libc must know where the break is: a call
// that starts from a step below asks for as much less of the opening, which then is long enough. Where there were
// views, nothing is unmapped: the break moves as a number there.
CallResult Open(State& s, size_t length_bytes) {
  const size_t wanted_bytes = length_bytes + PageBytes();
  if (wanted_bytes > static_cast<size_t>(s.fence_end - s.top)) return {EINVAL, "munmap"};
  if (s.is_resting) {
    const Errno woken = Wake(s);
    if (woken != 0) return {woken, "sbrk"};
  }
  char* const end = s.top + wanted_bytes;
  if (end <= s.open_end) return Ok();
  if (!IsBreakAt(s.top)) {
    // Nothing is opened, and the next move says so.
    s.is_ours = false;
    return Ok();
  }
  if (s.top < s.seen_end) {
    s.open_end = end;
    return Ok();
  }
  const Errno error = UnmapBetween(s.hole_end, end);
  if (error == 0) s.hole_end = s.open_end = end;
  return {error, "munmap"};
}

// Closes what is open; with no page held, the break goes to rest.
Errno Close(State& s) {
  const Errno closed = MapBetween(s.top, s.hole_end);
  if (closed != 0) return closed;
  s.hole_end = s.open_end = s.top;
  if (s.top == s.base && !s.is_resting) Rest(s);
  return 0;
}

// The fence of an earlier owner, which stands. Where nobody ever had a view of its memory, it is ours to use. Else it
// stays as it is, and ours begins where it ends: nobody gets addresses that another may hold.
CallResult FenceAbove(State& s) {
  if (KernelBreak() > s.floor) return {EEXIST, "mmap"};
  if (s.seen_end <= s.floor) return Ok();
  if (s.seen_end > s.base) s.base = s.top = s.hole_end = s.open_end = s.fence_end;
  char* const least_end = s.base + kFirstFencePages * PageBytes();
  const Errno error = MapBetween(s.fence_end, least_end);
  if (error != 0) return {error, "mmap"};
  if (s.fence_end < least_end) s.fence_end = least_end;
  s.is_resting = true;
  return Ok();
}

// Fences the break where it is.
CallResult Fence(State& s) {
  char* const now = KernelBreak();
  if (now == nullptr) return {EPERM, "brk"};
  if (s.fence_end != nullptr) return FenceAbove(s);
  s.found = now;
  s.base = PageUp(now + 1);
  s.floor = s.seen_end = s.base;
  s.top = s.base;
  s.hole_end = s.open_end = s.base;
  const Errno error = MapPagesAt(s.base, kFirstFencePages * PageBytes());
  if (error != 0) return {error, "mmap"};
  s.fence_end = s.base + kFirstFencePages * PageBytes();
  s.is_resting = true;
  return Ok();
}

// One attempt to fence the break, and to move it by a page up and down.
CallResult FenceAndTry(State& s) {
  const CallResult fenced = Fence(s);
  if (fenced.error != 0) return fenced;
  const auto page = static_cast<intptr_t>(PageBytes());
  const CallResult opened = Open(s, PageBytes());
  Errno error = opened.error;
  // Here, where the break is under the fence: before that malloc may move it meanwhile.
  if (error == 0) s.can_set = IsBreakAt(s.top) && SetBreak(s.top) == 0;
  if (error == 0) error = MoveTop(s, page);
  if (error == 0) error = MoveTop(s, -page);
  if (opened.error == 0) {
    const Errno closed = Close(s);
    if (error == 0 && closed != 0) return {closed, "mmap"};
  }
  if (error == 0) return Ok();
  if (s.holders == 0) RemoveFence(s);
  return {error, "sbrk"};
}

bool IsOwner(const State& s, const void* owner) { return s.owner == owner && owner != nullptr; }

bool IsStillOurs(State& s) {
  if (!s.is_ours) return false;
  if (!s.is_resting) {
    s.is_ours = IsBreakAt(s.top);
    return s.is_ours;
  }
  char* const now = KernelBreak();
  s.is_ours = now != nullptr && now <= s.floor;
  return s.is_ours;
}

// Down to `base` step by step, the fence closed behind each step; then to rest.
bool LowerAll(State& s) {
  while (s.top > s.base) {
    const auto left_bytes = static_cast<size_t>(s.top - s.base);
    const size_t step_bytes = left_bytes < kStepBytes ? left_bytes : kStepBytes;
    if (MoveTop(s, -static_cast<intptr_t>(step_bytes)) != 0) return false;
    if (MapBetween(s.top, s.hole_end) == 0) s.hole_end = s.open_end = s.top;
  }
  if (!s.is_resting) Rest(s);
  return true;
}

}  // namespace

CallResult TakeBreak(const void* owner, const std::string& name, char** base) {
  State& s = TheState();
  const Lock lock(s.lock);
  if (s.owner != nullptr) return {EBUSY, "sbrk"};
  CallResult tried = FenceAndTry(s);
  // While there is no fence, malloc in another thread may get in between, and then the place for it is elsewhere.
  for (int more = kAttempts - 1; more > 0 && (tried.error == EEXIST || tried.error == ECANCELED); --more) {
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
  return Open(s, length_bytes);
}

CallResult MoveOwnBreak(const void* owner, intptr_t increment_bytes, bool* has_moved) {
  State& s = TheState();
  const Lock lock(s.lock);
  *has_moved = false;
  if (!IsOwner(s, owner)) return {EINVAL, "sbrk"};
  if (!s.is_ours) return Ok();
  const intptr_t most_up = s.open_end - s.top - static_cast<intptr_t>(PageBytes());
  if (increment_bytes > 0 ? increment_bytes > most_up : increment_bytes < s.base - s.top) return {EINVAL, "sbrk"};
  if (increment_bytes == 0) {
    *has_moved = IsStillOurs(s);
    return Ok();
  }
  const Errno error = MoveTop(s, increment_bytes);
  if (error == ECANCELED) {
    s.is_ours = false;
    return Ok();
  }
  if (error != 0) return {error, "sbrk"};
  // What is below `base` is malloc's, and a forked child needs that. Where the kernel refuses, forking takes longer.
  if (increment_bytes > 0) {
    EmptyLocked(s.top - increment_bytes, static_cast<size_t>(increment_bytes));
    AdvisePages(s.top - increment_bytes, static_cast<size_t>(increment_bytes), kAdviceDontFork);
  }
  *has_moved = true;
  return Ok();
}

CallResult CloseFence(const void* owner, size_t reach_bytes, size_t* covered_bytes) {
  State& s = TheState();
  const Lock lock(s.lock);
  if (!IsOwner(s, owner) || !s.is_ours) return {EINVAL, "mmap"};
  *covered_bytes = static_cast<size_t>(s.fence_end - s.base);
  const Errno closed = Close(s);
  if (closed != 0) return {closed, "mmap"};
  const Errno extended = MapBetween(s.fence_end, s.base + reach_bytes);
  if (extended != 0) return {extended, "mmap"};
  if (s.base + reach_bytes > s.fence_end) s.fence_end = s.base + reach_bytes;
  *covered_bytes = static_cast<size_t>(s.fence_end - s.base);
  return Ok();
}

void SeeBreak(const void* owner, char* end) {
  State& s = TheState();
  const Lock lock(s.lock);
  if (IsOwner(s, owner) && end > s.seen_end) s.seen_end = PageUp(end);
}

bool CanMoveSeen(const void* owner) {
  State& s = TheState();
  const Lock lock(s.lock);
  return IsOwner(s, owner) && s.can_set;
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
