/* scan.h - the exact top-k of one or more queries over the rows of a field.
 *
 * The scan takes a list of (segment, block range): any cut and any order of that list gives the
 * same answer. Kernels propose, with a proven bound (propose.h); the defined score decides. tau,
 * the k-th best defined score so far, is shared between threads: it only ever comes from defined
 * scores. */
#ifndef LATHE_SHARD_SCAN_H
#define LATHE_SHARD_SCAN_H
#include <stdatomic.h>

#include "common/base/clock.h"
#include "common/vec/score.h"
#include "common/vec/topk.h"
#include "shard/data/view.h"
#include "shard/search/pool.h"
#include "shard/kernel/propose.h"

enum {
    LATHE_BLOCK_ROWS = 256,              /* rows scored by one kernel call; whole mask words */
    LATHE_RANGE_BYTES = 2 * 1024 * 1024, /* of originals, in one range of the default list */
};

/* Blocks first_block .. first_block+block_count-1 of one segment of the view. */
struct lathe_scan_range {
    uint32_t segment;
    uint32_t first_block;
    uint32_t block_count;
};

struct lathe_scan_query {
    const float *vector; /* borrowed while the scan runs */
    uint32_t limit;      /* hits wanted, at least 1 */
    bool has_threshold;
    float threshold;            /* hits are at least this good */
    struct lathe_bytes exclude; /* id key left out; empty: none */
    /* Filled when the scan is done: */
    struct lathe_hit *hits; /* best first; ids point into the view's segments; ref is unused */
    uint32_t hit_count;
    uint64_t rows_scored; /* by the definition */
    uint64_t bytes_read;  /* of originals */
};

struct lathe_scan_config {
    const struct lathe_kernel_set *kernel;
    const struct lathe_clock *clock;
    const struct lathe_field_view *view; /* borrowed while the scan lives */
    enum lathe_metric metric;
    uint32_t dims;
    uint64_t deadline_us;
    const _Atomic bool *cancelled;         /* may be NULL */
    const struct lathe_scan_range *ranges; /* NULL: the whole view */
    size_t range_count;
};

struct lathe_scan;

/* `done` is called once on a pool thread, or inside run() when there is nothing to scan. Owner: the
 * caller, who destroys the scan after `done`. Queries are copied; NULL when memory is short. */
struct lathe_scan *lathe_scan_create(const struct lathe_scan_config *config,
                                     const struct lathe_scan_query *queries, size_t query_count,
                                     void (*done)(struct lathe_scan *scan, void *context),
                                     void *context);
void lathe_scan_run(struct lathe_scan *scan, struct lathe_pool *pool);
void lathe_scan_destroy(struct lathe_scan *scan); /* NULL is accepted */

/* What a scan takes for one query, at most: what each of the pool's threads finds, and the hits put
 * together. Beside that only the list of ranges, a millionth of the rows. */
uint64_t lathe_scan_query_bytes(uint32_t limit, unsigned threads);

/* After `done`. LATHE_OK: the answers are complete. DEADLINE_EXCEEDED, CANCELLED: it was stopped.
 * RESOURCE_EXHAUSTED: memory was short. */
enum lathe_status lathe_scan_status(const struct lathe_scan *scan);
const struct lathe_scan_query *lathe_scan_query(const struct lathe_scan *scan, size_t index);
uint64_t lathe_scan_us(const struct lathe_scan *scan); /* from run() to done */

/* The default list for a view, in order. Returns the number of ranges; *ranges_out is the caller's
 * (lathe_free), NULL with 0 when memory is short or there are no rows. */
size_t lathe_scan_ranges(const struct lathe_field_view *view, struct lathe_scan_range **ranges_out);
#endif
