/* test_search_plan.c - checks of searches, the merge of the shards' hits, sizes and bytes of the
 * reply. */
#include "tests/unit/api/fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/api/search_plan.h"

enum { SHARDS = 3 };

struct scene {
    struct lathe_arena arena;
    struct lathe_collection *collection;
    Lathe__V1__SearchRequest *requests[LATHE_MAX_BATCH_SEARCHES];
    struct lathe_search_plan plan;
    struct lathe_error err;
};

static Lathe__V1__SearchRequest *request_make(struct scene *scene)
{
    Lathe__V1__SearchRequest *request = fixture_alloc(&scene->arena, sizeof(*request));

    lathe__v1__search_request__init(request);
    request->collection = "films";
    request->query_case = LATHE__V1__SEARCH_REQUEST__QUERY_VECTOR;
    request->vector = fixture_vector(&scene->arena, FIXTURE_DIMS);
    return request;
}

static struct scene *scene_open(size_t count)
{
    struct scene *scene = calloc(1, sizeof(*scene));

    scene->collection = fixture_collection(SHARDS);
    for (size_t i = 0; i < count; i++)
        scene->requests[i] = request_make(scene);
    return scene;
}

static void scene_close(struct scene *scene)
{
    lathe_arena_fini(&scene->arena);
    lathe_collection_release(&scene->collection);
    free(scene);
}

static enum lathe_status scene_check(struct scene *scene, size_t count, bool batch)
{
    scene->err = (struct lathe_error){0};
    return lathe_search_check(scene->requests, count, batch, scene->collection, &scene->arena,
                              &scene->plan, &scene->err);
}

/* ---- Checks -----------------------------------------------------------------------------------
 */

static Lathe__V1__SearchRequest *r(struct scene *scene)
{
    return scene->requests[0];
}
static void filter(struct scene *s)
{
    r(s)->filter = fixture_alloc(&s->arena, sizeof(Lathe__V1__Filter));
}
static void group_by(struct scene *s)
{
    r(s)->group_by = fixture_alloc(&s->arena, sizeof(Lathe__V1__GroupBy));
}
static void force_plan(struct scene *s)
{
    r(s)->force_plan = fixture_alloc(&s->arena, sizeof(Lathe__V1__Plan));
}
static void sparse(struct scene *s)
{
    r(s)->query_case = LATHE__V1__SEARCH_REQUEST__QUERY_SPARSE;
}
static void multi(struct scene *s)
{
    r(s)->query_case = LATHE__V1__SEARCH_REQUEST__QUERY_MULTI;
}
static void fusion(struct scene *s)
{
    r(s)->query_case = LATHE__V1__SEARCH_REQUEST__QUERY_FUSION;
}
static void no_query(struct scene *s)
{
    r(s)->query_case = 0;
}
static void unknown_field(struct scene *s)
{
    r(s)->field = "plot";
}
static void limit_over(struct scene *s)
{
    r(s)->limit = LATHE_MAX_RESULTS + 1;
}
static void limit_and_offset(struct scene *s)
{
    r(s)->limit = 16000;
    r(s)->offset = 385;
}
static void default_limit_and_offset(struct scene *s)
{
    r(s)->offset = LATHE_MAX_RESULTS - 9;
}
static void limits_overflow(struct scene *s)
{
    r(s)->limit = UINT32_MAX;
    r(s)->offset = 2;
}
static void threshold_nan(struct scene *s)
{
    r(s)->threshold_case = LATHE__V1__SEARCH_REQUEST__THRESHOLD_SCORE_THRESHOLD;
    r(s)->score_threshold = NAN;
}
static void guarantee(struct scene *s, int level, double recall)
{
    Lathe__V1__Guarantee *made = fixture_alloc(&s->arena, sizeof(*made));

    lathe__v1__guarantee__init(made);
    made->level = level;
    made->recall = recall;
    r(s)->guarantee = made;
}
static void budget(struct scene *s)
{
    guarantee(s, LATHE__V1__GUARANTEE_LEVEL__GUARANTEE_LEVEL_BUDGET, 0);
}
static void level_unknown(struct scene *s)
{
    guarantee(s, 5, 0);
}
static void recall_zero(struct scene *s)
{
    guarantee(s, LATHE__V1__GUARANTEE_LEVEL__GUARANTEE_LEVEL_TARGET_RECALL, 0);
}
static void recall_above(struct scene *s)
{
    guarantee(s, LATHE__V1__GUARANTEE_LEVEL__GUARANTEE_LEVEL_TARGET_RECALL, 1.0000001);
}
static void recall_nan(struct scene *s)
{
    guarantee(s, LATHE__V1__GUARANTEE_LEVEL__GUARANTEE_LEVEL_TARGET_RECALL, NAN);
}
static void prefix(struct scene *s)
{
    r(s)->dims = 2;
}
static void dims_over(struct scene *s)
{
    r(s)->dims = 5;
}
static void vector_short(struct scene *s)
{
    r(s)->vector = fixture_vector(&s->arena, 3);
}
static void vector_long(struct scene *s)
{
    r(s)->vector = fixture_vector(&s->arena, 5);
}
static void vector_empty(struct scene *s)
{
    r(s)->vector = fixture_vector(&s->arena, 0);
}
static void vector_nan(struct scene *s)
{
    r(s)->vector->values[3] = NAN;
}
static void vector_zero(struct scene *s)
{
    memset(r(s)->vector->values, 0, FIXTURE_DIMS * sizeof(float));
}
static void vector_zero_where_stored_ones_are_allowed(struct scene *s)
{
    vector_zero(s);
    s->collection->fields[0].allow_zero = true;
}
static void vector_int8(struct scene *s)
{
    r(s)->vector->element = LATHE__V1__ELEMENT_TYPE__ELEMENT_TYPE_INT8;
}
static void like_bad(struct scene *s)
{
    r(s)->query_case = LATHE__V1__SEARCH_REQUEST__QUERY_LIKE;
    r(s)->like = fixture_uuid(&s->arena, "7");
}
static void selection_unknown(struct scene *s)
{
    static char *fields[] = {"plot"};
    Lathe__V1__Selection *selection = fixture_alloc(&s->arena, sizeof(*selection));

    lathe__v1__selection__init(selection);
    selection->vectors = true;
    selection->fields = fields;
    selection->n_fields = 1;
    r(s)->selection = selection;
}

static void a_bad_search_is_refused_naming_field_and_limit(void **state)
{
    static const struct {
        void (*change)(struct scene *);
        enum lathe_status status;
        const char *field;
        const char *text;
    } cases[] = {
        {filter, LATHE_UNIMPLEMENTED, "filter", "not served"},
        {group_by, LATHE_UNIMPLEMENTED, "group_by", "not served"},
        {force_plan, LATHE_UNIMPLEMENTED, "force_plan", "not served"},
        {sparse, LATHE_UNIMPLEMENTED, "sparse", "not served"},
        {multi, LATHE_UNIMPLEMENTED, "multi", "not served"},
        {fusion, LATHE_UNIMPLEMENTED, "fusion", "not served"},
        {no_query, LATHE_INVALID_ARGUMENT, "vector", "missing"},
        {unknown_field, LATHE_INVALID_ARGUMENT, "field", "plot"},
        {limit_over, LATHE_INVALID_ARGUMENT, "limit", "limit of 16384"},
        {limit_and_offset, LATHE_INVALID_ARGUMENT, "limit", "offset 385"},
        {default_limit_and_offset, LATHE_INVALID_ARGUMENT, "limit", "limit 10"},
        {limits_overflow, LATHE_INVALID_ARGUMENT, "limit", "4294967295"},
        {threshold_nan, LATHE_INVALID_ARGUMENT, "score_threshold", "finite"},
        {budget, LATHE_UNIMPLEMENTED, "guarantee.level", "BUDGET"},
        {level_unknown, LATHE_INVALID_ARGUMENT, "guarantee.level", "5"},
        {recall_zero, LATHE_INVALID_ARGUMENT, "guarantee.recall", "at most 1"},
        {recall_above, LATHE_INVALID_ARGUMENT, "guarantee.recall", "at most 1"},
        {recall_nan, LATHE_INVALID_ARGUMENT, "guarantee.recall", "nan"},
        {prefix, LATHE_UNIMPLEMENTED, "dims", "first 2 of 4"},
        {dims_over, LATHE_INVALID_ARGUMENT, "dims", "more than the 4"},
        {vector_short, LATHE_UNIMPLEMENTED, "vector.values", "prefix"},
        {vector_long, LATHE_INVALID_ARGUMENT, "vector.values", "has 5 dims"},
        {vector_empty, LATHE_INVALID_ARGUMENT, "vector.values", "has 0 dims"},
        {vector_nan, LATHE_INVALID_ARGUMENT, "vector.values", "3"},
        {vector_zero, LATHE_INVALID_ARGUMENT, "vector.values", "zero"},
        {vector_zero_where_stored_ones_are_allowed, LATHE_INVALID_ARGUMENT, "vector.values",
         "zero"},
        {vector_int8, LATHE_UNIMPLEMENTED, "vector.element", "int8"},
        {like_bad, LATHE_INVALID_ARGUMENT, "like.uuid", "UUID"},
        {selection_unknown, LATHE_INVALID_ARGUMENT, "selection.fields[0]", "plot"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char path[64];
        struct scene *scene = scene_open(2);

        cases[i].change(scene);
        assert_int_equal(scene_check(scene, 1, false), cases[i].status);
        fixture_expect(&scene->err, cases[i].status, cases[i].field, cases[i].text);
        /* In a batch the path says which search. */
        scene->requests[1] = scene->requests[0];
        scene->requests[0] = request_make(scene);
        assert_int_equal(scene_check(scene, 2, true), cases[i].status);
        (void)snprintf(path, sizeof(path), "searches[1].%s", cases[i].field);
        fixture_expect(&scene->err, cases[i].status, path, cases[i].text);
        scene_close(scene);
    }
}

static void searches_at_the_limits_are_taken_and_defaults_filled_in(void **state)
{
    static const struct {
        int asked;
        double recall;
        uint32_t sent;
    } levels[] = {{0, 0, LATHE__V1__GUARANTEE_LEVEL__GUARANTEE_LEVEL_EXACT},
                  {1, 0, LATHE__V1__GUARANTEE_LEVEL__GUARANTEE_LEVEL_CERTIFIED},
                  {2, 0, LATHE__V1__GUARANTEE_LEVEL__GUARANTEE_LEVEL_EXACT},
                  {3, 1.0, LATHE__V1__GUARANTEE_LEVEL__GUARANTEE_LEVEL_TARGET_RECALL}};
    struct scene *scene = scene_open(1);

    (void)state;
    assert_int_equal(scene_check(scene, 1, false), LATHE_OK);
    assert_int_equal(scene->plan.items[0].limit, 10);
    assert_int_equal(scene->plan.items[0].guarantee,
                     LATHE__V1__GUARANTEE_LEVEL__GUARANTEE_LEVEL_EXACT);
    assert_false(scene->plan.selects || scene->plan.allow_partial);
    for (size_t i = 0; i < 4; i++) {
        guarantee(scene, levels[i].asked, levels[i].recall);
        assert_int_equal(scene_check(scene, 1, false), LATHE_OK);
        assert_int_equal(scene->plan.items[0].guarantee, levels[i].sent);
    }
    r(scene)->limit = LATHE_MAX_RESULTS - 4;
    r(scene)->offset = 4;
    r(scene)->dims = FIXTURE_DIMS;
    assert_int_equal(scene_check(scene, 1, false), LATHE_OK);
    r(scene)->field = "title"; /* Euclidean: the zero vector is a query like others */
    r(scene)->vector = fixture_vector(&scene->arena, FIXTURE_TITLE_DIMS);
    r(scene)->dims = 0;
    memset(r(scene)->vector->values, 0, FIXTURE_TITLE_DIMS * sizeof(float));
    assert_int_equal(scene_check(scene, 1, false), LATHE_OK);
    assert_int_equal(scene->plan.items[0].field_number, 1);
    scene_close(scene);
}

static void a_batch_is_bounded_in_results(void **state)
{
    struct scene *scene = scene_open(LATHE_MAX_BATCH_SEARCHES);
    uint32_t each = LATHE_MAX_BATCH_RESULTS / LATHE_MAX_BATCH_SEARCHES;

    (void)state;
    for (size_t i = 0; i < LATHE_MAX_BATCH_SEARCHES; i++) {
        scene->requests[i]->limit = each - 1;
        scene->requests[i]->offset = 1;
        scene->requests[i]->allow_partial = i > 0;
    }
    assert_int_equal(scene_check(scene, LATHE_MAX_BATCH_SEARCHES, true), LATHE_OK);
    assert_false(scene->plan.allow_partial); /* one does not allow it */
    scene->requests[0]->allow_partial = true;
    scene->requests[17]->offset = 2;
    assert_int_equal(scene_check(scene, LATHE_MAX_BATCH_SEARCHES, true), LATHE_INVALID_ARGUMENT);
    fixture_expect(&scene->err, LATHE_INVALID_ARGUMENT, "searches", "262145");
    scene_close(scene);
}

/* ---- The frame --------------------------------------------------------------------------------
 */

static void the_frame_carries_every_query(void **state)
{
    struct scene *scene = scene_open(2);
    struct lathe_buf body = {0};
    struct lathe_buf block = {0};
    const Lathe__Shard__Search *search;
    Lathe__V1__Selection selection = LATHE__V1__SELECTION__INIT;

    (void)state;
    selection.payload = true;
    r(scene)->limit = 3;
    r(scene)->offset = 4;
    r(scene)->threshold_case = LATHE__V1__SEARCH_REQUEST__THRESHOLD_SCORE_THRESHOLD;
    r(scene)->score_threshold = -0.25f;
    scene->requests[1]->selection = &selection;
    scene->requests[1]->field = "title";
    scene->requests[1]->vector = fixture_vector(&scene->arena, FIXTURE_TITLE_DIMS);
    guarantee(scene, LATHE__V1__GUARANTEE_LEVEL__GUARANTEE_LEVEL_TARGET_RECALL, 0.9);
    assert_int_equal(scene_check(scene, 2, true), LATHE_OK);
    lathe_search_body(&scene->plan, &body, &block);
    search = fixture_decode(&lathe__shard__search__descriptor, &body, &scene->arena);
    assert_int_equal(search->n_queries, 2);
    assert_true(search->hold);
    assert_int_equal(search->queries[0]->limit, 7);
    assert_true(search->queries[0]->has_threshold);
    assert_true(search->queries[0]->threshold == -0.25f);
    assert_int_equal(search->queries[0]->guarantee,
                     LATHE__V1__GUARANTEE_LEVEL__GUARANTEE_LEVEL_TARGET_RECALL);
    assert_true(search->queries[0]->recall == 0.9);
    assert_false(search->queries[0]->want_sizes);
    assert_false(search->queries[1]->has_threshold);
    assert_true(search->queries[1]->want_sizes);
    assert_int_equal(search->queries[1]->vector->field, 1);
    assert_int_equal(search->queries[1]->vector->offset, FIXTURE_DIMS * 4);
    assert_int_equal(search->queries[1]->exclude_idkey.len, 0);
    assert_int_equal(block.size, (FIXTURE_DIMS + FIXTURE_TITLE_DIMS) * 4);
    lathe_buf_fini(&body);
    lathe_buf_fini(&block);
    scene_close(scene);
}

/* ---- Likes ------------------------------------------------------------------------------------
 */

/* The shards' answers to a group: each point has one vector of `field`, all elements `value`. */
static void answer_likes(struct scene *scene, const struct lathe_group *group, uint32_t field,
                         float value, const Lathe__Shard__Points **points,
                         struct lathe_bytes *blocks)
{
    for (size_t share = 0; share < group->share_count; share++) {
        uint32_t dims = scene->collection->fields[field].dims;
        Lathe__Shard__Points *made = fixture_alloc(&scene->arena, sizeof(*made));
        float *block = fixture_alloc(&scene->arena, group->count * dims * sizeof(float));

        lathe__shard__points__init(made);
        made->data = fixture_alloc(&scene->arena, group->count * sizeof(void *));
        for (size_t i = 0; i < group->count; i++) {
            Lathe__Shard__PointData *data = fixture_alloc(&scene->arena, sizeof(*data));
            Lathe__Shard__VectorRef *ref = fixture_alloc(&scene->arena, sizeof(*ref));

            if (group->items[i].share != share)
                continue;
            lathe__shard__point_data__init(data);
            lathe__shard__vector_ref__init(ref);
            data->idkey.data = (uint8_t *)group->items[i].idkey.data;
            data->idkey.len = group->items[i].idkey.size;
            ref->field = field;
            ref->size = dims * 4;
            ref->offset = made->n_data * dims * 4;
            for (uint32_t j = 0; j < dims; j++)
                block[made->n_data * dims + j] = value;
            data->vectors = fixture_alloc(&scene->arena, sizeof(void *));
            data->vectors[0] = ref;
            data->n_vectors = 1;
            made->data[made->n_data++] = data;
        }
        points[share] = made;
        blocks[share] = lathe_bytes_of(block, group->count * dims * 4);
        assert_int_equal(lathe_points_check(made, blocks[share], scene->collection, NULL),
                         LATHE_OK);
        assert_int_equal(lathe_group_check(group, share, made, NULL), LATHE_OK);
    }
}

static void a_like_takes_the_stored_vector_and_leaves_its_point_out(void **state)
{
    struct scene *scene = scene_open(40);
    struct lathe_selection selection;
    struct lathe_group group;
    const Lathe__Shard__Points *points[SHARDS];
    struct lathe_bytes blocks[SHARDS];
    struct lathe_buf body = {0};
    struct lathe_buf block = {0};
    const Lathe__Shard__Search *search;

    (void)state;
    for (size_t i = 0; i < 40; i += 2) { /* every other one, ids twice */
        scene->requests[i]->query_case = LATHE__V1__SEARCH_REQUEST__QUERY_LIKE;
        scene->requests[i]->like = fixture_id(&scene->arena, i / 4);
    }
    assert_int_equal(scene_check(scene, 40, true), LATHE_OK);
    assert_int_equal(lathe_search_likes(&scene->plan, &group, &selection, NULL), LATHE_OK);
    assert_int_equal(group.count, 20);
    assert_int_equal(selection.field_count, 1);
    answer_likes(scene, &group, 0, 2.5f, points, blocks);
    assert_int_equal(lathe_search_resolve(&scene->plan, &group, points, blocks, NULL), LATHE_OK);
    lathe_search_body(&scene->plan, &body, &block);
    search = fixture_decode(&lathe__shard__search__descriptor, &body, &scene->arena);
    for (size_t i = 0; i < 40; i++) {
        float first;

        memcpy(&first, block.data + search->queries[i]->vector->offset, 4);
        assert_true(first == (i % 2 == 0 ? 2.5f : 1.0f));
        assert_int_equal(search->queries[i]->exclude_idkey.len, i % 2 == 0 ? 9 : 0);
    }
    lathe_buf_fini(&body);
    lathe_buf_fini(&block);
    /* The point is not there; it has no such vector; its vector is zero. */
    ((Lathe__Shard__Points *)points[group.items[3].share])->data[group.items[3].index]->missing = 1;
    assert_int_equal(lathe_search_resolve(&scene->plan, &group, points, blocks, &scene->err),
                     LATHE_NOT_FOUND);
    fixture_expect(&scene->err, LATHE_NOT_FOUND, "searches[6].like", "no point 1");
    answer_likes(scene, &group, 2, 1.0f, points, blocks);
    assert_int_equal(lathe_search_resolve(&scene->plan, &group, points, blocks, &scene->err),
                     LATHE_NOT_FOUND);
    fixture_expect(&scene->err, LATHE_NOT_FOUND, "searches[0].like", "no vector of field");
    answer_likes(scene, &group, 0, 0.0f, points, blocks);
    assert_int_equal(lathe_search_resolve(&scene->plan, &group, points, blocks, &scene->err),
                     LATHE_INVALID_ARGUMENT);
    fixture_expect(&scene->err, LATHE_INVALID_ARGUMENT, "searches[0].like", "zero");
    scene_close(scene);
}

/* ---- The merge --------------------------------------------------------------------------------
 */

struct row {
    uint64_t number;
    float score;
    int shard;
    uint32_t payload_bytes;
};

static int row_order(const void *a, const void *b)
{
    const struct row *x = a;
    const struct row *y = b;

    if (x->score != y->score)
        return x->score > y->score ? -1 : 1; /* cosine: larger is better */
    return x->number < y->number ? -1 : 1;
}

/* What a shard answers: its best `limit` rows, of rows that are sorted already. */
static Lathe__Shard__SearchReply *reply_make(struct scene *scene, const struct row *rows,
                                             size_t count, int shard)
{
    Lathe__Shard__SearchReply *reply = fixture_alloc(&scene->arena, sizeof(*reply));
    size_t queries = scene->plan.count;

    lathe__shard__search_reply__init(reply);
    reply->applied_seq = 100 + (uint64_t)shard;
    reply->shard_us = 10 * (uint64_t)shard;
    reply->scan_us = 5 * (uint64_t)shard;
    reply->n_hits = queries;
    reply->hits = fixture_alloc(&scene->arena, queries * sizeof(void *));
    for (size_t q = 0; q < queries; q++) {
        uint32_t limit = scene->plan.items[q].limit + scene->plan.items[q].offset;
        Lathe__Shard__Hits *hits = fixture_alloc(&scene->arena, sizeof(*hits));
        struct lathe_buf idkeys = {0};

        lathe__shard__hits__init(hits);
        hits->scores = fixture_alloc(&scene->arena, limit * sizeof(float));
        hits->payload_bytes = fixture_alloc(&scene->arena, limit * sizeof(uint32_t));
        for (size_t i = 0; i < count && hits->n_scores < limit; i++) {
            struct lathe_idkey key = lathe_idkey_number(rows[i].number);

            if (rows[i].shard != shard)
                continue;
            hits->payload_bytes[hits->n_scores] = rows[i].payload_bytes;
            hits->scores[hits->n_scores++] = rows[i].score;
            lathe_idkeys_append(&idkeys, lathe_idkey_view(&key));
        }
        hits->n_payload_bytes = hits->n_scores;
        hits->idkeys.data = fixture_alloc(&scene->arena, idkeys.size + 1);
        hits->idkeys.len = idkeys.size;
        if (idkeys.size > 0)
            memcpy(hits->idkeys.data, idkeys.data, idkeys.size);
        lathe_buf_fini(&idkeys);
        hits->rows = 1000;
        hits->rows_proposed = 7;
        hits->bytes_read = 64000;
        hits->guarantee = LATHE__V1__GUARANTEE_LEVEL__GUARANTEE_LEVEL_CERTIFIED;
        reply->hits[q] = hits;
    }
    return reply;
}

static void answers_set(struct scene *scene, const struct row *rows, size_t count)
{
    scene->plan.answer_count = SHARDS;
    scene->plan.answers = fixture_alloc(&scene->arena, SHARDS * sizeof(*scene->plan.answers));
    for (int i = 0; i < SHARDS; i++) {
        const Lathe__Shard__SearchReply *reply = reply_make(scene, rows, count, i);

        assert_int_equal(lathe_search_reply_check(&scene->plan, (uint32_t)i, reply, &scene->err),
                         LATHE_OK);
        scene->plan.answers[i] = (struct lathe_search_answer){(uint32_t)i, reply};
    }
}

static void rows_make(struct row *rows, size_t count, struct test_rng *rng, uint32_t payload_bytes)
{
    for (size_t i = 0; i < count; i++)
        rows[i] = (struct row){i * 3 + 1, (float)test_rng_below(rng, 40) / 40, /* many ties */
                               (int)test_rng_below(rng, SHARDS), payload_bytes};
    qsort(rows, count, sizeof(rows[0]), row_order);
}

static void the_merge_gives_what_one_shard_would(void **state)
{
    enum { ROWS = 600 };
    struct row rows[ROWS];
    struct test_rng rng;

    (void)state;
    test_rng_seed(&rng, "search merge");
    for (int round = 0; round < 30; round++) {
        struct scene *scene = scene_open(2);
        size_t count = test_rng_below(&rng, ROWS + 1);
        const struct lathe_search_item *item = NULL;

        for (int i = 0; i < 2; i++) {
            scene->requests[i]->limit = 1 + (uint32_t)test_rng_below(&rng, 300);
            scene->requests[i]->offset = (uint32_t)test_rng_below(&rng, 300);
        }
        assert_int_equal(scene_check(scene, 2, true), LATHE_OK);
        rows_make(rows, count, &rng, 0);
        answers_set(scene, rows, count);
        assert_int_equal(lathe_search_merge(&scene->plan, NULL), LATHE_OK);
        for (int q = 0; q < 2; q++) {
            size_t expected;

            item = &scene->plan.items[q];
            expected = count > item->offset ? count - item->offset : 0;
            expected = expected < item->limit ? expected : item->limit;
            assert_int_equal(item->hit_count, expected);
            for (size_t i = 0; i < expected; i++) {
                const struct row *row = &rows[item->offset + i];

                assert_int_equal(lathe_idkey_as_number(item->hits[i].id), row->number);
                assert_true(item->hits[i].score == row->score);
                assert_int_equal(item->hits[i].ref >> 32, row->shard);
            }
        }
        scene_close(scene);
    }
}

static void a_wrong_list_of_hits_is_found_out(void **state)
{
    struct row rows[20];
    struct test_rng rng;
    struct scene *scene = scene_open(1);
    Lathe__V1__Selection selection = LATHE__V1__SELECTION__INIT;
    Lathe__Shard__SearchReply *reply;
    Lathe__Shard__Hits *hits;

    (void)state;
    test_rng_seed(&rng, "wrong hits");
    rows_make(rows, 20, &rng, 5);
    selection.payload = true;
    r(scene)->limit = 5;
    r(scene)->selection = &selection;
    for (int i = 0; i < 20; i++)
        rows[i].shard = 0;
    assert_int_equal(scene_check(scene, 1, false), LATHE_OK);
#define EXPECT_FAULT(change, text)                                                      \
    do {                                                                                \
        reply = reply_make(scene, rows, 20, 0);                                         \
        hits = reply->hits[0];                                                          \
        change;                                                                         \
        assert_int_equal(lathe_search_reply_check(&scene->plan, 9, reply, &scene->err), \
                         LATHE_INTERNAL);                                               \
        fixture_expect(&scene->err, LATHE_INTERNAL, "", text);                          \
        assert_non_null(strstr(scene->err.message, "shard 9"));                         \
    } while (0)
    EXPECT_FAULT(reply->n_hits = 0, "0 lists");
    EXPECT_FAULT((hits->scores = fixture_alloc(&scene->arena, 24), hits->n_scores = 6),
                 "more hits");
    EXPECT_FAULT(hits->scores[2] = NAN, "not a number");
    EXPECT_FAULT(hits->idkeys.len--, "malformed");
    EXPECT_FAULT(hits->idkeys.data[1] = 9, "malformed");
    EXPECT_FAULT((hits->n_scores--, hits->n_payload_bytes--), "ids are not as many");
    EXPECT_FAULT(hits->n_payload_bytes--, "sizes");
    EXPECT_FAULT(hits->guarantee = 0, "guarantee");
    EXPECT_FAULT(hits->guarantee = LATHE__V1__GUARANTEE_LEVEL__GUARANTEE_LEVEL_TARGET_RECALL,
                 "guarantee");
    scene_close(scene);
}

/* ---- Sizes ------------------------------------------------------------------------------------
 */

/* Encodes the reply with payloads of the sizes that were announced. */
static void encode(struct scene *scene, const struct row *rows, size_t count,
                   struct lathe_buf *reply)
{
    struct lathe_search_plan *plan = &scene->plan;

    assert_int_equal(lathe_search_collect(plan, NULL), LATHE_OK);
    plan->shares = fixture_alloc(&scene->arena, SHARDS * sizeof(*plan->shares));
    plan->blocks = fixture_alloc(&scene->arena, SHARDS * sizeof(*plan->blocks));
    for (size_t share = 0; share < plan->points.share_count; share++) {
        Lathe__Shard__Points *points = fixture_alloc(&scene->arena, sizeof(*points));

        lathe__shard__points__init(points);
        points->data = fixture_alloc(&scene->arena, plan->points.count * sizeof(void *));
        for (size_t i = 0; i < plan->points.count; i++) {
            const struct lathe_group_item *item = &plan->points.items[i];
            Lathe__Shard__PointData *data = fixture_alloc(&scene->arena, sizeof(*data));

            if (item->share != share)
                continue;
            lathe__shard__point_data__init(data);
            data->idkey.data = (uint8_t *)item->idkey.data;
            data->idkey.len = item->idkey.size;
            data->version = 1 + lathe_idkey_as_number(item->idkey);
            for (size_t j = 0; j < count; j++) {
                if (rows[j].number == lathe_idkey_as_number(item->idkey))
                    data->payload.len = rows[j].payload_bytes;
            }
            data->payload.data = fixture_alloc(&scene->arena, data->payload.len + 1);
            points->data[points->n_data++] = data;
        }
        assert_int_equal(lathe_group_check(&plan->points, share, points, NULL), LATHE_OK);
        plan->shares[share] = points;
    }
    lathe_search_encode(plan, "scalar", 321, reply);
}

static void the_named_limit_fits_and_one_more_does_not(void **state)
{
    enum { ROWS = 300 };
    struct row rows[ROWS];
    struct test_rng rng;
    struct scene *scene = scene_open(1);
    Lathe__V1__Selection selection = LATHE__V1__SELECTION__INIT;
    const char *named;
    uint32_t limit;

    (void)state;
    test_rng_seed(&rng, "reply size");
    rows_make(rows, ROWS, &rng, 700 * 1024);
    selection.payload = true;
    selection.vectors = true;
    r(scene)->selection = &selection;
    r(scene)->limit = ROWS;
    assert_int_equal(scene_check(scene, 1, false), LATHE_OK);
    answers_set(scene, rows, ROWS);
    assert_int_equal(lathe_search_merge(&scene->plan, NULL), LATHE_OK);
    assert_int_equal(lathe_search_size_check(&scene->plan, &scene->err), LATHE_RESOURCE_EXHAUSTED);
    fixture_expect(&scene->err, LATHE_RESOURCE_EXHAUSTED, "limit", "without selection.payload");
    named = strstr(scene->err.message, "; limit ");
    assert_non_null(named);
    limit = (uint32_t)strtoul(named + 8, NULL, 10);
    assert_in_range(limit, 80, 95); /* 64 MiB of 700 KiB */
    for (uint32_t more = 0; more < 2; more++) {
        struct lathe_buf reply = {0};

        r(scene)->limit = limit + more;
        assert_int_equal(scene_check(scene, 1, false), LATHE_OK);
        answers_set(scene, rows, ROWS);
        assert_int_equal(lathe_search_merge(&scene->plan, NULL), LATHE_OK);
        assert_int_equal(lathe_search_size_check(&scene->plan, NULL),
                         more == 0 ? LATHE_OK : LATHE_RESOURCE_EXHAUSTED);
        if (more == 0) {
            selection.vectors = false;
            assert_int_equal(scene_check(scene, 1, false), LATHE_OK);
            answers_set(scene, rows, ROWS);
            assert_int_equal(lathe_search_merge(&scene->plan, NULL), LATHE_OK);
            encode(scene, rows, ROWS, &reply);
            assert_true(reply.size <= LATHE_MAX_MESSAGE_BYTES);
            lathe_buf_fini(&reply);
            selection.vectors = true;
        }
    }
    scene_close(scene);
}

static void without_selection_a_reply_is_small(void **state)
{
    struct row *rows = calloc(LATHE_MAX_RESULTS, sizeof(*rows));
    struct scene *scene = scene_open(1);
    struct test_rng rng;

    (void)state;
    test_rng_seed(&rng, "ids only");
    rows_make(rows, LATHE_MAX_RESULTS, &rng, UINT32_MAX); /* never to be counted */
    r(scene)->limit = LATHE_MAX_RESULTS;
    assert_int_equal(scene_check(scene, 1, false), LATHE_OK);
    answers_set(scene, rows, LATHE_MAX_RESULTS);
    assert_int_equal(lathe_search_merge(&scene->plan, NULL), LATHE_OK);
    assert_int_equal(lathe_search_size_check(&scene->plan, NULL), LATHE_OK);
    scene_close(scene);
    free(rows);
}

/* ---- The reply --------------------------------------------------------------------------------
 */

static void the_reply_tells_hits_and_report(void **state)
{
    enum { ROWS = 50 };
    struct row rows[ROWS];
    struct test_rng rng;
    struct scene *scene = scene_open(2);
    Lathe__V1__Selection selection = LATHE__V1__SELECTION__INIT;
    const Lathe__V1__SearchBatchResponse *batch;
    const Lathe__V1__SearchResponse *one;
    struct lathe_buf reply = {0};

    (void)state;
    test_rng_seed(&rng, "search reply");
    rows_make(rows, ROWS, &rng, 0);
    selection.payload = true;
    scene->requests[0]->limit = 7;
    scene->requests[1]->limit = 5;
    scene->requests[1]->offset = 2;
    scene->requests[1]->selection = &selection;
    assert_int_equal(scene_check(scene, 2, true), LATHE_OK);
    answers_set(scene, rows, ROWS);
    scene->plan.answers[1].reply = NULL; /* a shard that did not answer */
    assert_int_equal(lathe_search_merge(&scene->plan, NULL), LATHE_OK);
    encode(scene, rows, ROWS, &reply);
    batch = fixture_decode(&lathe__v1__search_batch_response__descriptor, &reply, &scene->arena);
    assert_int_equal(batch->n_responses, 2);
    for (int q = 0; q < 2; q++) {
        size_t at = 0;
        size_t skip = scene->plan.items[q].offset;

        one = batch->responses[q];
        assert_int_equal(one->n_hits, q == 0 ? 7 : 5);
        for (size_t i = 0; i < ROWS && at < one->n_hits; i++) {
            if (rows[i].shard == 1 || (skip > 0 && skip--))
                continue;
            assert_int_equal(one->hits[at]->id->number, rows[i].number);
            assert_true(one->hits[at]->score == rows[i].score);
            assert_int_equal(one->hits[at]->version, q == 0 ? 0 : 1 + rows[i].number);
            assert_true((one->hits[at]->payload != NULL) == (q == 1));
            at++;
        }
        assert_int_equal(at, one->n_hits);
        assert_int_equal(one->report->guarantee,
                         LATHE__V1__GUARANTEE_LEVEL__GUARANTEE_LEVEL_CERTIFIED);
        assert_true(one->report->estimated_recall == 1.0);
        assert_int_equal(one->report->plan->n_steps, 1);
        assert_string_equal(one->report->plan->steps[0]->name, "originals");
        assert_int_equal(one->report->plan->steps[0]->rows_in, 2000);
        assert_int_equal(one->report->plan->steps[0]->rows_out, 7);
        assert_int_equal(one->report->plan->steps[0]->bytes_read, 128000);
        assert_int_equal(one->report->originals_read, 14);
        assert_int_equal(one->report->shard_us, 20);
        assert_int_equal(one->report->scan_us, 10);
        assert_int_equal(one->report->total_us, 321);
        assert_string_equal(one->report->kernel, "scalar");
        assert_int_equal(one->report->coverage->shards_asked, 3);
        assert_int_equal(one->report->coverage->shards_answered, 2);
        assert_false(one->report->coverage->shards[1]->answered);
        assert_int_equal(one->report->coverage->shards[2]->applied_seq, 102);
        assert_int_equal(one->report->coverage->shards[2]->rows, 1000);
    }
    lathe_buf_fini(&reply);
    scene_close(scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bad_search_is_refused_naming_field_and_limit),
        cmocka_unit_test(searches_at_the_limits_are_taken_and_defaults_filled_in),
        cmocka_unit_test(a_batch_is_bounded_in_results),
        cmocka_unit_test(the_frame_carries_every_query),
        cmocka_unit_test(a_like_takes_the_stored_vector_and_leaves_its_point_out),
        cmocka_unit_test(the_merge_gives_what_one_shard_would),
        cmocka_unit_test(a_wrong_list_of_hits_is_found_out),
        cmocka_unit_test(the_named_limit_fits_and_one_more_does_not),
        cmocka_unit_test(without_selection_a_reply_is_small),
        cmocka_unit_test(the_reply_tells_hits_and_report),
    };

    return lathe_hash_init() ? cmocka_run_group_tests_name("api/search_plan", tests, NULL, NULL)
                             : 1;
}
