/* engine_kit.c - see engine_kit.h. */
#include "tests/support/test.h"

#include "tests/unit/coordinator/engine_kit.h"

#include <sched.h>
#include <time.h>

uint64_t now_us(void)
{
    return lathe_now_us(&lathe_system_clock);
}

void wait_sem(sem_t *sem)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    assert_int_equal(sem_timedwait(sem, &until), 0);
}

/* ---- A cluster of fake shards --------------------------------------------------------------- */

const char *const endpoints[SHARDS] = {"inproc://s0", "inproc://s1", "inproc://s2"};

static void on_stale(void *context, uint32_t shard)
{
    struct cluster *cluster = context;

    cluster->stale_shard = shard;
    (void)sem_post(&cluster->stale_calls);
}

void wait_ready(struct lathe_engine *engine, bool ready)
{
    uint64_t until = now_us() + (uint64_t)PATIENCE_S * 1000000;

    while (lathe_engine_ready(engine) != ready && now_us() < until)
        (void)sched_yield();
    assert_int_equal(lathe_engine_ready(engine), ready);
}

void cluster_open_with(struct cluster *cluster, const struct lathe_clock *clock,
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

void cluster_open(struct cluster *cluster)
{
    cluster_open_with(cluster, &lathe_system_clock, NULL, 64);
}

void cluster_close(struct cluster *cluster)
{
    lathe_engine_stop(&cluster->engine);
    assert_null(cluster->engine);
    for (uint32_t i = 0; i < SHARDS; i++)
        fake_shard_stop(&cluster->shards[i]);
    lathe_net_destroy(cluster->net);
    (void)sem_destroy(&cluster->stale_calls);
}

/* ---- A call: a scatter to all shards that somebody waits for --------------------------------- */

void call_done(struct lathe_scatter *scatter)
{
    struct call *call = scatter->context;

    call->done_calls++;
    (void)sem_post(&call->done);
}

void part_set(struct lathe_part *part, uint32_t shard, uint16_t kind, uint32_t collection)
{
    struct lathe_frame_header header = {.kind = kind, .collection = collection};
    struct lathe_buf body = {0}, block = {0};

    lathe_buf_append(&body, "question", 8);
    memset(lathe_buf_extend(&block, 3000), 'v', 3000);
    part->shard = shard;
    assert_true(lathe_frame_make(&part->request, &header, &body, &block));
}

/* Each shard does as told. */
void call_init(struct call *call, const enum behaviour behaviours[SHARDS], uint64_t timeout_us)
{
    *call = (struct call){.scatter = {.done = call_done, .context = call}};
    assert_int_equal(sem_init(&call->done, 0, 0), 0);
    assert_true(lathe_scatter_reset(&call->scatter, SHARDS));
    for (uint32_t i = 0; i < SHARDS; i++)
        part_set(&call->scatter.parts[i], i, LATHE_FRAME_SEARCH, behaviours[i]);
    call->scatter.deadline_us = now_us() + timeout_us;
}

void call_fini(struct call *call)
{
    assert_int_equal(call->done_calls, 1);
    lathe_scatter_fini(&call->scatter);
    (void)sem_destroy(&call->done);
}

void call_run(struct cluster *cluster, struct call *call, const enum behaviour behaviours[SHARDS],
              uint64_t timeout_us)
{
    call_init(call, behaviours, timeout_us);
    assert_int_equal(lathe_engine_submit(cluster->engine, &call->scatter), LATHE_OK);
    wait_sem(&call->done);
}

void check_answered(const struct lathe_part *part)
{
    assert_int_equal(part->error.status, LATHE_OK);
    assert_int_equal(part->reply.header.kind, LATHE_FRAME_SEARCH | LATHE_FRAME_REPLY);
    assert_true(lathe_bytes_equal(part->reply.body, lathe_bytes_str("question")));
    assert_int_equal(part->reply.block.size, 3000);
    assert_int_equal(part->reply.block.data[2999], 'v');
}

const enum behaviour all_echo[SHARDS] = {ECHO, ECHO, ECHO};

/* A call that must go well: the engine is as it should be. */
void check_well(struct cluster *cluster)
{
    struct call call;

    call_run(cluster, &call, all_echo, LONG_US);
    for (int i = 0; i < SHARDS; i++)
        check_answered(&call.scatter.parts[i]);
    call_fini(&call);
}
