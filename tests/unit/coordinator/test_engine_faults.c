/* test_engine_faults.c - the engine with links that lead nowhere or elsewhere, garbage, lost
 * frames, many threads, and nothing to do. */
#include "tests/support/test.h"

#include <sched.h>
#include <stdio.h>
#include <zmq.h>

#include "common/net/message.h"
#include "shard.pb-c.h"
#include "tests/unit/coordinator/engine_kit.h"

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
    size_t done, wrong;
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
        /* The queue holds less than there are threads, so some are refused and come again. */
        while (lathe_engine_submit(storm->cluster->engine, &call.scatter) != LATHE_OK)
            (void)sched_yield();
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
        assert_int_equal(threads[i].done, STORM_CALLS);
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
        cmocka_unit_test(an_endpoint_that_cannot_be_is_named_at_start),
        cmocka_unit_test(a_link_to_the_wrong_shard_is_not_used),
        cmocka_unit_test(a_shard_that_goes_away_is_named),
        cmocka_unit_test(an_engine_with_nothing_to_do_does_nothing),
        cmocka_unit_test_prestate(garbage_from_a_shard_does_not_stop_the_engine, &rng),
        cmocka_unit_test_prestate(storms_of_calls_all_end_once, &rng),
    };

    test_rng_seed(&rng, "coordinator/engine_faults");
    return cmocka_run_group_tests_name("coordinator/engine_faults", tests, NULL, NULL);
}
