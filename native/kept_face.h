// The Node-API face of kept.h, addresses that were given up: what src/memory/kernel.ts promises of `newOwner`,
// `closeOwner`, `disown` and `kept`, and what pages_face.h needs of them.

#ifndef OFFHEAP_NATIVE_KEPT_FACE_H_
#define OFFHEAP_NATIVE_KEPT_FACE_H_

#include <napi.h>

#include <cstddef>

#include "kept.h"

namespace offheap {

// The argument `owner`, a number that its caller chose. Left out: nobody, who asks for nothing again.
Keeper KeeperAt(const Napi::CallbackInfo& info, size_t index);

// Unmaps what threads that have ended kept, and what this one did where nothing of it can hold an address. Returns
// whether some addresses are free again.
bool RelievePressure(Napi::Env env);

// Adds the functions of this face to what the addon exports.
void AddKeptFace(Napi::Env env, Napi::Object exports);

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_KEPT_FACE_H_
