/* test_gather.c - the scatter/gather machine, stepped with a clock of the test's own. */
#include "tests/support/test.h"

#include <stdio.h>

#include "common/base/mem.h"
#include "common/net/message.h"
#include "coordinator/gather.h"
#include "shard.pb-c.h"

enum { SHARDS = 5 };

static void never_called(struct lathe_scatter *scatter)
{
    (void)scatter;
    fail_msg("the machine itself calls nobody");
}

/* A scatter to the shards of a bit mask. */
static struct lathe_scatter *scatter_make(unsigned shards, uint16_t kind, uint64_t deadline_us)
{
    struct lathe_scatter *scatter = lathe_zalloc(sizeof(*scatter));
    size_t part = 0;

    assert_true(lathe_scatter_reset(scatter, (size_t)__builtin_popcount(shards)));
    for (uint32_t shard = 0; shard < SHARDS; shard++) {
        if ((shards & 1u << shard) == 0)
            continue;
        scatter->parts[part].shard = shard;
        scatter->parts[part++].request.header.kind = kind;
    }
    scatter->deadline_us = deadline_us;
    scatter->done = never_called;
    return scatter;
}

static void scatter_free(struct lathe_scatter *scatter)
{
    lathe_scatter_fini(scatter);
    lathe_free(scatter);
}

static struct lathe_part *part_of(struct lathe_scatter *scatter, uint32_t shard)
{
    for (size_t i = 0; i < scatter->part_count; i++)
        if (scatter->parts[i].shard == shard)
            return &scatter->parts[i];
    return NULL;
}

static enum lathe_gather_verdict answer_with(struct lathe_gather *gather, uint32_t shard,
                                             uint64_t id, uint16_t kind, const char *text)
{
    struct lathe_frame_header header = {.kind = kind | LATHE_FRAME_REPLY, .request_id = id};
    struct lathe_buf body = {0};
    struct lathe_frame frame;
    enum lathe_gather_verdict verdict;

    lathe_buf_append(&body, text, strlen(text));
    assert_true(lathe_frame_make(&frame, &header, &body, NULL));
    verdict = lathe_gather_answer(gather, shard, &frame);
    assert_null(frame.owner); /* taken or dropped, never left */
    return verdict;
}

static enum lathe_gather_verdict answer(struct lathe_gather *gather, uint32_t shard, uint64_t id)
{
    return answer_with(gather, shard, id, LATHE_FRAME_SEARCH, "answer");
}

static enum lathe_gather_verdict fail_with(struct lathe_gather *gather, uint32_t shard, uint64_t id,
                                           uint32_t flags, const Lathe__Shard__Failure *failure)
{
    struct lathe_frame_header header = {
        .kind = LATHE_FRAME_ERROR | LATHE_FRAME_REPLY, .request_id = id, .flags = flags};
    struct lathe_buf body = {0};
    struct lathe_frame frame;

    lathe_message_encode(&failure->base, &body);
    assert_true(lathe_frame_make(&frame, &header, &body, NULL));
    return lathe_gather_answer(gather, shard, &frame);
}

static struct lathe_error unreachable(void)
{
    struct lathe_error err = {0};

    (void)lathe_fail(&err, LATHE_UNAVAILABLE, "not reachable");
    return err;
}

/* ---- One request ---------------------------------------------------------------------------- */

static void answers_in_any_order_complete_a_request(void **state)
{
    struct lathe_gather *gather = lathe_gather_create(4);
    struct lathe_scatter *scatter = scatter_make(0x1F, LATHE_FRAME_SEARCH, 1000);
    static const uint32_t order[] = {3, 0, 4, 1, 2};

    (void)state;
    lathe_gather_begin(gather, scatter, 400);
    assert_int_not_equal(scatter->request_id, 0);
    for (size_t i = 0; i < SHARDS; i++) {
        assert_int_equal(scatter->parts[i].request.header.request_id, scatter->request_id);
        assert_int_equal(scatter->parts[i].request.header.budget_us, 600);
        assert_false(scatter->parts[i].settled);
    }
    for (size_t i = 0; i < SHARDS; i++) {
        assert_null(lathe_gather_next_done(gather));
        assert_int_equal(answer(gather, order[i], scatter->request_id), LATHE_GATHER_SETTLED);
    }
    assert_ptr_equal(lathe_gather_next_done(gather), scatter);
    assert_null(lathe_gather_next_done(gather));
    assert_int_equal(lathe_gather_in_flight(gather), 0);
    assert_null(lathe_scatter_failed(scatter));
    for (size_t i = 0; i < SHARDS; i++) {
        assert_true(lathe_bytes_equal(scatter->parts[i].reply.body, lathe_bytes_str("answer")));
        assert_false(scatter->parts[i].abandoned);
    }
    scatter_free(scatter);
    lathe_gather_destroy(gather);
}

static void duplicates_are_dropped_and_counted(void **state)
{
    struct lathe_gather *gather = lathe_gather_create(4);
    struct lathe_scatter *scatter = scatter_make(0x3, LATHE_FRAME_SEARCH, 1000);

    (void)state;
    lathe_gather_begin(gather, scatter, 0);
    assert_int_equal(answer_with(gather, 1, scatter->request_id, LATHE_FRAME_SEARCH, "first"),
                     LATHE_GATHER_SETTLED);
    assert_int_equal(answer_with(gather, 1, scatter->request_id, LATHE_FRAME_SEARCH, "second"),
                     LATHE_GATHER_IGNORED);
    assert_true(lathe_bytes_equal(scatter->parts[1].reply.body, lathe_bytes_str("first")));
    assert_int_equal(lathe_gather_counts(gather).duplicate, 1);
    assert_int_equal(answer(gather, 0, scatter->request_id), LATHE_GATHER_SETTLED);
    assert_ptr_equal(lathe_gather_next_done(gather), scatter);
    assert_int_equal(answer(gather, 0, scatter->request_id), LATHE_GATHER_IGNORED);
    assert_int_equal(lathe_gather_counts(gather).late, 1);
    scatter_free(scatter);
    lathe_gather_destroy(gather);
}

static void frames_that_belong_to_nothing_are_dropped_and_counted(void **state)
{
    struct lathe_gather *gather = lathe_gather_create(4);
    struct lathe_scatter *scatter = scatter_make(0x1, LATHE_FRAME_SEARCH, 1000);
    uint64_t id;

    (void)state;
    lathe_gather_begin(gather, scatter, 0);
    id = scatter->request_id;
    assert_int_equal(answer(gather, 2, id), LATHE_GATHER_IGNORED); /* was not asked */
    assert_int_equal(answer(gather, 0, id + 1), LATHE_GATHER_IGNORED);
    assert_int_equal(answer(gather, 0, id + (1ull << 32)),
                     LATHE_GATHER_IGNORED); /* of the future */
    assert_int_equal(answer(gather, 0, (uint32_t)id), LATHE_GATHER_IGNORED);
    assert_int_equal(answer(gather, 0, UINT64_MAX), LATHE_GATHER_IGNORED);
    assert_int_equal(answer(gather, 0, id | 4), LATHE_GATHER_IGNORED); /* past the table */
    assert_int_equal(lathe_gather_counts(gather).unknown, 6);
    assert_int_equal(answer_with(gather, 0, id, LATHE_FRAME_GET, ""), LATHE_GATHER_IGNORED);
    assert_int_equal(lathe_gather_counts(gather).late, 1); /* another kind than was asked */
    assert_false(scatter->parts[0].settled);
    assert_int_equal(answer(gather, 0, id), LATHE_GATHER_SETTLED);
    assert_ptr_equal(lathe_gather_next_done(gather), scatter);
    scatter_free(scatter);
    lathe_gather_destroy(gather);
}

static void a_used_id_never_matches_again(void **state)
{
    struct lathe_gather *gather = lathe_gather_create(1);
    struct lathe_scatter *first = scatter_make(0x1, LATHE_FRAME_SEARCH, 1000);
    struct lathe_scatter *second = scatter_make(0x1, LATHE_FRAME_SEARCH, 1000);

    (void)state;
    lathe_gather_begin(gather, first, 0);
    lathe_gather_expire(gather, 1000);
    assert_ptr_equal(lathe_gather_next_done(gather), first);
    lathe_gather_begin(gather, second, 500);
    assert_int_equal((uint32_t)second->request_id, (uint32_t)first->request_id);
    assert_int_not_equal(second->request_id, first->request_id);
    assert_int_equal(answer(gather, 0, first->request_id), LATHE_GATHER_IGNORED);
    assert_int_equal(lathe_gather_counts(gather).late, 1);
    assert_false(second->parts[0].settled);
    assert_int_equal(answer(gather, 0, second->request_id), LATHE_GATHER_SETTLED);
    assert_ptr_equal(lathe_gather_next_done(gather), second);
    scatter_free(first);
    scatter_free(second);
    lathe_gather_destroy(gather);
}

/* ---- Deadlines and cancellation ------------------------------------------------------------- */

static void a_deadline_at_now_has_passed(void **state)
{
    struct lathe_gather *gather = lathe_gather_create(4);
    struct lathe_scatter *scatter = scatter_make(0x3, LATHE_FRAME_SEARCH, 1000);

    (void)state;
    lathe_gather_begin(gather, scatter, 0);
    assert_int_equal(lathe_gather_deadline(gather), 1000);
    assert_int_equal(answer(gather, 0, scatter->request_id), LATHE_GATHER_SETTLED);
    lathe_gather_expire(gather, 999);
    assert_null(lathe_gather_next_done(gather));
    lathe_gather_expire(gather, 1000);
    assert_ptr_equal(lathe_gather_next_done(gather), scatter);
    assert_int_equal(lathe_gather_deadline(gather), UINT64_MAX);
    assert_int_equal(scatter->parts[0].error.status, LATHE_OK);
    assert_false(scatter->parts[0].abandoned);
    assert_int_equal(scatter->parts[1].error.status, LATHE_DEADLINE_EXCEEDED);
    assert_true(scatter->parts[1].abandoned);
    assert_non_null(strstr(scatter->parts[1].error.message, "shard 1"));
    assert_ptr_equal(lathe_scatter_failed(scatter), &scatter->parts[1]);
    scatter_free(scatter);
    lathe_gather_destroy(gather);
}

static void what_comes_too_late_is_not_sent(void **state)
{
    struct lathe_gather *gather = lathe_gather_create(4);
    struct lathe_scatter *scatter = scatter_make(0x3, LATHE_FRAME_SEARCH, 1000);

    (void)state;
    lathe_gather_begin(gather, scatter, 1000);
    for (int i = 0; i < 2; i++) {
        assert_true(scatter->parts[i].settled);
        assert_false(scatter->parts[i].abandoned); /* no shard knows of it */
        assert_int_equal(scatter->parts[i].error.status, LATHE_DEADLINE_EXCEEDED);
    }
    assert_ptr_equal(lathe_gather_next_done(gather), scatter);
    scatter_free(scatter);
    lathe_gather_destroy(gather);
}

static void a_request_without_deadline_waits_for_ever(void **state)
{
    struct lathe_gather *gather = lathe_gather_create(4);
    struct lathe_scatter *scatter = scatter_make(0x1, LATHE_FRAME_SEARCH, UINT64_MAX);

    (void)state;
    lathe_gather_begin(gather, scatter, 5);
    assert_int_equal(scatter->parts[0].request.header.budget_us, UINT64_MAX);
    lathe_gather_expire(gather, UINT64_MAX - 1);
    assert_null(lathe_gather_next_done(gather));
    assert_int_equal(answer(gather, 0, scatter->request_id), LATHE_GATHER_SETTLED);
    assert_ptr_equal(lathe_gather_next_done(gather), scatter);
    lathe_gather_expire(gather, UINT64_MAX);
    scatter_free(scatter);
    lathe_gather_destroy(gather);
}

static void a_cancellation_gives_up_what_is_missing(void **state)
{
    struct lathe_gather *gather = lathe_gather_create(4);
    struct lathe_scatter *scatter = scatter_make(0x7, LATHE_FRAME_SEARCH, 1000);
    struct lathe_scatter *other = scatter_make(0x1, LATHE_FRAME_SEARCH, 1000);

    (void)state;
    lathe_gather_begin(gather, scatter, 0);
    lathe_gather_begin(gather, other, 0);
    assert_int_equal(answer(gather, 1, scatter->request_id), LATHE_GATHER_SETTLED);
    atomic_store(&scatter->cancelled, true);
    lathe_gather_cancel_marked(gather);
    assert_ptr_equal(lathe_gather_next_done(gather), scatter);
    assert_null(lathe_gather_next_done(gather));
    assert_int_equal(scatter->parts[1].error.status, LATHE_OK);
    assert_int_equal(scatter->parts[2].error.status, LATHE_CANCELLED);
    assert_true(scatter->parts[2].abandoned);
    /* The answers that were on their way meet nothing, and a second cancellation does nothing. */
    assert_int_equal(answer(gather, 0, scatter->request_id), LATHE_GATHER_IGNORED);
    lathe_gather_cancel_marked(gather);
    assert_null(lathe_gather_next_done(gather));
    assert_int_equal(lathe_gather_in_flight(gather), 1);
    lathe_gather_cancel_all(gather);
    assert_ptr_equal(lathe_gather_next_done(gather), other);
    scatter_free(scatter);
    scatter_free(other);
    lathe_gather_destroy(gather);
}

static void a_cancellation_after_the_last_answer_changes_nothing(void **state)
{
    struct lathe_gather *gather = lathe_gather_create(4);
    struct lathe_scatter *scatter = scatter_make(0x1, LATHE_FRAME_SEARCH, 1000);

    (void)state;
    lathe_gather_begin(gather, scatter, 0);
    assert_int_equal(answer(gather, 0, scatter->request_id), LATHE_GATHER_SETTLED);
    atomic_store(&scatter->cancelled, true);
    lathe_gather_cancel_marked(gather);
    assert_ptr_equal(lathe_gather_next_done(gather), scatter);
    assert_null(lathe_scatter_failed(scatter));
    /* It stays cancelled over the phases: the next one does not begin. */
    assert_true(lathe_scatter_reset(scatter, 1));
    scatter->parts[0].request.header.kind = LATHE_FRAME_FETCH;
    lathe_gather_begin(gather, scatter, 0);
    assert_ptr_equal(lathe_gather_next_done(gather), scatter);
    assert_int_equal(scatter->parts[0].error.status, LATHE_CANCELLED);
    scatter_free(scatter);
    lathe_gather_destroy(gather);
}

static void deadlines_pass_in_their_order(void **state)
{
    enum { COUNT = 200 };
    struct lathe_gather *gather = lathe_gather_create(COUNT);
    struct lathe_scatter *scatter;
    struct test_rng *rng = *state;
    uint64_t last = 0;

    for (int i = 0; i < COUNT; i++)
        lathe_gather_begin(gather,
                           scatter_make(0x1, LATHE_FRAME_SEARCH, 10 + test_rng_below(rng, 500)), 0);
    for (int i = 0; i < COUNT; i++) {
        uint64_t next = lathe_gather_deadline(gather);

        if (next == UINT64_MAX)
            break;
        assert_true(next > last);
        last = next;
        lathe_gather_expire(gather, next);
        while ((scatter = lathe_gather_next_done(gather)) != NULL) {
            assert_int_equal(scatter->deadline_us, next);
            scatter_free(scatter);
        }
    }
    assert_int_equal(lathe_gather_in_flight(gather), 0);
    lathe_gather_destroy(gather);
}

/* ---- Failures ------------------------------------------------------------------------------- */

static void a_part_that_was_not_sent_fails_alone(void **state)
{
    struct lathe_gather *gather = lathe_gather_create(4);
    struct lathe_scatter *scatter = scatter_make(0x3, LATHE_FRAME_SEARCH, 1000);
    struct lathe_error err = unreachable();

    (void)state;
    lathe_gather_begin(gather, scatter, 0);
    lathe_gather_fail_part(gather, scatter, &scatter->parts[0], &err);
    assert_null(lathe_gather_next_done(gather));
    assert_int_equal(answer(gather, 1, scatter->request_id), LATHE_GATHER_SETTLED);
    assert_ptr_equal(lathe_gather_next_done(gather), scatter);
    assert_int_equal(scatter->parts[0].error.status, LATHE_UNAVAILABLE);
    assert_false(scatter->parts[0].abandoned);
    assert_int_equal(scatter->parts[1].error.status, LATHE_OK);
    scatter_free(scatter);
    lathe_gather_destroy(gather);
}

static void a_full_table_answers_at_once(void **state)
{
    struct lathe_gather *gather = lathe_gather_create(1);
    struct lathe_scatter *first = scatter_make(0x1, LATHE_FRAME_SEARCH, 1000);
    struct lathe_scatter *second = scatter_make(0x1, LATHE_FRAME_SEARCH, 1000);

    (void)state;
    lathe_gather_begin(gather, first, 0);
    lathe_gather_begin(gather, second, 0);
    assert_ptr_equal(lathe_gather_next_done(gather), second);
    assert_int_equal(second->parts[0].error.status, LATHE_RESOURCE_EXHAUSTED);
    assert_true(second->parts[0].error.retry_after_ms > 0);
    assert_int_equal(answer(gather, 0, first->request_id), LATHE_GATHER_SETTLED);
    assert_ptr_equal(lathe_gather_next_done(gather), first);
    scatter_free(first);
    scatter_free(second);
    lathe_gather_destroy(gather);
}

static void a_lost_shard_fails_what_waits_for_it(void **state)
{
    struct lathe_gather *gather = lathe_gather_create(4);
    struct lathe_scatter *both = scatter_make(0x3, LATHE_FRAME_SEARCH, 1000);
    struct lathe_scatter *only = scatter_make(0x2, LATHE_FRAME_SEARCH, 1000);
    struct lathe_scatter *other = scatter_make(0x4, LATHE_FRAME_SEARCH, 1000);

    (void)state;
    lathe_gather_begin(gather, both, 0);
    lathe_gather_begin(gather, only, 0);
    lathe_gather_begin(gather, other, 0);
    lathe_gather_lose_shard(gather, 1, "gone");
    assert_ptr_equal(lathe_gather_next_done(gather), only);
    assert_null(lathe_gather_next_done(gather));
    assert_int_equal(only->parts[0].error.status, LATHE_UNAVAILABLE);
    assert_non_null(strstr(only->parts[0].error.message, "shard 1 is lost: gone"));
    assert_int_equal(both->parts[1].error.status, LATHE_UNAVAILABLE);
    assert_int_equal(answer(gather, 0, both->request_id), LATHE_GATHER_SETTLED);
    assert_ptr_equal(lathe_gather_next_done(gather), both);
    assert_int_equal(lathe_gather_in_flight(gather), 1);
    lathe_gather_cancel_all(gather);
    assert_ptr_equal(lathe_gather_next_done(gather), other);
    scatter_free(both);
    scatter_free(only);
    scatter_free(other);
    lathe_gather_destroy(gather);
}

static void a_shards_own_failure_is_passed_on_in_its_words(void **state)
{
    struct lathe_gather *gather = lathe_gather_create(4);
    struct lathe_scatter *scatter = scatter_make(0x7, LATHE_FRAME_SEARCH, 1000);
    Lathe__Shard__Failure failure = LATHE__SHARD__FAILURE__INIT;
    struct lathe_part *parts = scatter->parts;

    (void)state;
    lathe_gather_begin(gather, scatter, 0);
    failure.status = LATHE_RESOURCE_EXHAUSTED;
    failure.message = "memory is at its limit";
    failure.field = "operations";
    failure.retry_after_ms = 250;
    assert_int_equal(fail_with(gather, 0, scatter->request_id, LATHE_FRAME_SEARCH, &failure),
                     LATHE_GATHER_SETTLED);
    assert_int_equal(parts[0].error.status, LATHE_RESOURCE_EXHAUSTED);
    assert_string_equal(parts[0].error.message, "memory is at its limit");
    assert_string_equal(parts[0].error.field, "operations");
    assert_int_equal(parts[0].error.retry_after_ms, 250);
    failure.status = LATHE_OK; /* a failure that says it is none */
    assert_int_equal(fail_with(gather, 1, scatter->request_id, 0, &failure), LATHE_GATHER_SETTLED);
    assert_int_equal(parts[1].error.status, LATHE_INTERNAL);
    assert_int_equal(
        answer_with(gather, 2, scatter->request_id, LATHE_FRAME_ERROR, "\x12\x50garbage"),
        LATHE_GATHER_SETTLED);
    assert_int_equal(parts[2].error.status, LATHE_INTERNAL);
    assert_non_null(strstr(parts[2].error.message, "shard 2 sent an unreadable failure"));
    assert_ptr_equal(lathe_gather_next_done(gather), scatter);
    scatter_free(scatter);
    lathe_gather_destroy(gather);
}

static void a_stale_route_is_unavailable_with_a_hint(void **state)
{
    struct lathe_gather *gather = lathe_gather_create(4);
    struct lathe_scatter *scatter = scatter_make(0x1, LATHE_FRAME_SEARCH, 1000);
    Lathe__Shard__Failure failure = LATHE__SHARD__FAILURE__INIT;

    (void)state;
    lathe_gather_begin(gather, scatter, 0);
    failure.status = LATHE_FAILED_PRECONDITION;
    failure.message = "collection 7 is not here";
    failure.stale_route = true;
    assert_int_equal(fail_with(gather, 0, scatter->request_id, 0, &failure), LATHE_GATHER_STALE);
    assert_int_equal(scatter->parts[0].error.status, LATHE_UNAVAILABLE);
    assert_true(scatter->parts[0].error.retry_after_ms > 0);
    assert_string_equal(scatter->parts[0].error.message, "collection 7 is not here");
    assert_ptr_equal(lathe_gather_next_done(gather), scatter);
    /* The same again is of the past: it says nothing about the shard as it is now. */
    assert_int_equal(fail_with(gather, 0, scatter->request_id, 0, &failure), LATHE_GATHER_IGNORED);
    scatter_free(scatter);
    lathe_gather_destroy(gather);
}

/* ---- Held searches -------------------------------------------------------------------------- */

static void a_fetch_goes_under_the_id_of_its_search(void **state)
{
    struct lathe_gather *gather = lathe_gather_create(4);
    struct lathe_scatter *search = scatter_make(0x3, LATHE_FRAME_SEARCH, 1000);
    struct lathe_scatter *between = scatter_make(0x3, LATHE_FRAME_SEARCH, 1000);
    Lathe__Shard__Failure failure = LATHE__SHARD__FAILURE__INIT;
    uint64_t held;

    (void)state;
    failure.status = LATHE_ALREADY_EXISTS;
    lathe_gather_begin(gather, search, 0);
    held = search->request_id;
    assert_int_equal(answer(gather, 0, held), LATHE_GATHER_SETTLED);
    assert_int_equal(answer(gather, 1, held), LATHE_GATHER_SETTLED);
    assert_ptr_equal(lathe_gather_next_done(gather), search);
    lathe_gather_begin(gather, between, 0); /* takes the slot that is free now */
    assert_int_equal((uint32_t)between->request_id, (uint32_t)held);

    assert_true(lathe_scatter_reset(search, 1));
    search->parts[0].shard = 1;
    search->parts[0].request.header.kind = LATHE_FRAME_FETCH;
    search->hold_request_id = held;
    lathe_gather_begin(gather, search, 0);
    assert_int_equal(search->request_id, held);
    assert_int_equal(search->parts[0].request.header.request_id, held);
    /* What the search still sends, answer or failure, is not the fetch's. */
    assert_int_equal(answer(gather, 1, held), LATHE_GATHER_IGNORED);
    assert_int_equal(fail_with(gather, 1, held, LATHE_FRAME_SEARCH, &failure),
                     LATHE_GATHER_IGNORED);
    assert_int_equal(lathe_gather_counts(gather).late, 2);
    assert_int_equal(answer_with(gather, 1, held, LATHE_FRAME_FETCH, "rows"), LATHE_GATHER_SETTLED);
    assert_ptr_equal(lathe_gather_next_done(gather), search);
    assert_true(lathe_bytes_equal(search->parts[0].reply.body, lathe_bytes_str("rows")));
    assert_int_equal(answer(gather, 0, between->request_id), LATHE_GATHER_SETTLED);
    assert_int_equal(answer(gather, 1, between->request_id), LATHE_GATHER_SETTLED);
    assert_ptr_equal(lathe_gather_next_done(gather), between);
    scatter_free(search);
    scatter_free(between);
    lathe_gather_destroy(gather);
}

/* ---- Storms against a simple model ----------------------------------------------------------- */

enum { STORM_CAPACITY = 6, STORM_LIVE = 12, STORM_SENT = 64, STORM_STEPS = 40000 };

/* What should become of a part. */
enum expected { NOT_ASKED, WAITING, ANSWERED, FAILED, EXPIRED, CANCELLED };

struct model {
    struct lathe_scatter *scatter; /* NULL = unused */
    uint64_t id;
    uint16_t kind;
    enum expected parts[SHARDS];
};

struct storm {
    struct lathe_gather *gather;
    struct test_rng *rng;
    uint64_t now_us;
    struct model live[STORM_LIVE];
    struct { /* what was sent: may be answered at any time, in any order, any number of times */
        uint64_t id;
        uint16_t kind;
        uint32_t shard;
    } sent[STORM_SENT];
    size_t sent_count;
    size_t settled, ignored, completed;
};

static bool waits(const struct model *model)
{
    for (int shard = 0; shard < SHARDS; shard++)
        if (model->parts[shard] == WAITING)
            return true;
    return false;
}

static void model_give_up(struct model *model, enum expected outcome)
{
    for (int shard = 0; shard < SHARDS; shard++)
        if (model->parts[shard] == WAITING)
            model->parts[shard] = outcome;
}

static size_t storm_in_flight(struct storm *storm)
{
    size_t count = 0;

    for (int i = 0; i < STORM_LIVE; i++)
        count += storm->live[i].scatter != NULL;
    return count;
}

static void check_part(const struct lathe_part *part, enum expected expected)
{
    static const enum lathe_status statuses[] = {
        [ANSWERED] = LATHE_OK,
        [FAILED] = LATHE_UNAVAILABLE,
        [EXPIRED] = LATHE_DEADLINE_EXCEEDED,
        [CANCELLED] = LATHE_CANCELLED,
    };

    assert_true(part->settled);
    assert_int_equal(part->error.status, statuses[expected]);
    assert_int_equal(part->reply.owner != NULL, expected == ANSWERED);
    assert_int_equal(part->abandoned, expected == EXPIRED || expected == CANCELLED);
}

/* Exactly the requests that wait for nothing any more are done; they go, or go on as a fetch. */
static void storm_check(struct storm *storm)
{
    struct lathe_scatter *scatter;
    uint64_t deadline = UINT64_MAX;

    while ((scatter = lathe_gather_next_done(storm->gather)) != NULL) {
        struct model *model = storm->live;

        while (model->scatter != scatter)
            assert_true(++model < storm->live + STORM_LIVE);
        assert_false(waits(model));
        for (uint32_t shard = 0; shard < SHARDS; shard++)
            if (model->parts[shard] != NOT_ASKED)
                check_part(part_of(scatter, shard), model->parts[shard]);
        storm->completed++;
        model->scatter = NULL;
        scatter_free(scatter);
    }
    for (int i = 0; i < STORM_LIVE; i++) {
        if (storm->live[i].scatter == NULL)
            continue;
        assert_true(waits(&storm->live[i]));
        if (storm->live[i].scatter->deadline_us < deadline)
            deadline = storm->live[i].scatter->deadline_us;
    }
    assert_int_equal(lathe_gather_in_flight(storm->gather), storm_in_flight(storm));
    assert_int_equal(lathe_gather_deadline(storm->gather), deadline);
}

static void storm_note_sent(struct storm *storm, uint64_t id, uint16_t kind, uint32_t shard)
{
    size_t at = storm->sent_count < STORM_SENT ? storm->sent_count++
                                               : test_rng_below(storm->rng, STORM_SENT);

    storm->sent[at].id = id;
    storm->sent[at].kind = kind;
    storm->sent[at].shard = shard;
}

/* An id that was used before and is not in flight now, for a fetch; 0 if none was found. */
static uint64_t storm_old_id(struct storm *storm)
{
    uint64_t id;

    if (storm->sent_count == 0 || test_rng_below(storm->rng, 3) != 0)
        return 0;
    id = storm->sent[test_rng_below(storm->rng, storm->sent_count)].id;
    for (int i = 0; i < STORM_LIVE; i++)
        if (storm->live[i].scatter != NULL && storm->live[i].id == id)
            return 0;
    return id;
}

static void storm_begin(struct storm *storm)
{
    unsigned shards = 1 + (unsigned)test_rng_below(storm->rng, (1u << SHARDS) - 1);
    uint64_t held = storm_old_id(storm);
    uint16_t kind = held != 0 ? LATHE_FRAME_FETCH : LATHE_FRAME_SEARCH;
    bool full = storm_in_flight(storm) == STORM_CAPACITY;
    struct model *model = storm->live;
    struct lathe_scatter *scatter;

    while (model->scatter != NULL)
        assert_true(++model < storm->live + STORM_LIVE);
    scatter = scatter_make(shards, kind, storm->now_us + test_rng_below(storm->rng, 40));
    scatter->hold_request_id = held;
    lathe_gather_begin(storm->gather, scatter, storm->now_us);
    if (full || scatter->deadline_us == storm->now_us) {
        assert_ptr_equal(lathe_gather_next_done(storm->gather), scatter);
        assert_int_equal(scatter->parts[0].error.status, scatter->deadline_us == storm->now_us
                                                             ? LATHE_DEADLINE_EXCEEDED
                                                             : LATHE_RESOURCE_EXHAUSTED);
        scatter_free(scatter);
        return;
    }
    *model = (struct model){.scatter = scatter, .id = scatter->request_id, .kind = kind};
    for (uint32_t shard = 0; shard < SHARDS; shard++) {
        if ((shards & 1u << shard) == 0)
            continue;
        model->parts[shard] = WAITING;
        storm_note_sent(storm, model->id, kind, shard);
    }
}

static void storm_answer(struct storm *storm)
{
    enum lathe_gather_verdict expected = LATHE_GATHER_IGNORED;
    uint32_t shard;
    uint16_t kind;
    uint64_t id;
    size_t at;

    if (storm->sent_count == 0)
        return;
    at = test_rng_below(storm->rng, storm->sent_count);
    id = storm->sent[at].id;
    kind = storm->sent[at].kind;
    shard = storm->sent[at].shard;
    if (test_rng_below(storm->rng, 30) == 0)
        shard = (uint32_t)test_rng_below(storm->rng, SHARDS);
    for (int i = 0; i < STORM_LIVE; i++) {
        struct model *model = &storm->live[i];

        if (model->scatter != NULL && model->id == id && model->kind == kind &&
            model->parts[shard] == WAITING) {
            model->parts[shard] = ANSWERED;
            expected = LATHE_GATHER_SETTLED;
        }
    }
    assert_int_equal(answer_with(storm->gather, shard, id, kind, "x"), expected);
    storm->settled += expected == LATHE_GATHER_SETTLED;
    storm->ignored += expected == LATHE_GATHER_IGNORED;
}

/* Picks a request in flight; NULL if there is none. */
static struct model *storm_pick(struct storm *storm)
{
    size_t count = storm_in_flight(storm), wanted;

    if (count == 0)
        return NULL;
    wanted = test_rng_below(storm->rng, count);
    for (int i = 0;; i++)
        if (storm->live[i].scatter != NULL && wanted-- == 0)
            return &storm->live[i];
}

static void storm_fail_part(struct storm *storm)
{
    struct lathe_error err = unreachable();
    struct model *model = storm_pick(storm);
    uint32_t shard = (uint32_t)test_rng_below(storm->rng, SHARDS);

    if (model == NULL || model->parts[shard] != WAITING)
        return;
    model->parts[shard] = FAILED;
    lathe_gather_fail_part(storm->gather, model->scatter, part_of(model->scatter, shard), &err);
}

static void storm_cancel(struct storm *storm)
{
    struct model *model = storm_pick(storm);

    if (model == NULL)
        return;
    model_give_up(model, CANCELLED);
    atomic_store(&model->scatter->cancelled, true);
    lathe_gather_cancel_marked(storm->gather);
}

static void storm_expire(struct storm *storm)
{
    storm->now_us += test_rng_below(storm->rng, 8);
    for (int i = 0; i < STORM_LIVE; i++)
        if (storm->live[i].scatter != NULL && storm->live[i].scatter->deadline_us <= storm->now_us)
            model_give_up(&storm->live[i], EXPIRED);
    lathe_gather_expire(storm->gather, storm->now_us);
}

static void storm_lose_shard(struct storm *storm)
{
    uint32_t shard = (uint32_t)test_rng_below(storm->rng, SHARDS);

    for (int i = 0; i < STORM_LIVE; i++)
        if (storm->live[i].scatter != NULL && storm->live[i].parts[shard] == WAITING)
            storm->live[i].parts[shard] = FAILED;
    lathe_gather_lose_shard(storm->gather, shard, "storm");
}

static void storms_agree_with_a_simple_model(void **state)
{
    struct storm storm = {.gather = lathe_gather_create(STORM_CAPACITY), .rng = *state};

    for (int step = 0; step < STORM_STEPS; step++) {
        uint64_t dice = test_rng_below(storm.rng, 100);

        if (dice < 25)
            storm_begin(&storm);
        else if (dice < 80)
            storm_answer(&storm);
        else if (dice < 85)
            storm_fail_part(&storm);
        else if (dice < 88)
            storm_cancel(&storm);
        else if (dice < 99)
            storm_expire(&storm);
        else
            storm_lose_shard(&storm);
        storm_check(&storm);
    }
    assert_true(storm.settled > 1000 && storm.ignored > 1000 && storm.completed > 1000);
    for (int i = 0; i < STORM_LIVE; i++)
        model_give_up(&storm.live[i], CANCELLED);
    lathe_gather_cancel_all(storm.gather);
    storm_check(&storm);
    lathe_gather_destroy(storm.gather);
}

int main(void)
{
    static struct test_rng rng;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_in_any_order_complete_a_request),
        cmocka_unit_test(duplicates_are_dropped_and_counted),
        cmocka_unit_test(frames_that_belong_to_nothing_are_dropped_and_counted),
        cmocka_unit_test(a_used_id_never_matches_again),
        cmocka_unit_test(a_deadline_at_now_has_passed),
        cmocka_unit_test(what_comes_too_late_is_not_sent),
        cmocka_unit_test(a_request_without_deadline_waits_for_ever),
        cmocka_unit_test(a_cancellation_gives_up_what_is_missing),
        cmocka_unit_test(a_cancellation_after_the_last_answer_changes_nothing),
        cmocka_unit_test_prestate(deadlines_pass_in_their_order, &rng),
        cmocka_unit_test(a_part_that_was_not_sent_fails_alone),
        cmocka_unit_test(a_full_table_answers_at_once),
        cmocka_unit_test(a_lost_shard_fails_what_waits_for_it),
        cmocka_unit_test(a_shards_own_failure_is_passed_on_in_its_words),
        cmocka_unit_test(a_stale_route_is_unavailable_with_a_hint),
        cmocka_unit_test(a_fetch_goes_under_the_id_of_its_search),
        cmocka_unit_test_prestate(storms_agree_with_a_simple_model, &rng),
    };

    test_rng_seed(&rng, "coordinator/gather");
    return cmocka_run_group_tests_name("coordinator/gather", tests, NULL, NULL);
}
