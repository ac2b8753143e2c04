// The one program break of this process: whose it is, and the fence above it.
//
// malloc moves the same break. A *fence*, a mapping directly above our top, makes its attempts fail, and it maps memory
// instead. To raise the break the fence is opened by as much as the raise needs, no more: the opening is then shorter
// than what malloc asks for (see break-source.ts), so that malloc finds it closed even while it is open. Before each
// opening and each move, calls of malloc's that began before the last one are waited for, and libc is made to remember
// the break as it is: a call that started a move below would find the opening long enough, one that started two moves
// below would lower the break. The fence is readable and writable and costs nothing until it is touched, so that a
// stale view over pages that were given up can fault neither on reading nor on writing.
//
// Where somebody ever had a view, an address may be held by code that nobody knows of (a stream of Node's, a thread,
// the kernel). Over such memory the break moves as a number (`SetBreak`): what is given up is mapped anew under it,
// empty, what is taken is mapped already. There is no instant at which it is not mapped, nothing is opened, and the
// fence over it stands for as long as the process does. The next owner begins above it. Where the kernel does not let
// us do that, such memory is not given up.
//
// This file owns state that all threads of the process share, under one lock. It decides nothing: how far the break
// goes, and when, is its caller's business. An *owner* is any address that is unique while it is used as one.
//
//        found  floor       base                 top      hole_end              fence_end
//   malloc's |.. | old fence  | our pages          | opening |  fence              |  nothing
//
// `floor` is where the first owner began, `base` where the present one did; `seen_end` is where the furthest view ended
// that ever was. `open_end` is how far the break may rise: `hole_end`, or more where it rises as a number.
//
// While no page is held, the break *rests*: it is malloc's below `floor`, which may well lower it when its own top is
// free. `found` is where it was when the last page was taken after that; what lies between `found` and `floor` is then
// never used. There is always a little: malloc gives memory back where it finds the break at the end of its own.
//
// Invariants, while somebody owns the break and it `is_ours`:
//   1. found < floor <= base <= top <= hole_end <= open_end, hole_end <= fence_end; all but `found` on page borders
//   2. the kernel's break is `top`, and libc's is made to be at every move; at rest the kernel's is `floor` or below
//   3. [base, top) is mapped by the break or by us, [hole_end, fence_end) by us; [top, hole_end) is not mapped
//   4. [floor, seen_end) is mapped, at every instant, for as long as the process lives
// Once somebody else has moved the break, `is_ours` is false for as long as this owner has it: neither the break nor
// anything above `top` is touched again, since it may be theirs.

#ifndef OFFHEAP_NATIVE_PROGRAM_BREAK_H_
#define OFFHEAP_NATIVE_PROGRAM_BREAK_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "pages.h"

namespace offheap {

// A system call's result, with its name for the message. `error` 0: success.
struct CallResult {
  Errno error;
  const char* syscall;
};

// Makes `owner` the owner of the break, and puts a fence above it. `*base` is where its pages begin; there are none
// yet. Tries whether the break can be moved, by a page up and down.
// EBUSY: it has an owner; `OwnerName()` says which. Anything else: the break cannot be moved, or
// fenced, here; all is then as before.
CallResult TakeBreak(const void* owner, const std::string& name, char** base);

// The name that the present owner gave, or an empty string.
std::string OwnerName();

// Whether the break is where `owner` left it, once every call of malloc's that might still move it has ended.
bool IsBreakOurs(const void* owner);

// Opens the fence so that the break can rise by `length_bytes` (whole pages).
// EINVAL: the fence does not reach that far, or the break is not ours.
CallResult OpenFence(const void* owner, size_t length_bytes);

// Moves the break by whole pages: up into what was opened, or down to `base` at most; what is given up is open then. A
// child that is forked does not have what was gained. `*has_moved` is false, and nothing changed or nothing of what was
// gained may be used, where the break is not ours.
// EINVAL: further than that. EPERM: there were views of that memory, and the kernel does not let
// us move the break as a number.
CallResult MoveOwnBreak(const void* owner, intptr_t increment_bytes, bool* has_moved);

// Closes what is open, and lets the fence reach to `reach_bytes` above `base` if it does not. `*covered_bytes` is how
// far it reaches, counted from `base`.
// EEXIST: somebody mapped something there. EINVAL: the break is not ours.
CallResult CloseFence(const void* owner, size_t reach_bytes, size_t* covered_bytes);

// A view of the owner's memory up to `end` is about to be made.
void SeeBreak(const void* owner, char* end);

// Whether the break can be moved over memory of which there were views.
bool CanMoveSeen(const void* owner);

// How far `top` is above `base`.
size_t HeldBytes(const void* owner);

// Ends the ownership. Lowers the break to where it was found, unless `keeps` (the memory may be in use) or it is not
// ours; the fence covers what was given up. Returns whether the break is back. Does nothing for anybody but the owner.
bool LeaveBreak(const void* owner, bool keeps);

// Nobody reaches the memory of `owner`, who has left, any more (or somebody may for ever: `keeps`). Removes the fence
// when that holds for everyone who ever owned the break, and nobody ever had a view of its memory.
void ForgetBreak(const void* owner, bool keeps);

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_PROGRAM_BREAK_H_
