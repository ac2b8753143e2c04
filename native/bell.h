// A bell for each copy of the package in each thread, which the others can ring. A ring runs a function of script on a
// later turn of that thread's event loop. Rings that come before it has run are one. A bell keeps no thread alive.

#ifndef OFFHEAP_NATIVE_BELL_H_
#define OFFHEAP_NATIVE_BELL_H_

#include <napi.h>

namespace offheap {

// Adds `hangBell(onRing)` and `ringOthers()` to what the addon exports.
//
// hangBell(onRing): from now on a ring of another bell's owner runs `onRing` here, too. Returns the number of the bell,
// which goes with the environment.
// ringOthers(bell): rings all bells but that one. Does not wait for anything.
void AddBellFace(Napi::Env env, Napi::Object exports);

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_BELL_H_
