// The Node-API face of places.h, and of what malloc_stats.h says of stretches: what src/memory/places.ts promises.

#ifndef OFFHEAP_NATIVE_REPORT_FACE_H_
#define OFFHEAP_NATIVE_REPORT_FACE_H_

#include <napi.h>

namespace offheap {

// Adds the functions of this face to what the addon exports.
void AddReportFace(Napi::Env env, Napi::Object exports);

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_REPORT_FACE_H_
