/* placement.h - which shard owns a slot. Pure. */
#ifndef LATHE_COORDINATOR_PLACEMENT_H
#define LATHE_COORDINATOR_PLACEMENT_H
#include "common/base/bytes.h"
#include "common/base/limits.h"

/* Contiguous slot ranges: shard i owns slots from first[i] up to first[i+1]-1 (the last one to the
 * end). */
struct lathe_slot_map {
    uint32_t version;
    uint32_t shard_count;
    uint16_t first[LATHE_MAX_SHARDS];
};

/* Even ranges, version 1. */
void lathe_slot_map_init(struct lathe_slot_map *map, uint32_t shard_count);
uint32_t lathe_slot_map_shard(const struct lathe_slot_map *map, uint32_t slot);
#endif
