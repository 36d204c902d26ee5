/* overhead.c - what a search costs beside the scan: client wall time less the scan time that the
 * reply reports; and what this machine takes to wake a sleeping thread, which happens six times on
 * the way (server, engine, shard's front, and back: front, engine, client).
 *
 *   bench_overhead SERVER COLLECTION QUERIES.fvecs COUNT
 *
 * One connection, one query at a time, the project's own C client. Prints JSON. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "client/lathe.h"
#include "common/base/clock.h"
#include "common/base/hash.h"
#include "lathe/v1/search.pb-c.h"

enum { WARM_UP = 50, TIMEOUT_MS = 10000, WAKE_ROUNDS = 5000 };

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double percentile(double *sorted, size_t count, double p)
{
    return sorted[(size_t)(p / 100.0 * (double)(count - 1))];
}

/* Reads up to `wanted` rows; returns them one after another and sets the dims. */
static float *queries_read(const char *path, size_t wanted, size_t *count_out, uint32_t *dims_out)
{
    FILE *file = fopen(path, "rb");
    float *rows = NULL;
    size_t count = 0;
    uint32_t dims = 0;

    while (file != NULL && count < wanted && fread(&dims, sizeof(dims), 1, file) == 1) {
        rows = realloc(rows, (count + 1) * dims * sizeof(float));
        if (rows == NULL || fread(rows + count * dims, sizeof(float), dims, file) != dims)
            break;
        count++;
    }
    if (file != NULL)
        (void)fclose(file);
    *count_out = count;
    *dims_out = dims;
    return rows;
}

/* One search. Returns the wall time less the scan time, in us; negative on failure. */
static double search_once(struct lathe_client *client, const char *collection, float *query,
                          uint32_t dims, double *wall_us_out)
{
    Lathe__V1__SearchRequest request = LATHE__V1__SEARCH_REQUEST__INIT;
    Lathe__V1__Vector vector = LATHE__V1__VECTOR__INIT;
    ProtobufCMessage *reply = NULL;
    struct lathe_error err;
    uint64_t begin_us, wall_us;
    double overhead;

    request.collection = (char *)(uintptr_t)collection;
    request.query_case = LATHE__V1__SEARCH_REQUEST__QUERY_VECTOR;
    request.vector = &vector;
    request.limit = 10;
    vector.values = query;
    vector.n_values = dims;
    begin_us = lathe_now_us(&lathe_system_clock);
    if (lathe_client_call(client, "/lathe.v1.SearchService/Search", &request.base,
                          &lathe__v1__search_response__descriptor, TIMEOUT_MS, &reply,
                          &err) != LATHE_OK) {
        (void)fprintf(stderr, "search failed: %s\n", err.message);
        return -1.0;
    }
    wall_us = lathe_now_us(&lathe_system_clock) - begin_us;
    *wall_us_out = (double)wall_us;
    overhead = (double)wall_us - (double)((Lathe__V1__SearchResponse *)reply)->report->scan_us;
    lathe_client_free_reply(reply);
    return overhead;
}

/* Two threads that wake each other, as the threads on a query's way do. */
struct wake {
    int there, back;
};

static bool pass_on(int from, int to)
{
    uint64_t one = 1;

    return read(from, &one, sizeof(one)) == (ssize_t)sizeof(one) &&
           write(to, &one, sizeof(one)) == (ssize_t)sizeof(one);
}

static void *wake_other(void *context)
{
    const struct wake *wake = context;

    for (int i = 0; i < WAKE_ROUNDS; i++)
        if (!pass_on(wake->there, wake->back))
            break;
    return NULL;
}

/* Mean time from a wake-up to the other thread's running, in us; negative on failure. */
static double wake_us(void)
{
    struct wake wake = {eventfd(0, EFD_CLOEXEC), eventfd(1, EFD_CLOEXEC)};
    pthread_t other;
    uint64_t begin_us = lathe_now_us(&lathe_system_clock), end_us;
    bool ok = wake.there >= 0 && wake.back >= 0 &&
              pthread_create(&other, NULL, wake_other, &wake) == 0;

    if (!ok)
        return -1.0;
    for (int i = 0; i < WAKE_ROUNDS && ok; i++)
        ok = pass_on(wake.back, wake.there);
    (void)pthread_join(other, NULL);
    end_us = lathe_now_us(&lathe_system_clock);
    (void)close(wake.there);
    (void)close(wake.back);
    return ok ? (double)(end_us - begin_us) / (2.0 * WAKE_ROUNDS) : -1.0;
}

int main(int argc, char **argv)
{
    struct lathe_client *client = NULL;
    struct lathe_error err;
    size_t wanted, count;
    uint32_t dims;
    float *queries;
    double *overhead, *wall;

    if (argc != 5 || !lathe_hash_init()) {
        (void)fprintf(stderr, "usage: bench_overhead SERVER COLLECTION QUERIES.fvecs COUNT\n");
        return 2;
    }
    wanted = strtoul(argv[4], NULL, 10);
    queries = queries_read(argv[3], 1000, &count, &dims);
    overhead = calloc(wanted, sizeof(double));
    wall = calloc(wanted, sizeof(double));
    if (count == 0 || overhead == NULL || wall == NULL ||
        lathe_client_open(argv[1], &client, &err) != LATHE_OK)
        return 1;
    for (size_t i = 0; i < WARM_UP + wanted; i++) {
        size_t at = i < WARM_UP ? 0 : i - WARM_UP;

        overhead[at] = search_once(client, argv[2], queries + i % count * dims, dims, &wall[at]);
        if (overhead[at] < 0.0)
            return 1;
    }
    lathe_client_close(&client);
    qsort(overhead, wanted, sizeof(double), by_value);
    qsort(wall, wanted, sizeof(double), by_value);
    printf("{\"queries\": %zu, \"overhead_us_p50\": %.0f, \"overhead_us_p99\": %.0f, "
           "\"wall_us_p50\": %.0f, \"wall_us_p99\": %.0f, \"wake_us\": %.0f}\n",
           wanted, percentile(overhead, wanted, 50), percentile(overhead, wanted, 99),
           percentile(wall, wanted, 50), percentile(wall, wanted, 99), wake_us());
    free(queries);
    free(overhead);
    free(wall);
    return 0;
}
