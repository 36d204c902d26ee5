/* pool.h - the scan threads of a process, shared by its shards.
 *
 * A job is cut into chunks; threads take chunks of the oldest job, so that queries are answered in
 * the order they came, except that a job which has had its quantum steps back behind the others: a
 * huge batch cannot starve anybody. */
#ifndef LATHE_SHARD_POOL_H
#define LATHE_SHARD_POOL_H
#include <stdint.h>

struct lathe_pool;

struct lathe_pool_job {
    uint32_t chunk_count; /* at least 1 */
    uint32_t chunk_cost;  /* queries that pass over a chunk: its share of the quantum; 0 is 1 */
    /* Does one chunk. `thread` is below the pool's thread count; no two calls share it at one time.
     */
    void (*chunk)(struct lathe_pool_job *job, unsigned thread, uint32_t chunk);
    /* Called once, by the thread that finished the last chunk; the job may be freed there. */
    void (*done)(struct lathe_pool_job *job);
    /* The pool's own: */
    uint32_t next_chunk;
    uint32_t finished;
    uint32_t taken_in_turn;
    struct lathe_pool_job *next;
};

/* NULL when memory or threads are short. */
struct lathe_pool *lathe_pool_create(unsigned thread_count);
/* Every job must be done. */
void lathe_pool_destroy(struct lathe_pool *pool); /* NULL is accepted */
unsigned lathe_pool_threads(const struct lathe_pool *pool);
/* Never refuses: who submits bounds the number of jobs. Threads: any. */
void lathe_pool_submit(struct lathe_pool *pool, struct lathe_pool_job *job);
#endif
