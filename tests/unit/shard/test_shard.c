/* test_shard.c - a whole shard through its socket, asked by a dealer as a coordinator would. */
#include "tests/unit/shard/shard_fixture.h"

#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"
#include "shard/kernel/cpu.h"
#include "shard/shard.h"
#include "shard/write/operation.h"

enum { PATIENCE_US = 60 * 1000 * 1000, BUDGET_US = 50 * 1000 * 1000, IN_FLIGHT = 8, DIMS = 4 };

struct fixture {
    char *dir;
    char path[4200];
    char endpoint[64];
    struct lathe_net *net;
    struct lathe_pool *pool;
    struct lathe_store_cache *cache;
    struct lathe_budget budget;
    const struct lathe_kernel_set *kernel;
    struct lathe_shard *shard;
    struct lathe_socket *dealer;
    uint64_t next_request;
    struct lathe_arena arena; /* of the replies */
    struct lathe_queue *gate; /* what hold_pool() keeps a pool thread with */
    struct lathe_queue *gated;
    struct lathe_pool_job gate_job;
};

static struct lathe_shard_config config_of(struct fixture *f)
{
    return (struct lathe_shard_config){.directory = f->path,
                                       .endpoint = f->endpoint,
                                       .shard = 1,
                                       .shard_count = 3,
                                       .cluster_id = "cluster-cluster",
                                       .net = f->net,
                                       .pool = f->pool,
                                       .cache = f->cache,
                                       .budget = &f->budget,
                                       .kernel = f->kernel,
                                       .clock = &lathe_system_clock,
                                       .max_payload_bytes = 1 << 20,
                                       .write_buffer_bytes = 8 << 20,
                                       .in_flight = IN_FLIGHT};
}

static void start(struct fixture *f)
{
    struct lathe_shard_config config = config_of(f);
    struct lathe_error err = {0};

    if (lathe_shard_start(&config, &f->shard, &err) != LATHE_OK)
        fail_msg("start: %s", err.message);
    assert_int_equal(lathe_dealer_open(f->net, f->endpoint, &f->dealer, NULL), LATHE_OK);
}

static void stop(struct fixture *f)
{
    lathe_socket_close(&f->dealer);
    lathe_shard_stop(&f->shard);
    assert_null(f->shard);
    assert_int_equal(atomic_load(&f->budget.used_bytes[LATHE_MEM_ROWS]), 0);
    assert_int_equal(atomic_load(&f->budget.used_bytes[LATHE_MEM_IDS]), 0);
    assert_int_equal(atomic_load(&f->budget.used_bytes[LATHE_MEM_REQUESTS]), 0);
    assert_int_equal(atomic_load(&f->budget.used_bytes[LATHE_MEM_MEMTABLES]), 0);
}

static int setup(void **state)
{
    static int count;
    struct fixture *f = lathe_zalloc(sizeof(*f));

    assert_true(lathe_hash_init());
    f->dir = test_dir_create();
    (void)snprintf(f->path, sizeof(f->path), "%s/store", f->dir);
    (void)snprintf(f->endpoint, sizeof(f->endpoint), "inproc://shard-%d", count++);
    f->net = lathe_net_create();
    f->pool = lathe_pool_create(1);
    f->cache = lathe_store_cache_create(1 << 20);
    f->gate = lathe_queue_create(1, false);
    f->gated = lathe_queue_create(1, false);
    assert_int_equal(lathe_kernel_select("auto", lathe_cpu_detect(), &f->kernel, NULL), LATHE_OK);
    f->next_request = 1;
    start(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    if (f->shard != NULL)
        stop(f);
    lathe_pool_destroy(f->pool);
    lathe_store_cache_destroy(f->cache);
    lathe_net_destroy(f->net);
    lathe_arena_fini(&f->arena);
    lathe_queue_destroy(f->gate);
    lathe_queue_destroy(f->gated);
    test_dir_remove(f->dir);
    lathe_free(f);
    return 0;
}

/* ---- Frames ---- */

/* A frame to be sent; message NULL: no body. */
struct asked {
    uint16_t kind;
    uint32_t collection;
    uint64_t request_id; /* 0: the next */
    uint64_t budget_us;  /* 0: enough */
    const ProtobufCMessage *message;
    struct lathe_bytes raw; /* instead of a message */
    const struct lathe_buf *block;
};

static uint64_t ask(struct fixture *f, const struct asked *asked)
{
    struct lathe_frame_header header = {
        .kind = asked->kind,
        .request_id = asked->request_id != 0 ? asked->request_id : f->next_request++,
        .collection = asked->collection,
        .budget_us = asked->budget_us != 0 ? asked->budget_us : BUDGET_US};
    struct lathe_buf body = {0}, block = {0};
    struct lathe_frame frame;

    if (asked->message != NULL)
        lathe_message_encode(asked->message, &body);
    lathe_buf_append(&body, asked->raw.data, asked->raw.size);
    if (asked->block != NULL)
        lathe_buf_append(&block, asked->block->data, asked->block->size);
    assert_true(lathe_frame_make(&frame, &header, &body, &block));
    assert_int_equal(lathe_socket_send(f->dealer, NULL, &frame), LATHE_OK);
    return header.request_id;
}

/* The next answer, of whatever request. The caller frees it. */
static struct lathe_frame answer(struct fixture *f)
{
    uint64_t until = lathe_now_us(&lathe_system_clock) + PATIENCE_US;
    struct lathe_frame frame = {0};
    struct lathe_error err = {0};
    enum lathe_status rc;

    while ((rc = lathe_socket_receive(f->dealer, NULL, &frame, &err)) == LATHE_NOT_FOUND &&
           lathe_now_us(&lathe_system_clock) < until)
        lathe_net_wait(&f->dealer, 1, NULL, 0, PATIENCE_US);
    if (rc != LATHE_OK)
        fail_msg("no answer: %s", err.message);
    return frame;
}

static const void *body_of(struct fixture *f, const struct lathe_frame *frame, uint16_t kind,
                           const ProtobufCMessageDescriptor *descriptor)
{
    ProtobufCMessage *message = NULL;

    if (frame->header.kind == (LATHE_FRAME_ERROR | LATHE_FRAME_REPLY) && kind != LATHE_FRAME_ERROR)
        fail_msg("failure: %.*s", (int)frame->body.size, (const char *)frame->body.data);
    assert_int_equal(frame->header.kind, kind | LATHE_FRAME_REPLY);
    assert_int_equal(lathe_message_decode(descriptor, frame->body, &f->arena, &message, NULL),
                     LATHE_OK);
    return message;
}

/* Sends, waits and decodes: the message lives in the fixture's arena. */
static const void *call(struct fixture *f, const struct asked *asked,
                        const ProtobufCMessageDescriptor *descriptor)
{
    uint64_t id = ask(f, asked);
    struct lathe_frame frame = answer(f);
    const void *message = body_of(f, &frame, asked->kind, descriptor);

    assert_int_equal(frame.header.request_id, id);
    lathe_frame_fini(&frame);
    return message;
}

static const Lathe__Shard__Failure *call_fails(struct fixture *f, const struct asked *asked,
                                               enum lathe_status status)
{
    uint64_t id = ask(f, asked);
    struct lathe_frame frame = answer(f);
    const Lathe__Shard__Failure *failure = body_of(f, &frame, LATHE_FRAME_ERROR,
                                                   &lathe__shard__failure__descriptor);

    assert_int_equal(frame.header.request_id, id);
    assert_int_equal(frame.header.flags, asked->kind); /* tells a SEARCH from its FETCH */
    if (failure->status != status)
        fail_msg("status %u: %s", failure->status, failure->message);
    lathe_frame_fini(&frame);
    return failure;
}

/* ---- Requests ---- */

static void sync_to(struct fixture *f, const uint32_t *ids, size_t count, uint32_t next_id,
                    uint32_t created, uint32_t dropped)
{
    static const uint32_t dims[] = {DIMS, 2};
    static const enum lathe_metric metrics[] = {LATHE_COSINE, LATHE_EUCLIDEAN};
    Lathe__Shard__CollectionSpec *specs[8];
    Lathe__Shard__Sync sync = LATHE__SHARD__SYNC__INIT;
    const Lathe__Shard__SyncReply *reply;

    for (size_t i = 0; i < count; i++)
        specs[i] = spec_make(&f->arena, ids[i], 2, dims, metrics);
    sync.collections = specs;
    sync.n_collections = count;
    sync.next_id = next_id;
    reply = call(f, &(struct asked){.kind = LATHE_FRAME_SYNC, .message = &sync.base},
                 &lathe__shard__sync_reply__descriptor);
    assert_int_equal(reply->created, created);
    assert_int_equal(reply->dropped, dropped);
}

static void upsert_range(struct request *request, uint32_t first, uint32_t count, int64_t round)
{
    request_init(request, lathe_wall_ms(&lathe_system_clock));
    for (uint32_t i = first; i < first + count; i++) {
        Lathe__Shard__Operation *operation = request_add(
            request, LATHE__SHARD__OPERATION_KIND__UPSERT, id_of(i));
        float a[DIMS] = {1, (float)i, (float)(i * i % 17), (float)round}, b[2] = {(float)i, 2};

        request_payload(
            request, operation,
            payload_make(&request->arena, (struct pair[]){{"i", i}, {"round", round}}, 2));
        request_vector(request, operation, 0, a, DIMS);
        if (i % 2 == 0)
            request_vector(request, operation, 1, b, 2);
    }
}

static struct asked write_of(uint32_t collection, const struct request *request)
{
    return (struct asked){.kind = LATHE_FRAME_WRITE,
                          .collection = collection,
                          .message = &request->write.base,
                          .block = &request->block};
}

static void write_range(struct fixture *f, uint32_t collection, uint32_t first, uint32_t count,
                        int64_t round)
{
    struct request request;
    struct asked asked;
    const Lathe__Shard__WriteReply *reply;

    upsert_range(&request, first, count, round);
    asked = write_of(collection, &request);
    reply = call(f, &asked, &lathe__shard__write_reply__descriptor);
    assert_int_equal(reply->n_outcomes, count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(reply->outcomes[i], LATHE_OUTCOME_APPLIED);
    request_fini(&request);
}

/* A SEARCH of one query in the first field. */
struct search {
    Lathe__Shard__Search message;
    Lathe__Shard__Query query, *queries[1];
    Lathe__Shard__VectorRef ref;
    float vector[DIMS];
    struct lathe_buf block;
};

static struct asked search_of(struct search *search, uint32_t collection, uint32_t limit, bool hold)
{
    *search = (struct search){.vector = {1, 2, 3, 4}};
    lathe__shard__search__init(&search->message);
    lathe__shard__query__init(&search->query);
    lathe__shard__vector_ref__init(&search->ref);
    search->ref.size = sizeof(search->vector);
    search->query.vector = &search->ref;
    search->query.limit = limit;
    search->query.want_sizes = true;
    search->queries[0] = &search->query;
    search->message.queries = search->queries;
    search->message.n_queries = 1;
    search->message.hold = hold;
    lathe_buf_append(&search->block, search->vector, sizeof(search->vector));
    return (struct asked){.kind = LATHE_FRAME_SEARCH,
                          .collection = collection,
                          .message = &search->message.base,
                          .block = &search->block};
}

static const Lathe__Shard__SearchReply *search_call(struct fixture *f, uint32_t collection,
                                                    uint32_t limit, bool hold, uint64_t request_id)
{
    struct search search;
    struct asked asked = search_of(&search, collection, limit, hold);
    const Lathe__Shard__SearchReply *reply;

    asked.request_id = request_id;
    reply = call(f, &asked, &lathe__shard__search_reply__descriptor);
    lathe_buf_fini(&search.block);
    assert_int_equal(reply->n_hits, 1);
    return reply;
}

static struct asked list_of(Lathe__Shard__List *list, Lathe__Shard__Fetch *fetch,
                            uint32_t collection)
{
    lathe__shard__list__init(list);
    lathe__shard__fetch__init(fetch);
    fetch->payload = fetch->vectors = true;
    list->fetch = fetch;
    list->limit = LATHE_MAX_PAGE_POINTS;
    return (struct asked){
        .kind = LATHE_FRAME_LIST, .collection = collection, .message = &list->base};
}

/* Body and block of the answer to a LIST and a SEARCH, without what counts time. */
static void snapshot_answers(struct fixture *f, uint32_t collection, struct lathe_buf *out)
{
    Lathe__Shard__List list;
    Lathe__Shard__Fetch fetch;
    struct asked asked = list_of(&list, &fetch, collection);
    const Lathe__Shard__Hits *hits = search_call(f, collection, 50, false, 0)->hits[0];
    struct lathe_frame frame;

    (void)ask(f, &asked);
    frame = answer(f);
    assert_int_equal(frame.header.kind, LATHE_FRAME_LIST | LATHE_FRAME_REPLY);
    lathe_buf_append(out, frame.body.data, frame.body.size);
    lathe_buf_append(out, frame.block.data, frame.block.size);
    lathe_buf_append(out, hits->scores, hits->n_scores * sizeof(float));
    lathe_buf_append(out, hits->idkeys.data, hits->idkeys.len);
    lathe_buf_append(out, hits->payload_bytes, hits->n_payload_bytes * sizeof(uint32_t));
    lathe_frame_fini(&frame);
}

/* ---- The pool, kept busy ---- */

static void gate_chunk(struct lathe_pool_job *job, unsigned thread, uint32_t chunk)
{
    struct fixture *f = (struct fixture *)((char *)job - offsetof(struct fixture, gate_job));
    void *item;

    (void)thread;
    (void)chunk;
    (void)lathe_queue_pop(f->gate, &item, 1, PATIENCE_US);
}

static void gate_done(struct lathe_pool_job *job)
{
    struct fixture *f = (struct fixture *)((char *)job - offsetof(struct fixture, gate_job));

    assert_true(lathe_queue_push(f->gated, f));
}

/* Until release_pool() the one pool thread does nothing, so reads stay inside the shard. */
static void hold_pool(struct fixture *f)
{
    f->gate_job = (struct lathe_pool_job){.chunk_count = 1, .chunk = gate_chunk, .done = gate_done};
    lathe_pool_submit(f->pool, &f->gate_job);
}

static void release_pool(struct fixture *f)
{
    void *item;

    assert_true(lathe_queue_push(f->gate, f));
    assert_int_equal(lathe_queue_pop(f->gated, &item, 1, PATIENCE_US), 1);
}

/* Answered by the front itself, in the order of arrival: once it is back, what was sent before has
 * been taken in. */
static const Lathe__Shard__HelloReply *hello(struct fixture *f)
{
    Lathe__Shard__Hello message = LATHE__SHARD__HELLO__INIT;

    message.protocol_min = message.protocol_max = LATHE_FRAME_VERSION;
    message.cluster_id = (ProtobufCBinaryData){16, (uint8_t *)(uintptr_t) "cluster-cluster"};
    message.shard = 1;
    message.shards = 3;
    return call(f, &(struct asked){.kind = LATHE_FRAME_HELLO, .message = &message.base},
                &lathe__shard__hello_reply__descriptor);
}

/* ---- Tests ---- */

static void hello_tells_what_the_shard_holds(void **state)
{
    struct fixture *f = *state;
    const Lathe__Shard__HelloReply *reply = hello(f);

    assert_int_equal(reply->protocol, LATHE_FRAME_VERSION);
    assert_int_equal(reply->shard, 1);
    assert_string_equal(reply->kernel, f->kernel->name);
    assert_int_equal(reply->n_collections, 0);
    sync_to(f, (uint32_t[]){3, 5}, 2, 6, 2, 0);
    reply = hello(f);
    assert_int_equal(reply->n_collections, 2);
    assert_int_equal(reply->collections[0], 3);
    assert_int_equal(reply->collections[1], 5);
}

static void hello_to_another_shard_is_refused(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 4; i++) {
        Lathe__Shard__Hello message = LATHE__SHARD__HELLO__INIT;

        message.protocol_min = i == 0 ? LATHE_FRAME_VERSION + 1 : LATHE_FRAME_VERSION;
        message.protocol_max = LATHE_FRAME_VERSION + 1;
        message.cluster_id = (ProtobufCBinaryData){
            16, (uint8_t *)(uintptr_t)(i == 1 ? "another-cluster" : "cluster-cluster")};
        message.shard = i == 2 ? 2 : 1;
        message.shards = i == 3 ? 4 : 3;
        (void)call_fails(f, &(struct asked){.kind = LATHE_FRAME_HELLO, .message = &message.base},
                         LATHE_FAILED_PRECONDITION);
    }
}

static void a_write_is_searchable_when_it_is_acknowledged(void **state)
{
    struct fixture *f = *state;

    sync_to(f, (uint32_t[]){1}, 1, 2, 1, 0);
    for (uint32_t i = 0; i < 20; i++) {
        const Lathe__Shard__SearchReply *reply;

        write_range(f, 1, i * 3, 3, 1);
        reply = search_call(f, 1, 100, false, 0);
        assert_int_equal(reply->applied_seq, 2 + i);
        assert_int_equal(reply->hits[0]->n_scores, 3 * (i + 1));
        assert_int_equal(reply->hits[0]->rows, 3 * (i + 1));
    }
}

static const Lathe__Shard__Points *fetch_call(struct fixture *f, uint32_t collection,
                                              uint64_t request_id, const Lathe__Shard__Hits *hits,
                                              bool succeeds)
{
    Lathe__Shard__Fetch fetch = LATHE__SHARD__FETCH__INIT;
    struct asked asked = {.kind = LATHE_FRAME_FETCH,
                          .collection = collection,
                          .request_id = request_id,
                          .message = &fetch.base};

    fetch.idkeys = hits->idkeys;
    fetch.payload = fetch.vectors = true;
    if (succeeds)
        return call(f, &asked, &lathe__shard__points__descriptor);
    (void)call_fails(f, &asked, LATHE_ABORTED);
    return NULL;
}

/* What is fetched is what was found, though it has been overwritten and deleted in between. */
static void fetch_reads_the_snapshot_of_its_search(void **state)
{
    struct fixture *f = *state;
    const Lathe__Shard__Hits *hits;
    const Lathe__Shard__Points *points;

    sync_to(f, (uint32_t[]){1}, 1, 2, 1, 0);
    write_range(f, 1, 0, 20, 1);
    hits = search_call(f, 1, 10, true, 77)->hits[0];
    write_range(f, 1, 0, 20, 2);
    points = fetch_call(f, 1, 77, hits, true);
    assert_int_equal(points->n_data, 10);
    assert_int_equal(points->applied_seq, 2);
    for (size_t i = 0; i < points->n_data; i++) {
        assert_false(points->data[i]->missing);
        assert_int_equal(points->data[i]->version, 2);
        assert_int_equal(points->data[i]->payload.len, hits->payload_bytes[i]);
    }
    (void)fetch_call(f, 1, 77, hits, false); /* a search is held for one FETCH */
}

static void a_released_search_cannot_be_fetched(void **state)
{
    struct fixture *f = *state;
    const Lathe__Shard__Hits *hits;

    sync_to(f, (uint32_t[]){1}, 1, 2, 1, 0);
    write_range(f, 1, 0, 5, 1);
    hits = search_call(f, 1, 10, true, 50)->hits[0];
    (void)ask(f, &(struct asked){.kind = LATHE_FRAME_RELEASE, .collection = 1, .request_id = 50});
    (void)fetch_call(f, 1, 50, hits, false);
    hits = search_call(f, 1, 10, false, 51)->hits[0]; /* not held at all */
    (void)fetch_call(f, 1, 51, hits, false);
    (void)fetch_call(f, 1, 52, hits, false); /* never asked */
}

/* Held searches are bounded; fetching and releasing make room again. */
static void held_searches_are_bounded(void **state)
{
    struct fixture *f = *state;
    const Lathe__Shard__Hits *hits = NULL;
    struct search search;
    struct asked asked;

    sync_to(f, (uint32_t[]){1}, 1, 2, 1, 0);
    write_range(f, 1, 0, 5, 1);
    for (uint64_t i = 0; i < 2 * IN_FLIGHT; i++)
        hits = search_call(f, 1, 10, true, 100 + i)->hits[0];
    asked = search_of(&search, 1, 10, true);
    assert_true(call_fails(f, &asked, LATHE_RESOURCE_EXHAUSTED)->retry_after_ms > 0);
    lathe_buf_fini(&search.block);
    (void)fetch_call(f, 1, 100, hits, true);
    (void)search_call(f, 1, 10, true, 200);
    for (uint64_t i = 1; i < 2 * IN_FLIGHT; i++)
        (void)ask(f, &(struct asked){.kind = LATHE_FRAME_RELEASE, .request_id = 100 + i});
    (void)search_call(f, 1, 10, true, 201);
}

static void cancel_stops_a_search(void **state)
{
    struct fixture *f = *state;
    struct search search;
    struct asked asked = search_of(&search, 1, 10, true);
    struct lathe_frame frame;
    const Lathe__Shard__Failure *failure;
    uint64_t id;

    sync_to(f, (uint32_t[]){1}, 1, 2, 1, 0);
    write_range(f, 1, 0, 5, 1);
    hold_pool(f);
    id = ask(f, &asked);
    (void)ask(f, &(struct asked){.kind = LATHE_FRAME_CANCEL, .request_id = id});
    (void)hello(f);
    release_pool(f);
    frame = answer(f);
    failure = body_of(f, &frame, LATHE_FRAME_ERROR, &lathe__shard__failure__descriptor);
    assert_int_equal(failure->status, LATHE_CANCELLED);
    assert_int_equal(frame.header.request_id, id);
    lathe_frame_fini(&frame);
    lathe_buf_fini(&search.block);
}

static void expired_work_is_dropped(void **state)
{
    struct fixture *f = *state;
    Lathe__Shard__List list;
    Lathe__Shard__Fetch fetch;
    struct asked asked = list_of(&list, &fetch, 1);
    struct request request;
    struct search search;

    sync_to(f, (uint32_t[]){1}, 1, 2, 1, 0);
    write_range(f, 1, 0, 5, 1);
    asked.budget_us = 1;
    (void)call_fails(f, &asked, LATHE_DEADLINE_EXCEEDED);
    asked = search_of(&search, 1, 10, false);
    asked.budget_us = 1;
    (void)call_fails(f, &asked, LATHE_DEADLINE_EXCEEDED);
    lathe_buf_fini(&search.block);
    upsert_range(&request, 100, 3, 1);
    asked = write_of(1, &request);
    asked.budget_us = 1;
    (void)call_fails(f, &asked, LATHE_DEADLINE_EXCEEDED);
    request_fini(&request);
    assert_int_equal(search_call(f, 1, 100, false, 0)->hits[0]->n_scores, 5);
}

static void an_unknown_collection_is_a_stale_route(void **state)
{
    struct fixture *f = *state;
    Lathe__Shard__List list;
    Lathe__Shard__Fetch fetch;
    struct asked asked = list_of(&list, &fetch, 9);
    struct request request;
    struct search search;
    const Lathe__Shard__Failure *failure;

    sync_to(f, (uint32_t[]){1}, 1, 2, 1, 0);
    failure = call_fails(f, &asked, LATHE_UNAVAILABLE);
    assert_true(failure->stale_route);
    asked = search_of(&search, 9, 10, false);
    assert_true(call_fails(f, &asked, LATHE_UNAVAILABLE)->stale_route);
    lathe_buf_fini(&search.block);
    upsert_range(&request, 0, 1, 1);
    asked = write_of(9, &request);
    assert_true(call_fails(f, &asked, LATHE_UNAVAILABLE)->stale_route);
    request_fini(&request);
}

/* What cannot get in is refused with a hint; what is inside is answered. */
static void a_full_shard_refuses_more(void **state)
{
    struct fixture *f = *state;
    Lathe__Shard__List list;
    Lathe__Shard__Fetch fetch;
    struct asked asked = list_of(&list, &fetch, 1);
    uint64_t answered = 0;

    sync_to(f, (uint32_t[]){1}, 1, 2, 1, 0);
    hold_pool(f);
    for (int i = 0; i < IN_FLIGHT; i++)
        (void)ask(f, &asked);
    assert_true(call_fails(f, &asked, LATHE_RESOURCE_EXHAUSTED)->retry_after_ms > 0);
    release_pool(f);
    for (int i = 0; i < IN_FLIGHT; i++) {
        struct lathe_frame frame = answer(f);

        answered += frame.header.kind == (LATHE_FRAME_LIST | LATHE_FRAME_REPLY);
        lathe_frame_fini(&frame);
    }
    assert_int_equal(answered, IN_FLIGHT);
    (void)call(f, &asked, &lathe__shard__points__descriptor);
}

/* A frame that comes twice while it is inside is answered once. */
static void a_request_sent_twice_is_answered_once(void **state)
{
    struct fixture *f = *state;
    Lathe__Shard__List list;
    Lathe__Shard__Fetch fetch;
    struct asked asked = list_of(&list, &fetch, 1);
    struct lathe_frame frame;

    sync_to(f, (uint32_t[]){1}, 1, 2, 1, 0);
    hold_pool(f);
    asked.request_id = 400;
    (void)ask(f, &asked);
    (void)ask(f, &asked);
    (void)hello(f);
    release_pool(f);
    frame = answer(f);
    assert_int_equal(frame.header.request_id, 400);
    lathe_frame_fini(&frame);
    (void)hello(f); /* comes next: there was no second answer */
}

static void malformed_bodies_are_refused(void **state)
{
    static const uint16_t kinds[] = {LATHE_FRAME_HELLO,  LATHE_FRAME_SYNC,  LATHE_FRAME_WRITE,
                                     LATHE_FRAME_SEARCH, LATHE_FRAME_FETCH, LATHE_FRAME_GET,
                                     LATHE_FRAME_LIST,   LATHE_FRAME_STATS};
    struct fixture *f = *state;

    sync_to(f, (uint32_t[]){1}, 1, 2, 1, 0);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        (void)call_fails(f,
                         &(struct asked){.kind = kinds[i],
                                         .collection = 1,
                                         .raw = lathe_bytes_str("\x0a\xff\xff\xff\xff\x0f")},
                         LATHE_INVALID_ARGUMENT);
    }
    (void)ask(f, &(struct asked){.kind = LATHE_FRAME_LIST | LATHE_FRAME_REPLY, .collection = 1});
    (void)hello(f); /* comes next: an answer is not answered */
}

static void a_restarted_shard_answers_with_the_same_bytes(void **state)
{
    struct fixture *f = *state;
    struct lathe_buf before = {0}, after = {0};

    sync_to(f, (uint32_t[]){1, 2}, 2, 3, 2, 0);
    for (uint32_t round = 0; round < 4; round++) {
        write_range(f, 1, round * 10, 60, round);
        write_range(f, 2, round * 20, 30, round);
    }
    snapshot_answers(f, 1, &before);
    snapshot_answers(f, 2, &before);
    for (int i = 0; i < 2; i++) {
        stop(f);
        start(f);
        lathe_buf_clear(&after);
        snapshot_answers(f, 1, &after);
        snapshot_answers(f, 2, &after);
        assert_true(lathe_bytes_equal(lathe_buf_view(&before), lathe_buf_view(&after)));
    }
    lathe_buf_fini(&before);
    lathe_buf_fini(&after);
}

/* Stopping lets what is inside end: a write that was taken is there afterwards. */
static void stopping_commits_what_waits(void **state)
{
    struct fixture *f = *state;
    struct request request;
    struct asked asked;

    sync_to(f, (uint32_t[]){1}, 1, 2, 1, 0);
    upsert_range(&request, 0, 7, 1);
    asked = write_of(1, &request);
    (void)ask(f, &asked);
    (void)hello(f);
    stop(f);
    start(f);
    assert_int_equal(search_call(f, 1, 100, false, 0)->hits[0]->n_scores, 7);
    request_fini(&request);
}

static void a_held_search_does_not_keep_a_shard_from_stopping(void **state)
{
    struct fixture *f = *state;

    sync_to(f, (uint32_t[]){1}, 1, 2, 1, 0);
    write_range(f, 1, 0, 5, 1);
    (void)search_call(f, 1, 10, true, 60);
    stop(f);
    start(f);
    (void)hello(f);
}

static void a_collection_made_again_shows_no_old_row(void **state)
{
    struct fixture *f = *state;
    Lathe__Shard__List list;
    Lathe__Shard__Fetch fetch;
    struct asked asked = list_of(&list, &fetch, 2);

    sync_to(f, (uint32_t[]){1, 7}, 2, 8, 2, 0);
    write_range(f, 1, 0, 50, 1);
    write_range(f, 7, 0, 3, 1);
    sync_to(f, (uint32_t[]){2, 7}, 2, 8, 1, 1);
    for (int i = 0; i < 2; i++) {
        const Lathe__Shard__Points *points = call(f, &asked, &lathe__shard__points__descriptor);

        assert_int_equal(points->n_data, 0);
        assert_int_equal(points->points, 0);
        assert_int_equal(search_call(f, 2, 10, false, 0)->hits[0]->n_scores, 0);
        assert_int_equal(search_call(f, 7, 10, false, 0)->hits[0]->n_scores, 3);
        stop(f);
        start(f);
    }
    write_range(f, 2, 25, 2, 2);
    assert_int_equal(search_call(f, 2, 10, false, 0)->hits[0]->n_scores, 2);
    sync_to(f, (uint32_t[]){2, 7}, 2, 8, 0, 0); /* again: nothing to do */
}

/* A collection that is dropped under a held search is still there for its FETCH. */
static void a_drop_waits_for_readers(void **state)
{
    struct fixture *f = *state;
    const Lathe__Shard__Hits *hits;

    sync_to(f, (uint32_t[]){1}, 1, 2, 1, 0);
    write_range(f, 1, 0, 20, 1);
    hits = search_call(f, 1, 10, true, 70)->hits[0];
    sync_to(f, NULL, 0, 2, 0, 1);
    assert_int_equal(fetch_call(f, 1, 70, hits, true)->n_data, 10);
}

/* ---- Damage ---- */

static struct lathe_store *store_of(struct fixture *f)
{
    stop(f);
    return store_open_at(f->path);
}

static void damage_original(struct lathe_store *store)
{
    store_put(store, LATHE_FAMILY_ORIGINALS, lathe_key_original(1, 0, 3), lathe_bytes_str("short"));
}

static void lose_original(struct lathe_store *store)
{
    store_delete(store, LATHE_FAMILY_ORIGINALS, lathe_key_original(1, 1, 2));
}

static struct lathe_key point_key(uint32_t number)
{
    static const uint8_t slot_key[LATHE_SLOT_KEY_BYTES] = {1, 2, 3, 4, 5, 6, 7, 8};
    struct lathe_idkey id = id_of(number);

    return lathe_key_point(1, (uint16_t)lathe_slot_of(slot_key, lathe_idkey_view(&id)),
                           lathe_idkey_view(&id));
}

static void damage_point(struct lathe_store *store)
{
    store_put(store, LATHE_FAMILY_POINTS, point_key(4), lathe_bytes_str("\x02nonsense"));
}

static void lose_point(struct lathe_store *store)
{
    store_delete(store, LATHE_FAMILY_POINTS, point_key(5));
}

/* Changes a point's record in place. */
static void rewrite_point(struct lathe_store *store, uint32_t number, uint64_t point, uint64_t row)
{
    struct lathe_buf value = {0};
    struct lathe_point_record record;

    store_get(store, LATHE_FAMILY_POINTS, point_key(number), &value);
    assert_int_equal(lathe_point_record_decode(lathe_buf_view(&value), &record, NULL), LATHE_OK);
    record.point = point != 0 ? point : record.point;
    record.rows[0] = row != 0 ? row : record.rows[0];
    lathe_buf_clear(&value);
    lathe_point_record_encode(&record, &value);
    store_put(store, LATHE_FAMILY_POINTS, point_key(number), lathe_buf_view(&value));
    lathe_buf_fini(&value);
}

static void name_a_row_twice(struct lathe_store *store)
{
    rewrite_point(store, 2, 0, 6);
}

static void name_a_row_to_come(struct lathe_store *store)
{
    rewrite_point(store, 2, 0, 1000);
}

static void name_a_point_to_come(struct lathe_store *store)
{
    rewrite_point(store, 2, 1000, 0);
}

static void move_a_slot(struct lathe_store *store)
{
    struct lathe_key key = point_key(6);
    struct lathe_buf value = {0};

    store_get(store, LATHE_FAMILY_POINTS, key, &value);
    store_delete(store, LATHE_FAMILY_POINTS, key);
    key.bytes[5] ^= 1;
    store_put(store, LATHE_FAMILY_POINTS, key, lathe_buf_view(&value));
    lathe_buf_fini(&value);
}

static void lose_counters(struct lathe_store *store)
{
    store_delete(store, LATHE_FAMILY_META, lathe_counters_key(1));
}

static void damage_counters(struct lathe_store *store)
{
    store_put(store, LATHE_FAMILY_META, lathe_counters_key(1), lathe_bytes_str("\x01"));
}

/* A damaged collection is refused by name; the others, and the shard, go on; dropping it heals. */
static void damage_stays_in_its_collection(void **state)
{
    static void (*const damages[])(struct lathe_store *) = {
        damage_original,    lose_original,        damage_point, lose_point,    name_a_row_twice,
        name_a_row_to_come, name_a_point_to_come, move_a_slot,  lose_counters, damage_counters};
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        Lathe__Shard__List list;
        Lathe__Shard__Fetch fetch;
        struct asked asked = list_of(&list, &fetch, 1);
        const Lathe__Shard__Failure *failure;
        struct lathe_store *store;
        struct request request;
        struct search search;

        sync_to(f, (uint32_t[]){1, 2}, 2, 3, i == 0 ? 2 : 1, 0);
        write_range(f, 1, 0, 20, 1);
        write_range(f, 2, 0, 20, 1);
        store = store_of(f);
        damages[i](store);
        lathe_store_close(store);
        start(f);
        failure = call_fails(f, &asked, LATHE_DATA_LOSS);
        assert_false(failure->stale_route);
        assert_non_null(strstr(failure->message, "\"collection 1\" (1) is damaged"));
        asked = search_of(&search, 1, 10, false);
        (void)call_fails(f, &asked, LATHE_DATA_LOSS);
        lathe_buf_fini(&search.block);
        upsert_range(&request, 0, 1, 1);
        asked = write_of(1, &request);
        (void)call_fails(f, &asked, LATHE_DATA_LOSS);
        request_fini(&request);
        write_range(f, 2, 10, 20, 2);
        assert_int_equal(search_call(f, 2, 100, false, 0)->hits[0]->n_scores, 30);
        sync_to(f, (uint32_t[]){2}, 1, 3, 0, 1);
        write_range(f, 2, 20, 10, 3);
    }
}

/* Damage that shows only while the shard runs: the collection is refused from then on. */
static void damage_found_by_a_write_is_remembered(void **state)
{
    struct fixture *f = *state;
    struct lathe_store *store;
    struct request request;
    struct asked asked;
    struct search search;

    sync_to(f, (uint32_t[]){1, 2}, 2, 3, 2, 0);
    write_range(f, 1, 0, 20, 1);
    write_range(f, 2, 0, 20, 1);
    store = store_of(f);
    store_delete(store, LATHE_FAMILY_PAYLOAD, lathe_key_payload(1, 7)); /* not read at start */
    lathe_store_close(store);
    start(f);
    assert_int_equal(search_call(f, 1, 100, false, 0)->hits[0]->n_scores, 20);
    request_init(&request, 1);
    request_payload(&request,
                    request_add(&request, LATHE__SHARD__OPERATION_KIND__SET_PAYLOAD, id_of(7)),
                    payload_make(&request.arena, (struct pair[]){{"k", 1}}, 1));
    asked = write_of(1, &request);
    assert_non_null(strstr(call_fails(f, &asked, LATHE_DATA_LOSS)->message, "\"collection 1\""));
    asked = search_of(&search, 1, 10, false);
    (void)call_fails(f, &asked, LATHE_DATA_LOSS);
    lathe_buf_fini(&search.block);
    request_fini(&request);
    write_range(f, 2, 10, 20, 2);
}

static void a_damaged_collection_record_stops_the_start(void **state)
{
    struct fixture *f = *state;
    struct lathe_shard_config config = config_of(f);
    struct lathe_error err = {0};

    sync_to(f, (uint32_t[]){1, 2}, 2, 3, 2, 0);
    for (int i = 0; i < 3; i++) {
        struct lathe_store *store = i == 0 ? store_of(f) : store_open_at(f->path);
        struct lathe_key key = i < 2 ? lathe_key_meta_collection(1) : lathe_log_state_key();
        struct lathe_buf sound = {0}, other = {0};

        store_get(store, LATHE_FAMILY_META, key, &sound);
        store_get(store, LATHE_FAMILY_META, lathe_key_meta_collection(2), &other);
        store_put(store, LATHE_FAMILY_META, key,
                  i == 1 ? lathe_buf_view(&other) : lathe_bytes_str("\x0a\x7f"));
        lathe_store_close(store);
        assert_int_equal(lathe_shard_start(&config, &f->shard, &err), LATHE_DATA_LOSS);
        assert_null(f->shard);
        store = store_open_at(f->path);
        store_put(store, LATHE_FAMILY_META, key, lathe_buf_view(&sound));
        lathe_store_close(store);
        lathe_buf_fini(&sound);
        lathe_buf_fini(&other);
    }
    start(f);
    write_range(f, 1, 0, 2, 1);
}

static void a_directory_in_use_is_refused(void **state)
{
    struct fixture *f = *state;
    struct lathe_shard_config config = config_of(f);
    struct lathe_shard *second = NULL;
    struct lathe_error err = {0};

    config.endpoint = "inproc://second";
    assert_int_equal(lathe_shard_start(&config, &second, &err), LATHE_FAILED_PRECONDITION);
    assert_null(second);
    (void)hello(f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(hello_tells_what_the_shard_holds),
        TEST(hello_to_another_shard_is_refused),
        TEST(a_write_is_searchable_when_it_is_acknowledged),
        TEST(fetch_reads_the_snapshot_of_its_search),
        TEST(a_released_search_cannot_be_fetched),
        TEST(held_searches_are_bounded),
        TEST(cancel_stops_a_search),
        TEST(expired_work_is_dropped),
        TEST(an_unknown_collection_is_a_stale_route),
        TEST(a_full_shard_refuses_more),
        TEST(a_request_sent_twice_is_answered_once),
        TEST(malformed_bodies_are_refused),
        TEST(a_restarted_shard_answers_with_the_same_bytes),
        TEST(stopping_commits_what_waits),
        TEST(a_held_search_does_not_keep_a_shard_from_stopping),
        TEST(a_collection_made_again_shows_no_old_row),
        TEST(a_drop_waits_for_readers),
        TEST(damage_stays_in_its_collection),
        TEST(damage_found_by_a_write_is_remembered),
        TEST(a_damaged_collection_record_stops_the_start),
        TEST(a_directory_in_use_is_refused),
    };

    return cmocka_run_group_tests_name("shard", tests, NULL, NULL);
}
