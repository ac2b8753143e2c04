// The Node-API face of the bytes of mappings: they are filled, looked at and moved. What src/memory/kernel.ts promises
// of that, checked. It makes no system call.

#ifndef OFFHEAP_NATIVE_BYTES_FACE_H_
#define OFFHEAP_NATIVE_BYTES_FACE_H_

#include <napi.h>

namespace offheap {

// Adds the functions of this face to what the addon exports.
void AddBytesFace(Napi::Env env, Napi::Object exports);

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_BYTES_FACE_H_
