/* mem.h - the one door to the heap, and the budget that --memory-limit sets.
 *
 * Nothing else calls malloc: array sizes are checked for overflow here, and what is large is
 * charged to a part of the budget, so that every part is counted and published. */
#ifndef LATHE_BASE_MEM_H
#define LATHE_BASE_MEM_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All return NULL when memory is short or the size overflows; freed by lathe_free(). */
void *lathe_alloc(size_t size);
void *lathe_zalloc(size_t size);
void *lathe_alloc_array(size_t count, size_t size);
void *lathe_zalloc_array(size_t count, size_t size);
void *lathe_realloc(void *memory, size_t size);
void *lathe_realloc_array(void *memory, size_t count, size_t size);
void *lathe_alloc_aligned(size_t alignment, size_t size); /* alignment: a power of two */
char *lathe_strdup(const char *text);
void lathe_free(void *memory);

/* Grows *array_p (elements of `size` bytes, *capacity_p of them) so that it holds `wanted`
 * elements. At least doubles. False when memory is short; the array is then as it was. */
bool lathe_grow(void *array_p, size_t *capacity_p, size_t wanted, size_t size);

/* The parts a process's memory is counted by. */
#define LATHE_MEM_PART_TABLE(X)                                                \
    X(ROWS, "rows")           /* originals of the rows, as they are scanned */ \
    X(IDS, "ids")             /* ids and row maps beside them */               \
    X(MEMTABLES, "memtables") /* RocksDB's write buffers */                    \
    X(CACHE, "block_cache")   /* RocksDB's one block cache */                  \
    X(REQUESTS, "requests")   /* calls in flight: messages, scans, replies */

enum lathe_mem_part {
#define LATHE_MEM_PART_ENUM(name, text) LATHE_MEM_##name,
    LATHE_MEM_PART_TABLE(LATHE_MEM_PART_ENUM)
#undef LATHE_MEM_PART_ENUM
        LATHE_MEM_PARTS
};

enum { LATHE_MEMORY_REQUEST_PERCENT = 5 }; /* of the limit, whatever the other parts use */

/* One a process; every shard and the coordinator of `lathe serve` share it. Threads: any. */
struct lathe_budget {
    uint64_t limit_bytes; /* 0 = no limit */
    _Atomic int64_t used_bytes[LATHE_MEM_PARTS];
};

const char *lathe_mem_part_name(enum lathe_mem_part part);
uint64_t lathe_budget_used(struct lathe_budget *budget);
/* Counts memory taken (bytes > 0) or given back (bytes < 0). `budget` may be NULL. */
void lathe_budget_charge(struct lathe_budget *budget, enum lathe_mem_part part, int64_t bytes);
/* True if `bytes` more would still leave the budget under `percent` of its limit. */
bool lathe_budget_has_room(struct lathe_budget *budget, uint64_t bytes, unsigned percent);
/* Charges a request's bytes to LATHE_MEM_REQUESTS before it takes them, if they fit: the budget
 * stays within its limit, or requests together within LATHE_MEMORY_REQUEST_PERCENT of it, so that a
 * process which data has filled goes on answering. False: nothing is charged. `budget` may be NULL.
 */
bool lathe_budget_take_request(struct lathe_budget *budget, uint64_t bytes);
/* 80 % of what this process may use: its cgroup's limit, or else the machine's memory. */
uint64_t lathe_memory_default_limit(void);
#endif
