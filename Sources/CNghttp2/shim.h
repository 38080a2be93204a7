// The C library nghttp2 as a Swift module. Nothing is added: 1.52 imports completely.
// Needed at least: the two Debian back-ports below, which a version number does not tell of.
#ifndef MESHRELAY_CNGHTTP2_SHIM_H
#define MESHRELAY_CNGHTTP2_SHIM_H

#include <nghttp2/nghttp2.h>

// Taking the address fails to compile where a header lacks the bound against CVE-2024-28182
// (CONTINUATION floods) or CVE-2023-44487 (rapid reset).
static inline int meshrelay_nghttp2_has_flood_options(void) {
  return &nghttp2_option_set_max_continuations != 0 &&
         &nghttp2_option_set_stream_reset_rate_limit != 0;
}

#endif
