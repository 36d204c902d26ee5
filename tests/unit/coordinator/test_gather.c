/* test_gather.c - the scatter/gather machine, stepped with a clock of the test's own. */
#include "tests/support/test.h"

#include <stdio.h>

#include "common/net/message.h"
#include "shard.pb-c.h"
#include "tests/unit/coordinator/gather_kit.h"

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
    assert_int_equal(lathe_gather_next_due(gather), 1000);
    assert_int_equal(answer(gather, 0, scatter->request_id), LATHE_GATHER_SETTLED);
    lathe_gather_expire(gather, 999);
    assert_null(lathe_gather_next_done(gather));
    lathe_gather_expire(gather, 1000);
    assert_ptr_equal(lathe_gather_next_done(gather), scatter);
    assert_int_equal(lathe_gather_next_due(gather), UINT64_MAX);
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
        uint64_t next = lathe_gather_next_due(gather);

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

/* ---- Giving up before the deadline ---------------------------------------------------------- */

static void a_give_up_time_completes_with_what_is_there(void **state)
{
    struct lathe_gather *gather = lathe_gather_create(4);
    struct lathe_scatter *scatter = scatter_make(0x1F, LATHE_FRAME_SEARCH, 1000);
    struct lathe_part *parts = scatter->parts;
    uint64_t id;

    (void)state;
    scatter->give_up_us = 700;
    lathe_gather_begin(gather, scatter, 100);
    id = scatter->request_id;
    assert_int_equal(lathe_gather_next_due(gather), 700);
    /* A shard holds what it searched until the deadline, for the phase that follows. */
    assert_int_equal(parts[0].request.header.budget_us, 900);
    assert_int_equal(answer_with(gather, 0, id, LATHE_FRAME_SEARCH, "first"), LATHE_GATHER_SETTLED);
    assert_int_equal(answer_with(gather, 0, id, LATHE_FRAME_SEARCH, "again"), LATHE_GATHER_IGNORED);
    lathe_gather_lose_shard(gather, 1, "gone");
    lathe_gather_expire(gather, 699);
    assert_null(lathe_gather_next_done(gather));
    assert_int_equal(answer(gather, 4, id), LATHE_GATHER_SETTLED);
    lathe_gather_expire(gather, 700);
    assert_ptr_equal(lathe_gather_next_done(gather), scatter);
    assert_null(lathe_gather_next_done(gather));
    assert_int_equal(lathe_gather_in_flight(gather), 0);
    assert_int_equal(parts[0].error.status, LATHE_OK);
    assert_true(lathe_bytes_equal(parts[0].reply.body, lathe_bytes_str("first")));
    assert_int_equal(parts[1].error.status, LATHE_UNAVAILABLE);
    assert_false(parts[1].abandoned);
    for (int shard = 2; shard < 4; shard++) { /* silent: their shards are told */
        assert_int_equal(parts[shard].error.status, LATHE_UNAVAILABLE);
        assert_true(parts[shard].error.retry_after_ms > 0);
        assert_true(parts[shard].abandoned);
    }
    assert_non_null(strstr(parts[3].error.message, "shard 3"));
    assert_int_equal(parts[4].error.status, LATHE_OK);
    /* What comes after it meets nothing, once or twice. */
    for (int i = 0; i < 2; i++)
        assert_int_equal(answer(gather, 2, id), LATHE_GATHER_IGNORED);
    assert_null(parts[2].reply.owner);
    assert_int_equal(lathe_gather_counts(gather).duplicate, 1);
    assert_int_equal(lathe_gather_counts(gather).late, 2);
    scatter_free(scatter);
    lathe_gather_destroy(gather);
}

static void the_phase_after_a_give_up_has_time_until_the_deadline(void **state)
{
    struct lathe_gather *gather = lathe_gather_create(4);
    struct lathe_scatter *scatter = scatter_make(0x3, LATHE_FRAME_SEARCH, 1000);
    uint64_t held;

    (void)state;
    scatter->give_up_us = 700;
    lathe_gather_begin(gather, scatter, 0);
    held = scatter->request_id;
    assert_int_equal(answer(gather, 0, held), LATHE_GATHER_SETTLED);
    lathe_gather_expire(gather, 750);
    assert_ptr_equal(lathe_gather_next_done(gather), scatter);

    assert_true(lathe_scatter_reset(scatter, 1));
    assert_int_equal(scatter->give_up_us, 0);
    scatter->parts[0].request.header.kind = LATHE_FRAME_FETCH;
    scatter->hold_request_id = held;
    lathe_gather_begin(gather, scatter, 760);
    assert_int_equal(lathe_gather_next_due(gather), 1000);
    assert_int_equal(scatter->parts[0].request.header.budget_us, 240);
    /* The silent shard's answer to the search, at last. */
    assert_int_equal(answer(gather, 1, held), LATHE_GATHER_IGNORED);
    lathe_gather_expire(gather, 999);
    assert_null(lathe_gather_next_done(gather));
    assert_int_equal(answer_with(gather, 0, held, LATHE_FRAME_FETCH, "rows"), LATHE_GATHER_SETTLED);
    assert_ptr_equal(lathe_gather_next_done(gather), scatter);
    assert_true(lathe_bytes_equal(scatter->parts[0].reply.body, lathe_bytes_str("rows")));
    scatter_free(scatter);
    lathe_gather_destroy(gather);
}

static void a_deadline_behind_us_is_one_whatever_the_give_up_time(void **state)
{
    struct lathe_gather *gather = lathe_gather_create(4);
    struct lathe_scatter *missed = scatter_make(0x1, LATHE_FRAME_SEARCH, 1000);
    struct lathe_scatter *beyond = scatter_make(0x1, LATHE_FRAME_SEARCH, 1000);

    (void)state;
    missed->give_up_us = 700; /* nobody looked at the clock in time */
    beyond->give_up_us = 1500;
    lathe_gather_begin(gather, beyond, 0);
    lathe_gather_begin(gather, missed, 0);
    assert_int_equal(lathe_gather_next_due(gather), 700);
    lathe_gather_expire(gather, 1000);
    assert_ptr_equal(lathe_gather_next_done(gather), missed);
    assert_ptr_equal(lathe_gather_next_done(gather), beyond);
    assert_int_equal(missed->parts[0].error.status, LATHE_DEADLINE_EXCEEDED);
    assert_int_equal(beyond->parts[0].error.status, LATHE_DEADLINE_EXCEEDED);
    scatter_free(missed);
    scatter_free(beyond);
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
        cmocka_unit_test(a_give_up_time_completes_with_what_is_there),
        cmocka_unit_test(the_phase_after_a_give_up_has_time_until_the_deadline),
        cmocka_unit_test(a_deadline_behind_us_is_one_whatever_the_give_up_time),
        cmocka_unit_test(a_part_that_was_not_sent_fails_alone),
        cmocka_unit_test(a_full_table_answers_at_once),
        cmocka_unit_test(a_lost_shard_fails_what_waits_for_it),
        cmocka_unit_test(a_shards_own_failure_is_passed_on_in_its_words),
        cmocka_unit_test(a_stale_route_is_unavailable_with_a_hint),
        cmocka_unit_test(a_fetch_goes_under_the_id_of_its_search),
    };

    test_rng_seed(&rng, "coordinator/gather");
    return cmocka_run_group_tests_name("coordinator/gather", tests, NULL, NULL);
}
