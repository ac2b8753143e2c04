// The Node-API face of free_chunks.h and malloc_purge.h: what src/memory/malloc.ts promises, checked and translated.

#ifndef OFFHEAP_NATIVE_RECLAIM_FACE_H_
#define OFFHEAP_NATIVE_RECLAIM_FACE_H_

#include <napi.h>

namespace offheap {

// Adds the functions of this face to what the addon exports.
void AddReclaimFace(Napi::Env env, Napi::Object exports);

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_RECLAIM_FACE_H_
