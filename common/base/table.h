/* table.h - the one door to uthash: hash tables whose elements carry their own handle.
 *
 * Use uthash's macros on a `UT_hash_handle hh` as its manual says, with what this header settles:
 * - keys are hashed under a key of this process's own (lathe_hash_keyed), so ids that come from
 *   outside cannot be chosen to meet in one bucket; lathe_hash_init() comes first;
 * - memory is lathe_alloc's;
 * - HASH_ADD may run out of memory. It then leaves the table as it was, and the element out of it:
 *   ask lathe_table_holds() after every HASH_ADD.
 *
 * HASH_ITER goes in the order of adding, whatever the hashes are. */
#ifndef LATHE_BASE_TABLE_H
#define LATHE_BASE_TABLE_H
#include <stdbool.h>
#include <stddef.h>

#include "common/base/hash.h"
#include "common/base/mem.h"

#define HASH_FUNCTION(key, size, hash_out) \
    ((hash_out) = (unsigned)lathe_hash_keyed(lathe_bytes_of(key, size)))
#define HASH_NONFATAL_OOM       1
#define uthash_malloc(size)     lathe_alloc(size)
#define uthash_free(data, size) lathe_free(data)

#include <uthash.h>

/* After HASH_ADD: true if the element of this handle is in the table; false if memory was short,
 * and the element is still the caller's. */
static inline bool lathe_table_holds(const UT_hash_handle *handle)
{
    return handle->tbl != NULL;
}
#endif
