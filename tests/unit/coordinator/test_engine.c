/* test_engine.c - the engine's thread against shards that answer, fail, repeat themselves or stay
 * silent. */
#include "tests/support/test.h"

#include <stdlib.h>

#include "tests/unit/coordinator/engine_kit.h"

static void every_shard_is_asked_and_answers(void **state)
{
    struct cluster cluster;
    struct call call;

    (void)state;
    cluster_open(&cluster);
    assert_int_equal(lathe_engine_shard_count(cluster.engine), SHARDS);
    call_run(&cluster, &call, all_echo, LONG_US);
    assert_null(lathe_scatter_failed(&call.scatter));
    for (int i = 0; i < SHARDS; i++) {
        check_answered(&call.scatter.parts[i]);
        fake_shard_wait(&cluster.shards[i], &cluster.shards[i].requests, 1);
        assert_true(cluster.shards[i].last_budget_us > 0);
        assert_true(cluster.shards[i].last_budget_us <= LONG_US);
    }
    call_fini(&call);
    cluster_close(&cluster);
}

static void shards_may_come_up_after_the_engine(void **state)
{
    struct cluster cluster = {.net = lathe_net_create()};
    struct lathe_engine_config config = {
        .clock = &lathe_system_clock,
        .net = cluster.net,
        .endpoints = endpoints,
        .shard_count = SHARDS,
        .queue_capacity = 4,
    };
    struct call call;

    (void)state;
    assert_int_equal(sem_init(&cluster.stale_calls, 0, 0), 0);
    assert_int_equal(lathe_engine_start(&config, &cluster.engine, NULL), LATHE_OK);
    assert_false(lathe_engine_ready(cluster.engine));
    call_run(&cluster, &call, all_echo, LONG_US); /* fails at once: nobody has said HELLO */
    assert_int_equal(call.scatter.parts[2].error.status, LATHE_UNAVAILABLE);
    assert_non_null(strstr(call.scatter.parts[2].error.message, "shard 2"));
    assert_true(call.scatter.parts[2].error.retry_after_ms > 0);
    call_fini(&call);
    for (uint32_t i = 0; i < SHARDS; i++)
        fake_shard_start(&cluster.shards[i], cluster.net, endpoints[i], i);
    wait_ready(cluster.engine, true);
    check_well(&cluster);
    cluster_close(&cluster);
}

static void a_silent_shard_is_given_up_at_the_deadline_and_told(void **state)
{
    static const enum behaviour behaviours[SHARDS] = {ECHO, SILENT, ECHO};
    struct cluster cluster;
    struct call call;

    (void)state;
    cluster_open(&cluster);
    call_run(&cluster, &call, behaviours, 30000);
    assert_true(now_us() >= call.scatter.deadline_us);
    check_answered(&call.scatter.parts[0]);
    check_answered(&call.scatter.parts[2]);
    assert_int_equal(call.scatter.parts[1].error.status, LATHE_DEADLINE_EXCEEDED);
    fake_shard_wait(&cluster.shards[1], &cluster.shards[1].cancels, 1);
    assert_int_equal(cluster.shards[1].last_cancel, call.scatter.request_id);
    call_fini(&call);
    check_well(&cluster);
    assert_int_equal(fake_shard_count(&cluster.shards[0], &cluster.shards[0].cancels), 0);
    cluster_close(&cluster);
}

static void a_cancelled_call_is_given_up_and_its_shards_are_told(void **state)
{
    static const enum behaviour behaviours[SHARDS] = {SILENT, SILENT, ECHO};
    struct cluster cluster;
    struct call call;

    (void)state;
    cluster_open(&cluster);
    call_init(&call, behaviours, LONG_US);
    assert_int_equal(lathe_engine_submit(cluster.engine, &call.scatter), LATHE_OK);
    fake_shard_wait(&cluster.shards[0], &cluster.shards[0].requests, 1);
    assert_int_equal(lathe_engine_in_flight(cluster.engine), 1);
    lathe_engine_cancel(cluster.engine, &call.scatter);
    wait_sem(&call.done);
    assert_int_equal(call.scatter.parts[0].error.status, LATHE_CANCELLED);
    assert_int_equal(call.scatter.parts[1].error.status, LATHE_CANCELLED);
    for (int i = 0; i < 2; i++) {
        fake_shard_wait(&cluster.shards[i], &cluster.shards[i].cancels, 1);
        assert_int_equal(cluster.shards[i].last_cancel, call.scatter.request_id);
    }
    call_fini(&call);
    check_well(&cluster);
    cluster_close(&cluster);
}

static void repeated_and_alien_answers_do_no_harm(void **state)
{
    static const enum behaviour behaviours[SHARDS] = {TWICE, ALIEN, TWICE};
    struct cluster cluster;

    (void)state;
    cluster_open(&cluster);
    for (int i = 0; i < 20; i++) {
        struct call call;

        call_run(&cluster, &call, behaviours, LONG_US);
        for (int j = 0; j < SHARDS; j++)
            check_answered(&call.scatter.parts[j]);
        call_fini(&call);
    }
    check_well(&cluster);
    cluster_close(&cluster);
}

static void an_answer_after_the_deadline_is_dropped(void **state)
{
    static const enum behaviour behaviours[SHARDS] = {ECHO, LATE, ECHO};
    struct cluster cluster;
    struct call call;

    (void)state;
    cluster_open(&cluster);
    call_run(&cluster, &call, behaviours, 20000); /* the CANCEL makes the shard answer */
    assert_int_equal(call.scatter.parts[1].error.status, LATHE_DEADLINE_EXCEEDED);
    call_fini(&call);
    check_well(&cluster);
    cluster_close(&cluster);
}

static void a_failure_is_the_shards_own(void **state)
{
    static const enum behaviour behaviours[SHARDS] = {ECHO, FAILING, ECHO};
    struct cluster cluster;
    struct call call;

    (void)state;
    cluster_open(&cluster);
    call_run(&cluster, &call, behaviours, LONG_US);
    assert_ptr_equal(lathe_scatter_failed(&call.scatter), &call.scatter.parts[1]);
    assert_int_equal(call.scatter.parts[1].error.status, LATHE_RESOURCE_EXHAUSTED);
    assert_string_equal(call.scatter.parts[1].error.message, "as the test wants");
    call_fini(&call);
    cluster_close(&cluster);
}

static void a_stale_shard_is_greeted_again_and_reported(void **state)
{
    static const enum behaviour behaviours[SHARDS] = {ECHO, ECHO, STALE};
    struct cluster cluster;
    struct call call;
    size_t hellos;

    (void)state;
    cluster_open(&cluster);
    hellos = fake_shard_count(&cluster.shards[2], &cluster.shards[2].hellos);
    call_run(&cluster, &call, behaviours, LONG_US);
    assert_int_equal(call.scatter.parts[2].error.status, LATHE_UNAVAILABLE);
    assert_true(call.scatter.parts[2].error.retry_after_ms > 0);
    check_answered(&call.scatter.parts[0]);
    call_fini(&call);
    wait_sem(&cluster.stale_calls);
    assert_int_equal(cluster.stale_shard, 2);
    wait_ready(cluster.engine, true);
    fake_shard_wait(&cluster.shards[2], &cluster.shards[2].hellos, hellos + 1);
    check_well(&cluster);
    assert_int_equal(sem_trywait(&cluster.stale_calls), -1); /* said once */
    cluster_close(&cluster);
}

/* ---- Phases --------------------------------------------------------------------------------- */

struct phases {
    struct call call; /* first, for its context */
    struct lathe_engine *engine;
    uint64_t search_id;
    int phase;
    bool went_wrong;
};

/* After the search: FETCH from shard 1 under the same id, RELEASE to the others. */
static void phase_done(struct lathe_scatter *scatter)
{
    struct phases *phases = scatter->context;

    phases->went_wrong |= lathe_scatter_failed(scatter) != NULL;
    if (phases->phase++ > 0) {
        call_done(scatter);
        return;
    }
    phases->search_id = scatter->request_id;
    for (uint32_t shard = 0; shard < SHARDS; shard += 2) {
        struct lathe_frame release = {
            .header = {.kind = LATHE_FRAME_RELEASE, .request_id = scatter->request_id}};

        lathe_engine_tell(phases->engine, shard, &release);
    }
    if (!lathe_scatter_reset(scatter, 1))
        abort();
    part_set(&scatter->parts[0], 1, LATHE_FRAME_FETCH, ECHO);
    scatter->hold_request_id = phases->search_id;
    phases->went_wrong |= lathe_engine_submit(phases->engine, scatter) != LATHE_OK;
}

static void a_second_phase_goes_under_the_first_ones_id(void **state)
{
    struct cluster cluster;
    struct phases phases = {0};

    (void)state;
    cluster_open(&cluster);
    call_init(&phases.call, all_echo, LONG_US);
    phases.call.scatter.done = phase_done;
    phases.call.scatter.context = &phases;
    phases.engine = cluster.engine;
    assert_int_equal(lathe_engine_submit(cluster.engine, &phases.call.scatter), LATHE_OK);
    wait_sem(&phases.call.done);
    assert_int_equal(phases.phase, 2);
    assert_false(phases.went_wrong);
    assert_int_equal(phases.call.scatter.request_id, phases.search_id);
    assert_int_equal(phases.call.scatter.parts[0].reply.header.kind,
                     LATHE_FRAME_FETCH | LATHE_FRAME_REPLY);
    fake_shard_wait(&cluster.shards[0], &cluster.shards[0].releases, 1);
    fake_shard_wait(&cluster.shards[2], &cluster.shards[2].releases, 1);
    assert_int_equal(cluster.shards[2].last_release, phases.search_id);
    fake_shard_wait(&cluster.shards[1], &cluster.shards[1].requests, 2);
    assert_int_equal(cluster.shards[1].last_kind, LATHE_FRAME_FETCH);
    call_fini(&phases.call);
    cluster_close(&cluster);
}

/* ---- Bounds and ends ------------------------------------------------------------------------ */

struct gate {
    struct call call; /* first, for its context */
    sem_t entered, open;
};

static void gate_done(struct lathe_scatter *scatter)
{
    struct gate *gate = scatter->context;

    (void)sem_post(&gate->entered);
    while (sem_wait(&gate->open) != 0) {
    }
    call_done(scatter);
}

static void a_full_queue_says_so(void **state)
{
    struct cluster cluster;
    struct call waiting[4], refused;
    struct gate gate;

    (void)state;
    cluster_open_with(&cluster, &lathe_system_clock, NULL, 4);
    call_init(&gate.call, all_echo, LONG_US);
    gate.call.scatter.done = gate_done;
    assert_int_equal(sem_init(&gate.entered, 0, 0) + sem_init(&gate.open, 0, 0), 0);
    assert_int_equal(lathe_engine_submit(cluster.engine, &gate.call.scatter), LATHE_OK);
    wait_sem(&gate.entered); /* the engine's thread is in `done`: nothing is taken up */
    for (int i = 0; i < 4; i++) {
        call_init(&waiting[i], all_echo, LONG_US);
        assert_int_equal(lathe_engine_submit(cluster.engine, &waiting[i].scatter), LATHE_OK);
    }
    call_init(&refused, all_echo, LONG_US);
    assert_int_equal(lathe_engine_submit(cluster.engine, &refused.scatter),
                     LATHE_RESOURCE_EXHAUSTED);
    assert_int_equal(lathe_engine_in_flight(cluster.engine), 5);
    (void)sem_post(&gate.open);
    for (int i = 0; i < 4; i++) {
        wait_sem(&waiting[i].done);
        check_answered(&waiting[i].scatter.parts[0]);
        call_fini(&waiting[i]);
    }
    wait_sem(&gate.call.done);
    call_fini(&gate.call);
    lathe_scatter_fini(&refused.scatter);
    assert_int_equal(refused.done_calls, 0);
    cluster_close(&cluster);
}

struct stubborn {
    struct call call; /* first, for its context */
    struct lathe_engine *engine;
    enum lathe_status resubmitted;
};

static void stubborn_done(struct lathe_scatter *scatter)
{
    struct stubborn *stubborn = scatter->context;

    stubborn->resubmitted = lathe_engine_submit(stubborn->engine, scatter);
    call_done(scatter);
}

static void stopping_cancels_everything_and_takes_no_more(void **state)
{
    static const enum behaviour silent[SHARDS] = {SILENT, SILENT, SILENT};
    struct stubborn stubborn = {.resubmitted = LATHE_OK};
    struct cluster cluster;
    struct call calls[20];

    (void)state;
    cluster_open(&cluster);
    for (int i = 0; i < 20; i++) {
        call_init(&calls[i], silent, LONG_US);
        assert_int_equal(lathe_engine_submit(cluster.engine, &calls[i].scatter), LATHE_OK);
    }
    call_init(&stubborn.call, silent, LONG_US);
    stubborn.call.scatter.done = stubborn_done;
    stubborn.call.scatter.context = &stubborn;
    stubborn.engine = cluster.engine;
    assert_int_equal(lathe_engine_submit(cluster.engine, &stubborn.call.scatter), LATHE_OK);
    cluster_close(&cluster);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(calls[i].scatter.parts[0].error.status, LATHE_CANCELLED);
        call_fini(&calls[i]);
    }
    assert_int_equal(stubborn.resubmitted, LATHE_CANCELLED);
    call_fini(&stubborn.call);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shard_is_asked_and_answers),
        cmocka_unit_test(shards_may_come_up_after_the_engine),
        cmocka_unit_test(a_silent_shard_is_given_up_at_the_deadline_and_told),
        cmocka_unit_test(a_cancelled_call_is_given_up_and_its_shards_are_told),
        cmocka_unit_test(repeated_and_alien_answers_do_no_harm),
        cmocka_unit_test(an_answer_after_the_deadline_is_dropped),
        cmocka_unit_test(a_failure_is_the_shards_own),
        cmocka_unit_test(a_stale_shard_is_greeted_again_and_reported),
        cmocka_unit_test(a_second_phase_goes_under_the_first_ones_id),
        cmocka_unit_test(a_full_queue_says_so),
        cmocka_unit_test(stopping_cancels_everything_and_takes_no_more),
    };

    return cmocka_run_group_tests_name("coordinator/engine", tests, NULL, NULL);
}
