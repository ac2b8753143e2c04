{
  "targets": [
    {
      "target_name": "offheap",
      "sources": [
        "native/addon.cc",
        "native/break_face.cc",
        "native/environment.cc",
        "native/handle_owner.cc",
        "native/kept.cc",
        "native/kept_face.cc",
        "native/ledger.cc",
        "native/ledger_face.cc",
        "native/pages.cc",
        "native/pages_face.cc",
        "native/program_break.cc",
        "native/purging.cc",
        "native/slab.cc",
        "native/turns.cc",
        "native/wraps_face.cc",
        "native/zone.cc"
      ],
      "defines": [
        "NAPI_VERSION=8",
        "NAPI_CPP_EXCEPTIONS",
        "NODE_ADDON_API_CPP_EXCEPTIONS_ALL",
        "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"
      ],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "cflags": ["-Wall", "-Wextra", "-Werror", "-O2", "-fvisibility=hidden"],
      "cflags_cc!": ["-fno-exceptions"],
      "ldflags": ["-Wl,-z,nodelete"]
    }
  ]
}
