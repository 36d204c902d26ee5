/* test_coordinator.c - whole calls, over gRPC, against real shards behind proxies that lose and
 * refuse. */
#include "tests/unit/api/cluster.h"

#include <math.h>
#include <stdlib.h>

#include "common/base/id.h"
#include "common/vec/score.h"
#include "lathe/v1/collections.pb-c.h"
#include "lathe/v1/search.pb-c.h"
#include "lathe/v1/server.pb-c.h"

enum { SHARDS = 3, POINTS = 300 };

/* ---- What tests write and expect ---------------------------------------------------------------
 */

static float element(uint64_t number, uint32_t i)
{
    struct test_rng rng;

    test_rng_seed_with(&rng, number * 16 + i);
    return (float)test_rng_gauss(&rng);
}

/* Points first..first+count-1 with vectors from element(), and their number as payload. */
static Lathe__V1__WritePointsRequest *points_make(struct cluster *cluster, uint64_t first,
                                                  size_t count)
{
    Lathe__V1__WritePointsRequest *request = fixture_write(&cluster->arena, count);

    for (size_t i = 0; i < count; i++) {
        Lathe__V1__UpsertPoint *point = request->operations[i]->upsert;
        Lathe__V1__Value *value = fixture_string(&cluster->arena, "");

        point->id->number = first + i;
        for (uint32_t j = 0; j < FIXTURE_DIMS; j++)
            point->vectors[0]->dense->values[j] = element(first + i, j);
        value->kind_case = LATHE__V1__VALUE__KIND_INT_VALUE;
        value->int_value = (int64_t)(first + i);
        point->payload = fixture_object(&cluster->arena, "number", value);
    }
    return request;
}

static Lathe__V1__WritePointsResponse *write_ok(struct cluster *cluster,
                                                const Lathe__V1__WritePointsRequest *request)
{
    return cluster_ok(cluster, "PointService/WritePoints", request,
                      &lathe__v1__write_points_response__descriptor);
}

static struct cluster *filled(uint32_t shards)
{
    struct cluster *cluster = cluster_open(shards);
    const Lathe__V1__WritePointsResponse *response;

    cluster_create(cluster, "films");
    response = write_ok(cluster, points_make(cluster, 1, POINTS));
    assert_int_equal(response->n_results, POINTS);
    for (size_t i = 0; i < POINTS; i++)
        assert_int_equal(response->results[i]->outcome, LATHE__V1__OUTCOME__OUTCOME_APPLIED);
    return cluster;
}

static Lathe__V1__SearchRequest *search_make(struct cluster *cluster, uint64_t like_number)
{
    Lathe__V1__SearchRequest *request = fixture_alloc(&cluster->arena, sizeof(*request));

    lathe__v1__search_request__init(request);
    request->collection = "films";
    request->query_case = LATHE__V1__SEARCH_REQUEST__QUERY_VECTOR;
    request->vector = fixture_vector(&cluster->arena, FIXTURE_DIMS);
    for (uint32_t i = 0; i < FIXTURE_DIMS; i++)
        request->vector->values[i] = element(like_number, i);
    return request;
}

static Lathe__V1__Selection *everything(struct cluster *cluster)
{
    Lathe__V1__Selection *selection = fixture_alloc(&cluster->arena, sizeof(*selection));

    lathe__v1__selection__init(selection);
    selection->payload = true;
    selection->vectors = true;
    return selection;
}

struct expected {
    uint64_t number;
    float score;
};

static int expected_order(const void *a, const void *b)
{
    const struct expected *x = a;
    const struct expected *y = b;

    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->number < y->number ? -1 : 1;
}

/* All points by brute force, best first. */
static void brute_force(const float *query, struct expected out[POINTS])
{
    for (uint64_t n = 1; n <= POINTS; n++) {
        float x[FIXTURE_DIMS];

        for (uint32_t i = 0; i < FIXTURE_DIMS; i++)
            x[i] = element(n, i);
        out[n - 1] = (struct expected){n, lathe_score_f32(LATHE_COSINE, x, query, FIXTURE_DIMS)};
    }
    qsort(out, POINTS, sizeof(out[0]), expected_order);
}

/* The hits are `expected` from `offset` on, without the point `left_out`. */
static void hits_equal(const Lathe__V1__SearchResponse *response, const struct expected *expected,
                       size_t offset, uint64_t left_out)
{
    size_t at = 0;
    size_t skipped = 0;

    for (size_t i = 0; i < POINTS && at < response->n_hits; i++) {
        if (expected[i].number == left_out)
            continue;
        if (skipped++ < offset)
            continue;
        assert_int_equal(response->hits[at]->id->number, expected[i].number);
        assert_true(response->hits[at]->score == expected[i].score);
        at++;
    }
    assert_int_equal(at, response->n_hits);
}

static Lathe__V1__SearchResponse *search_ok(struct cluster *cluster,
                                            const Lathe__V1__SearchRequest *request)
{
    return cluster_ok(cluster, "SearchService/Search", request,
                      &lathe__v1__search_response__descriptor);
}

/* ---- Collections -------------------------------------------------------------------------------
 */

static Lathe__V1__Collection *collection_get(struct cluster *cluster, const char *name,
                                             struct lathe_error *err)
{
    Lathe__V1__GetCollectionRequest request = LATHE__V1__GET_COLLECTION_REQUEST__INIT;

    request.name = (char *)name;
    return cluster_call(cluster, "CollectionService/GetCollection", &request,
                        &lathe__v1__collection__descriptor, 20000, err);
}

static void collection_drop(struct cluster *cluster, const char *name)
{
    Lathe__V1__DeleteCollectionRequest request = LATHE__V1__DELETE_COLLECTION_REQUEST__INIT;

    request.name = (char *)name;
    (void)cluster_ok(cluster, "CollectionService/DeleteCollection", &request,
                     &lathe__v1__delete_collection_response__descriptor);
}

static uint64_t count_points(struct cluster *cluster, const char *name)
{
    Lathe__V1__CountPointsRequest request = LATHE__V1__COUNT_POINTS_REQUEST__INIT;

    request.collection = (char *)name;
    return ((const Lathe__V1__CountPointsResponse *)cluster_ok(
                cluster, "PointService/CountPoints", &request,
                &lathe__v1__count_points_response__descriptor))
        ->count;
}

static void a_dropped_name_starts_empty_under_a_new_id_also_after_a_restart(void **state)
{
    struct cluster *cluster = filled(SHARDS);
    Lathe__V1__ListCollectionsRequest list = LATHE__V1__LIST_COLLECTIONS_REQUEST__INIT;
    const Lathe__V1__ListCollectionsResponse *listed;
    const Lathe__V1__Collection *seen;
    struct lathe_error err;
    uint32_t id;

    (void)state;
    cluster_create(cluster, "books");
    seen = collection_get(cluster, "films", &err);
    assert_non_null(seen);
    id = seen->id;
    assert_int_equal(seen->shards, SHARDS);
    assert_int_equal(seen->stats->points, POINTS);
    assert_int_equal(seen->stats->fields[0]->rows, POINTS);
    assert_int_equal(seen->stats->fields[1]->rows, 0);
    assert_int_equal(seen->stats->coverage->shards_answered, SHARDS);
    listed = cluster_ok(cluster, "CollectionService/ListCollections", &list,
                        &lathe__v1__list_collections_response__descriptor);
    assert_int_equal(listed->n_collections, 2);
    assert_string_equal(listed->collections[0]->name, "books");
    assert_string_equal(listed->collections[1]->name, "films");
    collection_drop(cluster, "films");
    assert_null(collection_get(cluster, "films", &err));
    fixture_expect(&err, LATHE_NOT_FOUND, "name", "\"films\"");
    cluster_restart_coordinator(cluster);
    assert_null(collection_get(cluster, "films", &err));
    assert_int_equal(count_points(cluster, "books"), 0);
    cluster_create(cluster, "films");
    seen = collection_get(cluster, "films", &err);
    assert_true(seen->id > id + 1);
    assert_int_equal(count_points(cluster, "films"), 0);
    cluster_close(cluster);
}

struct creator {
    struct cluster *cluster;
    struct lathe_buf request;
    pthread_t thread;
    enum lathe_status status;
};

static void *create_run(void *argument)
{
    struct creator *creator = argument;
    struct lathe_buf reply = {0};
    struct lathe_error err = {0};

    creator->status = lathe_channel_call(creator->cluster->channel,
                                         "/lathe.v1.CollectionService/CreateCollection",
                                         lathe_buf_view(&creator->request), 20000, &reply, &err);
    lathe_buf_fini(&reply);
    return NULL;
}

static void of_many_creates_of_one_name_exactly_one_wins(void **state)
{
    enum { CREATORS = 12 };
    struct cluster *cluster = cluster_open(SHARDS);
    struct creator creators[CREATORS];
    Lathe__V1__CreateCollectionRequest request = LATHE__V1__CREATE_COLLECTION_REQUEST__INIT;
    Lathe__V1__CollectionSchema schema = LATHE__V1__COLLECTION_SCHEMA__INIT;
    Lathe__V1__FieldSchema field = LATHE__V1__FIELD_SCHEMA__INIT;
    Lathe__V1__FieldSchema *list[1] = {&field};
    int won = 0;

    (void)state;
    field.dims = 2;
    field.metric = LATHE__V1__METRIC__METRIC_DOT;
    schema.n_fields = 1;
    schema.fields = list;
    request.name = "one";
    request.schema = &schema;
    for (int i = 0; i < CREATORS; i++) {
        creators[i] = (struct creator){.cluster = cluster};
        lathe_message_encode(&request.base, &creators[i].request);
        assert_int_equal(pthread_create(&creators[i].thread, NULL, create_run, &creators[i]), 0);
    }
    for (int i = 0; i < CREATORS; i++) {
        (void)pthread_join(creators[i].thread, NULL);
        if (creators[i].status == LATHE_OK)
            won++;
        else
            assert_int_equal(creators[i].status, LATHE_ALREADY_EXISTS);
        lathe_buf_fini(&creators[i].request);
    }
    assert_int_equal(won, 1);
    cluster_close(cluster);
}

static bool films_count(void *context)
{
    Lathe__V1__CountPointsRequest request = LATHE__V1__COUNT_POINTS_REQUEST__INIT;
    struct lathe_error err;

    request.collection = "films";
    return cluster_call(context, "PointService/CountPoints", &request,
                        &lathe__v1__count_points_response__descriptor, 5000, &err) != NULL;
}

static void a_collection_that_a_shard_missed_reaches_it_later(void **state)
{
    struct cluster *cluster = cluster_open(SHARDS);
    Lathe__V1__CreateCollectionRequest request = LATHE__V1__CREATE_COLLECTION_REQUEST__INIT;
    Lathe__V1__CollectionSchema schema = LATHE__V1__COLLECTION_SCHEMA__INIT;
    Lathe__V1__FieldSchema field = LATHE__V1__FIELD_SCHEMA__INIT;
    Lathe__V1__FieldSchema *list[1] = {&field};
    struct lathe_error err;

    (void)state;
    field.dims = FIXTURE_DIMS;
    field.metric = LATHE__V1__METRIC__METRIC_COSINE;
    schema.n_fields = 1;
    schema.fields = list;
    request.name = "films";
    request.schema = &schema;
    atomic_store(&cluster->proxies[1].refuse_status, LATHE_UNAVAILABLE);
    cluster_shard_fault(cluster, 1, LATHE_FRAME_SYNC, REFUSE);
    assert_null(cluster_call(cluster, "CollectionService/CreateCollection", &request,
                             &lathe__v1__collection__descriptor, 20000, &err));
    fixture_expect(&err, LATHE_UNAVAILABLE, "", "shard 1");
    /* It exists all the same. */
    assert_null(cluster_call(cluster, "CollectionService/CreateCollection", &request,
                             &lathe__v1__collection__descriptor, 20000, &err));
    assert_int_equal(err.status, LATHE_ALREADY_EXISTS);
    cluster_fault(cluster, LATHE_FRAME_SYNC, PASS);
    cluster_wait(films_count, cluster, "the repeated SYNC reaches shard 1");
    cluster_close(cluster);
}

static void what_a_killed_drop_left_is_done_after_a_restart(void **state)
{
    struct cluster *cluster = cluster_open(SHARDS);
    Lathe__V1__DeleteCollectionRequest drop = LATHE__V1__DELETE_COLLECTION_REQUEST__INIT;
    struct lathe_error err;

    (void)state;
    cluster_create(cluster, "films");
    (void)write_ok(cluster, points_make(cluster, 1, 50));
    /* The transaction is done, but no shard has heard of it: as after a kill between the two. */
    for (uint32_t i = 0; i < SHARDS; i++)
        atomic_store(&cluster->proxies[i].refuse_status, LATHE_UNAVAILABLE);
    cluster_fault(cluster, LATHE_FRAME_SYNC, REFUSE);
    drop.name = "films";
    assert_null(cluster_call(cluster, "CollectionService/DeleteCollection", &drop,
                             &lathe__v1__delete_collection_response__descriptor, 20000, &err));
    assert_int_equal(err.status, LATHE_UNAVAILABLE);
    assert_null(collection_get(cluster, "films", &err));
    assert_int_equal(err.status, LATHE_NOT_FOUND);
    lathe_coordinator_stop(&cluster->coordinator, 0);
    cluster_fault(cluster, LATHE_FRAME_SYNC, PASS);
    cluster_restart_coordinator(cluster);
    assert_null(collection_get(cluster, "films", &err));
    cluster_create(cluster, "films");
    assert_int_equal(count_points(cluster, "films"), 0); /* no old row */
    cluster_close(cluster);
}

static void a_shard_that_does_not_know_a_collection_is_told_again(void **state)
{
    struct cluster *cluster = filled(SHARDS);
    size_t syncs = cluster_seen(cluster, LATHE_FRAME_SYNC);
    struct lathe_error err;

    (void)state;
    cluster_shard_fault(cluster, 1, LATHE_FRAME_STATS, STALE);
    assert_null(collection_get(cluster, "films", &err));
    assert_int_equal(err.status, LATHE_UNAVAILABLE);
    cluster_wait_seen(cluster, LATHE_FRAME_SYNC, syncs + SHARDS);
    cluster_shard_fault(cluster, 1, LATHE_FRAME_STATS, PASS);
    assert_non_null(collection_get(cluster, "films", &err));
    cluster_close(cluster);
}

static void a_shard_of_another_schema_gives_no_answer_and_is_told_again(void **state)
{
    struct cluster *cluster = filled(SHARDS);
    Lathe__V1__SearchRequest *request = search_make(cluster, 1000);
    const Lathe__V1__WritePointsRequest *points = points_make(cluster, POINTS + 1, 60);
    const Lathe__V1__WritePointsResponse *written;
    size_t syncs = cluster_seen(cluster, LATHE_FRAME_SYNC);
    struct lathe_error err;

    (void)state;
    cluster_shard_fault(cluster, 1, LATHE_FRAME_SEARCH, OTHER_SCHEMA);
    cluster_shard_fault(cluster, 1, LATHE_FRAME_WRITE, OTHER_SCHEMA);
    assert_null(cluster_call(cluster, "SearchService/Search", request,
                             &lathe__v1__search_response__descriptor, 20000, &err));
    fixture_expect(&err, LATHE_UNAVAILABLE, "", "shard 1 holds schema version 1");
    assert_true(err.retry_after_ms > 0);
    cluster_wait_seen(cluster, LATHE_FRAME_SYNC, syncs + SHARDS);
    written = cluster_ok(cluster, "PointService/WritePoints", points,
                         &lathe__v1__write_points_response__descriptor);
    assert_int_equal(written->status, LATHE_UNAVAILABLE);
    cluster_wait_seen(cluster, LATHE_FRAME_SYNC, syncs + 2 * SHARDS);
    cluster_fault(cluster, LATHE_FRAME_SEARCH, PASS);
    cluster_fault(cluster, LATHE_FRAME_WRITE, PASS);
    assert_int_equal(search_ok(cluster, request)->n_hits, 10);
    written = cluster_ok(cluster, "PointService/WritePoints", points,
                         &lathe__v1__write_points_response__descriptor);
    assert_int_equal(written->status, LATHE_OK);
    assert_int_equal(count_points(cluster, "films"), POINTS + 60);
    cluster_close(cluster);
}

/* ---- Searches ----------------------------------------------------------------------------------
 */

static void searches_agree_with_brute_force(void **state)
{
    struct expected expected[POINTS];

    (void)state;
    for (uint32_t shards = 1; shards <= SHARDS; shards += 2) {
        struct cluster *cluster = filled(shards);
        Lathe__V1__SearchRequest *request = search_make(cluster, 1000);
        const Lathe__V1__SearchResponse *response;

        brute_force(request->vector->values, expected);
        response = search_ok(cluster, request);
        assert_int_equal(response->n_hits, 10);
        hits_equal(response, expected, 0, 0);
        assert_int_equal(response->report->guarantee,
                         LATHE__V1__GUARANTEE_LEVEL__GUARANTEE_LEVEL_CERTIFIED);
        assert_int_equal(response->report->coverage->shards_answered, shards);
        assert_int_equal(response->report->plan->steps[0]->rows_in, POINTS);
        assert_string_equal(response->report->kernel, "scalar");
        request->limit = 50;
        request->offset = 20;
        hits_equal(search_ok(cluster, request), expected, 20, 0);
        request->offset = POINTS + 1;
        assert_int_equal(search_ok(cluster, request)->n_hits, 0);
        request->offset = 0;
        request->limit = LATHE_MAX_RESULTS;
        request->threshold_case = LATHE__V1__SEARCH_REQUEST__THRESHOLD_SCORE_THRESHOLD;
        request->score_threshold = expected[42].score;
        response = search_ok(cluster, request);
        assert_int_equal(response->n_hits, 43);
        hits_equal(response, expected, 0, 0);
        cluster_close(cluster);
    }
}

static void hits_carry_payload_and_vectors_of_their_snapshot(void **state)
{
    struct cluster *cluster = filled(SHARDS);
    Lathe__V1__SearchRequest *request = search_make(cluster, 1000);
    const Lathe__V1__SearchResponse *response;

    (void)state;
    request->selection = everything(cluster);
    request->limit = 40;
    response = search_ok(cluster, request);
    assert_int_equal(response->n_hits, 40);
    for (size_t i = 0; i < 40; i++) {
        const Lathe__V1__SearchHit *hit = response->hits[i];

        assert_string_equal(hit->payload->entries[0]->key, "number");
        assert_int_equal(hit->payload->entries[0]->value->int_value, hit->id->number);
        assert_int_equal(hit->n_vectors, 1);
        assert_int_equal(hit->vectors[0]->dense->n_values, FIXTURE_DIMS);
        for (uint32_t j = 0; j < FIXTURE_DIMS; j++)
            assert_true(hit->vectors[0]->dense->values[j] == element(hit->id->number, j));
        assert_true(hit->version > 0);
    }
    cluster_wait_released(cluster);
    /* With few winners most shards are released, not fetched from. */
    request->limit = 1;
    assert_int_equal(search_ok(cluster, request)->n_hits, 1);
    cluster_wait_released(cluster);
    assert_true(cluster_seen(cluster, LATHE_FRAME_RELEASE) >= SHARDS - 1);
    cluster_close(cluster);
}

static void a_search_like_a_point_leaves_the_point_out(void **state)
{
    struct cluster *cluster = filled(SHARDS);
    Lathe__V1__SearchRequest *request = search_make(cluster, 17);
    struct expected expected[POINTS];
    const Lathe__V1__SearchResponse *response;
    struct lathe_error err;

    (void)state;
    brute_force(request->vector->values, expected);
    assert_int_equal(expected[0].number, 17);
    request->query_case = LATHE__V1__SEARCH_REQUEST__QUERY_LIKE;
    request->like = fixture_id(&cluster->arena, 17);
    response = search_ok(cluster, request);
    assert_int_equal(response->n_hits, 10);
    hits_equal(response, expected, 0, 17);
    request->like->number = POINTS + 1;
    assert_null(cluster_call(cluster, "SearchService/Search", request,
                             &lathe__v1__search_response__descriptor, 20000, &err));
    fixture_expect(&err, LATHE_NOT_FOUND, "like", "no point 301");
    request->like->number = 17;
    request->field = "title";
    assert_null(cluster_call(cluster, "SearchService/Search", request,
                             &lathe__v1__search_response__descriptor, 20000, &err));
    fixture_expect(&err, LATHE_NOT_FOUND, "like", "no vector of field \"title\"");
    cluster_close(cluster);
}

static void a_batch_answers_as_single_searches_do(void **state)
{
    enum { SEARCHES = 20 };
    struct cluster *cluster = filled(SHARDS);
    Lathe__V1__SearchBatchRequest batch = LATHE__V1__SEARCH_BATCH_REQUEST__INIT;
    Lathe__V1__SearchRequest *searches[SEARCHES];
    const Lathe__V1__SearchBatchResponse *response;
    struct lathe_error err;

    (void)state;
    for (size_t i = 0; i < SEARCHES; i++) {
        searches[i] = search_make(cluster, 500 + i);
        searches[i]->limit = (uint32_t)(1 + 3 * i);
        if (i % 3 > 0) { /* nothing, only vectors, or everything */
            searches[i]->selection = everything(cluster);
            searches[i]->selection->payload = i % 3 == 1;
        }
        if (i % 4 == 3) {
            searches[i]->query_case = LATHE__V1__SEARCH_REQUEST__QUERY_LIKE;
            searches[i]->like = fixture_id(&cluster->arena, i);
        }
    }
    batch.n_searches = SEARCHES;
    batch.searches = searches;
    response = cluster_ok(cluster, "SearchService/SearchBatch", &batch,
                          &lathe__v1__search_batch_response__descriptor);
    assert_int_equal(response->n_responses, SEARCHES);
    for (size_t i = 0; i < SEARCHES; i++) {
        const Lathe__V1__SearchResponse *single = search_ok(cluster, searches[i]);
        const Lathe__V1__SearchResponse *one = response->responses[i];

        assert_int_equal(one->n_hits, single->n_hits);
        for (size_t j = 0; j < one->n_hits; j++)
            assert_int_equal(lathe__v1__search_hit__get_packed_size(one->hits[j]),
                             lathe__v1__search_hit__get_packed_size(single->hits[j]));
        for (size_t j = 0; j < one->n_hits; j++)
            assert_int_equal(one->hits[j]->id->number, single->hits[j]->id->number);
    }
    cluster_wait_released(cluster);
    searches[7]->collection = "books";
    assert_null(cluster_call(cluster, "SearchService/SearchBatch", &batch,
                             &lathe__v1__search_batch_response__descriptor, 20000, &err));
    fixture_expect(&err, LATHE_INVALID_ARGUMENT, "searches[7].collection", "first");
    batch.n_searches = 0;
    assert_null(cluster_call(cluster, "SearchService/SearchBatch", &batch,
                             &lathe__v1__search_batch_response__descriptor, 20000, &err));
    fixture_expect(&err, LATHE_INVALID_ARGUMENT, "searches", "1 to 1024");
    cluster_close(cluster);
}

/* A partial answer within `timeout_ms`, for which every shard is asked once; without shard 2. */
static const Lathe__V1__SearchResponse *search_partial(struct cluster *cluster,
                                                       const Lathe__V1__SearchRequest *request,
                                                       uint32_t timeout_ms)
{
    size_t searches = cluster_seen(cluster, LATHE_FRAME_SEARCH);
    const Lathe__V1__SearchResponse *response;
    const Lathe__V1__Coverage *coverage;
    struct lathe_error err;

    response = cluster_call(cluster, "SearchService/Search", request,
                            &lathe__v1__search_response__descriptor, timeout_ms, &err);
    if (response == NULL)
        fail_msg("%s: %s", lathe_status_name(err.status), err.message);
    assert_int_equal(response->n_hits, 10);
    assert_int_equal(cluster_seen(cluster, LATHE_FRAME_SEARCH), searches + SHARDS);
    coverage = response->report->coverage;
    assert_int_equal(coverage->shards_asked, SHARDS);
    assert_int_equal(coverage->shards_answered, SHARDS - 1);
    assert_int_equal(coverage->n_shards, SHARDS);
    for (uint32_t i = 0; i < SHARDS; i++) {
        assert_int_equal(coverage->shards[i]->shard, i);
        assert_int_equal(coverage->shards[i]->answered, i != 2);
        assert_int_equal(coverage->shards[i]->rows > 0, i != 2);
    }
    assert_true(response->report->plan->steps[0]->rows_in < POINTS);
    cluster_wait_released(cluster);
    return response;
}

static void a_silent_shard_is_left_out_of_a_partial_answer_in_time(void **state)
{
    struct cluster *cluster = filled(SHARDS);
    Lathe__V1__SearchRequest *request = search_make(cluster, 1000);
    struct lathe_error err;

    (void)state;
    request->allow_partial = true;
    request->selection = everything(cluster);
    /* It may not have heard of the search, or holds what it searched and must be told. A quarter of
     * the time stays for the answer, which must do on a busy machine. */
    for (int fault = DROP_REQUEST; fault <= DROP_REPLY; fault++) {
        size_t cancels = cluster_seen(cluster, LATHE_FRAME_CANCEL);

        cluster_shard_fault(cluster, 2, LATHE_FRAME_SEARCH, (enum fault)fault);
        assert_non_null(search_partial(cluster, request, 4000)->hits[9]->payload);
        assert_int_equal(cluster_seen(cluster, LATHE_FRAME_CANCEL), cancels + 1);
    }
    request->selection = NULL;
    (void)search_partial(cluster, request, 2000);
    /* With nothing at all to answer, the failure is not the deadline's. */
    cluster_fault(cluster, LATHE_FRAME_SEARCH, DROP_REQUEST);
    assert_null(cluster_call(cluster, "SearchService/Search", request,
                             &lathe__v1__search_response__descriptor, 2000, &err));
    fixture_expect(&err, LATHE_UNAVAILABLE, "", "did not answer");
    cluster_close(cluster);
}

static void a_lost_shard_fails_a_search_unless_it_may_be_partial(void **state)
{
    struct cluster *cluster = filled(SHARDS);
    Lathe__V1__SearchRequest *request = search_make(cluster, 1000);
    struct lathe_error err;

    (void)state;
    request->selection = everything(cluster);
    cluster_shard_fault(cluster, 2, LATHE_FRAME_SEARCH, DROP_REQUEST);
    assert_null(cluster_call(cluster, "SearchService/Search", request,
                             &lathe__v1__search_response__descriptor, 300, &err));
    assert_int_equal(err.status, LATHE_DEADLINE_EXCEEDED);
    cluster_wait_seen(cluster, LATHE_FRAME_CANCEL, 1);
    cluster_wait_released(cluster);
    atomic_store(&cluster->proxies[2].refuse_status, LATHE_UNAVAILABLE);
    cluster_shard_fault(cluster, 2, LATHE_FRAME_SEARCH, REFUSE);
    assert_null(cluster_call(cluster, "SearchService/Search", request,
                             &lathe__v1__search_response__descriptor, 1000, &err));
    fixture_expect(&err, LATHE_UNAVAILABLE, "operations", "shard 2: refused");
    /* A shard that says at once that it is not there costs no time. */
    request->allow_partial = true;
    assert_non_null(search_partial(cluster, request, 20000)->hits[9]->payload);
    /* What is no loss of a shard fails all the same; so does the loss of all. */
    atomic_store(&cluster->proxies[2].refuse_status, LATHE_DATA_LOSS);
    cluster_shard_fault(cluster, 2, LATHE_FRAME_SEARCH, REFUSE);
    assert_null(cluster_call(cluster, "SearchService/Search", request,
                             &lathe__v1__search_response__descriptor, 1000, &err));
    fixture_expect(&err, LATHE_DATA_LOSS, "operations", "shard 2: refused");
    for (uint32_t i = 0; i < SHARDS; i++)
        atomic_store(&cluster->proxies[i].refuse_status, LATHE_UNAVAILABLE);
    cluster_fault(cluster, LATHE_FRAME_SEARCH, REFUSE);
    assert_null(cluster_call(cluster, "SearchService/Search", request,
                             &lathe__v1__search_response__descriptor, 1000, &err));
    assert_int_equal(err.status, LATHE_UNAVAILABLE);
    cluster_fault(cluster, LATHE_FRAME_SEARCH, SPOIL);
    assert_null(cluster_call(cluster, "SearchService/Search", request,
                             &lathe__v1__search_response__descriptor, 1000, &err));
    fixture_expect(&err, LATHE_INTERNAL, "", "cannot be decoded");
    cluster_wait_released(cluster);
    cluster_close(cluster);
}

static void nothing_stays_held_when_a_fetch_fails(void **state)
{
    struct cluster *cluster = filled(SHARDS);
    Lathe__V1__SearchRequest *request = search_make(cluster, 1000);
    struct lathe_error err;

    (void)state;
    request->selection = everything(cluster);
    request->limit = 100;
    for (int fault = DROP_REQUEST; fault <= SPOIL; fault++) {
        atomic_store(&cluster->proxies[1].refuse_status, LATHE_RESOURCE_EXHAUSTED);
        cluster_shard_fault(cluster, 1, LATHE_FRAME_FETCH, (enum fault)fault);
        assert_null(cluster_call(cluster, "SearchService/Search", request,
                                 &lathe__v1__search_response__descriptor, 500, &err));
        assert_int_equal(err.status, fault == REFUSE  ? LATHE_RESOURCE_EXHAUSTED
                                     : fault == SPOIL ? LATHE_INTERNAL
                                                      : LATHE_DEADLINE_EXCEEDED);
        cluster_wait_released(cluster);
    }
    cluster_shard_fault(cluster, 1, LATHE_FRAME_FETCH, PASS);
    assert_int_equal(search_ok(cluster, request)->n_hits, 100);
    cluster_close(cluster);
}

/* ---- Points ------------------------------------------------------------------------------------
 */

static void points_come_back_in_the_order_asked(void **state)
{
    struct cluster *cluster = filled(SHARDS);
    Lathe__V1__GetPointsRequest request = LATHE__V1__GET_POINTS_REQUEST__INIT;
    static const uint64_t numbers[] = {200, 3, 999, 3, 300, 1, 0};
    Lathe__V1__PointId *ids[7];
    const Lathe__V1__GetPointsResponse *response;

    (void)state;
    for (int i = 0; i < 7; i++)
        ids[i] = fixture_id(&cluster->arena, numbers[i]);
    request.collection = "films";
    request.n_ids = 7;
    request.ids = ids;
    request.selection = everything(cluster);
    response = cluster_ok(cluster, "PointService/GetPoints", &request,
                          &lathe__v1__get_points_response__descriptor);
    assert_int_equal(response->n_points, 5);
    assert_int_equal(response->points[0]->id->number, 200);
    assert_int_equal(response->points[1]->id->number, 3);
    assert_int_equal(response->points[2]->id->number, 3);
    assert_int_equal(response->points[3]->id->number, 300);
    assert_int_equal(response->points[4]->id->number, 1);
    assert_int_equal(response->points[4]->payload->entries[0]->value->int_value, 1);
    assert_true(response->points[4]->vectors[0]->dense->values[2] == element(1, 2));
    assert_int_equal(response->n_missing, 2);
    assert_int_equal(response->missing[0]->number, 999);
    assert_int_equal(response->missing[1]->number, 0);
    cluster_close(cluster);
}

static void pages_list_all_points_in_id_order(void **state)
{
    struct cluster *cluster = filled(SHARDS);
    Lathe__V1__ListPointsRequest request = LATHE__V1__LIST_POINTS_REQUEST__INIT;
    const Lathe__V1__ListPointsResponse *response;
    struct lathe_error err;
    uint64_t next = 1;
    int pages = 0;

    (void)state;
    request.collection = "films";
    request.selection = everything(cluster);
    request.page_size = 77;
    do {
        response = cluster_ok(cluster, "PointService/ListPoints", &request,
                              &lathe__v1__list_points_response__descriptor);
        for (size_t i = 0; i < response->n_points; i++) {
            assert_int_equal(response->points[i]->id->number, next);
            assert_int_equal(response->points[i]->payload->entries[0]->value->int_value, next);
            next++;
        }
        request.page_token = response->next_page_token;
        pages++;
    } while (request.page_token[0] != '\0');
    assert_int_equal(next, POINTS + 1);
    assert_int_equal(pages, 4);
    request.page_token = "";
    request.page_size = 0;
    request.selection = NULL;
    response = cluster_ok(cluster, "PointService/ListPoints", &request,
                          &lathe__v1__list_points_response__descriptor);
    assert_int_equal(response->n_points, 100);
    assert_null(response->points[0]->payload);
    request.page_size = LATHE_MAX_PAGE_POINTS + 1;
    assert_null(cluster_call(cluster, "PointService/ListPoints", &request,
                             &lathe__v1__list_points_response__descriptor, 20000, &err));
    fixture_expect(&err, LATHE_INVALID_ARGUMENT, "page_size", "10000");
    request.page_size = 1;
    request.page_token = "garbage";
    assert_null(cluster_call(cluster, "PointService/ListPoints", &request,
                             &lathe__v1__list_points_response__descriptor, 20000, &err));
    fixture_expect(&err, LATHE_INVALID_ARGUMENT, "page_token", "next_page_token");
    cluster_close(cluster);
}

/* ---- Writes ------------------------------------------------------------------------------------
 */

static void client_id_set(struct cluster *cluster, Lathe__V1__WritePointsRequest *request,
                          uint64_t number)
{
    request->client_id.data = fixture_alloc(&cluster->arena, 16);
    request->client_id.len = 16;
    lathe_uuid_new(lathe_wall_ms(&lathe_system_clock), request->client_id.data);
    request->request_number = number;
}

static void a_lost_answer_is_unknown_and_its_repeat_gives_the_first_result(void **state)
{
    struct cluster *cluster = filled(SHARDS);
    Lathe__V1__WritePointsRequest *request = points_make(cluster, POINTS + 1, 60);
    const Lathe__V1__WritePointsResponse *response;
    struct lathe_error err;
    size_t unknown = 0;

    (void)state;
    client_id_set(cluster, request, 1);
    for (size_t i = 0; i < 20; i++) /* ids that the server makes */
        request->operations[i]->upsert->id = NULL;
    cluster_shard_fault(cluster, 1, LATHE_FRAME_WRITE, DROP_REPLY);
    /* Server and client see the deadline pass at the same time: the outcomes may just reach the
     * client. */
    response = cluster_call(cluster, "PointService/WritePoints", request,
                            &lathe__v1__write_points_response__descriptor, 300, &err);
    assert_true(response != NULL ? response->status != 0 : err.status == LATHE_DEADLINE_EXCEEDED);
    cluster_shard_fault(cluster, 1, LATHE_FRAME_WRITE, SPOIL);
    response = write_ok(cluster, request);
    assert_int_equal(response->n_results, 60);
    assert_int_equal(response->status, LATHE_INTERNAL);
    assert_false(response->repeated_request);
    for (size_t i = 0; i < 60; i++) {
        unknown += response->results[i]->outcome == LATHE__V1__OUTCOME__OUTCOME_UNKNOWN;
        assert_true((response->results[i]->id != NULL) == (i < 20));
    }
    assert_in_range(unknown, 1, 59);
    cluster_shard_fault(cluster, 1, LATHE_FRAME_WRITE, PASS);
    response = write_ok(cluster, request);
    assert_int_equal(response->status, 0);
    assert_true(response->repeated_request);
    for (size_t i = 0; i < 60; i++)
        assert_int_equal(response->results[i]->outcome, LATHE__V1__OUTCOME__OUTCOME_APPLIED);
    assert_int_equal(count_points(cluster, "films"), POINTS + 60);
    /* The same number with other content is refused. */
    request->operations[59]->upsert->payload = NULL;
    response = cluster_call(cluster, "PointService/WritePoints", request,
                            &lathe__v1__write_points_response__descriptor, 20000, &err);
    assert_true(response == NULL || response->status != 0);
    cluster_close(cluster);
}

static void refused_operations_are_rejected_and_the_rest_is_applied(void **state)
{
    struct cluster *cluster = filled(SHARDS);
    Lathe__V1__WritePointsRequest *request = points_make(cluster, POINTS + 1, 60);
    const Lathe__V1__WritePointsResponse *response;
    struct lathe_error err;
    size_t rejected = 0;

    (void)state;
    for (uint32_t i = 0; i < SHARDS; i++)
        atomic_store(&cluster->proxies[i].refuse_status, LATHE_RESOURCE_EXHAUSTED);
    cluster_shard_fault(cluster, 0, LATHE_FRAME_WRITE, REFUSE);
    response = write_ok(cluster, request);
    assert_int_equal(response->status, LATHE_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(response->message, "shard 0: refused by the test"));
    assert_string_equal(response->field, "operations");
    assert_int_equal(response->retry_after_ms, 12);
    for (size_t i = 0; i < 60; i++)
        rejected += response->results[i]->outcome == LATHE__V1__OUTCOME__OUTCOME_REJECTED;
    assert_in_range(rejected, 1, 59);
    assert_int_equal(count_points(cluster, "films"), POINTS + 60 - rejected);
    cluster_fault(cluster, LATHE_FRAME_WRITE, REFUSE);
    assert_null(cluster_call(cluster, "PointService/WritePoints", request,
                             &lathe__v1__write_points_response__descriptor, 20000, &err));
    fixture_expect(&err, LATHE_RESOURCE_EXHAUSTED, "operations", "refused by the test");
    assert_int_equal(err.retry_after_ms, 12);
    cluster_close(cluster);
}

static void nothing_is_sent_before_all_is_checked(void **state)
{
    struct cluster *cluster = filled(SHARDS);
    Lathe__V1__WritePointsRequest *request = points_make(cluster, 1000, 100);
    size_t before = cluster_seen(cluster, LATHE_FRAME_WRITE);
    struct lathe_error err;

    (void)state;
    request->operations[99]->upsert->vectors[0]->dense->n_values = 1;
    assert_null(cluster_call(cluster, "PointService/WritePoints", request,
                             &lathe__v1__write_points_response__descriptor, 20000, &err));
    fixture_expect(&err, LATHE_INVALID_ARGUMENT, "operations[99].upsert.vectors[0].dense.values",
                   "has 1 dims");
    assert_int_equal(cluster_seen(cluster, LATHE_FRAME_WRITE), before);
    assert_int_equal(count_points(cluster, "films"), POINTS);
    request->operations[99]->upsert->vectors[0]->dense->n_values = FIXTURE_DIMS;
    request->collection = "books";
    assert_null(cluster_call(cluster, "PointService/WritePoints", request,
                             &lathe__v1__write_points_response__descriptor, 20000, &err));
    fixture_expect(&err, LATHE_NOT_FOUND, "collection", "\"books\"");
    cluster_close(cluster);
}

static void of_one_id_in_a_request_the_last_operation_wins(void **state)
{
    struct cluster *cluster = filled(SHARDS);
    Lathe__V1__WritePointsRequest *request = points_make(cluster, 2000, 5);
    Lathe__V1__GetPointsRequest get = LATHE__V1__GET_POINTS_REQUEST__INIT;
    Lathe__V1__PointId *ids[1];
    const Lathe__V1__WritePointsResponse *response;
    const Lathe__V1__GetPointsResponse *got;

    (void)state;
    for (size_t i = 0; i < 5; i++)
        request->operations[i]->upsert->id->number = 2000;
    response = write_ok(cluster, request);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(response->results[i]->outcome, LATHE__V1__OUTCOME__OUTCOME_APPLIED);
    ids[0] = fixture_id(&cluster->arena, 2000);
    get.collection = "films";
    get.n_ids = 1;
    get.ids = ids;
    get.selection = everything(cluster);
    got = cluster_ok(cluster, "PointService/GetPoints", &get,
                     &lathe__v1__get_points_response__descriptor);
    assert_int_equal(got->points[0]->payload->entries[0]->value->int_value, 2004);
    assert_int_equal(got->points[0]->version, response->results[4]->version);
    cluster_close(cluster);
}

/* ---- Streams -----------------------------------------------------------------------------------
 */

static void stream_send(struct cluster *cluster, struct lathe_channel_stream *stream,
                        uint64_t number, bool bad)
{
    Lathe__V1__WritePointsRequest *request = points_make(cluster, 5000 + number * 10, 10);
    struct lathe_buf bytes = {0};

    request->request_number = number;
    if (bad)
        request->operations[4]->upsert->vectors[0]->dense->values[0] = INFINITY;
    lathe_message_encode(&request->base, &bytes);
    assert_int_equal(lathe_channel_stream_send(stream, lathe_buf_view(&bytes), NULL), LATHE_OK);
    lathe_buf_fini(&bytes);
}

static Lathe__V1__WritePointsResponse *stream_receive(struct cluster *cluster,
                                                      struct lathe_channel_stream *stream)
{
    Lathe__V1__WritePointsResponse *response;
    struct lathe_buf bytes = {0};
    struct lathe_error err = {0};

    if (lathe_channel_stream_receive(stream, &bytes, &err) != LATHE_OK)
        fail_msg("the stream ended: %s", err.message);
    response = fixture_decode(&lathe__v1__write_points_response__descriptor, &bytes,
                              &cluster->arena);
    lathe_buf_fini(&bytes);
    return response;
}

static void a_stream_answers_in_order_and_goes_on_after_a_bad_request(void **state)
{
    enum { REQUESTS = 100 };
    struct cluster *cluster = filled(SHARDS);
    struct lathe_channel_stream *stream;
    uint64_t received = 0;

    (void)state;
    assert_int_equal(lathe_channel_stream_open(
                         cluster->channel, "/lathe.v1.PointService/StreamWrites", &stream, NULL),
                     LATHE_OK);
    for (uint64_t sent = 0; received < REQUESTS;) {
        if (sent < REQUESTS && sent - received < 20) {
            stream_send(cluster, stream, sent + 1, sent % 10 == 5);
            sent++;
        } else {
            const Lathe__V1__WritePointsResponse *response = stream_receive(cluster, stream);

            assert_int_equal(response->request_number, received + 1);
            if (received % 10 == 5) {
                assert_int_equal(response->status, LATHE_INVALID_ARGUMENT);
                assert_string_equal(response->field,
                                    "operations[4].upsert.vectors[0].dense.values");
                assert_int_equal(response->n_results, 0);
            } else {
                assert_int_equal(response->status, 0);
                assert_int_equal(response->n_results, 10);
            }
            received++;
        }
    }
    lathe_channel_stream_close(stream, true);
    assert_int_equal(count_points(cluster, "films"), POINTS + 10 * (REQUESTS - REQUESTS / 10));
    cluster_close(cluster);
}

static void a_stream_reads_on_only_while_few_requests_wait(void **state)
{
    struct cluster *cluster = filled(1);
    struct lathe_channel_stream *stream;
    size_t before = cluster_seen(cluster, LATHE_FRAME_WRITE);

    (void)state;
    cluster_fault(cluster, LATHE_FRAME_WRITE, DROP_REPLY);
    assert_int_equal(lathe_channel_stream_open(
                         cluster->channel, "/lathe.v1.PointService/StreamWrites", &stream, NULL),
                     LATHE_OK);
    for (uint64_t i = 1; i <= 12; i++)
        stream_send(cluster, stream, i, false);
    cluster_wait_seen(cluster, LATHE_FRAME_WRITE, before + 8);
    /* Calls that come after it are answered, so the stream had its chance. */
    for (int i = 0; i < 20; i++)
        (void)count_points(cluster, "films");
    assert_int_equal(cluster_seen(cluster, LATHE_FRAME_WRITE), before + 8);
    lathe_channel_stream_close(stream, false); /* gone: what waits is given up */
    cluster_wait_seen(cluster, LATHE_FRAME_CANCEL, 8);
    cluster_close(cluster);
}

/* ---- The server --------------------------------------------------------------------------------
 */

static void info_tells_limits_also_without_shards(void **state)
{
    struct cluster *cluster = filled(SHARDS);
    Lathe__V1__GetInfoRequest request = LATHE__V1__GET_INFO_REQUEST__INIT;
    const Lathe__V1__GetInfoResponse *info;

    (void)state;
    info = cluster_ok(cluster, "ServerService/GetInfo", &request,
                      &lathe__v1__get_info_response__descriptor);
    assert_string_equal(info->version, LATHE_VERSION);
    assert_string_equal(info->kernel, "scalar");
    assert_int_equal(info->shards, SHARDS);
    assert_int_equal(info->limits->dims, LATHE_MAX_DIMS);
    assert_int_equal(info->limits->results, LATHE_MAX_RESULTS);
    assert_int_equal(info->limits->payload_bytes, LATHE_DEFAULT_PAYLOAD_BYTES);
    assert_int_equal(info->limits->in_flight_calls, 100);
    assert_int_equal(info->memory->n_parts, LATHE_MEM_PARTS);
    assert_string_equal(info->memory->parts[0]->name, "rows");
    assert_true(info->memory->parts[0]->used_bytes >= POINTS * FIXTURE_DIMS * 4);
    assert_true(info->disk->used_bytes > 0 && info->disk->free_bytes > 0);
    atomic_store(&cluster->proxies[2].refuse_status, LATHE_UNAVAILABLE);
    cluster_shard_fault(cluster, 2, LATHE_FRAME_STATS, REFUSE);
    info = cluster_ok(cluster, "ServerService/GetInfo", &request,
                      &lathe__v1__get_info_response__descriptor);
    assert_non_null(info->limits);
    assert_null(info->disk);
    cluster_close(cluster);
}

struct loader {
    struct cluster *cluster;
    pthread_t thread;
    struct lathe_buf request;
    size_t ok;
    size_t failed;
};

static void *load_run(void *argument)
{
    struct loader *loader = argument;

    for (;;) {
        struct lathe_buf reply = {0};
        struct lathe_error err = {0};
        enum lathe_status status = lathe_channel_call(
            loader->cluster->channel, "/lathe.v1.SearchService/Search",
            lathe_buf_view(&loader->request), 20000, &reply, &err);

        lathe_buf_fini(&reply);
        if (status != LATHE_OK) {
            /* A call that the stopping server did not take any more is no failed call. */
            loader->failed += status != LATHE_UNAVAILABLE && status != LATHE_CANCELLED;
            return NULL;
        }
        loader->ok++;
    }
}

static bool loaded(void *context)
{
    return cluster_seen(context, LATHE_FRAME_SEARCH) > 1000;
}

static void a_stop_under_load_fails_no_call(void **state)
{
    enum { LOADERS = 4 };
    struct cluster *cluster = filled(SHARDS);
    Lathe__V1__SearchRequest *request = search_make(cluster, 5);
    struct loader loaders[LOADERS];

    (void)state;
    request->selection = everything(cluster);
    for (int i = 0; i < LOADERS; i++) {
        loaders[i] = (struct loader){.cluster = cluster};
        lathe_message_encode(&request->base, &loaders[i].request);
        assert_int_equal(pthread_create(&loaders[i].thread, NULL, load_run, &loaders[i]), 0);
    }
    cluster_wait(loaded, cluster, "searches");
    lathe_coordinator_stop(&cluster->coordinator, 10000);
    for (int i = 0; i < LOADERS; i++) {
        (void)pthread_join(loaders[i].thread, NULL);
        assert_int_equal(loaders[i].failed, 0);
        assert_true(loaders[i].ok > 0);
        lathe_buf_fini(&loaders[i].request);
    }
    cluster_wait_released(cluster);
    cluster_close(cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dropped_name_starts_empty_under_a_new_id_also_after_a_restart),
        cmocka_unit_test(of_many_creates_of_one_name_exactly_one_wins),
        cmocka_unit_test(a_collection_that_a_shard_missed_reaches_it_later),
        cmocka_unit_test(what_a_killed_drop_left_is_done_after_a_restart),
        cmocka_unit_test(a_shard_that_does_not_know_a_collection_is_told_again),
        cmocka_unit_test(a_shard_of_another_schema_gives_no_answer_and_is_told_again),
        cmocka_unit_test(searches_agree_with_brute_force),
        cmocka_unit_test(hits_carry_payload_and_vectors_of_their_snapshot),
        cmocka_unit_test(a_search_like_a_point_leaves_the_point_out),
        cmocka_unit_test(a_batch_answers_as_single_searches_do),
        cmocka_unit_test(a_silent_shard_is_left_out_of_a_partial_answer_in_time),
        cmocka_unit_test(a_lost_shard_fails_a_search_unless_it_may_be_partial),
        cmocka_unit_test(nothing_stays_held_when_a_fetch_fails),
        cmocka_unit_test(points_come_back_in_the_order_asked),
        cmocka_unit_test(pages_list_all_points_in_id_order),
        cmocka_unit_test(a_lost_answer_is_unknown_and_its_repeat_gives_the_first_result),
        cmocka_unit_test(refused_operations_are_rejected_and_the_rest_is_applied),
        cmocka_unit_test(nothing_is_sent_before_all_is_checked),
        cmocka_unit_test(of_one_id_in_a_request_the_last_operation_wins),
        cmocka_unit_test(a_stream_answers_in_order_and_goes_on_after_a_bad_request),
        cmocka_unit_test(a_stream_reads_on_only_while_few_requests_wait),
        cmocka_unit_test(info_tells_limits_also_without_shards),
        cmocka_unit_test(a_stop_under_load_fails_no_call),
    };

    return lathe_hash_init() ? cmocka_run_group_tests_name("api/coordinator", tests, NULL, NULL)
                             : 1;
}
