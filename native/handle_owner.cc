// Callbacks of handles, and closing them when an environment ends. Contracts are in the header.

#include "handle_owner.h"

#include <algorithm>

namespace offheap {

void HandleOwner::Own(std::initializer_list<uv_handle_t*> handles) {
  to_close_ = handles;
  std::reverse(to_close_.begin(), to_close_.end());
  for (uv_handle_t* handle : to_close_) {
    handle->data = this;
    uv_unref(handle);
  }
  napi_add_async_cleanup_hook(env_, OnEnd, this, &hook_);
}

void HandleOwner::Call(napi_async_context context, const Napi::FunctionReference& function) const {
  const Napi::HandleScope scope(env_);
  napi_value global = nullptr;
  napi_value result = nullptr;
  napi_get_global(env_, &global);
  if (napi_make_callback(env_, context, global, function.Value(), 0, nullptr, &result) == napi_ok) return;
  bool is_pending = false;
  napi_value error = nullptr;
  napi_is_exception_pending(env_, &is_pending);
  // Where script runs no more there is nobody to tell.
  if (is_pending && napi_get_and_clear_last_exception(env_, &error) == napi_ok) napi_fatal_exception(env_, error);
}

void HandleOwner::OnEnd(napi_async_cleanup_hook_handle /* hook */, void* argument) {
  auto* self = static_cast<HandleOwner*>(argument);
  self->is_closing_ = true;
  self->CloseNext();
}

void HandleOwner::OnClosed(uv_handle_t* handle) { static_cast<HandleOwner*>(handle->data)->CloseNext(); }

void HandleOwner::CloseNext() {
  if (!to_close_.empty()) {
    uv_handle_t* const handle = to_close_.back();
    to_close_.pop_back();
    uv_close(handle, OnClosed);
    return;
  }
  // The hook holds the environment: it goes last.
  napi_async_cleanup_hook_handle hook = hook_;
  delete this;
  napi_remove_async_cleanup_hook(hook);
}

uv_loop_t* LoopOf(napi_env env) {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) throw Napi::Error::New(env);
  return loop;
}

}  // namespace offheap
