/* placement.c - see placement.h. */
#include "coordinator/placement.h"

#include "common/base/check.h"

void lathe_slot_map_init(struct lathe_slot_map *map, uint32_t shard_count)
{
    LATHE_REQUIRE(shard_count > 0 && shard_count <= LATHE_MAX_SHARDS);
    *map = (struct lathe_slot_map){.version = 1, .shard_count = shard_count};
    for (uint32_t i = 0; i < shard_count; i++)
        map->first[i] = (uint16_t)(i * LATHE_SLOTS / shard_count);
}

uint32_t lathe_slot_map_shard(const struct lathe_slot_map *map, uint32_t slot)
{
    uint32_t low = 0, high = map->shard_count; /* first[low] <= slot < first[high] */

    LATHE_REQUIRE(slot < LATHE_SLOTS);
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;

        if (map->first[middle] <= slot)
            low = middle;
        else
            high = middle;
    }
    return low;
}
