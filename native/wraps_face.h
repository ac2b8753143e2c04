// The Node-API face of ArrayBuffers over mappings: what src/memory/runtime.ts promises of
// `wrap`, `isWrapped` and `detach`.

#ifndef OFFHEAP_NATIVE_WRAPS_FACE_H_
#define OFFHEAP_NATIVE_WRAPS_FACE_H_

#include <napi.h>

namespace offheap {

// Adds the functions of this face to what the addon exports.
void AddWrapsFace(Napi::Env env, Napi::Object exports);

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_WRAPS_FACE_H_
