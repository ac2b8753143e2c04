/* A library that is as the addon's should be, with one fault for each name that is defined. */
#define SHOWN __attribute__((visibility("default")))

void *memset(void *at, int byte, unsigned long count);

SHOWN void *napi_register_module_v1(void *env, void *exports) {
  char bytes[100];
  memset(bytes, (int)(long)env, sizeof bytes);
  return bytes[99] == 0 ? env : exports;
}

#ifndef FORGET
SHOWN int node_api_module_get_api_version_v1(void) { return 8; }
#endif

#ifdef EXPORT
SHOWN int something_else(void) { return 1; }
#endif

#ifdef UNKNOWN
int getentropy(void *bytes, unsigned long count);
int unknown(void) __attribute__((used));
int unknown(void) {
  char bytes[1];
  return getentropy(bytes, 1);
}
#endif

#ifdef WEAK
int pthread_mutex_lock(void *mutex) __attribute__((weak));
int weak(void) __attribute__((used));
int weak(void) { return pthread_mutex_lock ? pthread_mutex_lock(0) : 0; }
#endif

#ifdef STATIC_TLS
__attribute__((tls_model("initial-exec"))) __thread int of_thread;
int *in_thread(void) __attribute__((used));
int *in_thread(void) { return &of_thread; }
#endif

#ifdef INDIRECT
static int one(void) { return 1; }
static int (*choose(void))(void) { return one; }
int chosen(void) __attribute__((ifunc("choose")));
int call(void) __attribute__((used));
int call(void) { return chosen(); }
#endif

#ifdef TEXT_RELOCATION
__asm__(".text\n.quad napi_register_module_v1\n");
#endif

#ifdef LONG
const char text[450000] __attribute__((used)) = {1};
#endif
