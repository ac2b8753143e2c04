// A bell for each thread that has the addon, which any other thread can ring. A ring runs a function of script on a
// later turn of that thread's event loop. Rings that come before it has run are one. A bell keeps no thread alive.

#ifndef OFFHEAP_NATIVE_BELL_H_
#define OFFHEAP_NATIVE_BELL_H_

#include <napi.h>

namespace offheap {

// Adds `hangBell(onRing)` and `ringOthers()` to what the addon exports.
//
// hangBell(onRing): from now on a ring of another thread runs `onRing` here, too. The bell goes with the environment.
// ringOthers(): rings the bells of all other threads. Does not wait, and throws nothing.
void AddBellFace(Napi::Env env, Napi::Object exports);

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_BELL_H_
