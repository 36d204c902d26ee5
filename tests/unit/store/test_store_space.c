/* test_store_space.c - disk comes back after overwrites and drops, nothing living goes with it, and
 * the figures tell the truth. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/store/keys.h"
#include "tests/unit/store/store_fixture.h"

enum { ROWS = 3000, VALUE_BYTES = 3072, PAYLOAD_BYTES = 300, COMMIT_ROWS = 100 };

/* A writer's view: each point has one live row; an overwrite is a new row and deletes the old. */
struct points {
    struct fixture *f;
    uint64_t row_of_point[ROWS];
    uint64_t next_row;
};

static void put_point(struct points *points, struct lathe_store_batch *batch, uint64_t point)
{
    struct lathe_key key = lathe_key_original(1, 0, points->row_of_point[point]);
    uint8_t bytes[VALUE_BYTES];

    if (points->row_of_point[point] != UINT64_MAX)
        lathe_store_batch_delete(batch, LATHE_FAMILY_ORIGINALS, lathe_key_view(&key));
    points->row_of_point[point] = points->next_row++;
    key = lathe_key_original(1, 0, points->row_of_point[point]);
    fixture_fill(bytes, sizeof(bytes), points->row_of_point[point], 0);
    lathe_store_batch_put(batch, LATHE_FAMILY_ORIGINALS, lathe_key_view(&key),
                          lathe_bytes_of(bytes, sizeof(bytes)));
    key = lathe_key_payload(1, point);
    lathe_store_batch_put(batch, LATHE_FAMILY_PAYLOAD, lathe_key_view(&key),
                          lathe_bytes_of(bytes, PAYLOAD_BYTES));
}

static void commit(struct fixture *f, struct lathe_store_batch *batch)
{
    struct lathe_error err = {0};

    if (lathe_store_commit(f->store, batch, false, &err) != LATHE_OK)
        fail_msg("commit: %s", err.message);
    lathe_store_batch_clear(batch);
}

/* Writes each point with a chance of `percent`. */
static void write_points(struct points *points, struct test_rng *rng, unsigned percent)
{
    struct lathe_store_batch *batch = lathe_store_batch_create(points->f->store);

    for (uint64_t point = 0; point < ROWS; point++) {
        if (test_rng_below(rng, 100) < percent)
            put_point(points, batch, point);
        if (point % COMMIT_ROWS == 0)
            commit(points->f, batch);
    }
    commit(points->f, batch);
    lathe_store_batch_destroy(batch);
}

static struct points *points_create(struct fixture *f, struct test_rng *rng)
{
    struct points *points = lathe_zalloc(sizeof(*points));

    points->f = f;
    for (int i = 0; i < ROWS; i++)
        points->row_of_point[i] = UINT64_MAX;
    write_points(points, rng, 100);
    return points;
}

static void check_points(struct points *points, const struct lathe_store_snapshot *snapshot)
{
    for (uint64_t point = 0; point < ROWS; point++) {
        struct lathe_key key = lathe_key_original(1, 0, points->row_of_point[point]);
        struct lathe_store_value value;
        uint8_t want[VALUE_BYTES];

        fixture_fill(want, sizeof(want), points->row_of_point[point], 0);
        assert_int_equal(lathe_store_get(points->f->store, snapshot, LATHE_FAMILY_ORIGINALS,
                                         lathe_key_view(&key), &value, NULL),
                         LATHE_OK);
        assert_int_equal(value.bytes.size, sizeof(want));
        assert_memory_equal(value.bytes.data, want, sizeof(want));
        lathe_store_value_release(&value);
    }
}

static uint64_t count_originals(struct fixture *f)
{
    struct lathe_store_scan scan = {.large = true};
    struct lathe_store_iter *iter = NULL;
    uint64_t count = 0;

    assert_int_equal(lathe_store_iter_create(f->store, LATHE_FAMILY_ORIGINALS, &scan, &iter, NULL),
                     LATHE_OK);
    for (lathe_store_iter_seek_first(iter); lathe_store_iter_valid(iter);
         lathe_store_iter_next(iter))
        count++;
    assert_int_equal(lathe_store_iter_status(iter, NULL), LATHE_OK);
    lathe_store_iter_destroy(iter);
    return count;
}

static unsigned reclaim(struct fixture *f)
{
    struct lathe_error err = {0};
    unsigned steps = 0;
    bool more = true;

    while (more) {
        if (lathe_store_reclaim(f->store, &more, &err) != LATHE_OK)
            fail_msg("reclaim: %s", err.message);
        assert_true(++steps < 100);
    }
    return steps;
}

/* Disk in copies of the live data. */
static double copies(struct fixture *f)
{
    struct lathe_store_figures figures;

    lathe_store_figures(f->store, &figures);
    return (double)figures.disk_bytes / (ROWS * (double)(VALUE_BYTES + PAYLOAD_BYTES));
}

static void ten_overwrites_of_every_row_leave_at_most_1_6_copies(void **state)
{
    struct fixture *f = *state;
    struct test_rng rng;
    struct points *points;
    double before;

    test_rng_seed(&rng, "overwrite all");
    points = points_create(f, &rng);
    for (int round = 0; round < 10; round++)
        write_points(points, &rng, 100);
    before = copies(f);
    (void)reclaim(f);
    print_message("overwritten 10 times: %.2f copies, reclaimed: %.2f\n", before, copies(f));
    assert_true(copies(f) <= 1.6);
    check_points(points, NULL);
    assert_int_equal(count_originals(f), ROWS);
    lathe_free(points);
}

static void overwrites_of_random_rows_leave_at_most_1_6_copies(void **state)
{
    struct fixture *f = *state;
    struct test_rng rng;
    struct points *points;

    test_rng_seed(&rng, "overwrite some");
    points = points_create(f, &rng);
    for (int round = 0; round < 8; round++) {
        write_points(points, &rng, (unsigned)(10 + 10 * test_rng_below(&rng, 5)));
        if (round % 2 == 1)
            (void)reclaim(f);
    }
    print_message("overwritten at random, reclaimed: %.2f copies\n", copies(f));
    assert_true(copies(f) <= 1.6);
    check_points(points, NULL);
    assert_int_equal(count_originals(f), ROWS);
    fixture_close(f);
    fixture_open(f);
    check_points(points, NULL);
    lathe_free(points);
}

static void reclaim_rewrites_nothing_when_nothing_is_dead(void **state)
{
    struct fixture *f = *state;
    struct test_rng rng;
    struct points *points;
    struct fixture_files before, after;

    test_rng_seed(&rng, "nothing dead");
    points = points_create(f, &rng);
    (void)reclaim(f);
    fixture_list(f->path, ".blob", &before);
    assert_true(before.count > 1);
    assert_int_equal(reclaim(f), 1);
    fixture_list(f->path, ".blob", &after);
    assert_int_equal(after.count, before.count);
    for (size_t i = 0; i < after.count; i++)
        assert_string_equal(after.paths[i], before.paths[i]);
    lathe_free(points);
}

static void a_snapshot_keeps_its_rows_through_reclaiming(void **state)
{
    struct fixture *f = *state;
    const struct lathe_store_snapshot *snapshot;
    struct points *points, *then;
    struct test_rng rng;

    test_rng_seed(&rng, "snapshot");
    points = points_create(f, &rng);
    then = lathe_alloc(sizeof(*then));
    *then = *points;
    snapshot = lathe_store_snapshot_acquire(f->store);
    for (int round = 0; round < 3; round++)
        write_points(points, &rng, 70);
    (void)reclaim(f);
    check_points(then, snapshot);
    check_points(points, NULL);
    lathe_store_snapshot_release(f->store, snapshot);
    write_points(points, &rng, 50);
    (void)reclaim(f);
    assert_true(copies(f) <= 1.6);
    check_points(points, NULL);
    lathe_free(then);
    lathe_free(points);
}

static void a_dropped_collection_gives_its_disk_back(void **state)
{
    struct fixture *f = *state;
    struct lathe_key_range range = lathe_key_range_collection(1);
    struct lathe_bytes lower = lathe_key_view(&range.lower);
    struct lathe_bytes upper = lathe_key_view(&range.upper);
    struct lathe_store_batch *batch;
    struct lathe_store_figures figures;
    struct lathe_key kept = lathe_key_original(2, 0, 0);
    struct lathe_store_value value;
    struct points *points;
    struct test_rng rng;

    test_rng_seed(&rng, "drop");
    points = points_create(f, &rng);
    batch = lathe_store_batch_create(f->store);
    lathe_store_batch_put(batch, LATHE_FAMILY_ORIGINALS, lathe_key_view(&kept),
                          lathe_bytes_str("another collection"));
    commit(f, batch);
    (void)reclaim(f);
    assert_int_equal(lathe_store_delete_files(f->store, LATHE_FAMILY_ORIGINALS, lower, upper, NULL),
                     LATHE_OK);
    lathe_store_batch_delete_range(batch, LATHE_FAMILY_ORIGINALS, lower, upper);
    lathe_store_batch_delete_range(batch, LATHE_FAMILY_PAYLOAD, lower, upper);
    commit(f, batch);
    lathe_store_batch_destroy(batch);
    assert_int_equal(lathe_store_flush(f->store, NULL), LATHE_OK);
    assert_int_equal(lathe_store_compact(f->store, LATHE_FAMILY_ORIGINALS, lower, upper, NULL),
                     LATHE_OK);
    assert_int_equal(lathe_store_compact(f->store, LATHE_FAMILY_PAYLOAD, lower, upper, NULL),
                     LATHE_OK);
    lathe_store_figures(f->store, &figures);
    assert_true(figures.disk_bytes - figures.wal_bytes < 1u << 20);
    assert_int_equal(count_originals(f), 1);
    assert_int_equal(lathe_store_get(f->store, NULL, LATHE_FAMILY_ORIGINALS, lathe_key_view(&kept),
                                     &value, NULL),
                     LATHE_OK);
    assert_true(lathe_bytes_equal(value.bytes, lathe_bytes_str("another collection")));
    lathe_store_value_release(&value);
    lathe_free(points);
}

static void trimming_the_log_deletes_its_first_files(void **state)
{
    enum { ENTRIES = 20000, TRIMMED = 15000, ENTRY_BYTES = 2000 };
    struct fixture *f = *state;
    struct lathe_key_range range = lathe_key_range_log(0, TRIMMED);
    struct lathe_store_batch *batch = lathe_store_batch_create(f->store);
    struct lathe_store_figures before, after;
    struct lathe_store_scan scan = {0};
    struct lathe_store_iter *iter = NULL;
    uint8_t bytes[ENTRY_BYTES];
    uint64_t sequence = 0;

    for (uint64_t i = 0; i < ENTRIES; i++) {
        struct lathe_key key = lathe_key_log(i);

        fixture_fill(bytes, sizeof(bytes), i, 0);
        lathe_store_batch_put(batch, LATHE_FAMILY_LOG, lathe_key_view(&key),
                              lathe_bytes_of(bytes, sizeof(bytes)));
        if (i % 100 == 99)
            commit(f, batch);
    }
    (void)reclaim(f);
    assert_int_equal(lathe_store_compact(f->store, LATHE_FAMILY_LOG, lathe_bytes_of(NULL, 0),
                                         lathe_bytes_of(NULL, 0), NULL),
                     LATHE_OK);
    lathe_store_figures(f->store, &before);
    assert_int_equal(lathe_store_delete_files(f->store, LATHE_FAMILY_LOG,
                                              lathe_key_view(&range.lower),
                                              lathe_key_view(&range.upper), NULL),
                     LATHE_OK);
    lathe_store_batch_delete_range(batch, LATHE_FAMILY_LOG, lathe_key_view(&range.lower),
                                   lathe_key_view(&range.upper));
    commit(f, batch);
    lathe_store_batch_destroy(batch);
    lathe_store_figures(f->store, &after);
    assert_true(after.families[LATHE_FAMILY_LOG].sst_bytes <
                before.families[LATHE_FAMILY_LOG].sst_bytes / 2);
    assert_int_equal(lathe_store_iter_create(f->store, LATHE_FAMILY_LOG, &scan, &iter, NULL),
                     LATHE_OK);
    lathe_store_iter_seek_first(iter);
    assert_true(lathe_store_iter_valid(iter));
    assert_int_equal(lathe_key_log_parse(lathe_store_iter_key(iter), &sequence, NULL), LATHE_OK);
    assert_int_equal(sequence, TRIMMED);
    lathe_store_iter_destroy(iter);
}

static void figures_follow_the_data_from_memory_to_disk(void **state)
{
    struct fixture *f = *state;
    struct lathe_store_figures empty, written, flushed;
    const struct lathe_store_family_figures *originals;
    struct lathe_store_batch *batch = lathe_store_batch_create(f->store);
    uint8_t bytes[100000];

    fixture_fill(bytes, sizeof(bytes), 1, 1);
    lathe_store_figures(f->store, &empty);
    lathe_store_batch_put(batch, LATHE_FAMILY_ORIGINALS, lathe_bytes_str("row"),
                          lathe_bytes_of(bytes, sizeof(bytes)));
    assert_int_equal(lathe_store_commit(f->store, batch, true, NULL), LATHE_OK);
    lathe_store_batch_destroy(batch);
    lathe_store_figures(f->store, &written);
    originals = &written.families[LATHE_FAMILY_ORIGINALS];
    assert_true(originals->memtable_bytes >
                empty.families[LATHE_FAMILY_ORIGINALS].memtable_bytes + 90000);
    assert_true(written.total.memtable_bytes >= originals->memtable_bytes);
    assert_int_equal(originals->blob_bytes, 0);
    assert_true(written.wal_bytes >= 100000);
    assert_true(written.disk_bytes >= written.wal_bytes);
    assert_true(written.disk_free_bytes > 0);
    assert_int_equal(lathe_store_flush(f->store, NULL), LATHE_OK);
    lathe_store_figures(f->store, &flushed);
    originals = &flushed.families[LATHE_FAMILY_ORIGINALS];
    assert_true(originals->blob_bytes >= 100000);
    assert_true(originals->sst_bytes > 0);
    assert_int_equal(originals->blob_garbage_bytes, 0);
    assert_int_equal(originals->keys, 1);
    assert_true(flushed.total.memtable_bytes < written.total.memtable_bytes);
    assert_true(flushed.wal_bytes < 50000);
    assert_int_equal(flushed.background_errors, 0);
    assert_false(flushed.write_stopped);
    assert_int_equal(lathe_store_background_error(f->store, NULL), LATHE_OK);
}

/* ---- Threads: results are kept and asserted after the join ------------------------------------
 */

struct reader {
    struct fixture *f;
    atomic_bool *stop;
    uint64_t walks;
    uint64_t wrong; /* walks through a snapshot that did not see every point once */
};

static void *read_on(void *context)
{
    struct reader *reader = context;

    while (!atomic_load(reader->stop) || reader->walks == 0) {
        struct lathe_store_scan scan = {.large = true};
        struct lathe_store_iter *iter = NULL;
        uint64_t count = 0;

        scan.snapshot = lathe_store_snapshot_acquire(reader->f->store);
        if (lathe_store_iter_create(reader->f->store, LATHE_FAMILY_ORIGINALS, &scan, &iter, NULL) !=
            LATHE_OK)
            return NULL;
        for (lathe_store_iter_seek_first(iter); lathe_store_iter_valid(iter);
             lathe_store_iter_next(iter))
            count += lathe_store_iter_value(iter).size == VALUE_BYTES;
        reader->wrong += lathe_store_iter_status(iter, NULL) != LATHE_OK || count != ROWS;
        lathe_store_iter_destroy(iter);
        lathe_store_snapshot_release(reader->f->store, scan.snapshot);
        reader->walks++;
    }
    return NULL;
}

struct reclaimer {
    struct fixture *f;
    atomic_bool *stop;
    uint64_t failed;
};

static void *reclaim_on(void *context)
{
    struct reclaimer *reclaimer = context;
    struct lathe_store_figures figures;
    bool more;

    while (!atomic_load(reclaimer->stop)) {
        reclaimer->failed += lathe_store_reclaim(reclaimer->f->store, &more, NULL) != LATHE_OK;
        lathe_store_figures(reclaimer->f->store, &figures);
    }
    return NULL;
}

static void reading_and_writing_go_on_while_reclaiming(void **state)
{
    struct fixture *f = *state;
    atomic_bool stop = false;
    struct reader reader = {f, &stop, 0, 0};
    struct reclaimer reclaimers[2] = {{f, &stop, 0}, {f, &stop, 0}};
    pthread_t threads[3];
    struct points *points;
    struct test_rng rng;

    test_rng_seed(&rng, "threads");
    points = points_create(f, &rng);
    assert_int_equal(pthread_create(&threads[0], NULL, read_on, &reader), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, reclaim_on, &reclaimers[0]), 0);
    assert_int_equal(pthread_create(&threads[2], NULL, reclaim_on, &reclaimers[1]), 0);
    for (int round = 0; round < 6; round++)
        write_points(points, &rng, 40);
    atomic_store(&stop, true);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_true(reader.walks > 0);
    assert_int_equal(reader.wrong, 0);
    assert_int_equal(reclaimers[0].failed + reclaimers[1].failed, 0);
    check_points(points, NULL);
    lathe_free(points);
}

#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(ten_overwrites_of_every_row_leave_at_most_1_6_copies),
        STORE_TEST(overwrites_of_random_rows_leave_at_most_1_6_copies),
        STORE_TEST(reclaim_rewrites_nothing_when_nothing_is_dead),
        STORE_TEST(a_snapshot_keeps_its_rows_through_reclaiming),
        STORE_TEST(a_dropped_collection_gives_its_disk_back),
        STORE_TEST(trimming_the_log_deletes_its_first_files),
        STORE_TEST(figures_follow_the_data_from_memory_to_disk),
        STORE_TEST(reading_and_writing_go_on_while_reclaiming),
    };

    return cmocka_run_group_tests_name("store/space", tests, NULL, NULL);
}
