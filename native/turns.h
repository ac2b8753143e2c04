// Turns of the event loop, and one timer, that no script can replace, and that a call which is terminated leaves whole.
//
// Node keeps its timers and immediates in lists of JavaScript: script may put others in their place, and a termination
// in the middle of `setImmediate` leaves a circle. These are handles of libuv, changed by one call each. They keep
// nothing alive, unless a turn is awaited.

#ifndef OFFHEAP_NATIVE_TURNS_H_
#define OFFHEAP_NATIVE_TURNS_H_

#include <napi.h>

namespace offheap {

// makeClock(onTimer, onTurn): the object of functions that deferral.ts calls a `Clock`, over handles of its own in the
// event loop of this environment. It lasts as long as that.
Napi::Value MakeClock(const Napi::CallbackInfo& info);

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_TURNS_H_
