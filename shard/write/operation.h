/* operation.h - the operations of a write request, checked and turned into effects on points.
 *
 * Deterministic: what comes out depends only on the stored state, the request and the sequence
 * number. */
#ifndef LATHE_SHARD_OPERATION_H
#define LATHE_SHARD_OPERATION_H
#include "shard.pb-c.h"
#include "shard/write/group.h"

/* lathe.v1.Outcome */
enum {
    LATHE_OUTCOME_APPLIED = 1,
    LATHE_OUTCOME_NOT_FOUND = 2,
    LATHE_OUTCOME_CONDITION_FALSE = 3,
    LATHE_OUTCOME_REJECTED = 4
};

/* lathe.v1.WriteMode */
enum { LATHE_MODE_UPSERT = 0, LATHE_MODE_INSERT_ONLY = 1, LATHE_MODE_UPDATE_ONLY = 2 };

/* Checks a whole request against its collection before anything is done: kinds, ids, fields, and
 * every vector inside `block` (which is 4-byte aligned). INVALID_ARGUMENT names the operation. */
LATHE_MUST_CHECK enum lathe_status
lathe_operations_check(const struct lathe_shard_collection *collection,
                       const Lathe__Shard__Write *write, struct lathe_bytes block,
                       struct lathe_error *err);

/* True if an operation of the request can make the shard hold more than before. */
bool lathe_operations_insert(const Lathe__Shard__Write *write);

/* Applies a checked request to the group at sequence number `seq`: one result an operation, and its
 * effects appended to log_body. Views into `block` are kept until the group is installed or
 * cleared. RESOURCE_EXHAUSTED, DATA_LOSS: the group must be cleared. */
LATHE_MUST_CHECK enum lathe_status
lathe_operations_apply(struct lathe_group *group, struct lathe_table *table,
                       const Lathe__Shard__Write *write, struct lathe_bytes block, uint64_t seq,
                       uint64_t max_payload_bytes, struct lathe_result *results,
                       struct lathe_buf *log_body, struct lathe_error *err);
#endif
