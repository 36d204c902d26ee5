/* test_read.c - GET, LIST, FETCH, STATS and SEARCH requests: what they give, their limits, and that
 * each sees one snapshot. */
#include "tests/unit/shard/shard_fixture.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"
#include "shard/write/operation.h"

enum { DIMS = 3 };

struct fixture {
    struct parts parts;
    uint32_t collection;
};

static int setup(void **state)
{
    static const uint32_t dims[] = {DIMS, 2};
    static const enum lathe_metric metrics[] = {LATHE_COSINE, LATHE_EUCLIDEAN};
    struct fixture *f = lathe_zalloc(sizeof(*f));

    parts_init(&f->parts);
    f->collection = parts_create(&f->parts, 2, dims, metrics);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    parts_fini(&f->parts);
    lathe_free(f);
    return 0;
}

static void write_all(struct fixture *f, struct request *request)
{
    struct lathe_task *task = parts_write(&f->parts, f->collection, request);
    const Lathe__Shard__WriteReply *reply = write_reply(task);

    for (size_t i = 0; i < request->write.n_operations; i++)
        assert_int_equal(reply->outcomes[i], LATHE_OUTCOME_APPLIED);
    lathe_task_destroy(task);
    request_fini(request);
}

/* Point `number` with a payload of two keys and vectors in both fields; `round` tells versions
 * apart. */
static void upsert(struct request *request, uint32_t number, int64_t round)
{
    Lathe__Shard__Operation *operation = request_add(request, LATHE__SHARD__OPERATION_KIND__UPSERT,
                                                     id_of(number));
    float first[DIMS] = {1, (float)number, (float)round}, second[2] = {(float)number, 1};

    request_payload(
        request, operation,
        payload_make(&request->arena, (struct pair[]){{"number", number}, {"round", round}}, 2));
    request_vector(request, operation, 0, first, DIMS);
    request_vector(request, operation, 1, second, 2);
}

static void fill(struct fixture *f, uint32_t count, int64_t round)
{
    struct request request;

    request_init(&request, 1);
    for (uint32_t i = 0; i < count; i++)
        upsert(&request, i, round);
    write_all(f, &request);
}

static void add_id(struct lathe_buf *ids, struct lathe_idkey id)
{
    lathe_buf_u8(ids, id.size);
    lathe_buf_append(ids, id.bytes, id.size);
}

/* A GET on its way; the ids are borrowed until it is sent. */
struct get {
    Lathe__Shard__Get message;
    Lathe__Shard__Fetch fetch;
};

static Lathe__Shard__Get *get_of(struct get *get, const struct lathe_buf *ids, bool payload,
                                 bool vectors)
{
    lathe__shard__get__init(&get->message);
    lathe__shard__fetch__init(&get->fetch);
    get->fetch.idkeys = (ProtobufCBinaryData){ids->size, ids->data};
    get->fetch.payload = payload;
    get->fetch.vectors = vectors;
    get->message.fetch = &get->fetch;
    return &get->message;
}

static struct lathe_task *call_get(struct fixture *f, struct get *get)
{
    return parts_call(&f->parts, LATHE_FRAME_GET, f->collection, &get->message.base, NULL);
}

static void assert_id(const Lathe__Shard__PointData *data, uint32_t number)
{
    struct lathe_idkey id = id_of(number);

    assert_true(lathe_bytes_equal(lathe_bytes_of(data->idkey.data, data->idkey.len),
                                  lathe_idkey_view(&id)));
}

static void get_gives_points_in_the_order_asked(void **state)
{
    static const uint32_t asked[] = {5, 99, 0, 5};
    struct fixture *f = *state;
    struct lathe_buf ids = {0};
    struct get get;
    struct lathe_task *task;
    const Lathe__Shard__Points *points;

    fill(f, 10, 7);
    for (int i = 0; i < 4; i++)
        add_id(&ids, id_of(asked[i]));
    (void)get_of(&get, &ids, true, true);
    task = call_get(f, &get);
    points = points_reply(task);
    assert_int_equal(points->n_data, 4);
    assert_int_equal(points->points, 10);
    for (int i = 0; i < 4; i++) {
        assert_id(points->data[i], asked[i]);
        assert_int_equal(points->data[i]->missing, asked[i] == 99);
        assert_int_equal(points->data[i]->n_vectors, asked[i] == 99 ? 0 : 2);
        assert_int_equal(points->data[i]->version, asked[i] == 99 ? 0 : 2);
        assert_int_equal(points->data[i]->payload.len == 0, asked[i] == 99);
    }
    lathe_task_destroy(task);

    /* Only what is asked for. */
    (void)get_of(&get, &ids, false, true);
    get.fetch.fields = (uint32_t[]){1};
    get.fetch.n_fields = 1;
    task = call_get(f, &get);
    points = points_reply(task);
    assert_int_equal(points->data[0]->payload.len, 0);
    assert_int_equal(points->data[0]->n_vectors, 1);
    assert_int_equal(points->data[0]->vectors[0]->field, 1);
    assert_int_equal(points->data[0]->vectors[0]->size, 2 * sizeof(float));
    lathe_task_destroy(task);
    lathe_buf_fini(&ids);
}

static void malformed_reads_are_refused(void **state)
{
    struct fixture *f = *state;
    uint32_t no_field[] = {2};
    struct lathe_buf ids = {0};
    struct get get;
    struct lathe_task *task;

    add_id(&ids, id_of(1));
    for (int i = 0; i < 4; i++) {
        (void)get_of(&get, &ids, true, false);
        if (i == 0) /* cut short */
            get.fetch.idkeys.len--;
        else if (i == 1) /* a kind of id that there is not */
            ids.data[1] = 9;
        else if (i == 2) /* a field that there is not */
            ids.data[1] = LATHE_ID_UUID, get.fetch.fields = no_field, get.fetch.n_fields = 1;
        else
            get.message.fetch = NULL;
        task = call_get(f, &get);
        assert_int_equal(failure_of(task)->status, LATHE_INVALID_ARGUMENT);
        assert_string_equal(failure_of(task)->field, i < 2 ? "ids" : i == 2 ? "fields" : "");
        lathe_task_destroy(task);
    }
    lathe_buf_clear(&ids);
    for (uint32_t i = 0; i <= LATHE_MAX_GET_IDS; i++)
        add_id(&ids, lathe_idkey_number(i));
    (void)get_of(&get, &ids, true, false);
    task = call_get(f, &get);
    assert_int_equal(failure_of(task)->status, LATHE_INVALID_ARGUMENT);
    assert_non_null(strstr(failure_of(task)->message, "limit of 65536"));
    lathe_task_destroy(task);
    get.fetch.idkeys.len -= 10; /* one less is allowed */
    task = call_get(f, &get);
    assert_int_equal(points_reply(task)->n_data, LATHE_MAX_GET_IDS);
    lathe_task_destroy(task);
    lathe_buf_fini(&ids);
}

static struct lathe_task *call_list(struct fixture *f, uint32_t limit, uint64_t limit_bytes,
                                    struct lathe_bytes after)
{
    Lathe__Shard__List list = LATHE__SHARD__LIST__INIT;
    Lathe__Shard__Fetch fetch = LATHE__SHARD__FETCH__INIT;

    fetch.payload = fetch.vectors = true;
    list.fetch = &fetch;
    list.limit = limit;
    list.limit_bytes = limit_bytes;
    list.after_idkey = (ProtobufCBinaryData){after.size, (uint8_t *)(uintptr_t)after.data};
    return parts_call(&f->parts, LATHE_FRAME_LIST, f->collection, &list.base, NULL);
}

static void list_tells_exactly_whether_more_remains(void **state)
{
    struct fixture *f = *state;
    struct lathe_bytes first = lathe_bytes_of(NULL, 0);

    fill(f, 300, 1);
    for (uint32_t limit = 298; limit < 303; limit++) {
        struct lathe_task *task = call_list(f, limit, 0, first);

        assert_int_equal(points_reply(task)->n_data, limit < 300 ? limit : 300);
        assert_int_equal(points_reply(task)->more, limit < 300);
        lathe_task_destroy(task);
    }
}

static void list_goes_on_behind_an_id_that_is_gone(void **state)
{
    struct fixture *f = *state;
    struct lathe_idkey between = lathe_idkey_number(1000003ull * 4); /* between points 3 and 6 */
    struct lathe_task *task;

    fill(f, 9, 1);
    task = call_list(f, 1, 0, lathe_idkey_view(&between));
    assert_id(points_reply(task)->data[0], 6);
    lathe_task_destroy(task);
    between = id_of(8);
    task = call_list(f, 1, 0, lathe_idkey_view(&between));
    assert_int_equal(points_reply(task)->n_data, 0); /* it was the last */
    assert_false(points_reply(task)->more);
    lathe_task_destroy(task);
}

static void list_ends_a_page_at_its_bytes(void **state)
{
    struct fixture *f = *state;
    struct lathe_bytes after = lathe_bytes_of(NULL, 0);
    struct lathe_idkey last;
    size_t pages = 0, points = 0;
    bool more = true;

    fill(f, 50, 1);
    while (more) {
        struct lathe_task *task = call_list(f, 1000, 1 + 300 * (pages % 3), after);
        const Lathe__Shard__Points *page = points_reply(task);

        assert_true(page->n_data >= 1); /* or it would never end */
        assert_true(pages % 3 != 0 || page->n_data == 1);
        points += page->n_data;
        more = page->more;
        assert_int_equal(lathe_idkey_decode(lathe_bytes_of(page->data[page->n_data - 1]->idkey.data,
                                                           page->data[page->n_data - 1]->idkey.len),
                                            &last, NULL),
                         LATHE_OK);
        after = lathe_idkey_view(&last);
        lathe_task_destroy(task);
        pages++;
    }
    assert_int_equal(points, 50);
}

static void list_has_limits(void **state)
{
    struct fixture *f = *state;
    struct lathe_bytes bad = lathe_bytes_str("\x07nonsense");

    for (int i = 0; i < 3; i++) {
        struct lathe_task *task = i < 2 ? call_list(f, i == 0 ? 0 : LATHE_MAX_PAGE_POINTS + 1, 0,
                                                    lathe_bytes_of(NULL, 0))
                                        : call_list(f, 1, 0, bad);

        assert_int_equal(failure_of(task)->status, LATHE_INVALID_ARGUMENT);
        lathe_task_destroy(task);
    }
}

/* A point that is listed but not there is damage, not a missing point. */
static void a_listed_point_without_record_is_data_loss(void **state)
{
    struct fixture *f = *state;
    struct lathe_idkey ghost = lathe_idkey_number(424242);
    struct lathe_task *task;

    fill(f, 3, 1);
    store_put(f->parts.store, LATHE_FAMILY_ORDER,
              lathe_key_order(f->collection, lathe_idkey_view(&ghost)),
              lathe_bytes_str("\x01\x02"));
    fill(f, 1, 2); /* publishes */
    task = call_list(f, 10, 0, lathe_bytes_of(NULL, 0));
    assert_int_equal(failure_of(task)->status, LATHE_DATA_LOSS);
    lathe_task_destroy(task);
}

/* The largest page, request and result that the limits allow do not fail for want of memory. */
static void the_largest_replies_fit(void **state)
{
    enum { POINTS = LATHE_MAX_RESULTS };
    struct fixture *f = *state;
    Lathe__Shard__Search search = LATHE__SHARD__SEARCH__INIT;
    Lathe__Shard__Query query = LATHE__SHARD__QUERY__INIT, *queries[] = {&query};
    Lathe__Shard__VectorRef ref = LATHE__SHARD__VECTOR_REF__INIT;
    struct lathe_buf block = {0};
    float vector[DIMS] = {1, 2, 3};
    struct request request;
    struct lathe_task *task;

    for (uint32_t round = 0; round < 4; round++) {
        request_init(&request, 1);
        for (uint32_t i = 0; i < POINTS / 4; i++) {
            char text[LATHE_MAX_ID_BYTES + 1];
            struct lathe_idkey id;
            Lathe__Shard__Operation *operation;

            (void)snprintf(text, sizeof(text), "%0*u", (int)LATHE_MAX_ID_BYTES,
                           round * POINTS / 4 + i);
            assert_int_equal(lathe_idkey_string(lathe_bytes_str(text), &id, NULL), LATHE_OK);
            operation = request_add(&request, LATHE__SHARD__OPERATION_KIND__UPSERT, id);
            request_vector(&request, operation, 0, vector, DIMS);
            request_vector(&request, operation, 1, vector, 2);
        }
        write_all(f, &request);
    }
    task = call_list(f, LATHE_MAX_PAGE_POINTS, 0, lathe_bytes_of(NULL, 0));
    assert_int_equal(points_reply(task)->n_data, LATHE_MAX_PAGE_POINTS);
    lathe_task_destroy(task);

    lathe_buf_append(&block, vector, sizeof(vector));
    ref.size = sizeof(vector);
    query.vector = &ref;
    query.limit = POINTS;
    query.want_sizes = true;
    search.queries = queries;
    search.n_queries = 1;
    task = parts_call(&f->parts, LATHE_FRAME_SEARCH, f->collection, &search.base, &block);
    assert_int_equal(search_reply(task)->hits[0]->n_scores, POINTS);
    assert_int_equal(search_reply(task)->hits[0]->n_payload_bytes, POINTS);
    lathe_task_destroy(task);
    lathe_buf_fini(&block);
}

/* A small request for points of large payloads. */
static void large_payloads_are_read(void **state)
{
    struct fixture *f = *state;
    struct lathe_buf ids = {0};
    struct get get;
    struct lathe_task *task;
    const Lathe__Shard__Points *points;
    char *text = lathe_zalloc(900001);

    memset(text, 'x', 900000);
    for (uint32_t i = 0; i < 20; i++) {
        struct request request;

        request_init(&request, 1);
        request_payload(&request,
                        request_add(&request, LATHE__SHARD__OPERATION_KIND__UPSERT, id_of(i)),
                        payload_make(&request.arena, (struct pair[]){{text, i}}, 1));
        write_all(f, &request);
        add_id(&ids, id_of(i));
    }
    (void)get_of(&get, &ids, true, false);
    task = call_get(f, &get);
    points = points_reply(task);
    for (uint32_t i = 0; i < 20; i++)
        assert_true(points->data[i]->payload.len > 900000);
    lathe_task_destroy(task);
    lathe_buf_fini(&ids);
    lathe_free(text);
}

static void a_reply_over_the_limit_is_refused(void **state)
{
    static const uint32_t dims[] = {LATHE_MAX_DIMS};
    static const enum lathe_metric metrics[] = {LATHE_DOT};
    struct fixture *f = *state;
    float *vector = lathe_zalloc_array(LATHE_MAX_DIMS, sizeof(float));
    struct lathe_buf ids = {0};
    struct request request;
    struct get get;
    struct lathe_task *task;

    f->collection = parts_create(&f->parts, 1, dims, metrics);
    request_init(&request, 1);
    request_vector(&request, request_add(&request, LATHE__SHARD__OPERATION_KIND__UPSERT, id_of(0)),
                   0, vector, LATHE_MAX_DIMS);
    write_all(f, &request);
    for (int i = 0; i < 1024; i++)
        add_id(&ids, id_of(0));
    (void)get_of(&get, &ids, false, true);
    task = call_get(f, &get);
    assert_int_equal(failure_of(task)->status, LATHE_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(failure_of(task)->message, "67108864 bytes"));
    assert_int_equal(task->reply_block.size, 0);
    lathe_task_destroy(task);
    get.fetch.idkeys.len = ids.size / 1024 * 1000;
    task = call_get(f, &get);
    assert_int_equal(points_reply(task)->n_data, 1000);
    lathe_task_destroy(task);
    lathe_buf_fini(&ids);
    lathe_free(vector);
}

/* Reads on a snapshot see rows, payloads and lists as they were, whatever is written meanwhile. */
static void a_snapshot_hides_later_writes(void **state)
{
    struct fixture *f = *state;
    struct lathe_buf ids = {0};
    struct lathe_snapshot *before;
    struct request request;

    fill(f, 4, 1);
    before = lathe_publication_acquire(&f->parts.publication);
    fill(f, 6, 2);
    request_init(&request, 1);
    (void)request_add(&request, LATHE__SHARD__OPERATION_KIND__DELETE, id_of(3));
    write_all(f, &request);
    for (uint32_t i = 0; i < 6; i++)
        add_id(&ids, id_of(i));
    for (int now = 0; now < 2; now++) {
        struct get get;
        const Lathe__Shard__Points *points;
        struct lathe_task *task;

        task = parts_task(&f->parts, LATHE_FRAME_GET, f->collection,
                          &get_of(&get, &ids, true, true)->base, NULL);
        task->snapshot = now ? NULL : lathe_snapshot_acquire(before);
        parts_submit(&f->parts, task);
        assert_ptr_equal(parts_wait(&f->parts), task);
        points = points_reply(task);
        assert_int_equal(points->applied_seq, now ? 4 : 2);
        assert_int_equal(points->points, now ? 5 : 4);
        for (uint32_t i = 0; i < 6; i++) {
            const Lathe__Shard__PointData *data = points->data[i];
            float third;

            assert_int_equal(data->missing, now ? i == 3 : i >= 4);
            if (data->missing)
                continue;
            assert_int_equal(data->version, now ? 3 : 2);
            memcpy(&third, task->reply_block.data + data->vectors[0]->offset + 2 * sizeof(float),
                   sizeof(third));
            assert_true(third == (now ? 2 : 1));
        }
        lathe_task_destroy(task);
    }
    lathe_snapshot_release(before);
    lathe_buf_fini(&ids);
}

static void late_and_cancelled_reads_are_not_done(void **state)
{
    struct fixture *f = *state;
    struct lathe_buf ids = {0};

    fill(f, 4, 1);
    add_id(&ids, id_of(1));
    for (int i = 0; i < 2; i++) {
        struct get get;
        struct lathe_task *task = parts_task(&f->parts, LATHE_FRAME_GET, f->collection,
                                             &get_of(&get, &ids, true, true)->base, NULL);

        if (i == 0)
            task->deadline_us = task->received_us;
        else
            atomic_store(&task->cancelled, true);
        parts_submit(&f->parts, task);
        assert_ptr_equal(parts_wait(&f->parts), task);
        assert_int_equal(failure_of(task)->status,
                         i == 0 ? LATHE_DEADLINE_EXCEEDED : LATHE_CANCELLED);
        lathe_task_destroy(task);
    }
    lathe_buf_fini(&ids);
}

static void a_late_write_is_not_applied(void **state)
{
    struct fixture *f = *state;
    struct request request;

    request_init(&request, 1);
    upsert(&request, 1, 1);
    for (int i = 0; i < 2; i++) {
        struct lathe_task *task = parts_task(&f->parts, LATHE_FRAME_WRITE, f->collection,
                                             &request.write.base, &request.block);

        if (i == 0)
            task->deadline_us = task->received_us;
        else
            atomic_store(&task->cancelled, true);
        parts_submit(&f->parts, task);
        assert_ptr_equal(parts_wait(&f->parts), task);
        assert_int_equal(failure_of(task)->status,
                         i == 0 ? LATHE_DEADLINE_EXCEEDED : LATHE_CANCELLED);
        lathe_task_destroy(task);
    }
    write_all(f, &request); /* the first sequence number after the collection's own */
    assert_int_equal(f->parts.next_id, 2);
}

static void malformed_writes_store_nothing(void **state)
{
    static const struct {
        const char *field;
        int kind;
    } cases[] = {{"operations[1].vectors", 0},
                 {"operations[1].vectors", 1},
                 {"operations[1].vectors", 2},
                 {"operations[1].fields", 3},
                 {"operations[1].idkey", 4},
                 {"operations[1].kind", 5},
                 {"operations", 6},
                 {"operations[1]", 7},
                 {"operations[1]", 8},
                 {"operations[1]", 9}};
    struct fixture *f = *state;
    struct lathe_buf before = {0}, after = {0};

    store_export(f->parts.store, &before);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        float nan[2] = {NAN, 1}, good[DIMS] = {1, 2, 3}, zero[DIMS] = {0};
        Lathe__Shard__Operation *operation;
        struct request request;
        struct lathe_task *task;

        request_init(&request, 1);
        upsert(&request, 0, 1);
        operation = request_add(&request, LATHE__SHARD__OPERATION_KIND__SET_PAYLOAD, id_of(1));
        if (cases[i].kind == 0) /* dims of another field */
            request_vector(&request, operation, 0, good, 2);
        else if (cases[i].kind == 1) /* twice */
            request_vector(&request, operation, 0, good, DIMS),
                request_vector(&request, operation, 0, good, DIMS);
        else if (cases[i].kind == 2) /* outside of the block */
            request_vector(&request, operation, 0, good, DIMS), operation->vectors[0]->offset += 4;
        else if (cases[i].kind == 3)
            request_field(&request, operation, 2);
        else if (cases[i].kind == 4)
            operation->idkey.len--;
        else if (cases[i].kind == 5)
            operation->mode = 3;
        else if (cases[i].kind == 6)
            request.write.n_operations = 0;
        else if (cases[i].kind == 7) /* no object */
            request_payload(&request, operation, lathe_bytes_str("\x0a\x7f"));
        else if (cases[i].kind == 8)
            request_vector(&request, operation, 1, nan, 2);
        else
            request_vector(&request, operation, 0, zero, DIMS); /* under cosine */
        task = parts_write(&f->parts, f->collection, &request);
        assert_int_equal(failure_of(task)->status, LATHE_INVALID_ARGUMENT);
        assert_true(strncmp(failure_of(task)->field, cases[i].field, strlen(cases[i].field)) == 0);
        lathe_task_destroy(task);
        request_fini(&request);
    }
    store_export(f->parts.store, &after);
    assert_exports_equal(&before, &after);
    lathe_buf_fini(&before);
    lathe_buf_fini(&after);
}

static void malformed_searches_are_refused(void **state)
{
    static const char *const fields[] = {"vector",    "vector",        "vector", "limit", "limit",
                                         "threshold", "exclude_idkey", "",       NULL};
    struct fixture *f = *state;
    float vector[DIMS] = {1, 2, 3};
    uint8_t no_id[] = {1};
    struct lathe_buf block = {0};

    lathe_buf_append(&block, vector, sizeof(vector));
    for (int i = 0; fields[i] != NULL; i++) {
        Lathe__Shard__Search search = LATHE__SHARD__SEARCH__INIT;
        Lathe__Shard__Query query = LATHE__SHARD__QUERY__INIT, *queries[] = {&query};
        Lathe__Shard__VectorRef ref = LATHE__SHARD__VECTOR_REF__INIT;
        struct lathe_task *task;
        char wanted[64];

        ref.size = sizeof(vector);
        query.vector = i == 0 ? NULL : &ref;
        query.limit = i == 3 ? 0 : i == 4 ? LATHE_MAX_RESULTS + 1 : 1;
        ref.field = i == 1 ? 2 : 0;
        ref.offset = i == 2 ? 4 : 0;
        query.has_threshold = i == 5;
        query.threshold = NAN;
        if (i == 6)
            query.exclude_idkey = (ProtobufCBinaryData){1, no_id};
        if (i == 7)
            memset(block.data, 0, block.size);
        search.queries = queries;
        search.n_queries = 1;
        task = parts_call(&f->parts, LATHE_FRAME_SEARCH, f->collection, &search.base, &block);
        assert_int_equal(failure_of(task)->status, LATHE_INVALID_ARGUMENT);
        (void)snprintf(wanted, sizeof(wanted), "queries[0]%s%s", i < 7 ? "." : "", fields[i]);
        assert_string_equal(failure_of(task)->field, wanted);
        lathe_task_destroy(task);
    }
    lathe_buf_fini(&block);
}

static void batches_have_limits(void **state)
{
    enum { MANY = LATHE_MAX_BATCH_SEARCHES + 1 };
    struct fixture *f = *state;
    Lathe__Shard__Query query = LATHE__SHARD__QUERY__INIT, *queries[MANY];
    Lathe__Shard__VectorRef ref = LATHE__SHARD__VECTOR_REF__INIT;
    float vector[DIMS] = {1, 2, 3};
    struct lathe_buf block = {0};

    lathe_buf_append(&block, vector, sizeof(vector));
    ref.size = sizeof(vector);
    query.vector = &ref;
    for (int i = 0; i < MANY; i++)
        queries[i] = &query;
    for (int i = 0; i < 4; i++) {
        Lathe__Shard__Search search = LATHE__SHARD__SEARCH__INIT;
        struct lathe_task *task;

        query.limit = i < 2 ? 1 : LATHE_MAX_RESULTS;
        search.queries = queries;
        search.n_queries = i == 0 ? 0 : i == 1 ? MANY : i == 2 ? 17 : 16;
        task = parts_call(&f->parts, LATHE_FRAME_SEARCH, f->collection, &search.base, &block);
        if (i < 3)
            assert_int_equal(failure_of(task)->status, LATHE_INVALID_ARGUMENT);
        else
            assert_int_equal(search_reply(task)->n_hits, 16);
        lathe_task_destroy(task);
    }
    lathe_buf_fini(&block);
}

/* SYNC says the whole truth or nothing. */
static void a_malformed_sync_changes_nothing(void **state)
{
    static const uint32_t dims[] = {2};
    static const enum lathe_metric dot[] = {LATHE_DOT}, manhattan[] = {LATHE_MANHATTAN};
    struct fixture *f = *state;
    struct lathe_buf before = {0}, after = {0};

    fill(f, 2, 1);
    store_export(f->parts.store, &before);
    for (int i = 0; i < 3; i++) {
        struct lathe_task *task;

        /* A good one comes first, and what is there would be dropped. */
        f->parts.specs[0] = spec_make(&f->parts.arena, 7, 1, dims, dot);
        f->parts.specs[1] = spec_make(&f->parts.arena,
                                      i == 0   ? 7
                                      : i == 1 ? 0
                                               : 8,
                                      1, dims, i == 2 ? manhattan : dot);
        f->parts.spec_count = 2;
        f->parts.next_id = 9;
        task = parts_sync(&f->parts);
        assert_int_equal(failure_of(task)->status,
                         i == 2 ? LATHE_UNIMPLEMENTED : LATHE_INVALID_ARGUMENT);
        lathe_task_destroy(task);
    }
    store_export(f->parts.store, &after);
    assert_exports_equal(&before, &after);
    fill(f, 1, 2); /* the collection is there as before */
    lathe_buf_fini(&before);
    lathe_buf_fini(&after);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(get_gives_points_in_the_order_asked),
        TEST(malformed_reads_are_refused),
        TEST(list_tells_exactly_whether_more_remains),
        TEST(list_goes_on_behind_an_id_that_is_gone),
        TEST(list_ends_a_page_at_its_bytes),
        TEST(list_has_limits),
        TEST(a_listed_point_without_record_is_data_loss),
        TEST(the_largest_replies_fit),
        TEST(large_payloads_are_read),
        TEST(a_reply_over_the_limit_is_refused),
        TEST(a_snapshot_hides_later_writes),
        TEST(late_and_cancelled_reads_are_not_done),
        TEST(a_late_write_is_not_applied),
        TEST(malformed_writes_store_nothing),
        TEST(malformed_searches_are_refused),
        TEST(batches_have_limits),
        TEST(a_malformed_sync_changes_nothing),
    };

    return cmocka_run_group_tests_name("read", tests, NULL, NULL);
}
