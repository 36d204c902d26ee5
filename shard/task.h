/* task.h - one frame's way through a shard: from the front to the writer or the scan pool, and
 * back.
 *
 * A task has one owner at a time; it is handed over through queues. Only `cancelled` may be set by
 * the front while another thread works on it. */
#ifndef LATHE_SHARD_TASK_H
#define LATHE_SHARD_TASK_H
#include <stdatomic.h>

#include "common/base/queue.h"
#include "common/net/link.h"
#include "common/net/message.h"
#include "shard/data/view.h"

struct lathe_budget;

/* A reply's bytes are put together in the arena and then encoded, into a buffer that may have twice
 * the room: what is reserved for them is that many times their size. */
enum { LATHE_TASK_REPLY_COPIES = 3 };

struct lathe_task {
    struct lathe_peer peer;
    struct lathe_frame request;
    struct lathe_arena arena;  /* the decoded message lives here */
    ProtobufCMessage *message; /* by request.header.kind */
    struct lathe_bytes block;  /* the request's vector block, 16-byte aligned */
    void *block_copy;          /* where it lives if the transport's memory was not aligned */
    uint64_t received_us;      /* monotonic */
    uint64_t deadline_us;
    _Atomic bool cancelled;
    struct lathe_snapshot *snapshot; /* reads: what they see; kept with a held search */
    struct lathe_buf reply_body;
    struct lathe_buf reply_block;
    uint16_t reply_kind; /* without the reply bit; ERROR for a failure */
    bool hold;           /* keep the snapshot after the reply, for FETCH or RELEASE */
    struct lathe_budget *budget;
    uint64_t charged_bytes;   /* to LATHE_MEM_REQUESTS, for all that the task holds or reserved */
    struct lathe_queue *done; /* where the finished task goes: the front's queue */
    struct lathe_task *next;  /* the front's list */
};

/* Takes the frame over (it is emptied) and decodes its body as `descriptor`. Owner: the caller.
 * On failure the frame is freed and no task is made. What the task holds is charged to `budget`
 * (kept; may be NULL) until it is destroyed. */
LATHE_MUST_CHECK enum lathe_status
lathe_task_create(const struct lathe_peer *peer, struct lathe_frame *frame,
                  const ProtobufCMessageDescriptor *descriptor, struct lathe_budget *budget,
                  struct lathe_task **task_out, struct lathe_error *err);
void lathe_task_destroy(struct lathe_task *task); /* NULL is accepted */

/* Charges what the request is about to take: for its scan, for its reply. RESOURCE_EXHAUSTED naming
 * what is used and the limit, if it does not fit. Settled by lathe_task_finish() to what the task
 * then holds, so scratch memory is freed before. */
LATHE_MUST_CHECK enum lathe_status lathe_task_reserve(struct lathe_task *task, uint64_t bytes,
                                                      struct lathe_error *err);
/* Frees all but the snapshot and the deadline, once the reply of a held search is sent. */
void lathe_task_hold(struct lathe_task *task);

/* Fills the reply: a message, or a failure. A message that does not fit memory becomes a failure.
 */
void lathe_task_answer(struct lathe_task *task, uint16_t kind, const ProtobufCMessage *message);
void lathe_task_fail(struct lathe_task *task, const struct lathe_error *err, bool stale_route);

/* Hands the answered task back to its front. The caller must not touch it afterwards. */
void lathe_task_finish(struct lathe_task *task);

/* True if nobody waits for the task any more; the error then says why. */
bool lathe_task_expired(const struct lathe_task *task, uint64_t now_us, struct lathe_error *err);
#endif
