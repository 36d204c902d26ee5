/* model.c - see model.h. */
#include "tests/unit/shard/model.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/mem.h"
#include "common/vec/score.h"
#include "shard/write/operation.h"

enum { STEP_MAX = 16, PAYLOAD_LIMIT = 60 };

static const char *const key_names[MODEL_KEYS] = {"a", "bb", "ccc", "k3", "k4", "\xC3\xA4"};

void model_init(struct model *model, struct parts *parts, struct test_rng *rng, uint64_t *seq)
{
    static const enum lathe_metric metrics[] = {LATHE_COSINE, LATHE_DOT, LATHE_EUCLIDEAN};

    *model = (struct model){.rng = rng, .parts = parts, .seq = seq};
    parts->max_payload_bytes = PAYLOAD_LIMIT;
    for (uint32_t f = 0; f < MODEL_FIELDS; f++) {
        model->dims[f] = 1 + (uint32_t)test_rng_below(rng, MODEL_DIMS_MAX);
        model->metrics[f] = metrics[f];
    }
    model->collection = parts_create(parts, MODEL_FIELDS, model->dims, model->metrics);
    ++*seq;
    for (int c = 0; c < MODEL_CLIENTS; c++)
        lathe_uuid_new(lathe_wall_ms(&parts->clock.clock), model->clients[c]);
    model->remembered = calloc(MODEL_REMEMBERED, sizeof(*model->remembered));
}

void model_fini(struct model *model)
{
    for (size_t i = 0; i < MODEL_REMEMBERED; i++)
        request_fini(&model->remembered[i].request);
    free(model->remembered);
}

uint32_t model_live(const struct model *model)
{
    uint32_t live = 0;

    for (int i = 0; i < MODEL_POINTS; i++)
        live += model->points[i].exists;
    return live;
}

/* ---- What operations mean ---- */

static struct pair *pair_find(struct model_point *point, const char *key)
{
    for (uint32_t i = 0; i < point->pair_count; i++)
        if (strcmp(point->pairs[i].key, key) == 0)
            return &point->pairs[i];
    return NULL;
}

static void pairs_merge(struct model_point *point, const struct pair *pairs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct pair *old = pair_find(point, pairs[i].key);

        if (old != NULL)
            old->value = pairs[i].value;
        else
            point->pairs[point->pair_count++] = pairs[i];
    }
}

static void pair_remove(struct model_point *point, const char *key)
{
    struct pair *pair = pair_find(point, key);

    if (pair == NULL)
        return;
    memmove(pair, pair + 1, (size_t)(point->pairs + point->pair_count - pair - 1) * sizeof(*pair));
    point->pair_count--;
}

/* One random operation with all that it may carry. */
struct draft {
    Lathe__Shard__OperationKind kind;
    uint32_t mode;
    uint64_t if_version;
    uint32_t point;
    struct pair pairs[MODEL_KEYS];
    size_t pair_count;
    uint32_t keys; /* bit i: key_names[i] */
    bool has[MODEL_FIELDS];
    float vectors[MODEL_FIELDS][MODEL_DIMS_MAX];
    uint32_t fields; /* bit f */
};

static void draft_fill(struct model *model, struct draft *draft)
{
    struct test_rng *rng = model->rng;
    const struct model_point *point;

    *draft = (struct draft){.kind = test_rng_below(rng, 3) == 0
                                        ? LATHE__SHARD__OPERATION_KIND__UPSERT
                                        : (Lathe__Shard__OperationKind)test_rng_below(rng, 8)};
    draft->point = (uint32_t)test_rng_below(rng, test_rng_below(rng, 2) == 0 ? 4 : MODEL_POINTS);
    point = &model->points[draft->point];
    draft->mode = test_rng_below(rng, 4) == 0 ? (uint32_t)test_rng_below(rng, 3) : 0;
    if (test_rng_below(rng, 6) == 0)
        draft->if_version = test_rng_below(rng, 2) == 0 && point->version > 0
                                ? point->version
                                : 1 + test_rng_below(rng, *model->seq + 2);
    for (int k = 0; k < MODEL_KEYS; k++) {
        if (test_rng_below(rng, 3) != 0)
            continue;
        draft->keys |= 1u << k;
        draft->pairs[draft->pair_count++] = (struct pair){
            key_names[k], (int64_t)(test_rng_u64(rng) >> test_rng_below(rng, 64))};
    }
    for (uint32_t f = 0; f < MODEL_FIELDS; f++) {
        draft->has[f] = test_rng_below(rng, 3) != 0;
        test_rng_gauss_floats(rng, draft->vectors[f], model->dims[f]);
        if (test_rng_below(rng, 2) == 0)
            draft->fields |= 1u << f;
    }
}

static void draft_add(const struct model *model, const struct draft *draft, struct request *request)
{
    Lathe__Shard__Operation *operation = request_add(request, draft->kind, id_of(draft->point));

    operation->mode = draft->mode;
    operation->if_version = draft->if_version;
    switch (draft->kind) {
    case LATHE__SHARD__OPERATION_KIND__UPSERT:
    case LATHE__SHARD__OPERATION_KIND__SET_PAYLOAD:
    case LATHE__SHARD__OPERATION_KIND__OVERWRITE_PAYLOAD:
        request_payload(request, operation,
                        payload_make(&request->arena, draft->pairs, draft->pair_count));
        break;
    case LATHE__SHARD__OPERATION_KIND__DELETE_PAYLOAD_KEYS:
        for (int k = 0; k < MODEL_KEYS; k++)
            if ((draft->keys >> k & 1) != 0)
                request_key(request, operation, key_names[k]);
        break;
    case LATHE__SHARD__OPERATION_KIND__DELETE_VECTORS:
        for (uint32_t f = 0; f < MODEL_FIELDS; f++)
            if ((draft->fields >> f & 1) != 0)
                request_field(request, operation, f);
        break;
    default:
        break;
    }
    if (draft->kind != LATHE__SHARD__OPERATION_KIND__UPSERT &&
        draft->kind != LATHE__SHARD__OPERATION_KIND__SET_VECTORS)
        return;
    for (uint32_t f = 0; f < MODEL_FIELDS; f++)
        if (draft->has[f])
            request_vector(request, operation, f, draft->vectors[f], model->dims[f]);
}

static uint32_t outcome_of(const struct draft *draft, const struct model_point *point)
{
    if (!point->exists && (draft->kind != LATHE__SHARD__OPERATION_KIND__UPSERT ||
                           draft->mode == LATHE_MODE_UPDATE_ONLY))
        return LATHE_OUTCOME_NOT_FOUND;
    if (point->exists && draft->mode == LATHE_MODE_INSERT_ONLY)
        return LATHE_OUTCOME_CONDITION_FALSE;
    if (draft->if_version != 0 && (!point->exists || point->version != draft->if_version))
        return LATHE_OUTCOME_CONDITION_FALSE;
    return LATHE_OUTCOME_APPLIED;
}

/* The point after the operation. */
static struct model_point changed(const struct model *model, const struct draft *draft,
                                  const struct model_point *before, uint64_t seq)
{
    struct model_point after = *before;

    switch (draft->kind) {
    case LATHE__SHARD__OPERATION_KIND__UPSERT:
        after = (struct model_point){.exists = true};
        pairs_merge(&after, draft->pairs, draft->pair_count);
        break;
    case LATHE__SHARD__OPERATION_KIND__DELETE:
        return (struct model_point){.exists = false};
    case LATHE__SHARD__OPERATION_KIND__OVERWRITE_PAYLOAD:
        after.pair_count = 0;
        pairs_merge(&after, draft->pairs, draft->pair_count);
        break;
    case LATHE__SHARD__OPERATION_KIND__SET_PAYLOAD:
        pairs_merge(&after, draft->pairs, draft->pair_count);
        break;
    case LATHE__SHARD__OPERATION_KIND__CLEAR_PAYLOAD:
        after.pair_count = 0;
        break;
    case LATHE__SHARD__OPERATION_KIND__DELETE_PAYLOAD_KEYS:
        for (int k = 0; k < MODEL_KEYS; k++)
            if ((draft->keys >> k & 1) != 0)
                pair_remove(&after, key_names[k]);
        break;
    case LATHE__SHARD__OPERATION_KIND__DELETE_VECTORS:
        for (uint32_t f = 0; f < MODEL_FIELDS; f++)
            after.has[f] = after.has[f] && (draft->fields >> f & 1) == 0;
        break;
    default:
        break;
    }
    if (draft->kind == LATHE__SHARD__OPERATION_KIND__UPSERT ||
        draft->kind == LATHE__SHARD__OPERATION_KIND__SET_VECTORS)
        for (uint32_t f = 0; f < MODEL_FIELDS; f++)
            if (draft->has[f]) {
                after.has[f] = true;
                memcpy(after.vectors[f], draft->vectors[f], model->dims[f] * sizeof(float));
            }
    after.version = seq;
    return after;
}

static bool payload_fits(const struct draft *draft, const struct model_point *after)
{
    struct lathe_arena arena;
    size_t size;

    if (!after->exists || draft->kind == LATHE__SHARD__OPERATION_KIND__SET_VECTORS ||
        draft->kind == LATHE__SHARD__OPERATION_KIND__DELETE_VECTORS)
        return true;
    lathe_arena_init(&arena, 0);
    size = payload_make(&arena, after->pairs, after->pair_count).size;
    lathe_arena_fini(&arena);
    return size <= PAYLOAD_LIMIT;
}

static void draft_apply(struct model *model, const struct draft *draft, struct expected *expected)
{
    struct model_point *point = &model->points[draft->point];
    uint32_t outcome = outcome_of(draft, point);

    if (outcome == LATHE_OUTCOME_APPLIED) {
        struct model_point after = changed(model, draft, point, expected->seq);

        if (payload_fits(draft, &after))
            *point = after;
        else
            outcome = LATHE_OUTCOME_REJECTED;
    }
    expected->outcomes[expected->count] = outcome;
    expected->versions[expected->count++] = point->exists ? point->version : 0;
}

/* ---- Requests ---- */

static void request_draw(struct model *model, struct request *request, struct expected *expected)
{
    size_t operations = 1 + test_rng_below(model->rng, MODEL_OPERATIONS);

    *expected = (struct expected){.seq = ++*model->seq};
    request_init(request, lathe_wall_ms(&model->parts->clock.clock));
    for (size_t i = 0; i < operations; i++) {
        struct draft draft;

        draft_fill(model, &draft);
        draft_add(model, &draft, request);
        draft_apply(model, &draft, expected);
    }
}

/* Draws a new request, or one of the last ones again. The caller does not own it. */
static const struct request *request_next(struct model *model, struct expected *expected_out)
{
    struct remembered *slot = &model->remembered[model->remembered_count % MODEL_REMEMBERED];
    uint32_t client = (uint32_t)test_rng_below(model->rng, MODEL_CLIENTS);

    if (model->remembered_count >= MODEL_REMEMBERED && test_rng_below(model->rng, 8) == 0) {
        slot = &model->remembered[(model->remembered_count - 1 -
                                   test_rng_below(model->rng, MODEL_REMEMBERED / 2)) %
                                  MODEL_REMEMBERED];
        *expected_out = slot->expected;
        expected_out->repeated = true;
        return &slot->request;
    }
    model->remembered_count++;
    request_fini(&slot->request);
    request_draw(model, &slot->request, &slot->expected);
    request_client(&slot->request, model->clients[client], ++model->numbers[client]);
    *expected_out = slot->expected;
    return &slot->request;
}

static void check_answer(struct lathe_task *task, const struct expected *expected)
{
    const Lathe__Shard__WriteReply *reply = write_reply(task);

    assert_int_equal(reply->applied_seq, expected->seq);
    assert_int_equal(reply->repeated_request, expected->repeated);
    assert_int_equal(reply->n_outcomes, expected->count);
    assert_int_equal(reply->n_versions, expected->count);
    for (size_t i = 0; i < expected->count; i++) {
        assert_int_equal(reply->outcomes[i], expected->outcomes[i]);
        assert_int_equal(reply->versions[i], expected->versions[i]);
    }
}

void model_step(struct model *model, size_t count)
{
    struct expected expected[STEP_MAX];
    struct lathe_task *tasks[STEP_MAX];

    assert_true(count <= STEP_MAX);
    for (size_t i = 0; i < count; i++) {
        const struct request *request = request_next(model, &expected[i]);

        tasks[i] = parts_task(model->parts, LATHE_FRAME_WRITE, model->collection,
                              &request->write.base, &request->block);
    }
    for (size_t i = 0; i < count; i++)
        parts_submit(model->parts, tasks[i]);
    for (size_t i = 0; i < count; i++)
        (void)parts_wait(model->parts);
    for (size_t i = 0; i < count; i++) {
        check_answer(tasks[i], &expected[i]);
        lathe_task_destroy(tasks[i]);
    }
}

/* ---- Reading back ---- */

static void check_point(struct model *model, struct lathe_task *task,
                        const Lathe__Shard__PointData *data, uint32_t number)
{
    const struct model_point *point = &model->points[number];
    struct lathe_arena arena;
    struct lathe_bytes payload;
    size_t at = 0;

    assert_int_equal(data->missing, !point->exists);
    if (!point->exists)
        return;
    assert_int_equal(data->version, point->version);
    lathe_arena_init(&arena, 0);
    payload = payload_make(&arena, point->pairs, point->pair_count);
    assert_true(lathe_bytes_equal(payload, lathe_bytes_of(data->payload.data, data->payload.len)));
    lathe_arena_fini(&arena);
    for (uint32_t f = 0; f < MODEL_FIELDS; f++) {
        if (!point->has[f])
            continue;
        assert_true(at < data->n_vectors);
        assert_int_equal(data->vectors[at]->field, f);
        assert_int_equal(data->vectors[at]->size, model->dims[f] * sizeof(float));
        assert_memory_equal(task->reply_block.data + data->vectors[at]->offset, point->vectors[f],
                            data->vectors[at]->size);
        at++;
    }
    assert_int_equal(at, data->n_vectors);
}

static int id_order(const void *a, const void *b)
{
    struct lathe_idkey x = id_of(*(const uint32_t *)a), y = id_of(*(const uint32_t *)b);

    return lathe_bytes_compare(lathe_idkey_view(&x), lathe_idkey_view(&y));
}

/* LIST, in pages of a random size. */
static void compare_list(struct model *model)
{
    Lathe__Shard__List list = LATHE__SHARD__LIST__INIT;
    Lathe__Shard__Fetch fetch = LATHE__SHARD__FETCH__INIT;
    uint32_t order[MODEL_POINTS], live = 0, seen = 0;
    struct lathe_idkey last;
    bool more = true;

    for (uint32_t i = 0; i < MODEL_POINTS; i++)
        if (model->points[i].exists)
            order[live++] = i;
    qsort(order, live, sizeof(*order), id_order);
    fetch.payload = fetch.vectors = true;
    list.fetch = &fetch;
    while (more) {
        struct lathe_task *task;
        const Lathe__Shard__Points *points;

        list.limit = 1 + (uint32_t)test_rng_below(model->rng, MODEL_POINTS + 1);
        task = parts_call(model->parts, LATHE_FRAME_LIST, model->collection, &list.base, NULL);
        points = points_reply(task);
        assert_int_equal(points->points, live);
        assert_int_equal(points->applied_seq, *model->seq);
        for (size_t i = 0; i < points->n_data; i++) {
            struct lathe_idkey wanted = id_of(order[seen]);

            assert_true(seen < live);
            last = wanted;
            assert_true(lathe_bytes_equal(
                lathe_idkey_view(&wanted),
                lathe_bytes_of(points->data[i]->idkey.data, points->data[i]->idkey.len)));
            check_point(model, task, points->data[i], order[seen++]);
        }
        more = points->more;
        list.after_idkey = (ProtobufCBinaryData){last.size, last.bytes};
        lathe_task_destroy(task);
    }
    assert_int_equal(seen, live);
}

static void compare_get(struct model *model)
{
    Lathe__Shard__Get get = LATHE__SHARD__GET__INIT;
    Lathe__Shard__Fetch fetch = LATHE__SHARD__FETCH__INIT;
    struct lathe_buf ids = {0};
    struct lathe_task *task;
    const Lathe__Shard__Points *points;

    for (uint32_t i = 0; i < MODEL_POINTS; i++) {
        struct lathe_idkey id = id_of(i);

        lathe_buf_u8(&ids, id.size);
        lathe_buf_append(&ids, id.bytes, id.size);
    }
    fetch.idkeys = (ProtobufCBinaryData){ids.size, ids.data};
    fetch.payload = fetch.vectors = true;
    get.fetch = &fetch;
    task = parts_call(model->parts, LATHE_FRAME_GET, model->collection, &get.base, NULL);
    points = points_reply(task);
    assert_int_equal(points->n_data, MODEL_POINTS);
    for (uint32_t i = 0; i < MODEL_POINTS; i++)
        check_point(model, task, points->data[i], i);
    lathe_task_destroy(task);
    lathe_buf_fini(&ids);
}

static void compare_search(struct model *model, uint32_t field)
{
    Lathe__Shard__Search search = LATHE__SHARD__SEARCH__INIT;
    Lathe__Shard__Query query = LATHE__SHARD__QUERY__INIT, *queries[] = {&query};
    Lathe__Shard__VectorRef ref = LATHE__SHARD__VECTOR_REF__INIT;
    float vector[MODEL_DIMS_MAX];
    struct lathe_buf block = {0};
    struct lathe_task *task;
    const Lathe__Shard__Hits *hits;
    struct lathe_hit wanted[MODEL_POINTS];
    struct lathe_idkey ids[MODEL_POINTS];
    struct lathe_topk *all = lathe_topk_create(MODEL_POINTS, model->metrics[field]);
    uint32_t count;
    size_t at = 0;

    test_rng_gauss_floats(model->rng, vector, model->dims[field]);
    lathe_buf_append(&block, vector, model->dims[field] * sizeof(float));
    ref.field = field;
    ref.size = (uint32_t)block.size;
    query.vector = &ref;
    query.limit = MODEL_POINTS;
    search.queries = queries;
    search.n_queries = 1;
    task = parts_call(model->parts, LATHE_FRAME_SEARCH, model->collection, &search.base, &block);
    assert_int_equal(search_reply(task)->n_hits, 1);
    hits = search_reply(task)->hits[0];
    for (uint32_t i = 0; i < MODEL_POINTS; i++) {
        struct lathe_hit hit;

        ids[i] = id_of(i);
        if (!model->points[i].exists || !model->points[i].has[field])
            continue;
        hit = (struct lathe_hit){.id = lathe_idkey_view(&ids[i])};
        hit.score = lathe_score_f32(model->metrics[field], model->points[i].vectors[field], vector,
                                    model->dims[field]);
        (void)lathe_topk_offer(all, &hit);
    }
    count = lathe_topk_drain(all, wanted);
    assert_int_equal(hits->n_scores, count);
    assert_int_equal(hits->rows, count);
    for (uint32_t i = 0; i < count; i++) {
        assert_memory_equal(&hits->scores[i], &wanted[i].score, sizeof(float));
        assert_int_equal(hits->idkeys.data[at], wanted[i].id.size);
        assert_memory_equal(hits->idkeys.data + at + 1, wanted[i].id.data, wanted[i].id.size);
        at += 1 + wanted[i].id.size;
    }
    lathe_task_destroy(task);
    lathe_topk_destroy(all);
    lathe_buf_fini(&block);
}

static void compare_stats(struct model *model)
{
    Lathe__Shard__Stats stats = LATHE__SHARD__STATS__INIT;
    struct lathe_task *task = parts_call(model->parts, LATHE_FRAME_STATS, model->collection,
                                         &stats.base, NULL);
    const Lathe__Shard__StatsReply *reply = stats_reply(task);

    assert_int_equal(reply->points, model_live(model));
    assert_int_equal(reply->n_fields, MODEL_FIELDS);
    for (uint32_t f = 0; f < MODEL_FIELDS; f++) {
        uint32_t rows = 0;

        for (int i = 0; i < MODEL_POINTS; i++)
            rows += model->points[i].exists && model->points[i].has[f];
        assert_int_equal(reply->fields[f]->rows, rows);
    }
    lathe_task_destroy(task);
}

void model_compare(struct model *model)
{
    compare_list(model);
    compare_get(model);
    compare_stats(model);
    for (uint32_t f = 0; f < MODEL_FIELDS; f++)
        compare_search(model, f);
}
