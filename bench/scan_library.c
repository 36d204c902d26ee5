/* scan_library.c - the scan core as a shared library, so that bench/scan.py can time it beside
 * FAISS in one process: the same vectors, the same queries, in turn. It is the code that a shard
 * runs for a query, without the frames around it. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/queue.h"
#include "shard/data/row.h"
#include "shard/kernel/cpu.h"
#include "shard/search/scan.h"

struct bench {
    struct lathe_rows rows;
    struct lathe_field_view *view;
    struct lathe_pool *pool;
    const struct lathe_kernel_set *kernel;
    struct lathe_queue *done;
    enum lathe_metric metric;
    uint32_t dims;
};

struct bench *bench_create(uint32_t dims, int metric, unsigned threads, const char *kernel);
int bench_add(struct bench *bench, const float *rows, uint64_t first_id, uint32_t count);
int bench_search(struct bench *bench, const float *queries, uint32_t query_count, uint32_t k,
                 uint64_t *ids_out, float *scores_out, uint64_t *scored_out);
const char *bench_kernel(const struct bench *bench);

struct bench *bench_create(uint32_t dims, int metric, unsigned threads, const char *kernel)
{
    struct bench *bench = calloc(1, sizeof(*bench));

    if (bench == NULL ||
        lathe_kernel_select(kernel, lathe_cpu_detect(), &bench->kernel, NULL) != LATHE_OK)
        return NULL;
    bench->metric = (enum lathe_metric)metric;
    bench->dims = dims;
    lathe_rows_init(&bench->rows, dims, bench->metric, NULL);
    bench->pool = lathe_pool_create(threads);
    bench->done = lathe_queue_create(1, false);
    return bench->pool != NULL && bench->done != NULL ? bench : NULL;
}

const char *bench_kernel(const struct bench *bench)
{
    return bench->kernel->name;
}

int bench_add(struct bench *bench, const float *rows, uint64_t first_id, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct lathe_idkey id = lathe_idkey_number(first_id + i);

        if (lathe_rows_append(&bench->rows, rows + (size_t)i * bench->dims, first_id + i,
                              first_id + i, lathe_idkey_view(&id)) != LATHE_OK)
            return 1;
    }
    lathe_field_view_release(bench->view);
    bench->view = lathe_rows_publish(&bench->rows);
    return bench->view != NULL ? 0 : 1;
}

static void scan_done(struct lathe_scan *scan, void *context)
{
    (void)lathe_queue_push(context, scan);
}

int bench_search(struct bench *bench, const float *queries, uint32_t query_count, uint32_t k,
                 uint64_t *ids_out, float *scores_out, uint64_t *scored_out)
{
    struct lathe_scan_config config = {.kernel = bench->kernel,
                                       .clock = &lathe_system_clock,
                                       .view = bench->view,
                                       .metric = bench->metric,
                                       .dims = bench->dims,
                                       .deadline_us = UINT64_MAX};
    struct lathe_scan_query *list = calloc(query_count, sizeof(*list));
    struct lathe_scan *scan;
    void *item;

    for (uint32_t q = 0; q < query_count; q++) {
        list[q].vector = queries + (size_t)q * bench->dims;
        list[q].limit = k;
    }
    scan = lathe_scan_create(&config, list, query_count, scan_done, bench->done);
    free(list);
    if (scan == NULL)
        return 1;
    lathe_scan_run(scan, bench->pool);
    (void)lathe_queue_pop(bench->done, &item, 1, UINT64_MAX);
    for (uint32_t q = 0; q < query_count; q++) {
        const struct lathe_scan_query *found = lathe_scan_query(scan, q);

        *scored_out += found->rows_scored;
        for (uint32_t i = 0; i < found->hit_count; i++) {
            ids_out[q * k + i] = lathe_idkey_as_number(found->hits[i].id);
            scores_out[q * k + i] = found->hits[i].score;
        }
    }
    lathe_scan_destroy(scan);
    return 0;
}
