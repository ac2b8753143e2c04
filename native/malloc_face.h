// The Node-API face of malloc_kind.h: what src/memory/malloc.ts promises.

#ifndef OFFHEAP_NATIVE_MALLOC_FACE_H_
#define OFFHEAP_NATIVE_MALLOC_FACE_H_

#include <napi.h>

namespace offheap {

// Adds the functions of this face to what the addon exports.
void AddMallocFace(Napi::Env env, Napi::Object exports);

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_MALLOC_FACE_H_
