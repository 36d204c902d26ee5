/* gather.h - the scatter/gather machine: which requests are in flight, what each still waits for,
 * which answer belongs where, and what becomes of those that do not come.
 *
 * It does no I/O, owns no clock and no thread: engine.c feeds it, and so do tests. It only ever
 * touches the scatters that were given to it and not yet taken back with lathe_gather_next_done().
 */
#ifndef LATHE_COORDINATOR_GATHER_H
#define LATHE_COORDINATOR_GATHER_H
#include "coordinator/engine.h"

struct lathe_gather;

/* Frames that belonged to nothing: expected after deadlines, cancellations and reconnects. */
struct lathe_gather_counts {
    uint64_t late;      /* of a request, or of a phase of it, that is over */
    uint64_t duplicate; /* of a part that is settled already */
    uint64_t unknown;   /* of a request that was never made, or from a shard that was not asked */
};

/* What became of a frame. */
enum lathe_gather_verdict {
    LATHE_GATHER_IGNORED,
    LATHE_GATHER_SETTLED,
    LATHE_GATHER_STALE /* settled; and the shard wants HELLO and SYNC */
};

/* Room for `capacity` requests in flight. NULL when memory is short. Must be empty when destroyed.
 */
struct lathe_gather *lathe_gather_create(size_t capacity);
void lathe_gather_destroy(struct lathe_gather *gather); /* NULL is accepted */

/* Takes up a scatter: gives it its request id, and each part's request its id and budget. The
 * caller then sends every part that is not settled, and reports with lathe_gather_fail_part() what
 * it could not send. A scatter that cannot begin (cancelled, too late, no room) is done at once,
 * with no part to send. */
void lathe_gather_begin(struct lathe_gather *gather, struct lathe_scatter *scatter,
                        uint64_t now_us);

/* Settles one part of a scatter in flight as failed: it was not sent. */
void lathe_gather_fail_part(struct lathe_gather *gather, struct lathe_scatter *scatter,
                            struct lathe_part *part, const struct lathe_error *err);

/* Takes a frame from a shard; *frame is empty afterwards. */
enum lathe_gather_verdict lathe_gather_answer(struct lathe_gather *gather, uint32_t shard,
                                              struct lathe_frame *frame);

/* Gives up, as DEADLINE_EXCEEDED, what has a deadline at or before now; as UNAVAILABLE, what has
 * only its give-up time behind it. */
void lathe_gather_expire(struct lathe_gather *gather, uint64_t now_us);
/* Gives up, as CANCELLED, every scatter that is marked `cancelled`; or just every one. */
void lathe_gather_cancel_marked(struct lathe_gather *gather);
void lathe_gather_cancel_all(struct lathe_gather *gather);
/* Settles every part that waits for this shard as UNAVAILABLE. */
void lathe_gather_lose_shard(struct lathe_gather *gather, uint32_t shard, const char *why);

/* The next scatter that is complete, in order of completion; NULL if none. The caller tells the
 * shards of its `abandoned` parts, and calls `done`. */
struct lathe_scatter *lathe_gather_next_done(struct lathe_gather *gather);

/* When lathe_gather_expire() has something to do next: the earliest give-up time or deadline in
 * flight; UINT64_MAX if there is none. */
uint64_t lathe_gather_next_due(const struct lathe_gather *gather);
size_t lathe_gather_in_flight(const struct lathe_gather *gather);
struct lathe_gather_counts lathe_gather_counts(const struct lathe_gather *gather);

/* Reads the body of an ERROR answer (bytes from outside) into *err; true if it says STALE_ROUTE. */
bool lathe_failure_decode(struct lathe_bytes body, uint32_t shard, struct lathe_error *err);
#endif
