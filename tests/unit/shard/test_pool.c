/* test_pool.c - the scan pool: every chunk once, on every thread, and nobody starved. */
#include "tests/support/test.h"

#include <pthread.h>
#include <stdatomic.h>

#include "common/base/mem.h"
#include "common/base/queue.h"
#include "shard/search/pool.h"

enum { PATIENCE_US = 60 * 1000 * 1000 };

struct job {
    struct lathe_pool_job job; /* first */
    _Atomic uint32_t *times;   /* of each chunk */
    _Atomic uint32_t done;
    _Atomic uint32_t *busy; /* of each thread: is a call inside? */
    struct lathe_queue *finished;
};

static void count_chunk(struct lathe_pool_job *pool_job, unsigned thread, uint32_t chunk)
{
    struct job *job = (struct job *)pool_job;

    assert_int_equal(atomic_fetch_add(&job->busy[thread], 1), 0);
    atomic_fetch_add(&job->times[chunk], 1);
    atomic_fetch_sub(&job->busy[thread], 1);
}

static void count_done(struct lathe_pool_job *pool_job)
{
    struct job *job = (struct job *)pool_job;

    /* Every chunk has been done by now, and its writes are seen here. */
    for (uint32_t i = 0; i < job->job.chunk_count; i++)
        assert_int_equal(atomic_load_explicit(&job->times[i], memory_order_relaxed), 1);
    atomic_fetch_add(&job->done, 1);
    assert_true(lathe_queue_push(job->finished, job));
}

static void every_chunk_is_done_once(unsigned threads)
{
    enum { JOBS = 50 };
    struct lathe_pool *pool = lathe_pool_create(threads);
    struct lathe_queue *finished = lathe_queue_create(JOBS, false);
    struct job jobs[JOBS] = {0};
    _Atomic uint32_t *busy = lathe_zalloc_array(threads, sizeof(*busy));
    struct test_rng rng;
    void *item;

    test_rng_seed(&rng, "every_chunk_is_done_once");
    assert_int_equal(lathe_pool_threads(pool), threads);
    for (int i = 0; i < JOBS; i++) {
        jobs[i].job = (struct lathe_pool_job){.chunk_count = 1 +
                                                             (uint32_t)test_rng_below(&rng, 9000),
                                              .chunk = count_chunk,
                                              .done = count_done};
        jobs[i].times = lathe_zalloc_array(jobs[i].job.chunk_count, sizeof(*jobs[i].times));
        jobs[i].busy = busy;
        jobs[i].finished = finished;
        lathe_pool_submit(pool, &jobs[i].job);
    }
    for (int i = 0; i < JOBS; i++)
        assert_int_equal(lathe_queue_pop(finished, &item, 1, PATIENCE_US), 1);
    for (int i = 0; i < JOBS; i++) {
        assert_int_equal(jobs[i].done, 1);
        lathe_free((void *)jobs[i].times);
    }
    lathe_pool_destroy(pool);
    lathe_queue_destroy(finished);
    lathe_free((void *)busy);
}

static void one_thread_does_every_chunk_once(void **state)
{
    (void)state;
    every_chunk_is_done_once(1);
}

static void four_threads_do_every_chunk_once(void **state)
{
    (void)state;
    every_chunk_is_done_once(4);
}

/* ---- Turns ---- */

/* The order in which one thread does the chunks of several jobs. */
struct turn {
    struct lathe_pool_job job; /* first */
    struct lathe_queue *gate;  /* the first chunk waits until all jobs are there */
    struct lathe_queue *finished;
    struct turn **order;
    uint32_t *order_count;
};

static void turn_chunk(struct lathe_pool_job *job, unsigned thread, uint32_t chunk)
{
    struct turn *turn = (struct turn *)job;
    void *item;

    (void)thread;
    if (turn->gate != NULL && chunk == 0)
        (void)lathe_queue_pop(turn->gate, &item, 1, PATIENCE_US);
    turn->order[(*turn->order_count)++] = turn;
}

static void turn_done(struct lathe_pool_job *job)
{
    assert_true(lathe_queue_push(((struct turn *)job)->finished, job));
}

/* Runs jobs of these sizes and costs on one thread; order_out tells whose chunk came when. */
static void take_turns(struct turn *turns, size_t count, struct turn **order_out)
{
    struct lathe_pool *pool = lathe_pool_create(1);
    struct lathe_queue *gate = lathe_queue_create(1, false);
    struct lathe_queue *finished = lathe_queue_create(count, false);
    uint32_t done = 0;
    void *item;

    turns[0].gate = gate;
    for (size_t i = 0; i < count; i++) {
        turns[i].job.chunk = turn_chunk;
        turns[i].job.done = turn_done;
        turns[i].finished = finished;
        turns[i].order = order_out;
        turns[i].order_count = &done;
        lathe_pool_submit(pool, &turns[i].job);
    }
    assert_true(lathe_queue_push(gate, &done));
    for (size_t i = 0; i < count; i++)
        assert_int_equal(lathe_queue_pop(finished, &item, 1, PATIENCE_US), 1);
    lathe_pool_destroy(pool);
    lathe_queue_destroy(gate);
    lathe_queue_destroy(finished);
}

static void jobs_are_served_in_the_order_they_came(void **state)
{
    struct turn turns[3] = {
        {.job = {.chunk_count = 5}}, {.job = {.chunk_count = 1}}, {.job = {.chunk_count = 4}}};
    struct turn *order[10];

    (void)state;
    take_turns(turns, 3, order);
    for (int i = 0; i < 10; i++)
        assert_ptr_equal(order[i], i < 5 ? &turns[0] : i < 6 ? &turns[1] : &turns[2]);
}

/* A job of many chunks lets the others pass after its quantum, and goes on afterwards. */
static void a_huge_job_steps_back_after_its_quantum(void **state)
{
    enum { HUGE_CHUNKS = 10000, QUANTUM = 4096 };
    struct turn turns[3] = {{.job = {.chunk_count = HUGE_CHUNKS}},
                            {.job = {.chunk_count = 3}},
                            {.job = {.chunk_count = 2}}};
    struct turn **order = lathe_alloc_array(HUGE_CHUNKS + 5, sizeof(*order));

    (void)state;
    take_turns(turns, 3, order);
    for (int i = 0; i < HUGE_CHUNKS + 5; i++)
        assert_ptr_equal(order[i], i < QUANTUM || i >= QUANTUM + 5 ? &turns[0]
                                   : i < QUANTUM + 3               ? &turns[1]
                                                                   : &turns[2]);
    lathe_free(order);
}

/* A batch of queries makes each chunk dearer, so its quantum has fewer of them. */
static void a_batch_uses_its_quantum_up_faster(void **state)
{
    struct turn turns[2] = {{.job = {.chunk_count = 100, .chunk_cost = 1024}},
                            {.job = {.chunk_count = 2, .chunk_cost = 1}}};
    struct turn *order[102];

    (void)state;
    take_turns(turns, 2, order);
    for (int i = 0; i < 102; i++)
        assert_ptr_equal(order[i], i == 4 || i == 5 ? &turns[1] : &turns[0]);
}

/* ---- Submitting from many threads ---- */

struct submitter {
    pthread_t thread;
    struct lathe_pool *pool;
    struct lathe_queue *finished;
    uint32_t sum;
};

struct small {
    struct lathe_pool_job job; /* first */
    struct submitter *owner;
    _Atomic uint32_t sum;
};

static void small_chunk(struct lathe_pool_job *job, unsigned thread, uint32_t chunk)
{
    (void)thread;
    atomic_fetch_add(&((struct small *)job)->sum, chunk);
}

static void small_done(struct lathe_pool_job *job)
{
    assert_true(lathe_queue_push(((struct small *)job)->owner->finished, job));
}

static void *submit_many(void *context)
{
    struct submitter *submitter = context;

    for (uint32_t i = 0; i < 300; i++) {
        struct small *small = lathe_zalloc(sizeof(*small));
        void *item;

        small->owner = submitter;
        small->job = (struct lathe_pool_job){
            .chunk_count = 1 + i % 7, .chunk = small_chunk, .done = small_done};
        lathe_pool_submit(submitter->pool, &small->job);
        assert_int_equal(lathe_queue_pop(submitter->finished, &item, 1, PATIENCE_US), 1);
        assert_ptr_equal(item, small);
        submitter->sum += small->sum;
        lathe_free(small); /* the pool does not look at a job that is done */
    }
    return NULL;
}

static void jobs_come_from_any_thread(void **state)
{
    struct lathe_pool *pool = lathe_pool_create(3);
    struct submitter submitters[4];
    uint32_t wanted = 0;

    (void)state;
    for (uint32_t i = 0; i < 300; i++)
        wanted += (i % 7) * (i % 7 + 1) / 2;
    for (int i = 0; i < 4; i++) {
        submitters[i] = (struct submitter){.pool = pool, .finished = lathe_queue_create(1, false)};
        assert_int_equal(pthread_create(&submitters[i].thread, NULL, submit_many, &submitters[i]),
                         0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(submitters[i].thread, NULL), 0);
        assert_int_equal(submitters[i].sum, wanted);
        lathe_queue_destroy(submitters[i].finished);
    }
    lathe_pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_thread_does_every_chunk_once),
        cmocka_unit_test(four_threads_do_every_chunk_once),
        cmocka_unit_test(jobs_are_served_in_the_order_they_came),
        cmocka_unit_test(a_huge_job_steps_back_after_its_quantum),
        cmocka_unit_test(a_batch_uses_its_quantum_up_faster),
        cmocka_unit_test(jobs_come_from_any_thread),
    };

    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
