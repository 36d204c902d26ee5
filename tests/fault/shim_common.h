/* shim_common.h - what the two preloaded shims share: the real functions, and which paths count.
 *
 * A shim is loaded with LD_PRELOAD in front of libc and watches every path below LATHE_SHIM_PATH
 * (a real path without symbolic links). It must work at any moment, before any constructor has run,
 * so everything is looked up on first use. */
#ifndef LATHE_TESTS_FAULT_SHIM_COMMON_H
#define LATHE_TESTS_FAULT_SHIM_COMMON_H
#include <dlfcn.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Declares `real`: the function that would have been called without the shim. */
#define SHIM_REAL(name)                                                \
    static __typeof__(name) *real;                                     \
    if (real == NULL) {                                                \
        real = (__typeof__(name) *)(uintptr_t)dlsym(RTLD_NEXT, #name); \
    }                                                                  \
    (void)0

enum { SHIM_MAX_FDS = 65536 };

/* True if `fd` can index a table of SHIM_MAX_FDS. */
static inline bool shim_fd_fits(int fd)
{
    return fd >= 0 && fd < SHIM_MAX_FDS;
}

/* The absolute path of `path` as seen from directory `dirfd`, its parent without symbolic links.
 * False when the parent does not exist or the path is too long. */
bool shim_resolve(int dirfd, const char *path, char out[PATH_MAX]);

/* True if an absolute path lies below LATHE_SHIM_PATH or is it. */
bool shim_watches(const char *absolute);

/* Both of the above. */
bool shim_watched_path(int dirfd, const char *path, char out[PATH_MAX]);

/* Prints and ends the process: a shim that cannot do its work must not let a test pass. */
_Noreturn void shim_die(const char *what);
#endif
