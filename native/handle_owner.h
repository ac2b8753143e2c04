// An owner of libuv handles that lives as long as its environment.
//
// libuv uses a handle until it has closed it, on a later turn of the event loop. So an environment must not end before
// that, and whoever holds the handles must not go before that. This class sees to both: it holds the environment open,
// closes its handles one after the other, and then deletes itself.

#ifndef OFFHEAP_NATIVE_HANDLE_OWNER_H_
#define OFFHEAP_NATIVE_HANDLE_OWNER_H_

#include <napi.h>
#include <uv.h>

#include <initializer_list>
#include <vector>

namespace offheap {

class HandleOwner {
 public:
  HandleOwner(const HandleOwner&) = delete;
  HandleOwner& operator=(const HandleOwner&) = delete;

 protected:
  explicit HandleOwner(napi_env env) : env_(env) {}

  // Runs when all handles are closed. The environment is still there, but runs no script any more.
  virtual ~HandleOwner() = default;

  // Takes over handles that were just initialized. They do not keep the event loop alive, and `OwnerOf` finds this
  // owner from any of them. They are closed in this order when the environment ends.
  //
  // Requires: called once. From then on nobody but this class deletes the owner.
  void Own(std::initializer_list<uv_handle_t*> handles);

  // Calls a function of script as a callback of the event loop: microtasks run after it, and what it throws is an
  // uncaught exception.
  void Call(napi_async_context context, const Napi::FunctionReference& function) const;

  [[nodiscard]] napi_env env() const { return env_; }

  // The environment is ending: no handle may be started any more.
  [[nodiscard]] bool is_closing() const { return is_closing_; }

 private:
  static void OnEnd(napi_async_cleanup_hook_handle hook, void* argument);
  static void OnClosed(uv_handle_t* handle);
  void CloseNext();

  napi_env env_;
  std::vector<uv_handle_t*> to_close_;  // the next one is last
  napi_async_cleanup_hook_handle hook_ = nullptr;
  bool is_closing_ = false;
};

// The event loop of an environment. Throws where it has none.
uv_loop_t* LoopOf(napi_env env);

// Any handle as what all of them are.
template <class Handle>
uv_handle_t* AsHandle(Handle* handle) {
  return reinterpret_cast<uv_handle_t*>(handle);
}

// The owner of a handle, by its own class.
template <class Owner>
Owner& OwnerOf(const uv_handle_t* handle) {
  return *static_cast<Owner*>(static_cast<HandleOwner*>(handle->data));
}

}  // namespace offheap

#endif  // OFFHEAP_NATIVE_HANDLE_OWNER_H_
