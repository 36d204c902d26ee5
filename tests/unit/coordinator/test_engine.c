/* test_engine.c - the engine's thread against shards that answer, fail, repeat themselves or stay
 * silent. */
#include "tests/support/test.h"

#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <zmq.h>

#include "common/base/mem.h"
#include "common/net/message.h"
#include "coordinator/engine.h"
#include "shard.pb-c.h"
#include "tests/unit/coordinator/fake_shard.h"

enum { SHARDS = 3, PATIENCE_S = 20, LONG_US = 60 * 1000 * 1000 };

static uint64_t now_us(void)
{
    return lathe_now_us(&lathe_system_clock);
}

static void wait_sem(sem_t *sem)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    assert_int_equal(sem_timedwait(sem, &until), 0);
}

/* ---- A cluster of fake shards --------------------------------------------------------------- */

struct cluster {
    struct lathe_net *net;
    struct fake_shard shards[SHARDS];
    struct lathe_engine *engine;
    sem_t stale_calls;
    _Atomic uint32_t stale_shard;
};

static const char *const endpoints[] = {"inproc://s0", "inproc://s1", "inproc://s2"};

static void on_stale(void *context, uint32_t shard)
{
    struct cluster *cluster = context;

    cluster->stale_shard = shard;
    (void)sem_post(&cluster->stale_calls);
}

static void wait_ready(struct lathe_engine *engine, bool ready)
{
    uint64_t until = now_us() + (uint64_t)PATIENCE_S * 1000000;

    while (lathe_engine_ready(engine) != ready && now_us() < until)
        (void)sched_yield();
    assert_int_equal(lathe_engine_ready(engine), ready);
}

static void cluster_open_with(struct cluster *cluster, const struct lathe_clock *clock,
                              const struct lathe_net_fault *fault, size_t capacity)
{
    struct lathe_engine_config config = {
        .clock = clock,
        .endpoints = endpoints,
        .shard_count = SHARDS,
        .queue_capacity = capacity,
        .on_stale = on_stale,
        .context = cluster,
    };

    *cluster = (struct cluster){.net = lathe_net_create()};
    assert_int_equal(sem_init(&cluster->stale_calls, 0, 0), 0);
    lathe_net_set_fault(cluster->net, fault);
    for (uint32_t i = 0; i < SHARDS; i++)
        fake_shard_start(&cluster->shards[i], cluster->net, endpoints[i], i);
    config.net = cluster->net;
    assert_int_equal(lathe_engine_start(&config, &cluster->engine, NULL), LATHE_OK);
    wait_ready(cluster->engine, true);
}

static void cluster_open(struct cluster *cluster)
{
    cluster_open_with(cluster, &lathe_system_clock, NULL, 64);
}

static void cluster_close(struct cluster *cluster)
{
    lathe_engine_stop(&cluster->engine);
    assert_null(cluster->engine);
    for (uint32_t i = 0; i < SHARDS; i++)
        fake_shard_stop(&cluster->shards[i]);
    lathe_net_destroy(cluster->net);
    (void)sem_destroy(&cluster->stale_calls);
}

/* ---- A call: a scatter to all shards that somebody waits for --------------------------------- */

struct call {
    struct lathe_scatter scatter;
    sem_t done;
    int done_calls;
};

static void call_done(struct lathe_scatter *scatter)
{
    struct call *call = scatter->context;

    call->done_calls++;
    (void)sem_post(&call->done);
}

static void part_set(struct lathe_part *part, uint32_t shard, uint16_t kind, uint32_t collection)
{
    struct lathe_frame_header header = {.kind = kind, .collection = collection};
    struct lathe_buf body = {0}, block = {0};

    lathe_buf_append(&body, "question", 8);
    memset(lathe_buf_extend(&block, 3000), 'v', 3000);
    part->shard = shard;
    assert_true(lathe_frame_make(&part->request, &header, &body, &block));
}

/* Each shard does as told. */
static void call_init(struct call *call, const enum behaviour behaviours[SHARDS],
                      uint64_t timeout_us)
{
    *call = (struct call){.scatter = {.done = call_done, .context = call}};
    assert_int_equal(sem_init(&call->done, 0, 0), 0);
    assert_true(lathe_scatter_reset(&call->scatter, SHARDS));
    for (uint32_t i = 0; i < SHARDS; i++)
        part_set(&call->scatter.parts[i], i, LATHE_FRAME_SEARCH, behaviours[i]);
    call->scatter.deadline_us = now_us() + timeout_us;
}

static void call_fini(struct call *call)
{
    assert_int_equal(call->done_calls, 1);
    lathe_scatter_fini(&call->scatter);
    (void)sem_destroy(&call->done);
}

static void call_run(struct cluster *cluster, struct call *call,
                     const enum behaviour behaviours[SHARDS], uint64_t timeout_us)
{
    call_init(call, behaviours, timeout_us);
    assert_int_equal(lathe_engine_submit(cluster->engine, &call->scatter), LATHE_OK);
    wait_sem(&call->done);
}

static void check_answered(const struct lathe_part *part)
{
    assert_int_equal(part->error.status, LATHE_OK);
    assert_int_equal(part->reply.header.kind, LATHE_FRAME_SEARCH | LATHE_FRAME_REPLY);
    assert_true(lathe_bytes_equal(part->reply.body, lathe_bytes_str("question")));
    assert_int_equal(part->reply.block.size, 3000);
    assert_int_equal(part->reply.block.data[2999], 'v');
}

static const enum behaviour all_echo[SHARDS] = {ECHO, ECHO, ECHO};

/* A call that must go well: the engine is as it should be. */
static void check_well(struct cluster *cluster)
{
    struct call call;

    call_run(cluster, &call, all_echo, LONG_US);
    for (int i = 0; i < SHARDS; i++)
        check_answered(&call.scatter.parts[i]);
    call_fini(&call);
}

/* ---- Tests ---------------------------------------------------------------------------------- */

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

static void an_endpoint_that_cannot_be_is_named_at_start(void **state)
{
    static const char *const bad[] = {"inproc://fine", "nonsense"};
    struct lathe_net *net = lathe_net_create();
    struct lathe_engine_config config = {
        .clock = &lathe_system_clock,
        .net = net,
        .endpoints = bad,
        .shard_count = 2,
        .queue_capacity = 4,
    };
    struct lathe_engine *engine;
    struct lathe_error err;

    (void)state;
    assert_int_equal(lathe_engine_start(&config, &engine, &err), LATHE_INVALID_ARGUMENT);
    assert_null(engine);
    assert_non_null(strstr(err.message, "nonsense"));
    lathe_engine_stop(&engine);
    lathe_net_destroy(net);
}

static void a_link_to_the_wrong_shard_is_not_used(void **state)
{
    static const enum behaviour behaviours[SHARDS] = {ECHO, ECHO, ECHO};
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
    for (uint32_t i = 0; i < SHARDS; i++) /* shard 2 says that it is shard 7 */
        fake_shard_start(&cluster.shards[i], cluster.net, endpoints[i], i == 2 ? 7 : i);
    assert_int_equal(lathe_engine_start(&config, &cluster.engine, NULL), LATHE_OK);
    for (uint32_t i = 0; i < SHARDS; i++)
        fake_shard_wait(&cluster.shards[i], &cluster.shards[i].hellos, i == 2 ? 3 : 1);
    assert_false(lathe_engine_ready(cluster.engine));
    call_run(&cluster, &call, behaviours, LONG_US);
    assert_int_equal(call.scatter.parts[2].error.status, LATHE_UNAVAILABLE);
    call_fini(&call);
    assert_int_equal(fake_shard_count(&cluster.shards[2], &cluster.shards[2].requests), 0);
    cluster_close(&cluster);
}

static void a_shard_that_goes_away_is_named(void **state)
{
    char *dir = test_dir_create();
    char endpoint[512];
    const char *one[] = {endpoint};
    struct cluster cluster = {.net = lathe_net_create()};
    struct lathe_engine_config config = {
        .clock = &lathe_system_clock,
        .net = cluster.net,
        .endpoints = one,
        .shard_count = 1,
        .queue_capacity = 4,
    };
    uint64_t until = now_us() + (uint64_t)PATIENCE_S * 1000000;
    enum lathe_status status;

    (void)state;
    (void)snprintf(endpoint, sizeof(endpoint), "ipc://%s/s0", dir);
    fake_shard_start(&cluster.shards[0], cluster.net, endpoint, 0);
    assert_int_equal(lathe_engine_start(&config, &cluster.engine, NULL), LATHE_OK);
    wait_ready(cluster.engine, true);
    fake_shard_stop(&cluster.shards[0]);
    do { /* until ZeroMQ has noticed, requests are lost and run into their deadline */
        struct call call;

        call_init(&call, all_echo, 5000);
        lathe_scatter_fini(&call.scatter);
        assert_true(lathe_scatter_reset(&call.scatter, 1));
        part_set(&call.scatter.parts[0], 0, LATHE_FRAME_GET, ECHO);
        assert_int_equal(lathe_engine_submit(cluster.engine, &call.scatter), LATHE_OK);
        wait_sem(&call.done);
        status = call.scatter.parts[0].error.status;
        if (status == LATHE_UNAVAILABLE)
            assert_string_equal(call.scatter.parts[0].error.message, "shard 0 is not reachable");
        else
            assert_int_equal(status, LATHE_DEADLINE_EXCEEDED);
        call_fini(&call);
    } while (status != LATHE_UNAVAILABLE && now_us() < until);
    assert_int_equal(status, LATHE_UNAVAILABLE);
    lathe_engine_stop(&cluster.engine);
    lathe_net_destroy(cluster.net);
    test_dir_remove(dir);
}

/* ---- Idleness ------------------------------------------------------------------------------- */

struct counting_clock {
    _Atomic uint64_t calls;
};

static uint64_t counting_now(void *context)
{
    struct counting_clock *clock = context;

    clock->calls++;
    return now_us();
}

static void an_engine_with_nothing_to_do_does_nothing(void **state)
{
    static const enum behaviour silent[SHARDS] = {SILENT, SILENT, SILENT};
    struct counting_clock counting = {0};
    struct lathe_clock clock = {.now_us = counting_now, .context = &counting};
    struct cluster cluster;
    struct call call;
    uint64_t before;

    (void)state;
    cluster_open_with(&cluster, &clock, NULL, 8);
    check_well(&cluster);
    before = counting.calls;
    call_run(&cluster, &call, silent, 300000);
    /* A turn asks for the time a few times; 300 ms of waiting are a few turns. */
    assert_true(counting.calls - before < 40);
    call_fini(&call);
    cluster_close(&cluster);
}

/* ---- A shard that sends garbage -------------------------------------------------------------- */

static void send_parts(void *router, const zmq_msg_t *peer, const void *first, size_t size)
{
    (void)zmq_send(router, zmq_msg_data((zmq_msg_t *)peer), zmq_msg_size(peer), ZMQ_SNDMORE);
    (void)zmq_send(router, first, size, 0);
}

static void garbage_from_a_shard_does_not_stop_the_engine(void **state)
{
    static const char *const one[] = {"tcp://127.0.0.1:0"};
    char endpoint[256];
    size_t endpoint_size = sizeof(endpoint);
    void *context = zmq_ctx_new(), *router = zmq_socket(context, ZMQ_ROUTER);
    struct lathe_net *net = lathe_net_create();
    struct lathe_engine_config config = {
        .clock = &lathe_system_clock,
        .net = net,
        .shard_count = 1,
        .queue_capacity = 4,
    };
    Lathe__Shard__HelloReply reply = LATHE__SHARD__HELLO_REPLY__INIT;
    struct lathe_frame_header header = {.kind = LATHE_FRAME_HELLO | LATHE_FRAME_REPLY};
    struct lathe_buf body = {0};
    struct lathe_engine *engine;
    struct test_rng *rng = *state;
    uint8_t frame[256];
    zmq_msg_t peer, hello;
    int linger = 0, patience_ms = PATIENCE_S * 1000;

    (void)zmq_setsockopt(router, ZMQ_LINGER, &linger, sizeof(linger));
    (void)zmq_setsockopt(router, ZMQ_RCVTIMEO, &patience_ms, sizeof(patience_ms));
    assert_int_equal(zmq_bind(router, one[0]), 0);
    assert_int_equal(zmq_getsockopt(router, ZMQ_LAST_ENDPOINT, endpoint, &endpoint_size), 0);
    config.endpoints = (const char *const[]){endpoint};
    assert_int_equal(lathe_engine_start(&config, &engine, NULL), LATHE_OK);
    (void)zmq_msg_init(&peer);
    (void)zmq_msg_init(&hello);
    assert_true(zmq_msg_recv(&peer, router, 0) > 0);
    assert_true(zmq_msg_recv(&hello, router, 0) >= LATHE_FRAME_HEADER_BYTES);

    for (int i = 0; i < 200; i++) { /* noise, and frames that differ from the right one by a byte */
        for (size_t j = 0; j < sizeof(frame); j++)
            frame[j] = (uint8_t)test_rng_u64(rng);
        send_parts(router, &peer, frame, test_rng_below(rng, sizeof(frame)));
    }
    header.request_id = lathe_get_u64le((uint8_t *)zmq_msg_data(&hello) + 8);
    for (int i = 0; i < 4; i++) { /* well-formed frames that are no answer to HELLO */
        struct lathe_bytes bad = lathe_bytes_str(i % 2 == 0 ? "\x1a\xff" : "");

        header.kind = (uint16_t)(i < 2 ? LATHE_FRAME_HELLO : LATHE_FRAME_ERROR) | LATHE_FRAME_REPLY;
        lathe_frame_encode_header(&header, bad, lathe_bytes_of(NULL, 0), frame);
        memcpy(frame + LATHE_FRAME_HEADER_BYTES, bad.data, bad.size);
        send_parts(router, &peer, frame, LATHE_FRAME_HEADER_BYTES + bad.size);
    }
    assert_false(lathe_engine_ready(engine));

    reply.protocol = LATHE_FRAME_VERSION;
    lathe_message_encode(&reply.base, &body);
    header.kind = LATHE_FRAME_HELLO | LATHE_FRAME_REPLY;
    lathe_frame_encode_header(&header, lathe_buf_view(&body), lathe_bytes_of(NULL, 0), frame);
    memcpy(frame + LATHE_FRAME_HEADER_BYTES, body.data, body.size);
    send_parts(router, &peer, frame, LATHE_FRAME_HEADER_BYTES + body.size);
    wait_ready(engine, true);
    lathe_buf_fini(&body);
    (void)zmq_msg_close(&peer);
    (void)zmq_msg_close(&hello);
    lathe_engine_stop(&engine);
    (void)zmq_close(router);
    lathe_net_destroy(net);
    (void)zmq_ctx_term(context);
}

/* ---- Storm: many threads, lost and repeated frames ------------------------------------------- */

enum { STORM_THREADS = 3, STORM_CALLS = 400 };

struct storm_thread {
    pthread_t thread;
    struct cluster *cluster;
    uint64_t seed;
    size_t done, refused, wrong;
};

static enum lathe_net_fate storm_fate(void *context, const struct lathe_frame_header *header)
{
    /* HELLO and what ends things pass, of the rest some are lost and some come twice. */
    uint64_t dice = header->request_id * 0x9E3779B97F4A7C15u >> 59;

    (void)context;
    if ((header->kind & ~LATHE_FRAME_REPLY) == LATHE_FRAME_HELLO)
        return LATHE_NET_PASS;
    return dice < 2 ? LATHE_NET_DROP : dice < 8 ? LATHE_NET_DUPLICATE : LATHE_NET_PASS;
}

static bool storm_part_right(const struct lathe_part *part)
{
    switch (part->error.status) {
    case LATHE_OK:
        return part->reply.block.size == 3000 && part->reply.block.data[17] == 'v';
    case LATHE_CANCELLED:
    case LATHE_DEADLINE_EXCEEDED:
    case LATHE_RESOURCE_EXHAUSTED:
        return part->reply.owner == NULL;
    default:
        return false;
    }
}

static void *storm_run(void *argument)
{
    static const enum behaviour choices[] = {ECHO, ECHO, ECHO, TWICE, ALIEN, LATE, FAILING, SILENT};
    struct storm_thread *storm = argument;
    struct test_rng rng;

    test_rng_seed_with(&rng, storm->seed);
    for (int i = 0; i < STORM_CALLS; i++) {
        enum behaviour behaviours[SHARDS];
        struct call call;

        for (int j = 0; j < SHARDS; j++)
            behaviours[j] = choices[test_rng_below(&rng, sizeof(choices) / sizeof(choices[0]))];
        call_init(&call, behaviours, 1 + test_rng_below(&rng, 5000));
        if (lathe_engine_submit(storm->cluster->engine, &call.scatter) != LATHE_OK) {
            storm->refused++;
            lathe_scatter_fini(&call.scatter);
            continue;
        }
        if (test_rng_below(&rng, 4) == 0) /* it lives until it is waited for, below */
            lathe_engine_cancel(storm->cluster->engine, &call.scatter);
        while (sem_wait(&call.done) != 0) {
        }
        storm->done++;
        for (int j = 0; j < SHARDS; j++)
            storm->wrong += !storm_part_right(&call.scatter.parts[j]);
        storm->wrong += call.done_calls != 1;
        lathe_scatter_fini(&call.scatter);
        (void)sem_destroy(&call.done);
    }
    return NULL;
}

static void storms_of_calls_all_end_once(void **state)
{
    struct lathe_net_fault fault = {storm_fate, NULL};
    struct storm_thread threads[STORM_THREADS];
    struct test_rng *rng = *state;
    struct cluster cluster;
    uint64_t until;

    cluster_open_with(&cluster, &lathe_system_clock, &fault, 2);
    for (int i = 0; i < STORM_THREADS; i++) {
        threads[i] = (struct storm_thread){.cluster = &cluster, .seed = test_rng_u64(rng)};
        assert_int_equal(pthread_create(&threads[i].thread, NULL, storm_run, &threads[i]), 0);
    }
    for (int i = 0; i < STORM_THREADS; i++) {
        (void)pthread_join(threads[i].thread, NULL);
        assert_int_equal(threads[i].wrong, 0);
        assert_int_equal(threads[i].done + threads[i].refused, STORM_CALLS);
        assert_true(threads[i].done > 0);
    }
    until = now_us() + (uint64_t)PATIENCE_S * 1000000;
    while (lathe_engine_in_flight(cluster.engine) > 0 && now_us() < until)
        (void)sched_yield(); /* the last `done` may still be about to return */
    assert_int_equal(lathe_engine_in_flight(cluster.engine), 0);
    cluster_close(&cluster);
}

int main(void)
{
    static struct test_rng rng;
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
        cmocka_unit_test(an_endpoint_that_cannot_be_is_named_at_start),
        cmocka_unit_test(a_link_to_the_wrong_shard_is_not_used),
        cmocka_unit_test(a_shard_that_goes_away_is_named),
        cmocka_unit_test(an_engine_with_nothing_to_do_does_nothing),
        cmocka_unit_test_prestate(garbage_from_a_shard_does_not_stop_the_engine, &rng),
        cmocka_unit_test_prestate(storms_of_calls_all_end_once, &rng),
    };

    test_rng_seed(&rng, "coordinator/engine");
    return cmocka_run_group_tests_name("coordinator/engine", tests, NULL, NULL);
}
