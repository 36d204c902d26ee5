/* test_gather_storm.c - random storms on the scatter/gather machine, against a simple model of it.
 */
#include "tests/support/test.h"

#include "tests/unit/coordinator/gather_kit.h"

enum { STORM_CAPACITY = 6, STORM_LIVE = 12, STORM_SENT = 64, STORM_STEPS = 40000 };

/* What should become of a part. */
enum expected { NOT_ASKED, WAITING, ANSWERED, FAILED, GIVEN_UP, EXPIRED, CANCELLED };

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

static uint64_t model_due(const struct model *model)
{
    const struct lathe_scatter *scatter = model->scatter;

    return scatter->give_up_us != 0 && scatter->give_up_us < scatter->deadline_us
               ? scatter->give_up_us
               : scatter->deadline_us;
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
        [ANSWERED] = LATHE_OK,          [FAILED] = LATHE_UNAVAILABLE,
        [GIVEN_UP] = LATHE_UNAVAILABLE, [EXPIRED] = LATHE_DEADLINE_EXCEEDED,
        [CANCELLED] = LATHE_CANCELLED,
    };

    assert_true(part->settled);
    assert_int_equal(part->error.status, statuses[expected]);
    assert_int_equal(part->reply.owner != NULL, expected == ANSWERED);
    assert_int_equal(part->abandoned, expected >= GIVEN_UP);
}

/* Exactly the requests that wait for nothing any more are done; they go, or go on as a fetch. */
static void storm_check(struct storm *storm)
{
    struct lathe_scatter *scatter;
    uint64_t due = UINT64_MAX;

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
        if (model_due(&storm->live[i]) < due)
            due = model_due(&storm->live[i]);
    }
    assert_int_equal(lathe_gather_in_flight(storm->gather), storm_in_flight(storm));
    assert_int_equal(lathe_gather_next_due(storm->gather), due);
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
    if (test_rng_below(storm->rng, 2) == 0)
        scatter->give_up_us = storm->now_us + test_rng_below(storm->rng, 40);
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
    for (int i = 0; i < STORM_LIVE; i++) {
        struct model *model = &storm->live[i];

        if (model->scatter == NULL || model_due(model) > storm->now_us)
            continue;
        model_give_up(model, model->scatter->deadline_us <= storm->now_us ? EXPIRED : GIVEN_UP);
    }
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
        cmocka_unit_test_prestate(storms_agree_with_a_simple_model, &rng),
    };

    test_rng_seed(&rng, "coordinator/gather_storm");
    return cmocka_run_group_tests_name("coordinator/gather_storm", tests, NULL, NULL);
}
