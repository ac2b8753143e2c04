// The addon: one environment begins, and gets the functions of all faces. Each face is in a file of its own.

#include <napi.h>

#include "bell.h"
#include "break_face.h"
#include "bytes_face.h"
#include "environment.h"
#include "kept_face.h"
#include "ledger_face.h"
#include "loop_watch.h"
#include "malloc_face.h"
#include "pages_face.h"
#include "reclaim_face.h"
#include "report_face.h"
#include "turns.h"
#include "wraps_face.h"

// Of what is exported. binary.ts has the same number, and loads no other binary. Both change when a function or its
// arguments do.
static constexpr double kInterface = 3;

static Napi::Object InitOffheap(Napi::Env env, Napi::Object exports) {
  offheap::BeginEnvironment(env);
  exports.Set("offheapInterface", Napi::Number::New(env, kInterface));
  offheap::AddPagesFace(env, exports);
  offheap::AddBytesFace(env, exports);
  offheap::AddKeptFace(env, exports);
  offheap::AddWrapsFace(env, exports);
  offheap::AddLedgerFace(env, exports);
  offheap::AddMallocFace(env, exports);
  offheap::AddReclaimFace(env, exports);
  offheap::AddBellFace(env, exports);
  offheap::AddReportFace(env, exports);
  exports.Set("programBreak", offheap::BreakFace(env));
  exports.Set("makeLoopWatch", Napi::Function::New(env, offheap::MakeLoopWatch, "makeLoopWatch"));
  exports.Set("makeClock", Napi::Function::New(env, offheap::MakeClock, "makeClock"));
  return exports;
}

NODE_API_MODULE(offheap, InitOffheap)
