/* reserve.h - a file of nothing beside a store, whose space is given back when the disk is full, so
 * that the store can be opened anew.
 *
 * It lies at the store's path with ".reserve" behind it. Threads: one at a time a store. */
#ifndef LATHE_COMMON_STORE_RESERVE_H
#define LATHE_COMMON_STORE_RESERVE_H
#include "common/base/status.h"

/* Makes sure that `bytes` are set aside. A disk on which less than `leave_bytes` would stay free
 * gets no reserve: that is LATHE_OK too. RESOURCE_EXHAUSTED or INTERNAL: it could not be made, and
 * nothing is left of it. */
LATHE_MUST_CHECK enum lathe_status lathe_reserve_make(const char *store_path, uint64_t bytes,
                                                      uint64_t leave_bytes,
                                                      struct lathe_error *err);
/* Gives it back. False: there was none. */
bool lathe_reserve_free(const char *store_path);
#endif
