/* group.h - ids gathered by the shard that holds them, and their answers put back in order. Pure.
 */
#ifndef LATHE_COORDINATOR_API_GROUP_H
#define LATHE_COORDINATOR_API_GROUP_H
#include "common/net/message.h"
#include "coordinator/api/convert.h"

struct lathe_group_item {
    struct lathe_bytes idkey; /* borrowed */
    uint16_t share;
    uint32_t index; /* within the share */
};

struct lathe_group_share {
    uint32_t shard;
    uint32_t count;
};

struct lathe_group {
    struct lathe_group_item *items; /* in the order they were added */
    size_t count;
    size_t capacity;
    struct lathe_group_share *shares; /* in order of first use */
    size_t share_count;
    uint16_t by_shard[LATHE_MAX_SHARDS]; /* share + 1; 0: none */
};

/* Room for `capacity` ids, in the arena. False: memory is short. */
LATHE_MUST_CHECK bool lathe_group_init(struct lathe_group *group, size_t capacity,
                                       struct lathe_arena *arena);
void lathe_group_add(struct lathe_group *group, struct lathe_bytes idkey, uint32_t shard);

/* Appends the id keys of one share, in order, as Fetch carries them. */
void lathe_group_idkeys(const struct lathe_group *group, size_t share, struct lathe_buf *buf);

/* Checks that the shard answered each id of the share, in order. INTERNAL if not. */
LATHE_MUST_CHECK enum lathe_status lathe_group_check(const struct lathe_group *group, size_t share,
                                                     const Lathe__Shard__Points *points,
                                                     struct lathe_error *err);
#endif
