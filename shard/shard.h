/* shard.h - one shard: its store, rows, writer and front, in start and stop order. */
#ifndef LATHE_SHARD_SHARD_H
#define LATHE_SHARD_SHARD_H
#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/net/link.h"
#include "common/store/store.h"
#include "shard/kernel/kernel.h"
#include "shard/search/pool.h"

struct lathe_shard;

struct lathe_shard_config {
    const char *directory; /* of the store; its parent exists */
    const char *endpoint;  /* the front listens here */
    uint32_t shard;        /* this one's number */
    uint32_t shard_count;
    uint8_t cluster_id[16];
    struct lathe_net *net;
    struct lathe_pool *pool;         /* shared with the other shards of the process */
    struct lathe_store_cache *cache; /* shared too */
    struct lathe_budget *budget;     /* shared too */
    const struct lathe_kernel_set *kernel;
    const struct lathe_clock *clock;
    uint64_t max_payload_bytes;
    uint64_t write_buffer_bytes;
    size_t in_flight; /* requests that may be inside at once */
};

/* Opens or makes the store, loads it, and serves. Everything the config points to outlives the
 * shard. Errors: those of lathe_store_open and lathe_load, with the shard named. */
LATHE_MUST_CHECK enum lathe_status lathe_shard_start(const struct lathe_shard_config *config,
                                                     struct lathe_shard **shard_out,
                                                     struct lathe_error *err);
/* Lets what is inside end, commits what waits, closes the store. */
void lathe_shard_stop(struct lathe_shard **shard_p);
#endif
