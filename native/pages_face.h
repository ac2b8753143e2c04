// The Node-API face of pages.h: what src/memory/kernel.ts promises of mappings and their pages, checked and
// translated. It does not know what the memory is for, nor when it ought to be given back.

#ifndef OFFHEAP_NATIVE_PAGES_FACE_H_
#define OFFHEAP_NATIVE_PAGES_FACE_H_

#include <napi.h>

namespace offheap {

// Adds the functions of this face, and the numbers of the kernel's advice, to what the addon exports.
void AddPagesFace(Napi::Env env, Napi::Object exports);

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_PAGES_FACE_H_
