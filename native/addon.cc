// The Node-API face of pages.h: what src/memory/kernel.ts promises, checked and translated, and nothing else.
//
// This file owns the books of mappings and of the ArrayBuffers over them, one set per environment (the main thread or
// one Worker). It refuses to know what the memory is for, and when it ought to be given back.
//
// Who frees what, and when:
//   - Only `unmap` and the end of the environment give up mappings. What users had Buffers over keeps its addresses: see
//   kept.h. A finalizer never does: it also runs when the environment of
//     the *first* owner ends, while an ArrayBuffer that was moved to another thread still uses the memory.
//   - An environment that ends runs its event loop once more, then finalizes every ArrayBuffer, runs cleanup hooks and
//     deletes the instance data. In that last turn, after the finalizers of whatever was detached or collected before,
//     we look at each ArrayBuffer that is left: one without its memory has passed it on, perhaps to another thread, and
//     its mapping stays for as long as the process does. So does, rarely, that of one which was collected just now and
//     whose memory V8 has yet to let go: it looks the same, and a leak harms less than a fault.
//   - Whatever the order, a finalizer finds its books and its mapping: a `Wrap` holds both through shared pointers.
//
// Invariants:
//   1. `mapping.wrap_count` is the number of entries of `books.wraps` that refer to it.
//   2. A mapping in `books.mappings` is mapped; one that is not there is unmapped, kept empty, or left mapped for good.
//   3. A `Wrap` is in `books.wraps` from just before its ArrayBuffer exists until its finalizer ran: while it is there,
//      the memory is mapped.
//   4. No system call is made with a range that does not lie inside one mapping of these books.

#include <napi.h>
#include <unistd.h>
#include <uv.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "arguments.h"
#include "books.h"
#include "break_face.h"
#include "handle_owner.h"
#include "ledger.h"
#include "pages.h"
#include "purging.h"
#include "turns.h"
#include "zone.h"

namespace offheap {
namespace {

constexpr double kMaxAlignBytes = 1 << 30;

// --- Wraps --------------------------------------------------------------------------------------------------------

void Enter(Wrap& wrap) {
  wrap.books->wraps.emplace(wrap.id, &wrap);
  wrap.mapping->wrap_count += 1;
}

void Settle(Wrap& wrap) {
  if (wrap.settled) return;
  wrap.settled = true;
  wrap.books->wraps.erase(wrap.id);
  wrap.mapping->wrap_count -= 1;
}

// Whether the ArrayBuffer is detached or collected.
bool LostItsMemory(napi_env env, napi_ref reference) {
  napi_value buffer = nullptr;
  if (reference == nullptr || napi_get_reference_value(env, reference, &buffer) != napi_ok) return true;
  if (buffer == nullptr) return true;
  bool is_detached = true;
  return napi_is_detached_arraybuffer(env, buffer, &is_detached) != napi_ok || is_detached;
}

// The finalizer of one ArrayBuffer. Runs on the thread of its environment, at the latest while that one ends.
void OnFinalize(napi_env env, void* /* data */, void* hint) {
  const std::unique_ptr<std::shared_ptr<Wrap>> owner(static_cast<std::shared_ptr<Wrap>*>(hint));
  Wrap& wrap = **owner;
  Settle(wrap);
  if (wrap.buffer == nullptr) return;
  napi_delete_reference(env, wrap.buffer);
  wrap.buffer = nullptr;
}

Napi::Error CreationError(Napi::Env env, napi_status status) {
  if (status == napi_no_external_buffers_allowed) {
    return CodedError<Napi::Error>(env, "ERR_ARENA_NOT_SUPPORTED",
                                   "This runtime does not allow ArrayBuffers over memory of an addon (a V8 with its "
                                   "sandbox, as in Electron). Use a plain Node.js.");
  }
  return Napi::Error::New(env);  // takes over the pending exception, or describes the last failed call
}

// Node reports some failures after it ran the finalizer (lengths above 4 GiB on Node 20), some after it created an
// ArrayBuffer that nobody will ever see and whose finalizer runs later, and some before either. `Settle` works once
// whatever the order; the hint stays with the finalizer, and is lost (64 bytes) if that never runs.
napi_value CreateExternal(const std::shared_ptr<Wrap>& wrap, const Range& range) {
  napi_value buffer = nullptr;
  Enter(*wrap);
  auto* hint = new std::shared_ptr<Wrap>(wrap);
  const napi_status status =
      napi_create_external_arraybuffer(wrap->env, range.start, range.length_bytes, OnFinalize, hint, &buffer);
  if (status == napi_ok) return buffer;
  Settle(*wrap);
  throw CreationError(wrap->env, status);
}

// --- The end of an environment ------------------------------------------------------------------------------------

// Whether JavaScript may no longer run: any call that could run some says so.
bool IsEnding(napi_env env) {
  napi_value value = nullptr;
  return napi_get_boolean(env, true, &value) != napi_ok || napi_coerce_to_bool(env, value, &value) != napi_ok;
}

// Decides anew each time: a finalizer that was only late may have run since the turn before.
void KeepWhatWasMoved(const Books& books) {
  for (const auto& entry : books.mappings) entry.second->used_elsewhere = false;
  for (const auto& entry : books.wraps) {
    const Wrap& wrap = *entry.second;
    if (LostItsMemory(wrap.env, wrap.buffer)) wrap.mapping->used_elsewhere = true;
  }
}

}  // namespace

// Watches the turns of one environment's event loop for the last one, and purges now and then what late writers made
// resident. Does not keep the loop alive; deletes itself.
class LastTurn : public HandleOwner {
  static constexpr uint64_t kFirstPurgeMs = 1000;
  static constexpr uint64_t kLastPurgeMs = 64 * kFirstPurgeMs;

 public:
  static LastTurn* Watch(napi_env env, std::shared_ptr<Books> books) { return new LastTurn(env, std::move(books)); }

  // What late writers make resident of what is kept goes after a second, after ten and after a minute.
  void PurgeLater() {
    if (uv_is_active(AsHandle(&purge_)) && purge_after_ms_ == kFirstPurgeMs) return;
    purge_after_ms_ = kFirstPurgeMs;
    uv_timer_start(&purge_, OnPurge, purge_after_ms_, 0);
  }

 private:
  LastTurn(napi_env env, std::shared_ptr<Books> books) : HandleOwner(env), books_(std::move(books)) {
    uv_loop_t* const loop = LoopOf(env);
    uv_timer_init(loop, &purge_);
    uv_prepare_init(loop, &turn_);
    uv_prepare_start(&turn_, OnTurn);
    Own({AsHandle(&purge_), AsHandle(&turn_)});
  }

  static void OnTurn(uv_prepare_t* turn) {
    const LastTurn& self = OwnerOf<LastTurn>(AsHandle(turn));
    if (self.books_->wraps.empty()) return;
    const Napi::HandleScope scope(self.env());
    if (IsEnding(self.env())) KeepWhatWasMoved(*self.books_);
  }

  static void OnPurge(uv_timer_t* timer) {
    auto& self = OwnerOf<LastTurn>(AsHandle(timer));
    PurgeKept();
    self.purge_after_ms_ *= 8;
    if (self.purge_after_ms_ <= kLastPurgeMs) uv_timer_start(timer, OnPurge, self.purge_after_ms_, 0);
  }

  std::shared_ptr<Books> books_;
  uv_timer_t purge_;
  uv_prepare_t turn_;
  uint64_t purge_after_ms_ = kFirstPurgeMs;
};

namespace {

// --- The interface of kernel.ts -----------------------------------------------------------------------------------

// --- Addresses that were given up ---------------------------------------------------------------------------------

// The argument `owner`, a number that its caller chose; left out: nobody, who asks for nothing again.
Keeper KeeperAt(const Napi::CallbackInfo& info, size_t index) {
  const uint64_t owner = info[index].IsUndefined() ? 0 : IntegerIn(info, index, "owner", 0, kMaxSafeInteger);
  return {info.Env().GetInstanceData<Instance>()->thread, owner};
}

// Standard output and error, which Node writes at once. It makes a stream of the latter as soon as any socket is closed.
bool IsOutput(const uv_handle_t* handle) {
  uv_os_fd_t file = -1;
  return uv_fileno(handle, &file) == 0 && (file == STDOUT_FILENO || file == STDERR_FILENO);
}

// A handle that can know no address of ours: it never reads or writes, or what it reads goes elsewhere.
bool KnowsNoAddress(const uv_handle_t* handle) {
  switch (handle->type) {
    case UV_NAMED_PIPE:
    case UV_TCP:
    case UV_TTY: {
      // One that listens is neither.
      const auto* stream = reinterpret_cast<const uv_stream_t*>(handle);
      return IsOutput(handle) || (!uv_is_readable(stream) && !uv_is_writable(stream));
    }
    case UV_UDP: return false;
    case UV_UNKNOWN_HANDLE: return false;
    default: return true;
  }
}

// Whether nothing of this thread's event loop can know an address: it has no request under way, and no stream or socket.
bool IsQuiet(napi_env env) {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok || loop->active_reqs.count > 0) return false;
  bool is_quiet = true;
  uv_walk(
      loop, [](uv_handle_t* handle, void* found) { if (!KnowsNoAddress(handle)) *static_cast<bool*>(found) = false; },
      &is_quiet);
  return is_quiet;
}

// Returns whether some addresses are free again.
bool RelievePressure(Napi::Env env) {
  return UnmapKept(env.GetInstanceData<Instance>()->thread, IsQuiet(env)) > 0;
}

// Addresses that the owner gave up, or new ones. Where there are none, those go that nobody can know.
Errno FindPages(Napi::Env env, Keeper keeper, size_t length_bytes, size_t align_bytes, void** start, bool* is_cut) {
  *is_cut = TakeKept(keeper, length_bytes, align_bytes, start);
  if (*is_cut) return 0;
  // What will be kept lies side by side. What has no owner will not be.
  const bool is_kept = keeper.owner != 0 && align_bytes == PageBytes();
  const auto map = [&] {
    return is_kept ? TakeFromZone(length_bytes, start, is_cut) : MapPages(length_bytes, align_bytes, start);
  };
  const Errno error = map();
  return error == ENOMEM && RelievePressure(env) ? map() : error;
}

// --- Mappings -----------------------------------------------------------------------------------------------------

uint64_t ThreadOf(Napi::Env env) { return env.GetInstanceData<Instance>()->thread; }

// The id of a new mapping, which `make` maps.
template <class Make>
Napi::Value Enter(Napi::Env env, size_t length_bytes, const Make& make) {
  const auto& books = BooksOf(env);
  auto mapping = std::make_shared<Mapping>();
  // The entry comes first, so that running out of memory for it cannot lose a mapping.
  const auto entry = books->mappings.emplace(books->next_mapping_id, mapping).first;
  void* start = nullptr;
  const Errno error = make(*mapping, &start);
  if (error != 0) books->mappings.erase(entry);
  CheckCall(env, "mmap", error);
  mapping->start = static_cast<char*>(start);
  mapping->length_bytes = length_bytes;
  return Napi::Number::New(env, static_cast<double>(books->next_mapping_id++));
}

Napi::Value Map(const Napi::CallbackInfo& info) {
  const uint64_t length_bytes = IntegerIn(info, 0, "lengthBytes", 1, kMaxSafeInteger);
  CheckWholePages(info.Env(), "lengthBytes", length_bytes);
  const double page_bytes = static_cast<double>(PageBytes());
  const uint64_t align_bytes =
      info[1].IsUndefined() ? PageBytes() : IntegerIn(info, 1, "alignBytes", page_bytes, kMaxAlignBytes);
  if ((align_bytes & (align_bytes - 1)) != 0) {
    throw OutOfRange(info.Env(), "alignBytes", "a power of two", static_cast<double>(align_bytes));
  }
  return Enter(info.Env(), length_bytes, [&](Mapping& mapping, void** start) {
    const Keeper keeper = KeeperAt(info, 2);
    mapping.is_private = keeper.owner == 0;
    const Errno error = FindPages(info.Env(), keeper, length_bytes, align_bytes, start, &mapping.is_cut);
    // Where the kernel refuses, for want of memory, forking takes longer: that is all.
    if (error == 0) AdvisePages(*start, length_bytes, kAdviceDontFork);
    return error;
  });
}

Napi::Value MapPiece(const Napi::CallbackInfo& info) {
  const uint64_t length_bytes =
      IntegerIn(info, 0, "lengthBytes", 1, static_cast<double>(Slab::kMaxPieceBytes));
  CheckWholePages(info.Env(), "lengthBytes", length_bytes);
  return Enter(info.Env(), length_bytes, [&](Mapping& mapping, void** start) {
    return Slab::Take(&BooksOf(info.Env())->slab, ThreadOf(info.Env()), length_bytes, start, &mapping.slab);
  });
}

Napi::Value Unmap(const Napi::CallbackInfo& info) {
  const uint64_t id = MappingIdAt(info, 0);
  auto& mappings = BooksOf(info.Env())->mappings;
  const Mapping& mapping = *mappings.at(id);
  if (mapping.wrap_count > 0) return Napi::Boolean::New(info.Env(), false);
  if (mapping.is_break) {
    UnmapBreak(info.Env(), id);
    return Napi::Boolean::New(info.Env(), true);
  }
  // A piece is purged; where the kernel refuses that, it goes with its slab all the same.
  if (mapping.slab != nullptr) {
    AdvisePages(mapping.start, mapping.length_bytes, kAdviceDontNeed);
    mappings.erase(id);
    return Napi::Boolean::New(info.Env(), true);
  }
  // What nobody ever had a view of goes, unless it would leave a hole; and what only we had one of (no owner).
  if ((mapping.was_wrapped || mapping.is_cut) && !info[1].IsUndefined()) {
    KeepRange(KeeperAt(info, 1), mapping.start, mapping.length_bytes);
    info.Env().GetInstanceData<Instance>()->last_turn->PurgeLater();
    if (IsPressed()) RelievePressure(info.Env());
  } else {
    CheckCall(info.Env(), "munmap", UnmapPages(mapping.start, mapping.length_bytes));
  }
  mappings.erase(id);
  return Napi::Boolean::New(info.Env(), true);
}

void Advise(const Napi::CallbackInfo& info) {
  const Range range = PageRangeOf(info);
  const double advice = static_cast<double>(IntegerIn(info, 3, "advice", 0, INT32_MAX));
  if (advice != kAdviceDontNeed && advice != kAdviceNoHugePage && advice != kAdviceHugePage &&
      advice != kAdvicePopulateWrite && advice != kAdviceGuardInstall && advice != kAdviceGuardRemove &&
      advice != kAdviceDontDump) {
    throw OutOfRange(info.Env(), "advice",
                     "MADV_DONTNEED, MADV_NOHUGEPAGE, MADV_HUGEPAGE, MADV_POPULATE_WRITE, MADV_GUARD_INSTALL, "
                     "MADV_GUARD_REMOVE or MADV_DONTDUMP",
                     advice);
  }
  const Errno error = advice == kAdviceDontNeed
                          ? PurgePages(range.start, range.length_bytes)
                          : AdvisePages(range.start, range.length_bytes, static_cast<int>(advice));
  CheckCall(info.Env(), "madvise", error);
}

// (mapping, firstPage, runs, from, end): returns how many pages went back. A failure is told where there are none.
Napi::Value Purge(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::shared_ptr<Mapping> mapping = BooksOf(env)->mappings.at(MappingIdAt(info, 0));
  const uint64_t first_page = IntegerIn(info, 1, "firstPage", 0, UINT32_MAX);
  if (!info[2].IsTypedArray() || info[2].As<Napi::TypedArray>().TypedArrayType() != napi_uint32_array) {
    throw InvalidType(env, "runs", "an instance of Uint32Array");
  }
  const Napi::Uint32Array words = info[2].As<Napi::Uint32Array>();
  const uint64_t from = IntegerIn(info, 3, "from", 0, static_cast<double>(words.ElementLength() / 2));
  const uint64_t end = IntegerIn(info, 4, "end", static_cast<double>(from), static_cast<double>(words.ElementLength() / 2));
  const uint64_t page_count = mapping->length_bytes / PageBytes();
  // Copied, so that what was checked is what is used: script of another thread may see the array.
  std::vector<PageRun> runs(end - from);
  for (uint64_t i = 0; i < runs.size(); ++i) {
    const uint64_t page = words[2 * (from + i)];
    const uint64_t count = words[2 * (from + i) + 1];
    if (page < first_page || count == 0 || page - first_page + count > page_count) {
      throw OutOfRange(env, "runs", "pages of the mapping", static_cast<double>(page));
    }
    runs[i] = {static_cast<uint32_t>(page - first_page), static_cast<uint32_t>(count)};
  }
  uint64_t done_pages = 0;
  const Errno error = PurgeRuns(mapping->start, runs.data(), runs.size(), &done_pages);
  if (done_pages == 0) CheckCall(env, "madvise", error);
  return Napi::Number::New(env, static_cast<double>(done_pages));
}

Napi::Value TellPurgesToZero(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), PurgesToZero());
}

void Protect(const Napi::CallbackInfo& info) {
  const Range range = PageRangeOf(info);
  if (!info[3].IsBoolean()) throw InvalidType(info.Env(), "isAccessible", "of type boolean");
  const bool is_accessible = info[3].As<Napi::Boolean>().Value();
  CheckCall(info.Env(), "mprotect", ProtectPages(range.start, range.length_bytes, is_accessible));
}

void Fill(const Napi::CallbackInfo& info) {
  const Range range = ByteRangeOf(info);
  memset(range.start, static_cast<int>(IntegerIn(info, 3, "byte", 0, 255)), range.length_bytes);
}

Napi::Value FirstOther(const Napi::CallbackInfo& info) {
  const Range range = ByteRangeOf(info);
  const char byte = static_cast<char>(IntegerIn(info, 3, "byte", 0, 255));
  // All bytes are the same where each is the same as the next.
  const bool is_uniform = range.start[0] == byte && memcmp(range.start, range.start + 1, range.length_bytes - 1) == 0;
  if (is_uniform) return Napi::Number::New(info.Env(), -1);
  size_t index = 0;
  while (index < range.length_bytes && range.start[index] == byte) ++index;
  // Somebody wrote, and put it back, in between.
  if (index == range.length_bytes) return Napi::Number::New(info.Env(), -1);
  return Napi::Number::New(info.Env(), static_cast<double>(index));
}

void Residency(const Napi::CallbackInfo& info) {
  const Range range = PageRangeOf(info);
  const Napi::Value value = info[3];
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    throw InvalidType(info.Env(), "residency", "an instance of Uint8Array");
  }
  Napi::Uint8Array residency = value.As<Napi::Uint8Array>();
  const size_t page_count = range.length_bytes / PageBytes();
  if (residency.ElementLength() != page_count) {
    throw OutOfRange(info.Env(), "residency.length", std::to_string(page_count),
                     static_cast<double>(residency.ElementLength()));
  }
  CheckCall(info.Env(), "mincore", ResidentPages(range.start, range.length_bytes, residency.Data()));
}

Napi::Value WrapRange(const Napi::CallbackInfo& info) {
  const Range range = ByteRangeOf(info);
  const uint64_t id = IntegerIn(info, 3, "wrapId", 0, kMaxSafeInteger);
  const auto& books = BooksOf(info.Env());
  if (books->wraps.count(id) != 0) {
    throw OutOfRange(info.Env(), "wrapId", "an id that is not in use", static_cast<double>(id));
  }
  if (range.mapping->is_break) SeeBreak(range.mapping.get(), range.start + range.length_bytes);
  range.mapping->was_wrapped = true;
  auto wrap = std::make_shared<Wrap>();
  wrap->env = info.Env();
  wrap->id = id;
  wrap->books = books;
  wrap->mapping = range.mapping;
  napi_value buffer = CreateExternal(wrap, range);
  if (napi_create_reference(wrap->env, buffer, 0, &wrap->buffer) != napi_ok) throw Napi::Error::New(info.Env());
  return Napi::Value(info.Env(), buffer);
}

Napi::Value IsWrapped(const Napi::CallbackInfo& info) {
  const uint64_t id = IntegerIn(info, 0, "wrapId", 0, kMaxSafeInteger);
  return Napi::Boolean::New(info.Env(), BooksOf(info.Env())->wraps.count(id) != 0);
}

Napi::Value NewOwner(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(NewNumber()));
}

void Disown(const Napi::CallbackInfo& info) { DisownKept(KeeperAt(info, 0)); }

Napi::Value Kept(const Napi::CallbackInfo& info) {
  const KeptSums sums = SumsOfKept();
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("bytes", Napi::Number::New(info.Env(), static_cast<double>(sums.bytes)));
  result.Set("entries", Napi::Number::New(info.Env(), static_cast<double>(sums.entries)));
  return result;
}

void Detach(const Napi::CallbackInfo& info) {
  if (!info[0].IsArrayBuffer()) throw InvalidType(info.Env(), "buffer", "an instance of ArrayBuffer");
  bool is_detached = false;
  napi_is_detached_arraybuffer(info.Env(), info[0], &is_detached);
  if (is_detached) throw Napi::TypeError::New(info.Env(), "The ArrayBuffer is detached already.");
  if (napi_detach_arraybuffer(info.Env(), info[0]) != napi_ok) {
    throw Napi::TypeError::New(info.Env(), "This ArrayBuffer cannot be detached.");
  }
}

Napi::Value ProcessLimit(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), LimitBytes());
}

void SetProcessLimit(const Napi::CallbackInfo& info) {
  if (!info[0].IsNumber()) throw InvalidType(info.Env(), "limitBytes", "of type number");
  const double limit_bytes = info[0].As<Napi::Number>().DoubleValue();
  if (!(limit_bytes >= 0)) throw OutOfRange(info.Env(), "limitBytes", ">= 0", limit_bytes);
  SetLimitBytes(limit_bytes);
}

Napi::Value ProcessTaken(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), TakenBytes());
}

Napi::Value Take(const Napi::CallbackInfo& info) {
  const double bytes = static_cast<double>(IntegerIn(info, 0, "lengthBytes", 0, kMaxSafeInteger));
  const bool is_taken = TakeBytes(bytes);
  if (is_taken) info.Env().GetInstanceData<Instance>()->taken_bytes += bytes;
  return Napi::Boolean::New(info.Env(), is_taken);
}

void Give(const Napi::CallbackInfo& info) {
  Instance& instance = *info.Env().GetInstanceData<Instance>();
  const double bytes = static_cast<double>(IntegerIn(info, 0, "lengthBytes", 0, instance.taken_bytes));
  instance.taken_bytes -= bytes;
  GiveBytes(bytes);
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  auto* instance = new Instance();
  env.SetInstanceData(instance);
  instance->last_turn = LastTurn::Watch(env, instance->books);
  exports.Set("pageBytes", Napi::Number::New(env, static_cast<double>(PageBytes())));
  exports.Set("MADV_DONTNEED", Napi::Number::New(env, kAdviceDontNeed));
  exports.Set("MADV_NOHUGEPAGE", Napi::Number::New(env, kAdviceNoHugePage));
  exports.Set("MADV_HUGEPAGE", Napi::Number::New(env, kAdviceHugePage));
  exports.Set("MADV_POPULATE_WRITE", Napi::Number::New(env, kAdvicePopulateWrite));
  exports.Set("MADV_GUARD_INSTALL", Napi::Number::New(env, kAdviceGuardInstall));
  exports.Set("MADV_GUARD_REMOVE", Napi::Number::New(env, kAdviceGuardRemove));
  exports.Set("MADV_DONTDUMP", Napi::Number::New(env, kAdviceDontDump));
  exports.Set("map", Napi::Function::New<Map>(env, "map"));
  exports.Set("mapPiece", Napi::Function::New<MapPiece>(env, "mapPiece"));
  exports.Set("unmap", Napi::Function::New<Unmap>(env, "unmap"));
  exports.Set("advise", Napi::Function::New<Advise>(env, "advise"));
  exports.Set("purge", Napi::Function::New<Purge>(env, "purge"));
  exports.Set("purgesToZero", Napi::Function::New<TellPurgesToZero>(env, "purgesToZero"));
  exports.Set("protect", Napi::Function::New<Protect>(env, "protect"));
  exports.Set("fill", Napi::Function::New<Fill>(env, "fill"));
  exports.Set("firstOther", Napi::Function::New<FirstOther>(env, "firstOther"));
  exports.Set("residency", Napi::Function::New<Residency>(env, "residency"));
  exports.Set("wrap", Napi::Function::New<WrapRange>(env, "wrap"));
  exports.Set("isWrapped", Napi::Function::New<IsWrapped>(env, "isWrapped"));
  exports.Set("disown", Napi::Function::New<Disown>(env, "disown"));
  exports.Set("newOwner", Napi::Function::New<NewOwner>(env, "newOwner"));
  exports.Set("kept", Napi::Function::New<Kept>(env, "kept"));
  exports.Set("processLimit", Napi::Function::New<ProcessLimit>(env, "processLimit"));
  exports.Set("setProcessLimit", Napi::Function::New<SetProcessLimit>(env, "setProcessLimit"));
  exports.Set("processTaken", Napi::Function::New<ProcessTaken>(env, "processTaken"));
  exports.Set("take", Napi::Function::New<Take>(env, "take"));
  exports.Set("give", Napi::Function::New<Give>(env, "give"));
  exports.Set("detach", Napi::Function::New<Detach>(env, "detach"));
  exports.Set("programBreak", BreakFace(env));
  exports.Set("makeClock", Napi::Function::New<MakeClock>(env, "makeClock"));
  return exports;
}

}  // namespace
}  // namespace offheap

static Napi::Object InitOffheap(Napi::Env env, Napi::Object exports) { return offheap::Init(env, exports); }

NODE_API_MODULE(offheap, InitOffheap)
