/* collections_sync.h - the frame that tells a shard which collections there are. Pure. */
#ifndef LATHE_COORDINATOR_COLLECTIONS_SYNC_H
#define LATHE_COORDINATOR_COLLECTIONS_SYNC_H
#include "coordinator/collection.h"
#include "coordinator/engine.h"

/* Everything is borrowed for the call. */
struct lathe_sync_state {
    struct lathe_collection *const *items;
    size_t count;
    struct lathe_collection *added; /* one more, or NULL */
    uint32_t next_id;
    uint64_t time_ms;
};

/* Fills parts[i].shard = i with the SYNC frame, for all of them. RESOURCE_EXHAUSTED: memory is
 * short. */
LATHE_MUST_CHECK enum lathe_status lathe_sync_build(const struct lathe_sync_state *state,
                                                    struct lathe_part *parts, size_t part_count,
                                                    struct lathe_error *err);

/* OK if every shard acknowledged; else the first failure, naming the shard. */
LATHE_MUST_CHECK enum lathe_status lathe_sync_result(const struct lathe_scatter *scatter,
                                                     struct lathe_error *err);
#endif
