/* stats.h - the STATS of every shard, summed: for CountPoints, GetCollection and GetInfo. */
#ifndef LATHE_COORDINATOR_API_STATS_H
#define LATHE_COORDINATOR_API_STATS_H
#include "coordinator/api/convert.h"
#include "coordinator/api/request.h"

struct lathe_field_stats {
    uint64_t rows;
    uint64_t dead_rows;
    uint64_t memory_bytes;
};

struct lathe_stats {
    uint64_t points;
    struct lathe_field_stats fields[LATHE_MAX_FIELDS];
    uint64_t disk_bytes;                /* of all shards */
    uint64_t disk_free_bytes;           /* the least of any shard: they may share a disk */
    struct lathe_shard_answer *answers; /* one a shard, in the request's memory */
    size_t answer_count;
};

/* Builds the scatter: about the request's collection, or, if it has none, about the shards alone.
 */
LATHE_MUST_CHECK enum lathe_status lathe_stats_ask(struct lathe_request *request,
                                                   struct lathe_error *err);
/* Sums the answers up. The first shard without one is the failure. */
LATHE_MUST_CHECK enum lathe_status lathe_stats_read(struct lathe_request *request,
                                                    struct lathe_stats *stats_out,
                                                    struct lathe_error *err);
#endif
