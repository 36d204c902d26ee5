/* engine.h - the thread that owns the sockets to the shards, the table of requests in flight and
 * the timers.
 *
 * A scatter is one phase of a call: a frame for each shard it concerns, and then their answers. The
 * API files build scatters, and build the next one (or the reply) in `done`. */
#ifndef LATHE_COORDINATOR_ENGINE_H
#define LATHE_COORDINATOR_ENGINE_H
#include <stdatomic.h>

#include "common/base/clock.h"
#include "common/net/frame.h"
#include "common/net/link.h"

struct lathe_engine;
struct lathe_scatter;

/* What one shard is asked, and what it said. */
struct lathe_part {
    uint32_t shard; /* each shard at most once in a scatter */
    struct lathe_frame
        request; /* set by the caller, emptied when sent. Engine sets request_id, budget_us */
    struct lathe_frame reply; /* set when error.status is OK; freed by lathe_scatter_fini() */
    struct lathe_error error; /* status OK, or why there is no answer: the shard's own failure,
                                 UNAVAILABLE (not reachable), DEADLINE_EXCEEDED or CANCELLED */
    bool settled;             /* engine's: answered or given up */
    bool abandoned;           /* engine's: given up while the shard may still work on it */
    uint16_t kind;            /* engine's: of the request */
};

/* Called once on the engine thread when every part is settled; never inside lathe_engine_submit().
 * May submit the same scatter again with new parts (the next phase), or free it. Must not block. A
 * phase submitted here is always taken up, whatever waits in the queue. */
typedef void lathe_scatter_done_fn(struct lathe_scatter *scatter);

struct lathe_scatter {
    struct lathe_part *parts; /* part_count of them; array owned by the scatter */
    size_t part_count;        /* at least 1 */
    uint64_t deadline_us;     /* monotonic; kept over the phases */
    uint64_t give_up_us; /* 0, or: when this phase is complete without the shards that are still
                            silent, as UNAVAILABLE. Their budget goes to the deadline. Of one
                            phase: lathe_scatter_reset() forgets it */
    uint64_t hold_request_id; /* 0, or: send under this id again (FETCH of a held SEARCH) */
    uint64_t request_id;      /* engine's: the id this phase was sent under */
    lathe_scatter_done_fn *done;
    void *context;              /* the caller's */
    _Atomic bool cancelled;     /* engine's; once set it stays set over the phases */
    struct lathe_scatter *next; /* engine's */
};

/* Makes room for `part_count` zeroed parts, freeing those of the phase before and forgetting its
 * give-up time. False: memory is short. */
LATHE_MUST_CHECK bool lathe_scatter_reset(struct lathe_scatter *scatter, size_t part_count);
void lathe_scatter_fini(struct lathe_scatter *scatter); /* frees parts with their frames */
/* The first part that failed, or NULL. */
const struct lathe_part *lathe_scatter_failed(const struct lathe_scatter *scatter);

struct lathe_engine_config {
    const struct lathe_clock *clock;
    struct lathe_net *net;
    const char *const *endpoints; /* one a shard */
    uint32_t shard_count;
    size_t queue_capacity; /* scatters submitted and not yet taken up, and as many in flight */
    uint8_t cluster_id[16];
    /* The shard refused a request since it does not know what the coordinator knows (STALE_ROUTE),
     * and has answered HELLO again: now it wants SYNC. Called on the engine thread; may be NULL;
     * must not block. */
    void (*on_stale)(void *context, uint32_t shard);
    void *context; /* the callback's */
};

LATHE_MUST_CHECK enum lathe_status lathe_engine_start(const struct lathe_engine_config *config,
                                                      struct lathe_engine **engine_out,
                                                      struct lathe_error *err);
/* Settles everything submitted as CANCELLED (each `done` is called), then ends the thread and frees
 * the engine. NULL is accepted. */
void lathe_engine_stop(struct lathe_engine **engine_p);

/* True while every shard has answered HELLO with its own number. Until a shard has done so for the
 * first time, what is sent to it fails as UNAVAILABLE. Threads: any. */
bool lathe_engine_ready(struct lathe_engine *engine);

/* Threads: any. RESOURCE_EXHAUSTED when the queue is full, CANCELLED when the engine is stopping:
 * `done` will then not be called. When too much is in flight, `done` is called with
 * RESOURCE_EXHAUSTED parts. */
LATHE_MUST_CHECK enum lathe_status lathe_engine_submit(struct lathe_engine *engine,
                                                       struct lathe_scatter *scatter);

/* Asks to settle what a scatter still waits for as CANCELLED, and tells the shards. `done` is
 * called as ever. The caller guarantees that the scatter lives until its `done` (it knows, since it
 * frees it there). Threads: any. */
void lathe_engine_cancel(struct lathe_engine *engine, struct lathe_scatter *scatter);

/* Sends a frame without an answer (RELEASE of a held search), from `done` only. */
void lathe_engine_tell(struct lathe_engine *engine, uint32_t shard, struct lathe_frame *frame);

uint32_t lathe_engine_shard_count(const struct lathe_engine *engine);
/* Scatters submitted whose `done` has not returned; for info and draining. Threads: any. */
size_t lathe_engine_in_flight(struct lathe_engine *engine);
#endif
