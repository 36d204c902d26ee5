/* group.c - see group.h. */
#include "coordinator/api/group.h"

#include "common/base/check.h"

bool lathe_group_init(struct lathe_group *group, size_t capacity, struct lathe_arena *arena)
{
    *group = (struct lathe_group){.capacity = capacity};
    group->items = lathe_arena_alloc(arena, capacity * sizeof(*group->items));
    group->shares = lathe_arena_alloc(arena, LATHE_MAX_SHARDS * sizeof(*group->shares));
    return group->items != NULL && group->shares != NULL;
}

void lathe_group_add(struct lathe_group *group, struct lathe_bytes idkey, uint32_t shard)
{
    struct lathe_group_item *item = &group->items[group->count];

    LATHE_REQUIRE(group->count < group->capacity);
    LATHE_REQUIRE(shard < LATHE_MAX_SHARDS);
    if (group->by_shard[shard] == 0) {
        group->shares[group->share_count] = (struct lathe_group_share){shard, 0};
        group->by_shard[shard] = (uint16_t)++group->share_count;
    }
    item->idkey = idkey;
    item->share = (uint16_t)(group->by_shard[shard] - 1);
    item->index = group->shares[item->share].count++;
    group->count++;
}

void lathe_group_idkeys(const struct lathe_group *group, size_t share, struct lathe_buf *buf)
{
    for (size_t i = 0; i < group->count; i++) {
        if (group->items[i].share == share)
            lathe_idkeys_append(buf, group->items[i].idkey);
    }
}

enum lathe_status lathe_group_check(const struct lathe_group *group, size_t share,
                                    const Lathe__Shard__Points *points, struct lathe_error *err)
{
    uint32_t shard = group->shares[share].shard;

    if (points->n_data != group->shares[share].count)
        return lathe_fail(err, LATHE_INTERNAL, "shard %u was asked for %u points and sent %zu",
                          shard, group->shares[share].count, points->n_data);
    for (size_t i = 0; i < group->count; i++) {
        const struct lathe_group_item *item = &group->items[i];
        const Lathe__Shard__PointData *data;

        if (item->share != share)
            continue;
        data = points->data[item->index];
        if (!lathe_bytes_equal(item->idkey, lathe_bytes_of(data->idkey.data, data->idkey.len)))
            return lathe_fail(err, LATHE_INTERNAL,
                              "shard %u sent another point than number %u "
                              "that it was asked for",
                              shard, item->index);
    }
    return LATHE_OK;
}
