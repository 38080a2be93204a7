/* liburing 2.3 for Swift. Everything that is used imports as it is, the static inline prep functions included.
   <sys/select.h> comes first: liburing.h sets feature macros that would give fd_set another shape than
   the one in Swift's Glibc module. */
#ifndef MESHRELAY_CLIBURING_SHIM_H
#define MESHRELAY_CLIBURING_SHIM_H

#include <sys/select.h>

#include <liburing.h>

#endif
