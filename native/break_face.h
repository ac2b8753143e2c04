// The Node-API face of program_break.h: what src/memory/kernel.ts promises.

#ifndef OFFHEAP_NATIVE_BREAK_FACE_H_
#define OFFHEAP_NATIVE_BREAK_FACE_H_

#include <napi.h>

#include <cstdint>

namespace offheap {

// The object of functions that kernel.ts calls `programBreak`.
Napi::Object BreakFace(Napi::Env env);

// `unmap` of the mapping above the break, which no ArrayBuffer lies over any more.
void UnmapBreak(Napi::Env env, uint64_t mapping_id);

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_BREAK_FACE_H_
