{
  "variables": {
    # "true": the binary contains what it uses of libstdc++ and libgcc. See docs/binary.md.
    "static_runtime%": "true",
    "exported": "native/exports.map"
  },
  "targets": [
    {
      "target_name": "offheap",
      "sources": [
        "native/addon.cc",
        "native/bell.cc",
        "native/break_face.cc",
        "native/bytes_face.cc",
        "native/compat.cc",
        "native/environment.cc",
        "native/free_chunks.cc",
        "native/handle_owner.cc",
        "native/kept.cc",
        "native/kept_face.cc",
        "native/ledger.cc",
        "native/ledger_face.cc",
        "native/loop_watch.cc",
        "native/malloc_face.cc",
        "native/malloc_kind.cc",
        "native/malloc_purge.cc",
        "native/malloc_stats.cc",
        "native/naming.cc",
        "native/page_batch.cc",
        "native/pages.cc",
        "native/pages_face.cc",
        "native/places.cc",
        "native/program_break.cc",
        "native/purging.cc",
        "native/reclaim_face.cc",
        "native/report_face.cc",
        "native/slab.cc",
        "native/symbols.cc",
        "native/turns.cc",
        "native/wraps_face.cc",
        "native/zone.cc"
      ],
      # _GLIBCXX_ASSERTIONS: an index outside of an array or a vector ends the process.
      "defines": [
        "NAPI_VERSION=8",
        "_GLIBCXX_ASSERTIONS",
        "NAPI_CPP_EXCEPTIONS",
        "NODE_ADDON_API_CPP_EXCEPTIONS_ALL",
        "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"
      ],
      # They replace `open` by `open64` and the like, which are the same on 64 bits, and which newer versions of musl
      # only keep for old binaries.
      "defines!": ["_FILE_OFFSET_BITS=64", "_LARGEFILE_SOURCE"],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      # Not among these: `-D_FORTIFY_SOURCE`, which asks for functions that musl does not have (some distributions set it), and
      # `-fcf-protection`, which has an effect only where Node, its C library and libstdc++.a were all built with it.
      "cflags": [
        "-Wall", "-Wextra", "-Werror", "-U_FORTIFY_SOURCE", "-fPIC", "-fvisibility=hidden",
        "-ffunction-sections", "-fdata-sections",
        "-fstack-protector-strong", "-fstack-clash-protection"
      ],
      "cflags_cc!": ["-fno-exceptions"],
      # gyp asks for -O3. Even with -O2 the binary for x64 is a seventh longer. What is called often has -O2 by a pragma.
      "configurations": { "Release": { "cflags!": ["-O3"], "cflags": ["-Os"] } },
      "ldflags": [
        # A thread that ends may run code of the addon after everybody has let go of it.
        "-Wl,-z,nodelete",
        "-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack",
        "-Wl,--gc-sections", "-Wl,--exclude-libs,ALL",
        "-Wl,--version-script=<(module_root_dir)/<(exported)"
      ],
      "conditions": [
        ["static_runtime=='true'", {
          # No C library is linked: the one that Node runs on has what is missing.
          # Optimizing all files together makes it a tenth shorter. Not where users build: their compiler may lack the means.
          "cflags": ["-flto"],
          "ldflags": ["-nodefaultlibs", "-flto", "-Os"],
          "ldflags!": ["-pthread", "-rdynamic"],
          "libraries": ["-Wl,-Bstatic", "-lstdc++", "-lgcc_eh", "-lgcc"]
        }],
        ["target_arch=='arm64'", {
          # Return addresses are signed, on processors that can. Others take these instructions for none.
          "cflags": ["-mbranch-protection=pac-ret"]
        }]
      ]
    }
  ]
}
