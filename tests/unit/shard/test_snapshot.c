/* test_snapshot.c - readers beside a busy writer: every answer is the state after one whole
 * request, the one that it names. */
#include "tests/unit/shard/shard_fixture.h"

#include <string.h>

#include "common/base/mem.h"

enum { POINTS = 150, ROUNDS = 120, READS = 3, DIMS = 2 };

/* Sets every point to the round, and leaves a few out in turn, so that rows die and come. */
static struct lathe_task *round_task(struct parts *parts, uint32_t collection, uint32_t round)
{
    struct request request;
    struct lathe_task *task;

    request_init(&request, 1);
    for (uint32_t i = 0; i < POINTS; i++) {
        Lathe__Shard__Operation *operation;
        float vector[DIMS] = {(float)round, 1};

        if ((i + round) % 10 == 0) {
            (void)request_add(&request, LATHE__SHARD__OPERATION_KIND__DELETE, id_of(i));
            continue;
        }
        operation = request_add(&request, LATHE__SHARD__OPERATION_KIND__UPSERT, id_of(i));
        request_vector(&request, operation, 0, vector, DIMS);
        request_payload(&request, operation,
                        payload_make(&request.arena, (struct pair[]){{"round", round}}, 1));
    }
    task = parts_task(parts, LATHE_FRAME_WRITE, collection, &request.write.base, &request.block);
    request_fini(&request);
    return task;
}

static struct lathe_task *list_task(struct parts *parts, uint32_t collection)
{
    Lathe__Shard__List list = LATHE__SHARD__LIST__INIT;
    Lathe__Shard__Fetch fetch = LATHE__SHARD__FETCH__INIT;

    fetch.payload = fetch.vectors = true;
    list.fetch = &fetch;
    list.limit = 2 * POINTS;
    return parts_task(parts, LATHE_FRAME_LIST, collection, &list.base, NULL);
}

/* The score of each hit is the round that its row is of. */
static struct lathe_task *search_task(struct parts *parts, uint32_t collection)
{
    Lathe__Shard__Search search = LATHE__SHARD__SEARCH__INIT;
    Lathe__Shard__Query query = LATHE__SHARD__QUERY__INIT, *queries[] = {&query};
    Lathe__Shard__VectorRef ref = LATHE__SHARD__VECTOR_REF__INIT;
    float vector[DIMS] = {1, 0};
    struct lathe_buf block = {0};
    struct lathe_task *task;

    lathe_buf_append(&block, vector, sizeof(vector));
    ref.size = sizeof(vector);
    query.vector = &ref;
    query.limit = 2 * POINTS;
    query.want_sizes = true;
    search.queries = queries;
    search.n_queries = 1;
    task = parts_task(parts, LATHE_FRAME_SEARCH, collection, &search.base, &block);
    lathe_buf_fini(&block);
    return task;
}

/* Sequence number s is round s - 1; the collection itself was made at 1. */
static void check_list(struct lathe_task *task)
{
    const Lathe__Shard__Points *points = points_reply(task);
    uint32_t round = (uint32_t)points->applied_seq - 1;
    struct lathe_arena arena;
    struct lathe_bytes payload;

    lathe_arena_init(&arena, 0);
    payload = payload_make(&arena, (struct pair[]){{"round", round}}, 1);
    assert_int_equal(points->n_data, round == 0 ? 0 : POINTS - POINTS / 10);
    assert_int_equal(points->points, points->n_data);
    for (size_t i = 0; i < points->n_data; i++) {
        float first;

        assert_int_equal(points->data[i]->version, points->applied_seq);
        assert_true(lathe_bytes_equal(
            lathe_bytes_of(points->data[i]->payload.data, points->data[i]->payload.len), payload));
        memcpy(&first, task->reply_block.data + points->data[i]->vectors[0]->offset, sizeof(first));
        assert_true(first == (float)round);
    }
    lathe_arena_fini(&arena);
}

static void check_search(struct lathe_task *task)
{
    const Lathe__Shard__SearchReply *reply = search_reply(task);
    const Lathe__Shard__Hits *hits = reply->hits[0];

    assert_int_equal(hits->n_scores, reply->applied_seq == 1 ? 0 : POINTS - POINTS / 10);
    assert_int_equal(hits->rows, hits->n_scores);
    for (size_t i = 0; i < hits->n_scores; i++)
        assert_true(hits->scores[i] == (float)(reply->applied_seq - 1));
}

static void check(struct lathe_task *task)
{
    switch (task->request.header.kind) {
    case LATHE_FRAME_WRITE:
        (void)write_reply(task);
        break;
    case LATHE_FRAME_LIST:
        check_list(task);
        break;
    default:
        check_search(task);
        break;
    }
    lathe_task_destroy(task);
}

static void answers_are_the_state_after_one_whole_request(void **state)
{
    static const uint32_t dims[] = {DIMS};
    static const enum lathe_metric metrics[] = {LATHE_DOT};
    struct parts parts;
    uint32_t collection;
    size_t inside = 0;

    (void)state;
    parts_init(&parts);
    collection = parts_create(&parts, 1, dims, metrics);
    for (uint32_t round = 1; round <= ROUNDS; round++) {
        parts_submit(&parts, round_task(&parts, collection, round));
        for (int i = 0; i < READS; i++)
            parts_submit(&parts, (round + (uint32_t)i) % 3 == 0 ? list_task(&parts, collection)
                                                                : search_task(&parts, collection));
        inside += 1 + READS;
        for (; inside > 20; inside--)
            check(parts_wait(&parts));
    }
    for (; inside > 0; inside--)
        check(parts_wait(&parts));
    parts_fini(&parts); /* the budget is back at zero */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_the_state_after_one_whole_request),
    };

    return cmocka_run_group_tests_name("snapshot", tests, NULL, NULL);
}
