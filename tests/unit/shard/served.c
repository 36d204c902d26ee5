/* served.c - see served.h. */
#include "tests/unit/shard/served.h"

#include <stdio.h>

#include "common/base/mem.h"
#include "shard/kernel/cpu.h"
#include "shard/write/operation.h"

enum { PATIENCE_US = 60 * 1000 * 1000, BUDGET_US = 50 * 1000 * 1000 };

struct lathe_shard_config served_config(struct served *f)
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

void served_start(struct served *f)
{
    struct lathe_shard_config config = served_config(f);
    struct lathe_error err = {0};

    if (lathe_shard_start(&config, &f->shard, &err) != LATHE_OK)
        fail_msg("start: %s", err.message);
    assert_int_equal(lathe_dealer_open(f->net, f->endpoint, &f->dealer, NULL), LATHE_OK);
}

void served_stop(struct served *f)
{
    lathe_socket_close(&f->dealer);
    lathe_shard_stop(&f->shard);
    assert_null(f->shard);
    assert_int_equal(atomic_load(&f->budget.used_bytes[LATHE_MEM_ROWS]), 0);
    assert_int_equal(atomic_load(&f->budget.used_bytes[LATHE_MEM_IDS]), 0);
    assert_int_equal(atomic_load(&f->budget.used_bytes[LATHE_MEM_REQUESTS]), 0);
    assert_int_equal(atomic_load(&f->budget.used_bytes[LATHE_MEM_MEMTABLES]), 0);
}

int served_setup(void **state)
{
    static int count;
    struct served *f = lathe_zalloc(sizeof(*f));

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
    served_start(f);
    *state = f;
    return 0;
}

int served_teardown(void **state)
{
    struct served *f = *state;

    if (f->shard != NULL)
        served_stop(f);
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

uint64_t served_ask(struct served *f, const struct asked *asked)
{
    struct lathe_frame_header header = {
        .kind = asked->kind,
        .request_id = asked->request_id != 0 ? asked->request_id : f->next_request++,
        .collection = asked->collection,
        .schema_version = SPEC_SCHEMA_VERSION + asked->schema_ahead,
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
struct lathe_frame served_answer(struct served *f)
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

const void *served_body(struct served *f, const struct lathe_frame *frame, uint16_t kind,
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
const void *served_call(struct served *f, const struct asked *asked,
                        const ProtobufCMessageDescriptor *descriptor)
{
    uint64_t id = served_ask(f, asked);
    struct lathe_frame frame = served_answer(f);
    const void *message = served_body(f, &frame, asked->kind, descriptor);

    assert_int_equal(frame.header.request_id, id);
    lathe_frame_fini(&frame);
    return message;
}

const Lathe__Shard__Failure *served_call_fails(struct served *f, const struct asked *asked,
                                               enum lathe_status status)
{
    uint64_t id = served_ask(f, asked);
    struct lathe_frame frame = served_answer(f);
    const Lathe__Shard__Failure *failure = served_body(f, &frame, LATHE_FRAME_ERROR,
                                                       &lathe__shard__failure__descriptor);

    assert_int_equal(frame.header.request_id, id);
    assert_int_equal(frame.header.flags, asked->kind); /* tells a SEARCH from its FETCH */
    if (failure->status != status)
        fail_msg("status %u: %s", failure->status, failure->message);
    lathe_frame_fini(&frame);
    return failure;
}

/* ---- Requests ---- */

void served_sync(struct served *f, const uint32_t *ids, size_t count, uint32_t next_id,
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
    reply = served_call(f, &(struct asked){.kind = LATHE_FRAME_SYNC, .message = &sync.base},
                        &lathe__shard__sync_reply__descriptor);
    assert_int_equal(reply->created, created);
    assert_int_equal(reply->dropped, dropped);
}

void served_upserts(struct request *request, uint32_t first, uint32_t count, int64_t round)
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

struct asked served_write_of(uint32_t collection, const struct request *request)
{
    return (struct asked){.kind = LATHE_FRAME_WRITE,
                          .collection = collection,
                          .message = &request->write.base,
                          .block = &request->block};
}

void served_write(struct served *f, uint32_t collection, uint32_t first, uint32_t count,
                  int64_t round)
{
    struct request request;
    struct asked asked;
    const Lathe__Shard__WriteReply *reply;

    served_upserts(&request, first, count, round);
    asked = served_write_of(collection, &request);
    reply = served_call(f, &asked, &lathe__shard__write_reply__descriptor);
    assert_int_equal(reply->n_outcomes, count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(reply->outcomes[i], LATHE_OUTCOME_APPLIED);
    request_fini(&request);
}

struct asked served_search_of(struct search *search, uint32_t collection, uint32_t limit, bool hold)
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

const Lathe__Shard__SearchReply *served_search(struct served *f, uint32_t collection,
                                               uint32_t limit, bool hold, uint64_t request_id)
{
    struct search search;
    struct asked asked = served_search_of(&search, collection, limit, hold);
    const Lathe__Shard__SearchReply *reply;

    asked.request_id = request_id;
    reply = served_call(f, &asked, &lathe__shard__search_reply__descriptor);
    lathe_buf_fini(&search.block);
    assert_int_equal(reply->n_hits, 1);
    return reply;
}

struct asked served_list_of(Lathe__Shard__List *list, Lathe__Shard__Fetch *fetch,
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
void served_answers(struct served *f, uint32_t collection, struct lathe_buf *out)
{
    Lathe__Shard__List list;
    Lathe__Shard__Fetch fetch;
    struct asked asked = served_list_of(&list, &fetch, collection);
    const Lathe__Shard__Hits *hits = served_search(f, collection, 50, false, 0)->hits[0];
    struct lathe_frame frame;

    (void)served_ask(f, &asked);
    frame = served_answer(f);
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
    struct served *f = (struct served *)((char *)job - offsetof(struct served, gate_job));
    void *item;

    (void)thread;
    (void)chunk;
    (void)lathe_queue_pop(f->gate, &item, 1, PATIENCE_US);
}

static void gate_done(struct lathe_pool_job *job)
{
    struct served *f = (struct served *)((char *)job - offsetof(struct served, gate_job));

    assert_true(lathe_queue_push(f->gated, f));
}

/* Until served_release_pool() the one pool thread does nothing, so reads stay inside the shard. */
void served_hold_pool(struct served *f)
{
    f->gate_job = (struct lathe_pool_job){.chunk_count = 1, .chunk = gate_chunk, .done = gate_done};
    lathe_pool_submit(f->pool, &f->gate_job);
}

void served_release_pool(struct served *f)
{
    void *item;

    assert_true(lathe_queue_push(f->gate, f));
    assert_int_equal(lathe_queue_pop(f->gated, &item, 1, PATIENCE_US), 1);
}

/* Answered by the front itself, in the order of arrival: once it is back, what was sent before has
 * been taken in. */
const Lathe__Shard__HelloReply *served_hello(struct served *f)
{
    Lathe__Shard__Hello message = LATHE__SHARD__HELLO__INIT;

    message.protocol_min = message.protocol_max = LATHE_FRAME_VERSION;
    message.cluster_id = (ProtobufCBinaryData){16, (uint8_t *)(uintptr_t) "cluster-cluster"};
    message.shard = 1;
    message.shards = 3;
    return served_call(f, &(struct asked){.kind = LATHE_FRAME_HELLO, .message = &message.base},
                       &lathe__shard__hello_reply__descriptor);
}
