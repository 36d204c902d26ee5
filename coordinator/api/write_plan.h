/* write_plan.h - from a write request to one frame a shard, and from the shards' answers back to
 * one result an operation. Pure: no I/O, no clock, no locks. */
#ifndef LATHE_COORDINATOR_API_WRITE_PLAN_H
#define LATHE_COORDINATOR_API_WRITE_PLAN_H
#include "common/base/id.h"
#include "common/net/message.h"
#include "coordinator/collection.h"
#include "lathe/v1/points.pb-c.h"
#include "shard.pb-c.h"

struct lathe_write_op {
    struct lathe_idkey id;
    uint16_t share;  /* index into shares */
    bool id_is_made; /* the server made the id: the result says it */
};

/* The operations of one shard. */
struct lathe_write_share {
    uint32_t shard;
    uint32_t op_count;
    uint64_t vector_bytes;
};

/* Everything lives in the arena; request and collection are borrowed and must outlive the plan. */
struct lathe_write_plan {
    const Lathe__V1__WritePointsRequest *request;
    const struct lathe_collection *collection;
    struct lathe_write_op *ops;
    size_t op_count;
    struct lathe_write_share *shares; /* in order of first use */
    size_t share_count;
};

/* What is not in the request's collection field (that is looked up before): client id, request
 * number, number of operations. */
LATHE_MUST_CHECK enum lathe_status
lathe_write_check_header(const Lathe__V1__WritePointsRequest *request, struct lathe_error *err);

/* Checks every operation and groups them by shard. `wall_ms` is for ids that the server makes.
 * Errors: as lathe_check_*, with the path from "operations[i]" on; RESOURCE_EXHAUSTED: memory. */
LATHE_MUST_CHECK enum lathe_status
lathe_write_check(Lathe__V1__WritePointsRequest *request, const struct lathe_collection *collection,
                  uint64_t max_payload_bytes, uint64_t wall_ms, struct lathe_arena *arena,
                  struct lathe_write_plan *plan_out, struct lathe_error *err);

/* Appends the WRITE body and vector block of one share. Buffers tell of lacking memory. */
void lathe_write_build(const struct lathe_write_plan *plan, size_t share, uint64_t wall_ms,
                       struct lathe_buf *body, struct lathe_buf *block);

/* What became of one share. */
struct lathe_write_answer {
    struct lathe_error error;              /* status OK: `reply` is set */
    const Lathe__Shard__WriteReply *reply; /* one outcome and version an operation of the share */
};

/* INTERNAL if the reply does not fit the share. */
LATHE_MUST_CHECK enum lathe_status lathe_write_reply_check(const struct lathe_write_share *share,
                                                           const Lathe__Shard__WriteReply *reply,
                                                           struct lathe_error *err);

/* Whether a failed write may have been applied all the same: then its outcome is UNKNOWN, else
 * REJECTED. */
bool lathe_write_may_be_applied(enum lathe_status status);

/* Sums the answers (one a share) up in err_out. True: they are all the same failure, which is that
 * of a unary call. False: there are results to give; err_out is the first failure or has status OK.
 */
bool lathe_write_failed(const struct lathe_write_plan *plan,
                        const struct lathe_write_answer *answers, struct lathe_error *err_out);

/* Appends the encoded WritePointsResponse with one result an operation. */
void lathe_write_respond(const struct lathe_write_plan *plan,
                         const struct lathe_write_answer *answers, const struct lathe_error *err,
                         struct lathe_buf *reply);
/* The same for a request of a stream that failed before anything was submitted: no results. */
void lathe_write_respond_failure(uint64_t request_number, const struct lathe_error *err,
                                 struct lathe_buf *reply);
#endif
