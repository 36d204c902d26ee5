/* pool.c - see pool.h. */
#include "shard/search/pool.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/base/check.h"
#include "common/base/mem.h"

/* Chunks, times their cost, that a job may take before it steps back: about half a second of one
 * thread's scanning. */
enum { QUANTUM_CHUNKS = 4096 };

struct worker {
    struct lathe_pool *pool;
    pthread_t thread;
    unsigned index;
};

struct lathe_pool {
    pthread_mutex_t mutex;
    pthread_cond_t work;
    struct lathe_pool_job *first; /* jobs with chunks not yet taken */
    struct lathe_pool_job *last;
    bool stopping;
    unsigned thread_count;
    struct worker workers[];
};

static void list_push(struct lathe_pool *pool, struct lathe_pool_job *job)
{
    job->next = NULL;
    if (pool->last != NULL)
        pool->last->next = job;
    else
        pool->first = job;
    pool->last = job;
}

static void list_pop(struct lathe_pool *pool)
{
    pool->first = pool->first->next;
    if (pool->first == NULL)
        pool->last = NULL;
}

/* Takes the next chunk of the oldest job. Called with the lock held and a job there. */
static struct lathe_pool_job *chunk_take(struct lathe_pool *pool, uint32_t *chunk_out)
{
    struct lathe_pool_job *job = pool->first;

    *chunk_out = job->next_chunk++;
    if (job->next_chunk == job->chunk_count) {
        list_pop(pool);
    } else if ((job->taken_in_turn += job->chunk_cost > 0 ? job->chunk_cost : 1) >=
               QUANTUM_CHUNKS) {
        job->taken_in_turn = 0;
        list_pop(pool);
        list_push(pool, job);
    }
    return job;
}

static void *run(void *context)
{
    struct worker *worker = context;
    struct lathe_pool *pool = worker->pool;

    (void)pthread_mutex_lock(&pool->mutex);
    for (;;) {
        struct lathe_pool_job *job;
        uint32_t chunk;
        bool last;

        while (pool->first == NULL && !pool->stopping)
            (void)pthread_cond_wait(&pool->work, &pool->mutex);
        if (pool->first == NULL)
            break;
        job = chunk_take(pool, &chunk);
        (void)pthread_mutex_unlock(&pool->mutex);
        job->chunk(job, worker->index, chunk);
        (void)pthread_mutex_lock(&pool->mutex);
        last = ++job->finished == job->chunk_count;
        if (last) {
            (void)pthread_mutex_unlock(&pool->mutex);
            job->done(job);
            (void)pthread_mutex_lock(&pool->mutex);
        }
    }
    (void)pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

struct lathe_pool *lathe_pool_create(unsigned thread_count)
{
    struct lathe_pool *pool = lathe_zalloc(sizeof(*pool) + thread_count * sizeof(struct worker));

    LATHE_REQUIRE(thread_count > 0);
    if (pool == NULL)
        return NULL;
    (void)pthread_mutex_init(&pool->mutex, NULL);
    (void)pthread_cond_init(&pool->work, NULL);
    for (unsigned i = 0; i < thread_count; i++) {
        pool->workers[i] = (struct worker){.pool = pool, .index = i};
        if (pthread_create(&pool->workers[i].thread, NULL, run, &pool->workers[i]) != 0) {
            lathe_pool_destroy(pool);
            return NULL;
        }
        pool->thread_count = i + 1;
    }
    return pool;
}

void lathe_pool_destroy(struct lathe_pool *pool)
{
    if (pool == NULL)
        return;
    (void)pthread_mutex_lock(&pool->mutex);
    pool->stopping = true;
    (void)pthread_cond_broadcast(&pool->work);
    (void)pthread_mutex_unlock(&pool->mutex);
    for (unsigned i = 0; i < pool->thread_count; i++)
        (void)pthread_join(pool->workers[i].thread, NULL);
    (void)pthread_cond_destroy(&pool->work);
    (void)pthread_mutex_destroy(&pool->mutex);
    lathe_free(pool);
}

unsigned lathe_pool_threads(const struct lathe_pool *pool)
{
    return pool->thread_count;
}

void lathe_pool_submit(struct lathe_pool *pool, struct lathe_pool_job *job)
{
    LATHE_REQUIRE(job->chunk_count > 0);
    job->next_chunk = 0;
    job->finished = 0;
    job->taken_in_turn = 0;
    (void)pthread_mutex_lock(&pool->mutex);
    list_push(pool, job);
    if (job->chunk_count > 1)
        (void)pthread_cond_broadcast(&pool->work);
    else
        (void)pthread_cond_signal(&pool->work);
    (void)pthread_mutex_unlock(&pool->mutex);
}
