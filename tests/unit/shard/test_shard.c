/* test_shard.c - a whole shard through its socket, asked by a dealer as a coordinator would. */
#include "tests/unit/shard/served.h"

#include <string.h>

#include "common/base/table.h"

static void hello_tells_what_the_shard_holds(void **state)
{
    struct served *f = *state;
    const Lathe__Shard__HelloReply *reply = served_hello(f);

    assert_int_equal(reply->protocol, LATHE_FRAME_VERSION);
    assert_int_equal(reply->shard, 1);
    assert_string_equal(reply->kernel, f->kernel->name);
    assert_int_equal(reply->n_collections, 0);
    served_sync(f, (uint32_t[]){3, 5}, 2, 6, 2, 0);
    reply = served_hello(f);
    assert_int_equal(reply->n_collections, 2);
    assert_int_equal(reply->collections[0], 3);
    assert_int_equal(reply->collections[1], 5);
}

static void hello_to_another_shard_is_refused(void **state)
{
    struct served *f = *state;

    for (int i = 0; i < 4; i++) {
        Lathe__Shard__Hello message = LATHE__SHARD__HELLO__INIT;

        message.protocol_min = i == 0 ? LATHE_FRAME_VERSION + 1 : LATHE_FRAME_VERSION;
        message.protocol_max = LATHE_FRAME_VERSION + 1;
        message.cluster_id = (ProtobufCBinaryData){
            16, (uint8_t *)(uintptr_t)(i == 1 ? "another-cluster" : "cluster-cluster")};
        message.shard = i == 2 ? 2 : 1;
        message.shards = i == 3 ? 4 : 3;
        (void)served_call_fails(
            f, &(struct asked){.kind = LATHE_FRAME_HELLO, .message = &message.base},
            LATHE_FAILED_PRECONDITION);
    }
}

static void a_write_is_searchable_when_it_is_acknowledged(void **state)
{
    struct served *f = *state;

    served_sync(f, (uint32_t[]){1}, 1, 2, 1, 0);
    for (uint32_t i = 0; i < 20; i++) {
        const Lathe__Shard__SearchReply *reply;

        served_write(f, 1, i * 3, 3, 1);
        reply = served_search(f, 1, 100, false, 0);
        assert_int_equal(reply->applied_seq, 2 + i);
        assert_int_equal(reply->hits[0]->n_scores, 3 * (i + 1));
        assert_int_equal(reply->hits[0]->rows, 3 * (i + 1));
    }
}

/* A catalog that was restored from another copy gives ids again; the rows under them are others. */
static void a_collection_of_the_same_id_and_another_key_is_refused(void **state)
{
    struct served *f = *state;
    Lathe__Shard__CollectionSpec *spec = spec_make(&f->arena, 1, 1, (uint32_t[]){DIMS},
                                                   (enum lathe_metric[]){LATHE_COSINE});
    Lathe__Shard__Sync sync = LATHE__SHARD__SYNC__INIT;

    served_sync(f, (uint32_t[]){1}, 1, 2, 1, 0);
    served_write(f, 1, 0, 3, 1);
    sync.collections = &spec;
    sync.n_collections = 1;
    sync.next_id = 2;
    spec->slot_key.data[0] ^= 1;
    (void)served_call_fails(f, &(struct asked){.kind = LATHE_FRAME_SYNC, .message = &sync.base},
                            LATHE_FAILED_PRECONDITION);
    assert_int_equal(served_search(f, 1, 10, false, 0)->hits[0]->n_scores, 3);
}

static const Lathe__Shard__Points *fetch_call(struct served *f, uint32_t collection,
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
        return served_call(f, &asked, &lathe__shard__points__descriptor);
    (void)served_call_fails(f, &asked, LATHE_ABORTED);
    return NULL;
}

/* What is fetched is what was found, though it has been overwritten and deleted in between. */
static void fetch_reads_the_snapshot_of_its_search(void **state)
{
    struct served *f = *state;
    const Lathe__Shard__Hits *hits;
    const Lathe__Shard__Points *points;

    served_sync(f, (uint32_t[]){1}, 1, 2, 1, 0);
    served_write(f, 1, 0, 20, 1);
    hits = served_search(f, 1, 10, true, 77)->hits[0];
    served_write(f, 1, 0, 20, 2);
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
    struct served *f = *state;
    const Lathe__Shard__Hits *hits;

    served_sync(f, (uint32_t[]){1}, 1, 2, 1, 0);
    served_write(f, 1, 0, 5, 1);
    hits = served_search(f, 1, 10, true, 50)->hits[0];
    (void)served_ask(
        f, &(struct asked){.kind = LATHE_FRAME_RELEASE, .collection = 1, .request_id = 50});
    (void)fetch_call(f, 1, 50, hits, false);
    hits = served_search(f, 1, 10, false, 51)->hits[0]; /* not held at all */
    (void)fetch_call(f, 1, 51, hits, false);
    (void)fetch_call(f, 1, 52, hits, false); /* never asked */
}

/* Held searches are bounded; fetching and releasing make room again. */
static void held_searches_are_bounded(void **state)
{
    struct served *f = *state;
    const Lathe__Shard__Hits *hits = NULL;
    struct search search;
    struct asked asked;

    served_sync(f, (uint32_t[]){1}, 1, 2, 1, 0);
    served_write(f, 1, 0, 5, 1);
    for (uint64_t i = 0; i < 2 * IN_FLIGHT; i++)
        hits = served_search(f, 1, 10, true, 100 + i)->hits[0];
    asked = served_search_of(&search, 1, 10, true);
    assert_true(served_call_fails(f, &asked, LATHE_RESOURCE_EXHAUSTED)->retry_after_ms > 0);
    lathe_buf_fini(&search.block);
    (void)fetch_call(f, 1, 100, hits, true);
    (void)served_search(f, 1, 10, true, 200);
    for (uint64_t i = 1; i < 2 * IN_FLIGHT; i++)
        (void)served_ask(f, &(struct asked){.kind = LATHE_FRAME_RELEASE, .request_id = 100 + i});
    (void)served_search(f, 1, 10, true, 201);
}

static void cancel_stops_a_search(void **state)
{
    struct served *f = *state;
    struct search search;
    struct asked asked = served_search_of(&search, 1, 10, true);
    struct lathe_frame frame;
    const Lathe__Shard__Failure *failure;
    uint64_t id;

    served_sync(f, (uint32_t[]){1}, 1, 2, 1, 0);
    served_write(f, 1, 0, 5, 1);
    served_hold_pool(f);
    id = served_ask(f, &asked);
    (void)served_ask(f, &(struct asked){.kind = LATHE_FRAME_CANCEL, .request_id = id});
    (void)served_hello(f);
    served_release_pool(f);
    frame = served_answer(f);
    failure = served_body(f, &frame, LATHE_FRAME_ERROR, &lathe__shard__failure__descriptor);
    assert_int_equal(failure->status, LATHE_CANCELLED);
    assert_int_equal(frame.header.request_id, id);
    lathe_frame_fini(&frame);
    lathe_buf_fini(&search.block);
}

static void expired_work_is_dropped(void **state)
{
    struct served *f = *state;
    Lathe__Shard__List list;
    Lathe__Shard__Fetch fetch;
    struct asked asked = served_list_of(&list, &fetch, 1);
    struct request request;
    struct search search;

    served_sync(f, (uint32_t[]){1}, 1, 2, 1, 0);
    served_write(f, 1, 0, 5, 1);
    asked.budget_us = 1;
    (void)served_call_fails(f, &asked, LATHE_DEADLINE_EXCEEDED);
    asked = served_search_of(&search, 1, 10, false);
    asked.budget_us = 1;
    (void)served_call_fails(f, &asked, LATHE_DEADLINE_EXCEEDED);
    lathe_buf_fini(&search.block);
    served_upserts(&request, 100, 3, 1);
    asked = served_write_of(1, &request);
    asked.budget_us = 1;
    (void)served_call_fails(f, &asked, LATHE_DEADLINE_EXCEEDED);
    request_fini(&request);
    assert_int_equal(served_search(f, 1, 100, false, 0)->hits[0]->n_scores, 5);
}

/* ---- Memory ---- */

static int64_t request_bytes(struct served *f)
{
    (void)served_hello(f); /* the front has seen off whatever it answered before */
    return atomic_load(&f->budget.used_bytes[LATHE_MEM_REQUESTS]);
}

static void many_points(struct served *f, uint32_t count)
{
    served_sync(f, (uint32_t[]){1}, 1, 2, 1, 0);
    for (uint32_t i = 0; i < count; i += 1000)
        served_write(f, 1, i, 1000, 1);
}

/* Searches answered, held and fetched, held and released, held and forgotten, cancelled, expired.
 */
static void the_memory_of_requests_comes_back(void **state)
{
    struct served *f = *state;
    struct search search;
    struct asked asked;
    uint64_t until;

    many_points(f, 2000);
    assert_int_equal(request_bytes(f), 0);
    for (uint64_t i = 0; i < 20; i++) {
        const Lathe__Shard__Hits *hits = served_search(f, 1, 500, false, 0)->hits[0];
        struct lathe_frame frame;
        uint64_t id;

        assert_int_equal(request_bytes(f), 0);
        hits = served_search(f, 1, 500, true, 1000 + i)->hits[0];
        assert_in_range(request_bytes(f), 1, 4096); /* a held search keeps no results */
        (void)fetch_call(f, 1, 1000 + i, hits, true);
        assert_int_equal(request_bytes(f), 0);
        (void)served_search(f, 1, 500, true, 2000 + i);
        (void)served_ask(f, &(struct asked){.kind = LATHE_FRAME_RELEASE, .request_id = 2000 + i});
        assert_int_equal(request_bytes(f), 0);

        asked = served_search_of(&search, 1, 500, true);
        served_hold_pool(f);
        id = served_ask(f, &asked);
        assert_true(request_bytes(f) >= (int64_t)(500 * 2 * sizeof(struct lathe_hit)));
        (void)served_ask(f, &(struct asked){.kind = LATHE_FRAME_CANCEL, .request_id = id});
        (void)served_hello(f);
        served_release_pool(f);
        frame = served_answer(f);
        lathe_frame_fini(&frame);
        assert_int_equal(request_bytes(f), 0);

        asked.budget_us = 1;
        (void)served_call_fails(f, &asked, LATHE_DEADLINE_EXCEEDED);
        lathe_buf_fini(&search.block);
        assert_int_equal(request_bytes(f), 0);
    }
    asked = served_search_of(&search, 1, 500, true);
    asked.budget_us = 200 * 1000;
    (void)served_call(f, &asked, &lathe__shard__search_reply__descriptor);
    lathe_buf_fini(&search.block);
    until = lathe_now_us(&lathe_system_clock) + 30u * 1000 * 1000;
    while (request_bytes(f) > 0 && lathe_now_us(&lathe_system_clock) < until)
        continue;
    assert_int_equal(request_bytes(f), 0);
}

/* Memory full of data: what needs much is refused, what needs little goes on. */
static void a_request_that_memory_cannot_hold_is_refused(void **state)
{
    enum { LIMIT = 32 << 20, MANY = 8000 };
    struct served *f = *state;
    Lathe__Shard__List list;
    Lathe__Shard__Fetch fetch;
    struct asked listing = served_list_of(&list, &fetch, 1);
    struct search search;
    struct asked asked = served_search_of(&search, 1, LATHE_MAX_RESULTS, false);
    const Lathe__Shard__Failure *failure;

    served_stop(f);
    f->budget.limit_bytes = LIMIT;
    served_start(f);
    many_points(f, MANY);
    assert_int_equal(served_search(f, 1, LATHE_MAX_RESULTS, false, 0)->hits[0]->n_scores, MANY);
    lathe_budget_charge(&f->budget, LATHE_MEM_CACHE, LIMIT);
    failure = served_call_fails(f, &asked, LATHE_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(failure->message, "memory: "));
    assert_non_null(strstr(failure->message, " of 33554432 are used"));
    assert_true(failure->retry_after_ms > 0);
    (void)served_call_fails(f, &listing, LATHE_RESOURCE_EXHAUSTED);
    assert_int_equal(request_bytes(f), 0);
    assert_int_equal(served_search(f, 1, 100, false, 0)->hits[0]->n_scores, 100);
    list.limit = 100;
    (void)served_call(f, &listing, &lathe__shard__points__descriptor);
    lathe_budget_charge(&f->budget, LATHE_MEM_CACHE, -LIMIT);
    assert_int_equal(served_search(f, 1, LATHE_MAX_RESULTS, false, 0)->hits[0]->n_scores, MANY);
    lathe_buf_fini(&search.block);
}

static void an_unknown_collection_is_a_stale_route(void **state)
{
    struct served *f = *state;
    Lathe__Shard__List list;
    Lathe__Shard__Fetch fetch;
    struct asked asked = served_list_of(&list, &fetch, 9);
    struct request request;
    struct search search;
    const Lathe__Shard__Failure *failure;

    served_sync(f, (uint32_t[]){1}, 1, 2, 1, 0);
    failure = served_call_fails(f, &asked, LATHE_UNAVAILABLE);
    assert_true(failure->stale_route);
    asked = served_search_of(&search, 9, 10, false);
    assert_true(served_call_fails(f, &asked, LATHE_UNAVAILABLE)->stale_route);
    lathe_buf_fini(&search.block);
    served_upserts(&request, 0, 1, 1);
    asked = served_write_of(9, &request);
    assert_true(served_call_fails(f, &asked, LATHE_UNAVAILABLE)->stale_route);
    request_fini(&request);
}

static void fails_as_stale(struct served *f, struct asked *asked, uint32_t ahead)
{
    const Lathe__Shard__Failure *failure;

    asked->schema_ahead = ahead;
    failure = served_call_fails(f, asked, LATHE_UNAVAILABLE);
    assert_true(failure->stale_route);
    assert_non_null(strstr(failure->message, "holds schema version 1 of collection 1"));
    asked->schema_ahead = 0;
}

static void another_schema_version_is_a_stale_route(void **state)
{
    static const uint32_t aheads[] = {1, UINT32_MAX};
    struct served *f = *state;
    Lathe__Shard__Stats stats = LATHE__SHARD__STATS__INIT;
    Lathe__Shard__Fetch gotten = LATHE__SHARD__FETCH__INIT;
    Lathe__Shard__Get get = LATHE__SHARD__GET__INIT;
    Lathe__Shard__List list;
    Lathe__Shard__Fetch fetch;
    struct search search;
    struct request request;
    struct asked asked[] = {
        {.kind = LATHE_FRAME_STATS, .collection = 1, .message = &stats.base},
        {.kind = LATHE_FRAME_GET, .collection = 1, .message = &get.base},
        served_list_of(&list, &fetch, 1),
        served_search_of(&search, 1, 10, false),
    };
    struct asked write, late_fetch = {.kind = LATHE_FRAME_FETCH, .collection = 1, .request_id = 77};

    get.fetch = &gotten;
    late_fetch.message = &gotten.base;
    served_sync(f, (uint32_t[]){1}, 1, 2, 1, 0);
    served_write(f, 1, 0, 5, 1);
    served_upserts(&request, 5, 1, 1);
    write = served_write_of(1, &request);
    for (size_t i = 0; i < 2; i++) {
        for (size_t j = 0; j < sizeof(asked) / sizeof(asked[0]); j++)
            fails_as_stale(f, &asked[j], aheads[i]);
        fails_as_stale(f, &write, aheads[i]);
        (void)served_search(f, 1, 10, true, 77);
        fails_as_stale(f, &late_fetch, aheads[i]);
    }
    /* Nothing was written, and the version that the shard holds is served as ever. */
    assert_int_equal(served_search(f, 1, 100, false, 0)->hits[0]->n_scores, 5);
    (void)served_call(f, &write, &lathe__shard__write_reply__descriptor);
    assert_int_equal(served_search(f, 1, 100, false, 0)->hits[0]->n_scores, 6);
    request_fini(&request);
    lathe_buf_fini(&search.block);
}

/* What cannot get in is refused with a hint; what is inside is answered. */
static void a_full_shard_refuses_more(void **state)
{
    struct served *f = *state;
    Lathe__Shard__List list;
    Lathe__Shard__Fetch fetch;
    struct asked asked = served_list_of(&list, &fetch, 1);
    uint64_t answered = 0;

    served_sync(f, (uint32_t[]){1}, 1, 2, 1, 0);
    served_hold_pool(f);
    for (int i = 0; i < IN_FLIGHT; i++)
        (void)served_ask(f, &asked);
    assert_true(served_call_fails(f, &asked, LATHE_RESOURCE_EXHAUSTED)->retry_after_ms > 0);
    served_release_pool(f);
    for (int i = 0; i < IN_FLIGHT; i++) {
        struct lathe_frame frame = served_answer(f);

        answered += frame.header.kind == (LATHE_FRAME_LIST | LATHE_FRAME_REPLY);
        lathe_frame_fini(&frame);
    }
    assert_int_equal(answered, IN_FLIGHT);
    (void)served_call(f, &asked, &lathe__shard__points__descriptor);
}

/* The front's table of what is inside, when it has no memory for the first entry. */
static void a_table_without_memory_refuses_the_request(void **state)
{
    struct served *f = *state;
    Lathe__Shard__List list;
    Lathe__Shard__Fetch fetch;
    struct asked asked = served_list_of(&list, &fetch, 1);

    served_sync(f, (uint32_t[]){1}, 1, 2, 1, 0);
    test_alloc_fail(sizeof(UT_hash_table), 0);
    (void)served_call_fails(f, &asked, LATHE_RESOURCE_EXHAUSTED);
    assert_true(test_alloc_failed());
    (void)served_call(f, &asked, &lathe__shard__points__descriptor);
}

/* A frame that comes twice while it is inside is answered once. */
static void a_request_sent_twice_is_answered_once(void **state)
{
    struct served *f = *state;
    Lathe__Shard__List list;
    Lathe__Shard__Fetch fetch;
    struct asked asked = served_list_of(&list, &fetch, 1);
    struct lathe_frame frame;

    served_sync(f, (uint32_t[]){1}, 1, 2, 1, 0);
    served_hold_pool(f);
    asked.request_id = 400;
    (void)served_ask(f, &asked);
    (void)served_ask(f, &asked);
    (void)served_hello(f);
    served_release_pool(f);
    frame = served_answer(f);
    assert_int_equal(frame.header.request_id, 400);
    lathe_frame_fini(&frame);
    (void)served_hello(f); /* comes next: there was no second answer */
}

static void malformed_bodies_are_refused(void **state)
{
    static const uint16_t kinds[] = {LATHE_FRAME_HELLO,  LATHE_FRAME_SYNC,  LATHE_FRAME_WRITE,
                                     LATHE_FRAME_SEARCH, LATHE_FRAME_FETCH, LATHE_FRAME_GET,
                                     LATHE_FRAME_LIST,   LATHE_FRAME_STATS};
    struct served *f = *state;

    served_sync(f, (uint32_t[]){1}, 1, 2, 1, 0);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        (void)served_call_fails(f,
                                &(struct asked){.kind = kinds[i],
                                                .collection = 1,
                                                .raw = lathe_bytes_str("\x0a\xff\xff\xff\xff\x0f")},
                                LATHE_INVALID_ARGUMENT);
    }
    (void)served_ask(
        f, &(struct asked){.kind = LATHE_FRAME_LIST | LATHE_FRAME_REPLY, .collection = 1});
    (void)served_hello(f); /* comes next: an answer is not answered */
}

static void a_restarted_shard_answers_with_the_same_bytes(void **state)
{
    struct served *f = *state;
    struct lathe_buf before = {0}, after = {0};

    served_sync(f, (uint32_t[]){1, 2}, 2, 3, 2, 0);
    for (uint32_t round = 0; round < 4; round++) {
        served_write(f, 1, round * 10, 60, round);
        served_write(f, 2, round * 20, 30, round);
    }
    served_answers(f, 1, &before);
    served_answers(f, 2, &before);
    for (int i = 0; i < 2; i++) {
        served_stop(f);
        served_start(f);
        lathe_buf_clear(&after);
        served_answers(f, 1, &after);
        served_answers(f, 2, &after);
        assert_true(lathe_bytes_equal(lathe_buf_view(&before), lathe_buf_view(&after)));
    }
    lathe_buf_fini(&before);
    lathe_buf_fini(&after);
}

/* Stopping lets what is inside end: a write that was taken is there afterwards. */
static void stopping_commits_what_waits(void **state)
{
    struct served *f = *state;
    struct request request;
    struct asked asked;

    served_sync(f, (uint32_t[]){1}, 1, 2, 1, 0);
    served_upserts(&request, 0, 7, 1);
    asked = served_write_of(1, &request);
    (void)served_ask(f, &asked);
    (void)served_hello(f);
    served_stop(f);
    served_start(f);
    assert_int_equal(served_search(f, 1, 100, false, 0)->hits[0]->n_scores, 7);
    request_fini(&request);
}

static void a_held_search_does_not_keep_a_shard_from_stopping(void **state)
{
    struct served *f = *state;

    served_sync(f, (uint32_t[]){1}, 1, 2, 1, 0);
    served_write(f, 1, 0, 5, 1);
    (void)served_search(f, 1, 10, true, 60);
    served_stop(f);
    served_start(f);
    (void)served_hello(f);
}

static void a_collection_made_again_shows_no_old_row(void **state)
{
    struct served *f = *state;
    Lathe__Shard__List list;
    Lathe__Shard__Fetch fetch;
    struct asked asked = served_list_of(&list, &fetch, 2);

    served_sync(f, (uint32_t[]){1, 7}, 2, 8, 2, 0);
    served_write(f, 1, 0, 50, 1);
    served_write(f, 7, 0, 3, 1);
    served_sync(f, (uint32_t[]){2, 7}, 2, 8, 1, 1);
    for (int i = 0; i < 2; i++) {
        const Lathe__Shard__Points *points = served_call(f, &asked,
                                                         &lathe__shard__points__descriptor);

        assert_int_equal(points->n_data, 0);
        assert_int_equal(points->points, 0);
        assert_int_equal(served_search(f, 2, 10, false, 0)->hits[0]->n_scores, 0);
        assert_int_equal(served_search(f, 7, 10, false, 0)->hits[0]->n_scores, 3);
        served_stop(f);
        served_start(f);
    }
    served_write(f, 2, 25, 2, 2);
    assert_int_equal(served_search(f, 2, 10, false, 0)->hits[0]->n_scores, 2);
    served_sync(f, (uint32_t[]){2, 7}, 2, 8, 0, 0); /* again: nothing to do */
}

/* A collection that is dropped under a held search is still there for its FETCH. */
static void a_drop_waits_for_readers(void **state)
{
    struct served *f = *state;
    const Lathe__Shard__Hits *hits;

    served_sync(f, (uint32_t[]){1}, 1, 2, 1, 0);
    served_write(f, 1, 0, 20, 1);
    hits = served_search(f, 1, 10, true, 70)->hits[0];
    served_sync(f, NULL, 0, 2, 0, 1);
    assert_int_equal(fetch_call(f, 1, 70, hits, true)->n_data, 10);
}

static void a_directory_in_use_is_refused(void **state)
{
    struct served *f = *state;
    struct lathe_shard_config config = served_config(f);
    struct lathe_shard *second = NULL;
    struct lathe_error err = {0};

    config.endpoint = "inproc://second";
    assert_int_equal(lathe_shard_start(&config, &second, &err), LATHE_FAILED_PRECONDITION);
    assert_null(second);
    (void)served_hello(f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, served_setup, served_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(hello_tells_what_the_shard_holds),
        TEST(hello_to_another_shard_is_refused),
        TEST(a_collection_of_the_same_id_and_another_key_is_refused),
        TEST(a_write_is_searchable_when_it_is_acknowledged),
        TEST(fetch_reads_the_snapshot_of_its_search),
        TEST(a_released_search_cannot_be_fetched),
        TEST(held_searches_are_bounded),
        TEST(cancel_stops_a_search),
        TEST(expired_work_is_dropped),
        TEST(the_memory_of_requests_comes_back),
        TEST(a_request_that_memory_cannot_hold_is_refused),
        TEST(an_unknown_collection_is_a_stale_route),
        TEST(another_schema_version_is_a_stale_route),
        TEST(a_full_shard_refuses_more),
        TEST(a_table_without_memory_refuses_the_request),
        TEST(a_request_sent_twice_is_answered_once),
        TEST(malformed_bodies_are_refused),
        TEST(a_restarted_shard_answers_with_the_same_bytes),
        TEST(stopping_commits_what_waits),
        TEST(a_held_search_does_not_keep_a_shard_from_stopping),
        TEST(a_collection_made_again_shows_no_old_row),
        TEST(a_drop_waits_for_readers),
        TEST(a_directory_in_use_is_refused),
    };

    return cmocka_run_group_tests_name("shard", tests, NULL, NULL);
}
