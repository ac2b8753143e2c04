// How each malloc is asked to give back what it holds in vain. One function of each does that, found at run time
// (malloc_kind.h). glibc's own takes long under a lock: free_chunks.h does most of its work in another way.

#ifndef OFFHEAP_NATIVE_MALLOC_PURGE_H_
#define OFFHEAP_NATIVE_MALLOC_PURGE_H_

namespace offheap {

// Hands what malloc has set aside for the calling thread back to where all threads take from. Takes microseconds, but
// for mimalloc: what that keeps for a thread, only the thread itself can give back to the kernel (`mi_collect`).
//
//   jemalloc   mallctl("thread.tcache.flush")
//   mimalloc   mi_collect(true)
//   tcmalloc   MallocExtension_MarkThreadIdle, MallocExtension_MarkThreadBusy
//   glibc, none   nothing
void FlushThread();

// Gives free memory of malloc back to the kernel. May take long: not for the thread of an event loop. Any number of
// threads may call it at once.
//
//   glibc      malloc_trim(0): all arenas, one after the other, holding the lock of each meanwhile
//   jemalloc   mallctl("arena.<all>.purge"): dirty and muzzy pages; others can allocate meanwhile
//   mimalloc   mi_collect(true): what threads that have ended left behind, and of this thread
//   tcmalloc   MallocExtension_ReleaseToSystem, a MiB a call: others wait for one call at most
//   none       nothing
void PurgeMalloc();

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_MALLOC_PURGE_H_
