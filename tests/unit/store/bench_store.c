/* bench_store.c - measures the store: ingest, reading back, overwriting and reclaiming. Not a test:
 * docs/decisions/0003-originals-in-blob-files.md holds what it printed.
 *
 *   bench_store DIR [ROWS [BYTES [ROUNDS]]]
 *
 * DIR is made and left for inspection. Each batch is 100 x (original + point + order + payload +
 * log entry), synced, written by one thread. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/store/keys.h"
#include "common/store/store.h"

enum { GET_ROWS = 100, PAYLOAD_BYTES = 200, LOG_BYTES = 120, READERS = 2 };

struct bench {
    struct lathe_store *store;
    struct lathe_store_cache *cache;
    uint64_t rows;
    uint64_t batch_rows;
    size_t bytes;
    uint8_t *vector;
};

static void must(enum lathe_status status, const struct lathe_error *err)
{
    if (status == LATHE_OK)
        return;
    (void)fprintf(stderr, "%s: %s\n", lathe_status_name(status), err->message);
    exit(1);
}

static double seconds_since(uint64_t start_us)
{
    return (double)(lathe_now_us(&lathe_system_clock) - start_us) / 1e6;
}

/* Processor time of this thread: what is left of a figure when the disk and other programs are
 * taken away. */
static double thread_seconds(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

/* Floats that do not compress: the low bits of each word are fresh. */
static void fill_vector(struct bench *bench, uint64_t row)
{
    uint64_t state = row * 0x9E3779B97F4A7C15u + 1;

    for (size_t i = 0; i + 8 <= bench->bytes; i += 8) {
        state += 0x9E3779B97F4A7C15u;
        lathe_put_u64le(bench->vector + i, mix(state));
    }
}

static void put_row(struct bench *bench, struct lathe_store_batch *batch, uint64_t point,
                    uint64_t row, uint64_t sequence)
{
    struct lathe_idkey id = lathe_idkey_number(mix(point));
    uint16_t slot = (uint16_t)(mix(point ^ 77) % LATHE_SLOTS);
    struct lathe_key original = lathe_key_original(1, 0, row);
    struct lathe_key key = lathe_key_point(1, slot, lathe_idkey_view(&id));
    struct lathe_key order = lathe_key_order(1, lathe_idkey_view(&id));
    struct lathe_key payload = lathe_key_payload(1, point);
    struct lathe_key log = lathe_key_log(sequence);
    uint8_t small[PAYLOAD_BYTES] = {0};

    fill_vector(bench, row);
    memcpy(small, bench->vector, 40);
    (void)snprintf((char *)small + 40, sizeof(small) - 40,
                   "title of the point %" PRIu64 ", as texts are, with words that repeat", point);
    lathe_store_batch_put(batch, LATHE_FAMILY_ORIGINALS, lathe_key_view(&original),
                          lathe_bytes_of(bench->vector, bench->bytes));
    lathe_store_batch_put(batch, LATHE_FAMILY_POINTS, lathe_key_view(&key),
                          lathe_bytes_of(small, 32));
    lathe_store_batch_put(batch, LATHE_FAMILY_ORDER, lathe_key_view(&order),
                          lathe_bytes_of(&slot, sizeof(slot)));
    lathe_store_batch_put(batch, LATHE_FAMILY_PAYLOAD, lathe_key_view(&payload),
                          lathe_bytes_of(small, sizeof(small)));
    lathe_store_batch_put(batch, LATHE_FAMILY_LOG, lathe_key_view(&log),
                          lathe_bytes_of(small, LOG_BYTES));
}

/* Round 0 inserts all points; a later round overwrites `percent` of them, chosen at random. */
static void write_round(struct bench *bench, unsigned round, const uint64_t *rows_of_points,
                        uint64_t *new_rows, unsigned percent)
{
    struct lathe_store_batch *batch = lathe_store_batch_create(bench->store);
    struct lathe_error err = {0};
    uint64_t start = lathe_now_us(&lathe_system_clock);
    double busy = thread_seconds();
    uint64_t written = 0;
    static uint64_t next_row, next_sequence;

    for (uint64_t point = 0; point < bench->rows; point++) {
        if (mix(point * 31 + round) % 100 >= percent)
            continue;
        if (round > 0) {
            struct lathe_key old = lathe_key_original(1, 0, rows_of_points[point]);

            lathe_store_batch_delete(batch, LATHE_FAMILY_ORIGINALS, lathe_key_view(&old));
        }
        put_row(bench, batch, point, next_row, next_sequence++);
        new_rows[point] = next_row++;
        if (++written % bench->batch_rows == 0) {
            must(lathe_store_commit(bench->store, batch, true, &err), &err);
            lathe_store_batch_clear(batch);
        }
    }
    must(lathe_store_commit(bench->store, batch, true, &err), &err);
    lathe_store_batch_destroy(batch);
    printf("round %u: %" PRIu64 " rows written, %.0f rows/s, %.1f us of processor a row\n", round,
           written, (double)written / seconds_since(start),
           (thread_seconds() - busy) / (double)written * 1e6);
}

static void print_disk(struct bench *bench, const char *when)
{
    struct lathe_store_figures f;
    double copy = (double)bench->rows * (double)(bench->bytes + PAYLOAD_BYTES);

    lathe_store_figures(bench->store, &f);
    printf("%s: disk %.0f MB, wal %.0f, sst %.0f, blob %.0f (garbage %.0f), memtables %.0f; "
           "disk without log and wal is %.2f x vectors and payloads\n",
           when, (double)f.disk_bytes / 1e6, (double)f.wal_bytes / 1e6,
           (double)f.total.sst_bytes / 1e6, (double)f.total.blob_bytes / 1e6,
           (double)f.total.blob_garbage_bytes / 1e6, (double)f.total.memtable_bytes / 1e6,
           (double)(f.disk_bytes - f.wal_bytes - f.families[LATHE_FAMILY_LOG].sst_bytes) / copy);
}

struct reader {
    struct bench *bench;
    uint64_t first, end, rows, sum;
};

static void *read_part(void *context)
{
    struct reader *reader = context;
    struct lathe_key_range range = lathe_key_range_rows(1, 0, reader->first, reader->end);
    struct lathe_store_scan scan = {.lower = lathe_key_view(&range.lower),
                                    .upper = lathe_key_view(&range.upper),
                                    .large = true};
    struct lathe_store_iter *iter = NULL;
    struct lathe_error err = {0};
    uint8_t *copy = lathe_alloc(reader->bench->bytes);

    must(lathe_store_iter_create(reader->bench->store, LATHE_FAMILY_ORIGINALS, &scan, &iter, &err),
         &err);
    for (lathe_store_iter_seek_first(iter); lathe_store_iter_valid(iter);
         lathe_store_iter_next(iter)) {
        struct lathe_bytes value = lathe_store_iter_value(iter);

        memcpy(copy, value.data, value.size);
        reader->sum += copy[value.size / 2];
        reader->rows++;
    }
    must(lathe_store_iter_status(iter, &err), &err);
    lathe_store_iter_destroy(iter);
    lathe_free(copy);
    return NULL;
}

static void read_all(struct bench *bench, uint64_t rows_end, unsigned readers)
{
    struct reader parts[READERS] = {0};
    pthread_t threads[READERS];
    uint64_t start = lathe_now_us(&lathe_system_clock);
    uint64_t rows = 0;

    for (unsigned i = 0; i < readers; i++) {
        parts[i] = (struct reader){bench, rows_end * i / readers, rows_end * (i + 1) / readers, 0,
                                   0};
        LATHE_REQUIRE(pthread_create(&threads[i], NULL, read_part, &parts[i]) == 0);
    }
    for (unsigned i = 0; i < readers; i++) {
        (void)pthread_join(threads[i], NULL);
        rows += parts[i].rows;
    }
    printf("read all originals in key order, %u threads: %" PRIu64 " rows, %.0f rows/s\n", readers,
           rows, (double)rows / seconds_since(start));
}

static int order_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* 100 random originals at a time, as the check of candidates does. */
static void read_random(struct bench *bench, const uint64_t *rows_of_points)
{
    enum { ROUNDS = 2000 };
    struct lathe_error err = {0};
    uint64_t start = lathe_now_us(&lathe_system_clock);

    for (uint64_t round = 0; round < ROUNDS; round++) {
        uint64_t rows[GET_ROWS];
        struct lathe_key keys[GET_ROWS];
        struct lathe_bytes views[GET_ROWS];
        struct lathe_store_value values[GET_ROWS];

        for (int i = 0; i < GET_ROWS; i++)
            rows[i] = rows_of_points[mix(round * GET_ROWS + (uint64_t)i + 5) % bench->rows];
        qsort(rows, GET_ROWS, sizeof(rows[0]), order_u64);
        for (int i = 0; i < GET_ROWS; i++) {
            keys[i] = lathe_key_original(1, 0, rows[i]);
            views[i] = lathe_key_view(&keys[i]);
        }
        must(lathe_store_multi_get(bench->store, NULL, LATHE_FAMILY_ORIGINALS, views, GET_ROWS,
                                   false, values, &err),
             &err);
        for (int i = 0; i < GET_ROWS; i++)
            lathe_store_value_release(&values[i]);
    }
    printf("multi_get of 100 random originals: %.0f us mean\n",
           seconds_since(start) / ROUNDS * 1e6);
}

static void reopen(struct bench *bench, const char *path, enum lathe_store_mode mode)
{
    struct lathe_store_config config = {
        .mode = mode, .families = LATHE_FAMILIES_ALL, .cache = bench->cache};
    struct lathe_error err = {0};
    uint64_t start = lathe_now_us(&lathe_system_clock);

    must(lathe_store_open(path, &config, &bench->store, &err), &err);
    printf("open: %.2f s\n", seconds_since(start));
}

static void reclaim_all(struct bench *bench)
{
    struct lathe_error err = {0};
    uint64_t start = lathe_now_us(&lathe_system_clock);
    unsigned steps = 0;
    bool more = true;

    while (more) {
        must(lathe_store_reclaim(bench->store, &more, &err), &err);
        steps++;
    }
    printf("reclaim: %u steps, %.2f s\n", steps, seconds_since(start));
    print_disk(bench, "after reclaim");
}

int main(int argc, char **argv)
{
    struct bench bench = {.rows = argc > 2 ? strtoull(argv[2], NULL, 10) : 200000,
                          .batch_rows = argc > 5 ? strtoull(argv[5], NULL, 10) : 100,
                          .bytes = argc > 3 ? strtoull(argv[3], NULL, 10) : 3072};
    unsigned rounds = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : 3;
    uint64_t *rows;
    uint64_t end = 0;

    if (argc < 2) {
        (void)fprintf(stderr, "usage: %s DIR [ROWS [BYTES [ROUNDS [BATCH]]]]\n", argv[0]);
        return 2;
    }
    rows = lathe_zalloc_array(bench.rows, sizeof(*rows));
    bench.vector = lathe_zalloc(bench.bytes + 64);
    bench.cache = lathe_store_cache_create(64ull << 20);
    LATHE_REQUIRE(rows != NULL && bench.vector != NULL && bench.cache != NULL);
    reopen(&bench, argv[1], LATHE_STORE_CREATE);
    write_round(&bench, 0, rows, rows, 100);
    print_disk(&bench, "after insert");
    reclaim_all(&bench);
    for (unsigned i = 1; i <= rounds; i++)
        write_round(&bench, i, rows, rows, 100);
    print_disk(&bench, "after overwriting all");
    reclaim_all(&bench);
    for (unsigned i = 1; i <= rounds; i++)
        write_round(&bench, rounds + i, rows, rows, 30);
    print_disk(&bench, "after overwriting 30 % at random");
    reclaim_all(&bench);
    for (uint64_t i = 0; i < bench.rows; i++)
        end = rows[i] >= end ? rows[i] + 1 : end;
    lathe_store_close(bench.store);
    reopen(&bench, argv[1], LATHE_STORE_OPEN);
    read_all(&bench, end, 1);
    read_all(&bench, end, READERS);
    read_random(&bench, rows);
    lathe_store_close(bench.store);
    lathe_store_cache_destroy(bench.cache);
    lathe_free(bench.vector);
    lathe_free(rows);
    return 0;
}
