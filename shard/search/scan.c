/* scan.c - see scan.h. */
#include "shard/search/scan.h"

#include "common/base/check.h"
#include "common/base/mem.h"

enum { TILE_ROWS = 64 };

_Static_assert(LATHE_BLOCK_ROWS % 64 == 0, "a block covers whole words of a mask");

/* One query while it runs. */
struct running {
    struct lathe_scan_query query;
    struct lathe_proposal proposal;
    struct lathe_score_query score;
    _Atomic float tau; /* the best k-th score that any thread has; valid when tau_known */
    _Atomic bool tau_known;
};

/* What one thread has found for one query. */
struct found {
    struct lathe_topk *topk;
    float tau; /* the one `cut` belongs to */
    bool tau_known;
    float cut;
    uint64_t rows_scored;
    uint64_t bytes_read;
};

struct lathe_scan {
    struct lathe_pool_job job; /* first: the pool's pointer is ours */
    struct lathe_scan_config config;
    struct lathe_scan_range *ranges;
    void (*done)(struct lathe_scan *scan, void *context);
    void *context;
    struct running *running;
    size_t query_count;
    struct found *found; /* thread_count * query_count */
    unsigned thread_count;
    _Atomic int stop; /* enum lathe_status: why the rest need not be scanned */
    uint64_t started_us;
    uint64_t scan_us;
};

static uint32_t blocks_of(uint32_t rows)
{
    return (rows + LATHE_BLOCK_ROWS - 1) / LATHE_BLOCK_ROWS;
}

size_t lathe_scan_ranges(const struct lathe_field_view *view, struct lathe_scan_range **ranges_out)
{
    struct lathe_scan_range *ranges = NULL;
    size_t count = 0, capacity = 0;

    *ranges_out = NULL;
    for (size_t s = 0; s < view->segment_count; s++) {
        const struct lathe_segment *segment = view->segments[s].segment;
        uint64_t block_bytes = (uint64_t)LATHE_BLOCK_ROWS * segment->stride * sizeof(float);
        uint32_t step = block_bytes < LATHE_RANGE_BYTES
                            ? (uint32_t)(LATHE_RANGE_BYTES / block_bytes)
                            : 1;
        uint32_t blocks = blocks_of(view->segments[s].row_count);

        for (uint32_t first = 0; first < blocks; first += step) {
            if (!lathe_grow(&ranges, &capacity, count + 1, sizeof(*ranges))) {
                lathe_free(ranges);
                return 0;
            }
            ranges[count++] = (struct lathe_scan_range){
                (uint32_t)s, first, blocks - first < step ? blocks - first : step};
        }
    }
    *ranges_out = ranges;
    return count;
}

/* Shares a better tau, and takes over a better one that another thread found. */
static void tau_update(const struct lathe_scan *scan, struct running *running, struct found *found)
{
    enum lathe_metric metric = scan->config.metric;
    bool changed = false;

    if (lathe_topk_full(found->topk)) {
        float own = lathe_topk_worst(found->topk);

        if (!found->tau_known || lathe_score_better(metric, own, found->tau)) {
            found->tau = own;
            found->tau_known = changed = true;
        }
    }
    if (atomic_load_explicit(&running->tau_known, memory_order_acquire)) {
        float shared = atomic_load_explicit(&running->tau, memory_order_relaxed);

        if (!found->tau_known || lathe_score_better(metric, shared, found->tau)) {
            found->tau = shared;
            found->tau_known = changed = true;
        }
    }
    if (!changed)
        return;
    found->cut = lathe_proposal_cut(&running->proposal, found->tau);
    /* Two threads may write at once and the weaker tau win: it is still a k-th best of a part of
     * the rows, so still valid, only less sharp. */
    if (!atomic_load_explicit(&running->tau_known, memory_order_acquire) ||
        lathe_score_better(metric, found->tau,
                           atomic_load_explicit(&running->tau, memory_order_relaxed))) {
        atomic_store_explicit(&running->tau, found->tau, memory_order_relaxed);
        atomic_store_explicit(&running->tau_known, true, memory_order_release);
    }
}

static void row_consider(const struct lathe_scan *scan, struct running *running,
                         struct found *found, const struct lathe_segment *segment,
                         uint32_t position)
{
    const struct lathe_scan_query *query = &running->query;
    struct lathe_hit hit;

    found->rows_scored++;
    hit.score = lathe_score_query_run(&running->score, lathe_segment_row(segment, position));
    if (query->has_threshold &&
        lathe_score_better(scan->config.metric, query->threshold, hit.score))
        return;
    hit.id = lathe_segment_id(segment, position);
    hit.ref = position;
    if (query->exclude.size > 0 && lathe_bytes_equal(query->exclude, hit.id))
        return;
    if (lathe_topk_offer(found->topk, &hit))
        tau_update(scan, running, found);
}

/* Rows first .. first+count-1 with their bounds: those that may be hits are scored. */
static void rows_consider(const struct lathe_scan *scan, struct running *running,
                          struct found *found, const struct lathe_segment_view *view,
                          uint32_t first, uint32_t count, const float *upper)
{
    found->bytes_read += (uint64_t)count * view->segment->stride * sizeof(float);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t position = first + i;

        if (lathe_proposal_drops(upper[i], found->cut))
            continue;
        if (view->dead != NULL && (view->dead->bits[position / 64] >> (position % 64) & 1) != 0)
            continue;
        row_consider(scan, running, found, view->segment, position);
    }
}

/* One block against one query. */
static void block_scan(const struct lathe_scan *scan, struct running *running, struct found *found,
                       const struct lathe_segment_view *view, uint32_t first, uint32_t count)
{
    const struct lathe_segment *segment = view->segment;
    float upper[LATHE_BLOCK_ROWS];

    tau_update(scan, running, found);
    lathe_proposal_run(&running->proposal, lathe_segment_row(segment, first), segment->stride,
                       count, segment->aux + first, upper);
    rows_consider(scan, running, found, view, first, count, upper);
}

/* One block against a tile of queries, in pieces that stay in the second-level cache. */
static void block_scan_tile(const struct lathe_scan *scan, struct running *running,
                            struct found *found, size_t tile, const struct lathe_segment_view *view,
                            uint32_t first, uint32_t count)
{
    const struct lathe_segment *segment = view->segment;
    const struct lathe_proposal *proposals[LATHE_PROPOSAL_BATCH];
    float upper[LATHE_PROPOSAL_BATCH][TILE_ROWS];
    float *uppers[LATHE_PROPOSAL_BATCH];

    for (size_t q = 0; q < tile; q++) {
        proposals[q] = &running[q].proposal;
        uppers[q] = upper[q];
        tau_update(scan, &running[q], &found[q]);
    }
    for (uint32_t done = 0; done < count; done += TILE_ROWS) {
        uint32_t piece = count - done < TILE_ROWS ? count - done : TILE_ROWS;
        uint32_t begin = first + done;

        lathe_proposal_run_batch(proposals, tile, lathe_segment_row(segment, begin),
                                 segment->stride, piece, segment->aux + begin, uppers);
        for (size_t q = 0; q < tile; q++)
            rows_consider(scan, &running[q], &found[q], view, begin, piece, upper[q]);
    }
}

/* One block against every query, while it is in the cache. */
static void block_scan_all(const struct lathe_scan *scan, struct found *found,
                           const struct lathe_segment_view *view, uint32_t first, uint32_t count)
{
    if (scan->query_count == 1) {
        block_scan(scan, &scan->running[0], &found[0], view, first, count);
        return;
    }
    for (size_t q = 0; q < scan->query_count; q += LATHE_PROPOSAL_BATCH) {
        size_t left = scan->query_count - q;

        block_scan_tile(scan, &scan->running[q], &found[q],
                        left < LATHE_PROPOSAL_BATCH ? left : LATHE_PROPOSAL_BATCH, view, first,
                        count);
    }
}

static bool found_ready(const struct lathe_scan *scan, struct running *running, struct found *found)
{
    if (found->topk != NULL)
        return true;
    found->topk = lathe_topk_create(running->query.limit, scan->config.metric);
    found->tau_known = running->query.has_threshold;
    found->tau = running->query.threshold;
    found->cut = found->tau_known ? lathe_proposal_cut(&running->proposal, found->tau)
                                  : LATHE_PROPOSAL_KEEP_ALL;
    return found->topk != NULL;
}

static void stop(struct lathe_scan *scan, enum lathe_status why)
{
    int none = LATHE_OK;

    (void)atomic_compare_exchange_strong(&scan->stop, &none, (int)why);
}

static bool stopped(struct lathe_scan *scan)
{
    if (scan->config.cancelled != NULL &&
        atomic_load_explicit(scan->config.cancelled, memory_order_relaxed))
        stop(scan, LATHE_CANCELLED);
    else if (lathe_now_us(scan->config.clock) >= scan->config.deadline_us)
        stop(scan, LATHE_DEADLINE_EXCEEDED);
    return atomic_load_explicit(&scan->stop, memory_order_relaxed) != LATHE_OK;
}

/* A chunk is one range: every query passes over each block while the block is in the cache. */
static void chunk(struct lathe_pool_job *job, unsigned thread, uint32_t index)
{
    struct lathe_scan *scan = (struct lathe_scan *)job;
    const struct lathe_scan_range *range = &scan->ranges[index];
    const struct lathe_segment_view *view = &scan->config.view->segments[range->segment];
    struct found *found = scan->found + (size_t)thread * scan->query_count;

    for (size_t q = 0; q < scan->query_count; q++) {
        if (!found_ready(scan, &scan->running[q], &found[q])) {
            stop(scan, LATHE_RESOURCE_EXHAUSTED);
            return;
        }
    }
    for (uint32_t b = range->first_block; b < range->first_block + range->block_count; b++) {
        uint32_t first = b * LATHE_BLOCK_ROWS;
        uint32_t left = view->row_count - first;
        uint32_t count = left < LATHE_BLOCK_ROWS ? left : LATHE_BLOCK_ROWS;

        if ((b - range->first_block) % 8 == 0 && stopped(scan))
            return;
        block_scan_all(scan, found, view, first, count);
    }
}

/* Puts what the threads found together: the top-k of a set does not depend on how the set was cut.
 */
static bool query_merge(struct lathe_scan *scan, size_t q)
{
    struct lathe_scan_query *query = &scan->running[q].query;
    struct lathe_topk *all = NULL;
    struct lathe_hit *hits = lathe_alloc_array(query->limit, sizeof(*hits));

    query->hits = hits;
    if (hits == NULL)
        return false;
    for (unsigned t = 0; t < scan->thread_count; t++) {
        struct found *found = &scan->found[t * scan->query_count + q];
        uint32_t count;

        query->rows_scored += found->rows_scored;
        query->bytes_read += found->bytes_read;
        if (found->topk == NULL)
            continue;
        if (all == NULL) {
            all = found->topk;
            continue;
        }
        count = lathe_topk_drain(found->topk, hits);
        for (uint32_t i = 0; i < count; i++)
            (void)lathe_topk_offer(all, &hits[i]);
    }
    query->hit_count = all != NULL ? lathe_topk_drain(all, hits) : 0;
    return true;
}

static void finish(struct lathe_pool_job *job)
{
    struct lathe_scan *scan = (struct lathe_scan *)job;

    for (size_t q = 0; q < scan->query_count; q++)
        if (!query_merge(scan, q))
            stop(scan, LATHE_RESOURCE_EXHAUSTED);
    scan->scan_us = lathe_now_us(scan->config.clock) - scan->started_us;
    scan->done(scan, scan->context);
}

uint64_t lathe_scan_query_bytes(uint32_t limit, unsigned threads)
{
    uint64_t hits = ((uint64_t)limit + 1) * sizeof(struct lathe_hit); /* 1: a top-k's head */

    return sizeof(struct running) + threads * (sizeof(struct found) + hits) + hits;
}

struct lathe_scan *lathe_scan_create(const struct lathe_scan_config *config,
                                     const struct lathe_scan_query *queries, size_t query_count,
                                     void (*done)(struct lathe_scan *scan, void *context),
                                     void *context)
{
    struct lathe_scan *scan = lathe_zalloc(sizeof(*scan));

    if (scan == NULL)
        return NULL;
    scan->config = *config;
    scan->done = done;
    scan->context = context;
    scan->query_count = query_count;
    scan->running = lathe_zalloc_array(query_count, sizeof(*scan->running));
    if (scan->running == NULL)
        goto failed;
    for (size_t q = 0; q < query_count; q++) {
        struct running *running = &scan->running[q];

        LATHE_REQUIRE(queries[q].limit > 0);
        running->query = queries[q];
        lathe_proposal_init(&running->proposal, config->kernel, config->metric, queries[q].vector,
                            config->dims);
        lathe_score_query_init(&running->score, config->metric, queries[q].vector, config->dims);
    }
    if (config->ranges == NULL) {
        scan->job.chunk_count = (uint32_t)lathe_scan_ranges(config->view, &scan->ranges);
        if (scan->job.chunk_count == 0 && config->view->segment_count > 0)
            goto failed;
    } else {
        scan->ranges = lathe_alloc_array(config->range_count, sizeof(*scan->ranges));
        if (scan->ranges == NULL)
            goto failed;
        memcpy(scan->ranges, config->ranges, config->range_count * sizeof(*scan->ranges));
        scan->job.chunk_count = (uint32_t)config->range_count;
    }
    return scan;
failed:
    lathe_scan_destroy(scan);
    return NULL;
}

void lathe_scan_run(struct lathe_scan *scan, struct lathe_pool *pool)
{
    scan->started_us = lathe_now_us(scan->config.clock);
    scan->thread_count = lathe_pool_threads(pool);
    scan->job.chunk_cost = (uint32_t)scan->query_count;
    scan->job.chunk = chunk;
    scan->job.done = finish;
    scan->found = lathe_zalloc_array(scan->thread_count * scan->query_count, sizeof(*scan->found));
    if (scan->found == NULL) {
        scan->thread_count = 0;
        stop(scan, LATHE_RESOURCE_EXHAUSTED);
    }
    if (scan->job.chunk_count == 0 || scan->found == NULL)
        finish(&scan->job);
    else
        lathe_pool_submit(pool, &scan->job);
}

void lathe_scan_destroy(struct lathe_scan *scan)
{
    if (scan == NULL)
        return;
    for (size_t i = 0; i < scan->thread_count * scan->query_count; i++)
        lathe_topk_destroy(scan->found[i].topk);
    for (size_t q = 0; scan->running != NULL && q < scan->query_count; q++)
        lathe_free(scan->running[q].query.hits);
    lathe_free(scan->found);
    lathe_free(scan->running);
    lathe_free(scan->ranges);
    lathe_free(scan);
}

enum lathe_status lathe_scan_status(const struct lathe_scan *scan)
{
    return (enum lathe_status)atomic_load_explicit(&scan->stop, memory_order_relaxed);
}

const struct lathe_scan_query *lathe_scan_query(const struct lathe_scan *scan, size_t index)
{
    return &scan->running[index].query;
}

uint64_t lathe_scan_us(const struct lathe_scan *scan)
{
    return scan->scan_us;
}
