// Tells once when the event loop of an environment has done some work, at next to no cost per turn, and without a
// timer.
//
// While it is watching, a prepare handle runs before each wait of the loop. It does nothing if the loop's clock still
// shows the millisecond of the last look. Else it reads libuv's own account of idle time, as
// `performance.eventLoopUtilization` does. While it is not watching, its handle is stopped, and the loop does not know
// of it. It keeps nothing alive, and it makes no turn of its own.

#ifndef OFFHEAP_NATIVE_LOOP_WATCH_H_
#define OFFHEAP_NATIVE_LOOP_WATCH_H_

#include <napi.h>

namespace offheap {

// makeLoopWatch(onActive): an object of functions over a handle of its own in the event loop of this environment. It
// lasts as long as that. Null where the runtime does not say how long its loop was idle (Bun).
//
//   start(activeMs)  calls `onActive` once, when the loop was active for `activeMs` milliseconds from now on. Then it
//                    stops. `activeMs` is 0 or more. Starting again begins anew.
//   stop()           stops, if it is watching.
//
// `onActive` is called as a callback of the event loop: microtasks run after it, and what it throws is an uncaught
// exception.
Napi::Value MakeLoopWatch(const Napi::CallbackInfo& info);

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_LOOP_WATCH_H_
