/* engine.c - see engine.h. A thin shell around the gather machine: one thread that moves scatters
 * from the queue into it, frames between it and the sockets, and time.
 *
 * The thread sleeps in lathe_net_wait() until a frame, a submission, a cancellation or the next
 * deadline comes. Each turn handles frames before deadlines, so that an answer that is there in
 * time counts. Other threads touch the queue, the event descriptor and the atomics only.
 *
 * Each link says HELLO until its shard has answered:
 *
 *               answered, right shard
 *   GREETING -------------------------> UP
 *      ^   ^--- else: again, later       |
 *      +---------------------------------+
 *         a request was refused as STALE_ROUTE; after the next answer on_stale() is called */
#include "coordinator/engine.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/base/queue.h"
#include "common/net/message.h"
#include "coordinator/gather.h"
#include "shard.pb-c.h"

#define HELLO_INDEX UINT32_MAX /* in place of a table index in the ids of HELLO frames */

enum {
    HELLO_FIRST_WAIT_US = 20 * 1000,
    HELLO_MAX_WAIT_US = 1000 * 1000,
    LOG_INTERVAL_US = 1000 * 1000, /* between lines about refused frames */
    TAKE_AT_ONCE = 64,             /* scatters in one turn */
    RECEIVE_AT_ONCE = 256,         /* frames from one shard in one turn */
    RETRY_AFTER_MS = 100
};

/* The link to one shard. Engine thread only. */
struct link {
    bool up;
    bool known; /* it has been up: requests may be sent */
    bool stale; /* on_stale() is owed */
    uint64_t hello_at_us;
    uint64_t hello_wait_us;
    uint32_t first_try; /* an answer to an earlier one is not of this greeting */
};

struct lathe_engine {
    const struct lathe_clock *clock;
    struct lathe_net *net;
    char **endpoints;
    uint32_t shard_count;
    uint8_t cluster_id[16];
    void (*on_stale)(void *context, uint32_t shard);
    void *context;

    struct lathe_queue *queue; /* of scatters */
    int wake_fd;               /* readable after a cancellation */
    atomic_bool cancel_wanted;
    atomic_size_t in_flight;
    atomic_uint up_count;

    pthread_t thread;
    sem_t started;
    struct lathe_error start_error;

    /* Engine thread only. */
    pthread_t self;
    bool stopping;
    struct lathe_gather *gather;
    struct lathe_socket **sockets;
    struct link *links;
    struct lathe_scatter *again_first; /* submitted in `done` */
    struct lathe_scatter *again_last;
    uint32_t hello_try;
    uint64_t logged_us;
    uint64_t refused_frames;
};

/* ---- Greeting ------------------------------------------------------------------------------- */

static void link_greet(struct link *link, uint32_t next_try, uint64_t now_us)
{
    link->up = false;
    link->first_try = next_try;
    link->hello_at_us = now_us;
    link->hello_wait_us = HELLO_FIRST_WAIT_US;
}

/* Sends a frame that nobody waits for: whether it was sent makes no difference. */
static void frame_tell(struct lathe_engine *engine, uint32_t shard, struct lathe_frame *frame)
{
    enum lathe_status ignored = lathe_socket_send(engine->sockets[shard], NULL, frame);

    (void)ignored;
}

static void hello_send(struct lathe_engine *engine, uint32_t shard)
{
    Lathe__Shard__Hello hello = LATHE__SHARD__HELLO__INIT;
    struct lathe_frame_header header = {
        .kind = LATHE_FRAME_HELLO,
        .request_id = (uint64_t)engine->hello_try << 32 | HELLO_INDEX,
    };
    struct lathe_buf body = {0};
    struct lathe_frame frame;

    engine->hello_try++;
    hello.protocol_min = LATHE_FRAME_VERSION;
    hello.protocol_max = LATHE_FRAME_VERSION;
    hello.cluster_id = (ProtobufCBinaryData){sizeof(engine->cluster_id), engine->cluster_id};
    hello.shard = shard;
    hello.shards = engine->shard_count;
    lathe_message_encode(&hello.base, &body);
    /* What cannot be sent now is sent again after the wait, like what is not answered. */
    if (lathe_frame_make(&frame, &header, &body, NULL))
        frame_tell(engine, shard, &frame);
}

/* Sends the HELLOs that are due; returns when the next one is. */
static uint64_t hello_step(struct lathe_engine *engine, uint64_t now_us)
{
    uint64_t next_us = UINT64_MAX;

    for (uint32_t i = 0; i < engine->shard_count; i++) {
        struct link *link = &engine->links[i];

        if (link->up)
            continue;
        if (link->hello_at_us <= now_us) {
            hello_send(engine, i);
            link->hello_at_us = now_us + link->hello_wait_us;
            link->hello_wait_us *= 2;
            if (link->hello_wait_us > HELLO_MAX_WAIT_US)
                link->hello_wait_us = HELLO_MAX_WAIT_US;
        }
        if (link->hello_at_us < next_us)
            next_us = link->hello_at_us;
    }
    return next_us;
}

static enum lathe_status hello_check(const struct lathe_frame *frame, uint32_t shard,
                                     struct lathe_error *err)
{
    const Lathe__Shard__HelloReply *reply;
    struct lathe_arena arena = {0};
    ProtobufCMessage *message;
    enum lathe_status status;

    if (frame->header.kind == (LATHE_FRAME_ERROR | LATHE_FRAME_REPLY)) {
        (void)lathe_failure_decode(frame->body, shard, err);
        return err->status;
    }
    if (frame->header.kind != (LATHE_FRAME_HELLO | LATHE_FRAME_REPLY))
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "the answer to HELLO has kind 0x%04x",
                          (unsigned)frame->header.kind);
    status = lathe_message_decode(&lathe__shard__hello_reply__descriptor, frame->body, &arena,
                                  &message, err);
    reply = (const Lathe__Shard__HelloReply *)message;
    if (status == LATHE_OK && reply->shard != shard)
        status = lathe_fail(err, LATHE_FAILED_PRECONDITION,
                            "the endpoint of shard %" PRIu32 " leads to shard %" PRIu32, shard,
                            reply->shard);
    if (status == LATHE_OK && reply->protocol != LATHE_FRAME_VERSION)
        status = lathe_fail(err, LATHE_UNIMPLEMENTED,
                            "shard %" PRIu32 " chose protocol %" PRIu32 "; offered was %d", shard,
                            reply->protocol, LATHE_FRAME_VERSION);
    if (status == LATHE_OK)
        lathe_log(LATHE_LOG_INFO, "engine-shard-up",
                  "shard=%" PRIu32 " protocol=%" PRIu32 " kernel=%s collections=%zu", shard,
                  reply->protocol, reply->kernel, reply->n_collections);
    lathe_arena_fini(&arena);
    return status;
}

static void hello_answer(struct lathe_engine *engine, uint32_t shard, struct lathe_frame *frame)
{
    uint32_t attempt = (uint32_t)(frame->header.request_id >> 32);
    struct link *link = &engine->links[shard];
    struct lathe_error err = {0};

    /* Answers to earlier greetings, and all but the first of this one, say nothing new. */
    if (!link->up && (int32_t)(attempt - link->first_try) >= 0) {
        if (hello_check(frame, shard, &err) == LATHE_OK) {
            link->up = true;
            link->known = true;
            atomic_fetch_add(&engine->up_count, 1);
            if (link->stale && engine->on_stale != NULL)
                engine->on_stale(engine->context, shard);
            link->stale = false;
        } else {
            lathe_log(LATHE_LOG_WARN, "engine-hello-refused", "shard=%" PRIu32 " error=\"%s\"",
                      shard, err.message);
            if (link->known)
                lathe_gather_lose_shard(engine->gather, shard, err.message);
            link->known = false;
        }
    }
    lathe_frame_fini(frame);
}

/* The shard does not know what it should: greet it again, once for many refusals. */
static void shard_stale(struct lathe_engine *engine, uint32_t shard, uint64_t now_us)
{
    struct link *link = &engine->links[shard];

    link->stale = true;
    if (!link->up)
        return;
    atomic_fetch_sub(&engine->up_count, 1);
    link_greet(link, engine->hello_try, now_us);
    lathe_log(LATHE_LOG_INFO, "engine-shard-stale", "shard=%" PRIu32, shard);
}

/* ---- Frames --------------------------------------------------------------------------------- */

static void part_send(struct lathe_engine *engine, struct lathe_scatter *scatter,
                      struct lathe_part *part)
{
    struct lathe_error err = {0};
    enum lathe_status status;

    LATHE_REQUIRE(part->shard < engine->shard_count);
    if (!engine->links[part->shard].known) {
        (void)lathe_fail(&err, LATHE_UNAVAILABLE, "shard %" PRIu32 " has not answered HELLO yet",
                         part->shard);
    } else {
        status = lathe_socket_send(engine->sockets[part->shard], NULL, &part->request);
        if (status == LATHE_OK)
            return;
        if (status == LATHE_UNAVAILABLE)
            (void)lathe_fail(&err, status, "shard %" PRIu32 " is not reachable", part->shard);
        else
            (void)lathe_fail(&err, status,
                             "the request to shard %" PRIu32
                             " has more than %u bytes, or memory is short",
                             part->shard, LATHE_FRAME_MAX_PART_BYTES);
    }
    if (err.status == LATHE_UNAVAILABLE)
        err.retry_after_ms = RETRY_AFTER_MS;
    lathe_gather_fail_part(engine->gather, scatter, part, &err);
}

static void scatter_begin(struct lathe_engine *engine, struct lathe_scatter *scatter)
{
    lathe_gather_begin(engine->gather, scatter, lathe_now_us(engine->clock));
    /* The scatter is not handed to `done` before this turn's end, whatever is settled here. */
    for (size_t i = 0; i < scatter->part_count; i++)
        if (!scatter->parts[i].settled)
            part_send(engine, scatter, &scatter->parts[i]);
}

/* Something that is no frame came from a shard: counted, and said once in a while. */
static void frame_refused(struct lathe_engine *engine, uint32_t shard,
                          const struct lathe_error *err, uint64_t now_us)
{
    engine->refused_frames++;
    if (engine->refused_frames > 1 && now_us - engine->logged_us < LOG_INTERVAL_US)
        return;
    engine->logged_us = now_us;
    lathe_log(LATHE_LOG_WARN, "engine-frame-refused",
              "shard=%" PRIu32 " refused_total=%" PRIu64 " error=\"%s\"", shard,
              engine->refused_frames, err->message);
}

static void shard_receive(struct lathe_engine *engine, uint32_t shard, uint64_t now_us)
{
    for (int i = 0; i < RECEIVE_AT_ONCE; i++) {
        struct lathe_frame frame;
        struct lathe_error err = {0};
        enum lathe_status status = lathe_socket_receive(engine->sockets[shard], NULL, &frame, &err);

        if (status == LATHE_NOT_FOUND)
            return;
        if (status != LATHE_OK)
            frame_refused(engine, shard, &err, now_us);
        else if ((uint32_t)frame.header.request_id == HELLO_INDEX)
            hello_answer(engine, shard, &frame);
        else if (lathe_gather_answer(engine->gather, shard, &frame) == LATHE_GATHER_STALE)
            shard_stale(engine, shard, now_us);
    }
}

/* ---- The thread ----------------------------------------------------------------------------- */

/* Moves what was submitted into the machine: first the next phases of what was there before. */
static void submissions_take(struct lathe_engine *engine)
{
    struct lathe_scatter *scatter = engine->again_first;
    void *items[TAKE_AT_ONCE];
    size_t count;

    engine->again_first = engine->again_last = NULL;
    while (scatter != NULL) {
        struct lathe_scatter *next = scatter->next;

        scatter_begin(engine, scatter);
        scatter = next;
    }
    count = lathe_queue_pop(engine->queue, items, TAKE_AT_ONCE, 0);
    for (size_t i = 0; i < count; i++)
        scatter_begin(engine, items[i]);
}

static void cancellations_take(struct lathe_engine *engine)
{
    uint64_t count;

    /* Read even when nothing is wanted: a canceller may write after its mark was seen already. */
    LATHE_REQUIRE(read(engine->wake_fd, &count, sizeof(count)) > 0 || errno == EAGAIN);
    if (atomic_exchange(&engine->cancel_wanted, false))
        lathe_gather_cancel_marked(engine->gather);
}

static void cancel_send(struct lathe_engine *engine, const struct lathe_scatter *scatter,
                        const struct lathe_part *part)
{
    struct lathe_frame frame = {
        .header = {.kind = LATHE_FRAME_CANCEL, .request_id = scatter->request_id},
    };

    /* A shard that is gone has nothing to cancel. */
    frame_tell(engine, part->shard, &frame);
}

static void completions_give(struct lathe_engine *engine)
{
    struct lathe_scatter *scatter;

    while ((scatter = lathe_gather_next_done(engine->gather)) != NULL) {
        for (size_t i = 0; i < scatter->part_count; i++)
            if (scatter->parts[i].abandoned)
                cancel_send(engine, scatter, &scatter->parts[i]);
        scatter->done(scatter); /* may free it */
        atomic_fetch_sub(&engine->in_flight, 1);
    }
}

/* One turn without waiting; returns how long may be waited before the next. */
static uint64_t turn(struct lathe_engine *engine)
{
    uint64_t now_us = lathe_now_us(engine->clock), next_us, due_us;

    for (uint32_t i = 0; i < engine->shard_count; i++)
        shard_receive(engine, i, now_us);
    submissions_take(engine);
    cancellations_take(engine);
    now_us = lathe_now_us(engine->clock);
    lathe_gather_expire(engine->gather, now_us);
    next_us = hello_step(engine, now_us);
    completions_give(engine);
    if (engine->again_first != NULL)
        return 0;
    due_us = lathe_gather_next_due(engine->gather);
    if (due_us < next_us)
        next_us = due_us;
    if (next_us == UINT64_MAX)
        return UINT64_MAX;
    now_us = lathe_now_us(engine->clock);
    return next_us > now_us ? next_us - now_us : 0;
}

/* Settles everything as CANCELLED. What `done` submits from now on is refused. */
static void run_down(struct lathe_engine *engine)
{
    void *item;

    engine->stopping = true;
    while (engine->again_first != NULL || lathe_queue_pop(engine->queue, &item, 1, 0) > 0) {
        struct lathe_scatter *scatter = engine->again_first;

        if (scatter != NULL)
            engine->again_first = scatter->next;
        else
            scatter = item;
        atomic_store(&scatter->cancelled, true);
        lathe_gather_begin(engine->gather, scatter, 0);
    }
    lathe_gather_cancel_all(engine->gather);
    completions_give(engine);
}

static enum lathe_status sockets_open(struct lathe_engine *engine, struct lathe_error *err)
{
    for (uint32_t i = 0; i < engine->shard_count; i++) {
        enum lathe_status status = lathe_dealer_open(engine->net, engine->endpoints[i],
                                                     &engine->sockets[i], err);

        if (status != LATHE_OK)
            return status;
        link_greet(&engine->links[i], engine->hello_try, 0);
    }
    return LATHE_OK;
}

static void *engine_run(void *argument)
{
    struct lathe_engine *engine = argument;
    int fds[2] = {engine->wake_fd, lathe_queue_event_fd(engine->queue)};
    bool opened;

    engine->self = pthread_self();
    opened = sockets_open(engine, &engine->start_error) == LATHE_OK;
    (void)sem_post(&engine->started);
    if (opened) {
        while (!lathe_queue_closed(engine->queue))
            lathe_net_wait(engine->sockets, engine->shard_count, fds, 2, turn(engine));
        run_down(engine);
    }
    for (uint32_t i = 0; i < engine->shard_count; i++)
        lathe_socket_close(&engine->sockets[i]);
    return NULL;
}

/* ---- Start and stop ------------------------------------------------------------------------- */

static void engine_destroy(struct lathe_engine *engine)
{
    for (uint32_t i = 0; engine->endpoints != NULL && i < engine->shard_count; i++)
        lathe_free(engine->endpoints[i]);
    lathe_free(engine->endpoints);
    lathe_free(engine->sockets);
    lathe_free(engine->links);
    lathe_gather_destroy(engine->gather);
    lathe_queue_destroy(engine->queue);
    if (engine->wake_fd >= 0)
        (void)close(engine->wake_fd);
    (void)sem_destroy(&engine->started);
    lathe_free(engine);
}

static bool endpoints_copy(struct lathe_engine *engine, const char *const *endpoints)
{
    engine->endpoints = lathe_zalloc_array(engine->shard_count, sizeof(*engine->endpoints));
    for (uint32_t i = 0; engine->endpoints != NULL && i < engine->shard_count; i++) {
        engine->endpoints[i] = lathe_strdup(endpoints[i]);
        if (engine->endpoints[i] == NULL)
            return false;
    }
    return engine->endpoints != NULL;
}

static struct lathe_engine *engine_create(const struct lathe_engine_config *config)
{
    struct lathe_engine *engine = lathe_zalloc(sizeof(*engine));

    if (engine == NULL)
        return NULL;
    engine->clock = config->clock;
    engine->net = config->net;
    engine->shard_count = config->shard_count;
    engine->on_stale = config->on_stale;
    engine->context = config->context;
    memcpy(engine->cluster_id, config->cluster_id, sizeof(engine->cluster_id));
    LATHE_REQUIRE(sem_init(&engine->started, 0, 0) == 0);
    engine->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    engine->queue = lathe_queue_create(config->queue_capacity, true);
    engine->gather = lathe_gather_create(config->queue_capacity);
    engine->sockets = lathe_zalloc_array(config->shard_count, sizeof(struct lathe_socket *));
    engine->links = lathe_zalloc_array(config->shard_count, sizeof(*engine->links));
    if (engine->wake_fd < 0 || engine->queue == NULL || engine->gather == NULL ||
        engine->sockets == NULL || engine->links == NULL ||
        !endpoints_copy(engine, config->endpoints)) {
        engine_destroy(engine);
        return NULL;
    }
    return engine;
}

enum lathe_status lathe_engine_start(const struct lathe_engine_config *config,
                                     struct lathe_engine **engine_out, struct lathe_error *err)
{
    struct lathe_engine *engine;

    LATHE_REQUIRE(config->shard_count > 0 && config->shard_count <= LATHE_MAX_SHARDS);
    LATHE_REQUIRE(config->queue_capacity > 0);
    *engine_out = NULL;
    engine = engine_create(config);
    if (engine == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for the engine");
    if (pthread_create(&engine->thread, NULL, engine_run, engine) != 0) {
        engine_destroy(engine);
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no thread for the engine");
    }
    while (sem_wait(&engine->started) != 0)
        LATHE_REQUIRE(errno == EINTR);
    if (engine->start_error.status != LATHE_OK) {
        enum lathe_status status = engine->start_error.status;

        if (err != NULL)
            *err = engine->start_error;
        (void)pthread_join(engine->thread, NULL);
        engine_destroy(engine);
        return status;
    }
    *engine_out = engine;
    return LATHE_OK;
}

void lathe_engine_stop(struct lathe_engine **engine_p)
{
    struct lathe_engine *engine = *engine_p;

    if (engine == NULL)
        return;
    LATHE_REQUIRE(!pthread_equal(pthread_self(), engine->self));
    lathe_queue_close(engine->queue);
    (void)pthread_join(engine->thread, NULL);
    engine_destroy(engine);
    *engine_p = NULL;
}

/* ---- For other threads ---------------------------------------------------------------------- */

bool lathe_engine_ready(struct lathe_engine *engine)
{
    return atomic_load(&engine->up_count) == engine->shard_count;
}

enum lathe_status lathe_engine_submit(struct lathe_engine *engine, struct lathe_scatter *scatter)
{
    enum lathe_status status = LATHE_OK;

    LATHE_REQUIRE(scatter->done != NULL);
    atomic_fetch_add(&engine->in_flight, 1);
    if (pthread_equal(pthread_self(), engine->self)) {
        if (engine->stopping) {
            status = LATHE_CANCELLED;
        } else {
            scatter->next = NULL;
            if (engine->again_first != NULL)
                engine->again_last->next = scatter;
            else
                engine->again_first = scatter;
            engine->again_last = scatter;
        }
    } else if (!lathe_queue_push(engine->queue, scatter)) {
        status = lathe_queue_closed(engine->queue) ? LATHE_CANCELLED : LATHE_RESOURCE_EXHAUSTED;
    }
    if (status != LATHE_OK)
        atomic_fetch_sub(&engine->in_flight, 1);
    return status;
}

void lathe_engine_cancel(struct lathe_engine *engine, struct lathe_scatter *scatter)
{
    uint64_t one = 1;

    /* The mark is in the scatter, not in a queue: it cannot outlive the scatter and hit another
     * one. */
    atomic_store_explicit(&scatter->cancelled, true, memory_order_release);
    if (!atomic_exchange(&engine->cancel_wanted, true))
        LATHE_REQUIRE(write(engine->wake_fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
}

void lathe_engine_tell(struct lathe_engine *engine, uint32_t shard, struct lathe_frame *frame)
{
    LATHE_REQUIRE(pthread_equal(pthread_self(), engine->self));
    LATHE_REQUIRE(shard < engine->shard_count);
    /* Nobody waits for it: a shard that is gone has lost what it held. */
    frame_tell(engine, shard, frame);
}

uint32_t lathe_engine_shard_count(const struct lathe_engine *engine)
{
    return engine->shard_count;
}

size_t lathe_engine_in_flight(struct lathe_engine *engine)
{
    return atomic_load(&engine->in_flight);
}
