/* group.h - a group commit in the making: what its requests did to points, not yet stored.
 *
 * Later operations of the group see the effects of earlier ones. finish() turns the final state of
 * each touched point into one store batch; install() then changes the rows that readers will be
 * shown. Owner: the writer thread. */
#ifndef LATHE_SHARD_GROUP_H
#define LATHE_SHARD_GROUP_H
#include "shard/data/table.h"
#include "shard/write/log.h"

struct lathe_group;

/* A point as the group has it. */
struct lathe_pending_point {
    struct lathe_table *table;
    struct lathe_idkey idkey;
    uint32_t slot;
    bool exists;
    bool existed; /* before the group, in the store */
    struct lathe_point_record record;
    struct lathe_buf payload; /* current payload, when payload_known */
    bool payload_known;
    bool payload_changed;
    bool touched;
};

struct lathe_group *lathe_group_create(struct lathe_store *store);
void lathe_group_destroy(struct lathe_group *group); /* NULL is accepted */

/* The point as the group has it now, read from the store when the group has not met it. Never NULL
 * on OK; lives until the group is cleared. DATA_LOSS: what is stored is malformed. */
LATHE_MUST_CHECK enum lathe_status
lathe_group_find(struct lathe_group *group, struct lathe_table *table, struct lathe_bytes idkey,
                 struct lathe_pending_point **point_out, struct lathe_error *err);
/* Reads the payload in, if that has not happened. */
LATHE_MUST_CHECK enum lathe_status lathe_group_load_payload(struct lathe_group *group,
                                                            struct lathe_pending_point *point,
                                                            struct lathe_error *err);

/* A vector that comes with an effect: for the row of this field, which must be a new one. */
struct lathe_new_row {
    uint32_t field;
    struct lathe_bytes vector; /* borrowed until install() or clear() */
};

/* Applies one resolved effect at sequence number `seq`. RESOURCE_EXHAUSTED: memory is short. */
LATHE_MUST_CHECK enum lathe_status lathe_group_apply(struct lathe_group *group,
                                                     struct lathe_pending_point *point,
                                                     const struct lathe_effect *effect,
                                                     uint64_t seq, const struct lathe_new_row *rows,
                                                     size_t row_count);

/* A collection comes: its record, into the batch. It goes: everything under its id, in every
 * family. */
void lathe_group_create_collection(struct lathe_group *group,
                                   const struct lathe_shard_collection *collection);
void lathe_group_drop_collection(struct lathe_group *group, uint32_t collection_id);

/* The batch that everything of this group goes into; callers add log entries and client records. */
struct lathe_store_batch *lathe_group_batch(struct lathe_group *group);
/* Puts points, order, payloads and counters into the batch. RESOURCE_EXHAUSTED: memory is short. */
LATHE_MUST_CHECK enum lathe_status lathe_group_finish(struct lathe_group *group,
                                                      struct lathe_tables *tables);
/* After the commit: appends and kills rows, makes the pending counters the committed ones.
 * RESOURCE_EXHAUSTED: memory is short; what is in memory no longer fits what is stored. */
LATHE_MUST_CHECK enum lathe_status lathe_group_install(struct lathe_group *group,
                                                       struct lathe_tables *tables);
/* Forgets everything, for the next group. After install(), or instead of it when the commit failed.
 */
void lathe_group_clear(struct lathe_group *group, struct lathe_tables *tables);
#endif
