// The Node-API face of ledger.h: what src/memory/ledger.ts promises, checked and translated.

#ifndef OFFHEAP_NATIVE_LEDGER_FACE_H_
#define OFFHEAP_NATIVE_LEDGER_FACE_H_

#include <napi.h>

namespace offheap {

// Adds the functions of this face to what the addon exports.
void AddLedgerFace(Napi::Env env, Napi::Object exports);

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_LEDGER_FACE_H_
