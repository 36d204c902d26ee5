/* points_write.h - one write request, unary or of a stream: the same way from bytes to response. */
#ifndef LATHE_COORDINATOR_API_POINTS_WRITE_H
#define LATHE_COORDINATOR_API_POINTS_WRITE_H
#include "coordinator/api/request.h"
#include "coordinator/api/write_plan.h"

struct lathe_write;

/* Called once, unless lathe_write_start() failed. `err` has status OK: `reply` is the encoded
 * response (moved). Else the request failed as a whole; in a stream `reply` still is the response
 * to send. Usually on the engine thread. The write is closed by the callee. */
typedef void lathe_write_end_fn(struct lathe_write *write, const struct lathe_error *err,
                                struct lathe_buf *reply);

struct lathe_write {
    struct lathe_request base; /* base.call is NULL in a stream */
    struct lathe_write_plan plan;
    struct lathe_write_answer *answers; /* one a share */
    uint64_t request_number;            /* 0 until decoded */
    lathe_write_end_fn *end;
    void *owner; /* of a stream: its slot */
};

/* Decodes, checks and submits. After it the bytes of `message` are no longer needed. On failure
 * nothing was submitted and `end` will not run. */
LATHE_MUST_CHECK enum lathe_status
lathe_write_start(struct lathe_write *write, struct lathe_bytes message, struct lathe_error *err);
#endif
