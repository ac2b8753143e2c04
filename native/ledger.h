// The process's limit: how many bytes of pages all arenas of the process may hold, and
// have taken. Shared by all threads.
//
// Invariant: what is taken is the sum of `Instance::taken_bytes` over all environments.

#ifndef OFFHEAP_NATIVE_LEDGER_H_
#define OFFHEAP_NATIVE_LEDGER_H_

namespace offheap {

// Infinite at first.
double LimitBytes();
void SetLimitBytes(double bytes);

double TakenBytes();

// Returns false, and takes nothing, where that would exceed the limit.
bool TakeBytes(double bytes);
void GiveBytes(double bytes);

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_LEDGER_H_
