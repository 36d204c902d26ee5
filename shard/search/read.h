/* read.h - reading points back: by id, in id order, and counting them. All on one snapshot. */
#ifndef LATHE_SHARD_READ_H
#define LATHE_SHARD_READ_H
#include "common/base/clock.h"
#include "common/vec/topk.h"
#include "shard/search/pool.h"
#include "shard/task.h"

/* Takes a FETCH, GET, LIST or STATS task that holds its snapshot, and finishes it on a pool thread.
 * Memory short: it is refused at once. Nobody waits for it any more: the rest is not read. `clock`
 * outlives the task. */
void lathe_read_start(struct lathe_pool *pool, const struct lathe_clock *clock,
                      struct lathe_task *task);

/* Stored payload bytes of each hit's point. DATA_LOSS: a point is not where its row says. */
LATHE_MUST_CHECK enum lathe_status lathe_read_payload_sizes(
    const struct lathe_snapshot *snapshot, const struct lathe_shard_collection *collection,
    const struct lathe_hit *hits, uint32_t hit_count, uint32_t *sizes_out, struct lathe_error *err);
#endif
