/* front.c - see front.h. */
#include "shard/front.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stddef.h>

#include "common/base/check.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/base/table.h"
#include "shard.pb-c.h"
#include "shard/search/read.h"

_Static_assert(LATHE_MEMORY_INSERT_PERCENT + LATHE_MEMORY_REQUEST_PERCENT <= 100,
               "inserts leave requests their share of the memory");

/* Who asked (peer), what (kind: a held SEARCH and its FETCH share an id), under which id; as bytes.
 */
struct name {
    uint8_t bytes[1 + LATHE_PEER_BYTES + 2 + 8];
};

/* A task inside the shard, or a search held for its FETCH. */
struct inside {
    struct name name;
    struct lathe_task *task;
    bool held;
    UT_hash_handle hh;
};

struct lathe_front {
    struct lathe_front_config config;
    pthread_t thread;
    struct lathe_socket *socket;
    struct lathe_queue *done; /* finished tasks; with an event */
    struct lathe_queue *stop; /* closed to end the thread; with an event */
    struct inside *inside;
    size_t busy;                 /* tasks that are not held */
    struct lathe_queue *started; /* one item when the thread has opened its socket, or failed */
    struct lathe_error start_error;
    _Atomic int pause; /* enum pause */
    sem_t paused;
};

/* lathe_front_pause() wants a pause, the thread is paused when nothing is inside any more, and
 * lathe_front_resume() has it serve again. */
enum pause { SERVING, WANTED, PAUSED };

bool lathe_front_authorise(const struct lathe_peer *peer, const struct lathe_frame_header *header)
{
    (void)peer;
    (void)header;
    return true;
}

static struct name name_of(const struct lathe_peer *peer, uint16_t kind, uint64_t request_id)
{
    struct name name;

    memset(&name, 0, sizeof(name));
    name.bytes[0] = peer->size;
    memcpy(name.bytes + 1, peer->bytes, peer->size);
    name.bytes[1 + LATHE_PEER_BYTES] = (uint8_t)kind;
    name.bytes[2 + LATHE_PEER_BYTES] = (uint8_t)(kind >> 8);
    lathe_put_u64le(name.bytes + 3 + LATHE_PEER_BYTES, request_id);
    return name;
}

static struct inside *inside_find(struct lathe_front *front, const struct lathe_peer *peer,
                                  uint16_t kind, uint64_t request_id)
{
    struct name name = name_of(peer, kind, request_id);
    struct inside *inside = NULL;

    HASH_FIND(hh, front->inside, &name, sizeof(name), inside);
    return inside;
}

static void inside_remove(struct lathe_front *front, struct inside *inside)
{
    HASH_DEL(front->inside, inside);
    lathe_free(inside);
}

/* ---- Replies ---- */

static void send(struct lathe_front *front, const struct lathe_peer *peer,
                 const struct lathe_frame_header *request, enum lathe_frame_kind kind,
                 struct lathe_buf *body, struct lathe_buf *block)
{
    struct lathe_frame_header header = lathe_frame_answer_header(request, kind);
    struct lathe_frame frame;

    if (!lathe_frame_make(&frame, &header, body, block)) {
        lathe_log(LATHE_LOG_WARN, "reply-dropped", "shard=%u reason=memory", front->config.shard);
        return;
    }
    /* A peer that is gone will find out by its own deadline. */
    if (lathe_socket_send(front->socket, peer, &frame) != LATHE_OK)
        lathe_log(LATHE_LOG_DEBUG, "reply-dropped", "shard=%u reason=peer", front->config.shard);
}

static void send_failure(struct lathe_front *front, const struct lathe_peer *peer,
                         const struct lathe_frame_header *header, const struct lathe_error *err,
                         bool stale_route)
{
    Lathe__Shard__Failure failure = LATHE__SHARD__FAILURE__INIT;
    struct lathe_buf body = {0}, block = {0};

    failure.status = err->status;
    failure.message = (char *)(uintptr_t)err->message;
    failure.field = (char *)(uintptr_t)err->field;
    failure.retry_after_ms = err->retry_after_ms;
    failure.stale_route = stale_route;
    lathe_message_encode(&failure.base, &body);
    send(front, peer, header, LATHE_FRAME_ERROR, &body, &block);
}

/* Sends a finished task's reply; a held search stays, everything else is freed. */
static void task_done(struct lathe_front *front, struct lathe_task *task)
{
    const struct lathe_frame_header *header = &task->request.header;
    struct inside *inside = inside_find(front, &task->peer, header->kind, header->request_id);

    LATHE_REQUIRE(inside != NULL && inside->task == task);
    send(front, &task->peer, header, (enum lathe_frame_kind)task->reply_kind, &task->reply_body,
         &task->reply_block);
    front->busy--;
    if (task->hold && !atomic_load_explicit(&task->cancelled, memory_order_relaxed)) {
        lathe_task_hold(task);
        inside->held = true;
        return;
    }
    inside_remove(front, inside);
    lathe_task_destroy(task);
}

/* Frees a held search. */
static void held_release(struct lathe_front *front, struct inside *inside)
{
    struct lathe_task *task = inside->task;

    inside_remove(front, inside);
    lathe_task_destroy(task);
}

/* Frees the held searches whose time is over. */
static void held_expire(struct lathe_front *front, uint64_t now_us)
{
    struct inside *inside, *next;

    HASH_ITER(hh, front->inside, inside, next)
    if (inside->held && inside->task->deadline_us <= now_us)
        held_release(front, inside);
}

/* ---- Frames ---- */

static const ProtobufCMessageDescriptor *descriptor_of(uint16_t kind)
{
    switch (kind) {
    case LATHE_FRAME_SYNC:
        return &lathe__shard__sync__descriptor;
    case LATHE_FRAME_WRITE:
        return &lathe__shard__write__descriptor;
    case LATHE_FRAME_SEARCH:
        return &lathe__shard__search__descriptor;
    case LATHE_FRAME_FETCH:
        return &lathe__shard__fetch__descriptor;
    case LATHE_FRAME_GET:
        return &lathe__shard__get__descriptor;
    case LATHE_FRAME_LIST:
        return &lathe__shard__list__descriptor;
    case LATHE_FRAME_STATS:
        return &lathe__shard__stats__descriptor;
    default:
        return NULL;
    }
}

/* The collections this shard holds, so that the coordinator can tell whether a SYNC is due. */
static void answer_hello(struct lathe_front *front, const struct lathe_peer *peer,
                         struct lathe_frame *frame)
{
    Lathe__Shard__HelloReply reply = LATHE__SHARD__HELLO_REPLY__INIT;
    struct lathe_frame_header header = frame->header;
    struct lathe_buf body = {0}, block = {0};
    struct lathe_snapshot *snapshot;
    struct lathe_error err;
    struct lathe_arena arena;
    ProtobufCMessage *message = NULL;
    const Lathe__Shard__Hello *hello;

    lathe_arena_init(&arena, 0);
    if (lathe_message_decode(&lathe__shard__hello__descriptor, frame->body, &arena, &message,
                             &err) != LATHE_OK)
        goto refuse;
    hello = (const Lathe__Shard__Hello *)message;
    if (hello->protocol_min > LATHE_FRAME_VERSION || hello->protocol_max < LATHE_FRAME_VERSION) {
        (void)lathe_fail(&err, LATHE_FAILED_PRECONDITION,
                         "shard %u speaks protocol %d, asked for %u to %u", front->config.shard,
                         LATHE_FRAME_VERSION, hello->protocol_min, hello->protocol_max);
        goto refuse;
    }
    if (hello->shard != front->config.shard || hello->shards != front->config.shard_count ||
        hello->cluster_id.len != 16 ||
        memcmp(hello->cluster_id.data, front->config.cluster_id, 16) != 0) {
        (void)lathe_fail(
            &err, LATHE_FAILED_PRECONDITION,
            "this is shard %u of %u of another cluster or place; asked for shard %u of %u",
            front->config.shard, front->config.shard_count, hello->shard, hello->shards);
        goto refuse;
    }
    snapshot = lathe_publication_acquire(front->config.publication);
    reply.protocol = LATHE_FRAME_VERSION;
    reply.shard = front->config.shard;
    reply.kernel = (char *)(uintptr_t)front->config.search.kernel->name;
    reply.collections = lathe_arena_alloc(&arena,
                                          (snapshot->collection_count + 1) * sizeof(uint32_t));
    for (size_t i = 0; reply.collections != NULL && i < snapshot->collection_count; i++)
        reply.collections[reply.n_collections++] = snapshot->collections[i]->collection->id;
    lathe_message_encode(&reply.base, &body);
    send(front, peer, &header, LATHE_FRAME_HELLO, &body, &block);
    lathe_snapshot_release(snapshot);
    lathe_arena_fini(&arena);
    lathe_frame_fini(frame);
    return;
refuse:
    send_failure(front, peer, &header, &err, false);
    lathe_arena_fini(&arena);
    lathe_frame_fini(frame);
}

/* CANCEL and RELEASE: nobody waits for the request of this id any more. */
static void give_up(struct lathe_front *front, const struct lathe_peer *peer, uint64_t request_id)
{
    for (uint16_t kind = 1; kind < LATHE_FRAME_KINDS; kind++) {
        struct inside *inside = inside_find(front, peer, kind, request_id);

        if (inside == NULL)
            continue;
        if (inside->held)
            held_release(front, inside);
        else
            atomic_store_explicit(&inside->task->cancelled, true, memory_order_relaxed);
    }
}

/* The coordinator must mean the collection as this shard holds it: what one schema says of a field
 * can be wrong under another. (A shard holds no slot map, so it has nothing to compare with that
 * version.) */
static enum lathe_status schema_check(const struct lathe_front *front,
                                      const struct lathe_frame_header *header,
                                      const struct lathe_collection_view *view, bool *stale_out,
                                      struct lathe_error *err)
{
    uint32_t held = view->collection->schema_version;

    *stale_out = header->schema_version != held;
    if (!*stale_out)
        return LATHE_OK;
    return lathe_fail(err, LATHE_UNAVAILABLE,
                      "shard %u holds schema version %u of collection %u, the request has %u",
                      front->config.shard, held, header->collection, header->schema_version);
}

/* A collection that is not published is the writer's to judge: the SYNC that makes it may be in its
 * queue. */
static enum lathe_status write_check(struct lathe_front *front,
                                     const struct lathe_frame_header *header, bool *stale_out,
                                     struct lathe_error *err)
{
    struct lathe_snapshot *snapshot = lathe_publication_acquire(front->config.publication);
    const struct lathe_collection_view *view = lathe_snapshot_find(snapshot, header->collection);
    enum lathe_status status = view != NULL ? schema_check(front, header, view, stale_out, err)
                                            : LATHE_OK;

    lathe_snapshot_release(snapshot);
    return status;
}

/* What a read sees: the snapshot of now, or for a FETCH the one of its search, which is then let
 * go. */
static enum lathe_status snapshot_choose(struct lathe_front *front, struct lathe_task *task,
                                         bool *stale_out, struct lathe_error *err)
{
    const struct lathe_frame_header *header = &task->request.header;
    const struct lathe_collection_view *view;

    if (header->kind == LATHE_FRAME_FETCH) {
        struct inside *search = inside_find(front, &task->peer, LATHE_FRAME_SEARCH,
                                            header->request_id);

        if (search == NULL || !search->held)
            return lathe_fail(err, LATHE_ABORTED,
                              "shard %u no longer holds the search; search again",
                              front->config.shard);
        task->snapshot = lathe_snapshot_acquire(search->task->snapshot);
        held_release(front, search);
    } else {
        task->snapshot = lathe_publication_acquire(front->config.publication);
    }
    if (header->kind == LATHE_FRAME_STATS && header->collection == 0)
        return LATHE_OK;
    view = lathe_snapshot_find(task->snapshot, header->collection);
    *stale_out = view == NULL;
    if (view == NULL)
        return lathe_fail(err, LATHE_UNAVAILABLE, "shard %u does not hold collection %u (yet)",
                          front->config.shard, header->collection);
    if (view->damage.status != LATHE_OK) {
        *err = view->damage;
        return view->damage.status;
    }
    return schema_check(front, header, view, stale_out, err);
}

/* Hands an admitted task on. */
static void dispatch(struct lathe_front *front, struct lathe_task *task)
{
    struct lathe_error err;
    bool stale = false;

    switch (task->request.header.kind) {
    case LATHE_FRAME_WRITE:
    case LATHE_FRAME_SYNC:
        if (task->request.header.kind == LATHE_FRAME_WRITE &&
            write_check(front, &task->request.header, &stale, &err) != LATHE_OK)
            break;
        if (lathe_writer_submit(front->config.writer, task))
            return;
        (void)lathe_fail(&err, LATHE_RESOURCE_EXHAUSTED, "the write queue of shard %u is full",
                         front->config.shard);
        err.retry_after_ms = 50;
        break;
    default:
        if (snapshot_choose(front, task, &stale, &err) != LATHE_OK)
            break;
        if (task->request.header.kind == LATHE_FRAME_SEARCH)
            lathe_search_start(&front->config.search, task);
        else
            lathe_read_start(front->config.search.pool, front->config.clock, task);
        return;
    }
    lathe_task_fail(task, &err, stale);
    lathe_task_finish(task);
}

/* Makes a task of a request frame, if there is room. */
static void admit(struct lathe_front *front, const struct lathe_peer *peer,
                  struct lathe_frame *frame)
{
    struct lathe_frame_header header = frame->header;
    const ProtobufCMessageDescriptor *descriptor = descriptor_of(header.kind);
    struct lathe_task *task = NULL;
    struct inside *inside = NULL;
    struct lathe_error err;
    uint64_t now_us = lathe_now_us(front->config.clock);

    if (descriptor == NULL) {
        (void)lathe_fail(&err, LATHE_UNIMPLEMENTED, "frame kind %u", header.kind);
        goto refuse;
    }
    /* A request sent twice while it is inside gets one answer; after that the writer's memory
     * serves. */
    if (inside_find(front, peer, header.kind, header.request_id) != NULL) {
        lathe_frame_fini(frame);
        return;
    }
    /* Held searches keep memory and a snapshot, so they are bounded as well; a FETCH ends one. */
    if (front->busy >= front->config.in_flight ||
        (header.kind != LATHE_FRAME_FETCH &&
         HASH_COUNT(front->inside) >= 2 * front->config.in_flight)) {
        (void)lathe_fail(&err, LATHE_RESOURCE_EXHAUSTED,
                         "shard %u has %zu requests and %zu held searches inside, its limit",
                         front->config.shard, front->busy, HASH_COUNT(front->inside) - front->busy);
        err.retry_after_ms = 50;
        goto refuse;
    }
    inside = lathe_zalloc(sizeof(*inside));
    if (inside == NULL) {
        (void)lathe_fail(&err, LATHE_RESOURCE_EXHAUSTED, "no memory for a request");
        goto refuse;
    }
    if (lathe_task_create(peer, frame, descriptor, front->config.budget, &task, &err) != LATHE_OK)
        goto refuse;
    task->received_us = now_us;
    task->deadline_us = header.budget_us > UINT64_MAX - now_us ? UINT64_MAX
                                                               : now_us + header.budget_us;
    task->done = front->done;
    inside->name = name_of(peer, header.kind, header.request_id);
    inside->task = task;
    HASH_ADD(hh, front->inside, name, sizeof(inside->name), inside);
    if (!lathe_table_holds(&inside->hh)) {
        lathe_task_destroy(task);
        (void)lathe_fail(&err, LATHE_RESOURCE_EXHAUSTED, "no memory for a request");
        goto refuse;
    }
    front->busy++;
    dispatch(front, task);
    return;
refuse:
    lathe_free(inside);
    lathe_frame_fini(frame);
    send_failure(front, peer, &header, &err, false);
}

/* Refuses a frame that was not looked into yet. */
static void refuse(struct lathe_front *front, const struct lathe_peer *peer,
                   struct lathe_frame *frame, const struct lathe_error *err)
{
    struct lathe_frame_header header = frame->header;

    lathe_frame_fini(frame);
    send_failure(front, peer, &header, err, false);
}

static void frame_handle(struct lathe_front *front, const struct lathe_peer *peer,
                         struct lathe_frame *frame)
{
    struct lathe_error err;

    if ((frame->header.kind & LATHE_FRAME_REPLY) != 0) {
        lathe_frame_fini(frame); /* an answer is not answered */
        return;
    }
    if (!lathe_front_authorise(peer, &frame->header)) {
        (void)lathe_fail(&err, LATHE_PERMISSION_DENIED, "this peer may not ask this shard");
        refuse(front, peer, frame, &err);
        return;
    }
    if (atomic_load_explicit(&front->pause, memory_order_acquire) != SERVING &&
        frame->header.kind != LATHE_FRAME_CANCEL && frame->header.kind != LATHE_FRAME_RELEASE) {
        (void)lathe_fail(&err, LATHE_UNAVAILABLE,
                         "shard %u opens its store anew, because its disk was full",
                         front->config.shard);
        err.retry_after_ms = 1000;
        refuse(front, peer, frame, &err);
        return;
    }
    switch (frame->header.kind) {
    case LATHE_FRAME_HELLO:
        answer_hello(front, peer, frame);
        return;
    case LATHE_FRAME_CANCEL:
    case LATHE_FRAME_RELEASE:
        give_up(front, peer, frame->header.request_id);
        lathe_frame_fini(frame);
        return;
    default:
        admit(front, peer, frame);
        return;
    }
}

/* ---- The thread ---- */

enum { FRAMES_A_TURN = 64, WAIT_US = 50 * 1000 };

static void receive_all(struct lathe_front *front)
{
    for (int i = 0; i < FRAMES_A_TURN; i++) {
        struct lathe_peer peer;
        struct lathe_frame frame;
        struct lathe_error err;
        enum lathe_status rc = lathe_socket_receive(front->socket, &peer, &frame, &err);

        if (rc == LATHE_NOT_FOUND)
            return;
        if (rc == LATHE_OK)
            frame_handle(front, &peer, &frame);
        else
            lathe_log(LATHE_LOG_WARN, "frame-refused", "shard=%u text=\"%s\"", front->config.shard,
                      err.message);
    }
}

static void done_all(struct lathe_front *front)
{
    void *tasks[64];
    size_t count;

    while ((count = lathe_queue_pop(front->done, tasks, 64, 0)) > 0)
        for (size_t i = 0; i < count; i++)
            task_done(front, tasks[i]);
}

/* Lets go of what refers to the store; says so when nothing does any more. */
static void pause_step(struct lathe_front *front)
{
    int wanted = WANTED;

    if (atomic_load_explicit(&front->pause, memory_order_relaxed) != WANTED)
        return;
    held_expire(front, UINT64_MAX);
    if (front->busy == 0 && atomic_compare_exchange_strong(&front->pause, &wanted, PAUSED))
        (void)sem_post(&front->paused);
}

static void *run(void *context)
{
    struct lathe_front *front = context;
    int fds[2];
    bool stopping = false;

    /* A ZeroMQ socket belongs to the thread that opens it. */
    front->start_error.status = lathe_router_open(front->config.net, front->config.endpoint,
                                                  &front->socket, &front->start_error);
    (void)lathe_queue_push(front->started, front);
    if (front->socket == NULL)
        return NULL;
    fds[0] = lathe_queue_event_fd(front->done);
    fds[1] = lathe_queue_event_fd(front->stop);
    while (!stopping || front->busy > 0) {
        struct lathe_socket *sockets[1] = {front->socket};

        lathe_net_wait(sockets, stopping ? 0 : 1, fds, stopping ? 1 : 2, WAIT_US);
        stopping = lathe_queue_closed(front->stop);
        if (!stopping)
            receive_all(front);
        done_all(front);
        held_expire(front, stopping ? UINT64_MAX : lathe_now_us(front->config.clock));
        pause_step(front);
    }
    lathe_socket_close(&front->socket);
    return NULL;
}

static void front_free(struct lathe_front *front)
{
    (void)sem_destroy(&front->paused);
    lathe_queue_destroy(front->done);
    lathe_queue_destroy(front->stop);
    lathe_queue_destroy(front->started);
    lathe_free(front);
}

enum lathe_status lathe_front_start(const struct lathe_front_config *config,
                                    struct lathe_front **front_out, struct lathe_error *err)
{
    struct lathe_front *front = lathe_zalloc(sizeof(*front));
    void *item;

    *front_out = NULL;
    if (front == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for the front");
    front->config = *config;
    LATHE_REQUIRE(sem_init(&front->paused, 0, 0) == 0);
    front->done = lathe_queue_create(config->in_flight + 1, true);
    front->stop = lathe_queue_create(1, true);
    front->started = lathe_queue_create(1, false);
    if (front->done == NULL || front->stop == NULL || front->started == NULL ||
        pthread_create(&front->thread, NULL, run, front) != 0) {
        front_free(front);
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory or thread for the front");
    }
    (void)lathe_queue_pop(front->started, &item, 1, UINT64_MAX);
    if (front->start_error.status != LATHE_OK) {
        (void)pthread_join(front->thread, NULL);
        *err = front->start_error;
        front_free(front);
        return err->status;
    }
    *front_out = front;
    return LATHE_OK;
}

void lathe_front_stop(struct lathe_front **front_p)
{
    struct lathe_front *front = *front_p;

    if (front == NULL)
        return;
    lathe_queue_close(front->stop);
    (void)pthread_join(front->thread, NULL);
    front_free(front);
    *front_p = NULL;
}

void lathe_front_pause(struct lathe_front *front)
{
    atomic_store_explicit(&front->pause, WANTED, memory_order_relaxed);
    while (sem_wait(&front->paused) != 0)
        LATHE_REQUIRE(errno == EINTR);
}

void lathe_front_resume(struct lathe_front *front, struct lathe_writer *writer)
{
    front->config.writer = writer;
    atomic_store_explicit(&front->pause, SERVING, memory_order_release);
}
