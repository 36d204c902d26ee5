/* test_store.c - what goes into the store comes out of it, now, through snapshots, after reopening.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/mem.h"
#include "common/store/keys.h"
#include "tests/unit/store/store_fixture.h"

/* ---- Writing and reading -------------------------------------------------------------------- */

static void a_value_comes_back_from_its_own_family_only(void **state)
{
    struct fixture *f = *state;

    fixture_put(f, LATHE_FAMILY_POINTS, "a", "1");
    fixture_put(f, LATHE_FAMILY_ORDER, "a", "2");
    assert_string_equal(fixture_get(f, NULL, LATHE_FAMILY_POINTS, "a"), "1");
    assert_string_equal(fixture_get(f, NULL, LATHE_FAMILY_ORDER, "a"), "2");
    assert_string_equal(fixture_get(f, NULL, LATHE_FAMILY_META, "a"), "-");
    assert_string_equal(fixture_get(f, NULL, LATHE_FAMILY_POINTS, "b"), "-");
}

static void an_empty_value_is_found_and_an_absent_one_is_not(void **state)
{
    struct fixture *f = *state;
    struct lathe_store_value value;

    fixture_put(f, LATHE_FAMILY_META, "k", "");
    assert_int_equal(
        lathe_store_get(f->store, NULL, LATHE_FAMILY_META, lathe_bytes_str("k"), &value, NULL),
        LATHE_OK);
    assert_true(value.found);
    assert_int_equal(value.bytes.size, 0);
    lathe_store_value_release(&value);
    assert_false(value.found);
    assert_int_equal(
        lathe_store_get(f->store, NULL, LATHE_FAMILY_META, lathe_bytes_str("x"), &value, NULL),
        LATHE_OK);
    assert_false(value.found);
    lathe_store_value_release(&value);
}

static void a_batch_applies_in_order_and_nothing_before_commit(void **state)
{
    struct fixture *f = *state;
    struct lathe_store_batch *batch = lathe_store_batch_create(f->store);
    const struct lathe_bytes parts[] = {lathe_bytes_str("head"), lathe_bytes_of(NULL, 0),
                                        lathe_bytes_str("+tail")};
    size_t empty_bytes = lathe_store_batch_size_bytes(batch);

    fixture_put(f, LATHE_FAMILY_META, "b", "old");
    lathe_store_batch_put(batch, LATHE_FAMILY_META, lathe_bytes_str("a"), lathe_bytes_str("1"));
    lathe_store_batch_put(batch, LATHE_FAMILY_META, lathe_bytes_str("a"), lathe_bytes_str("2"));
    lathe_store_batch_delete(batch, LATHE_FAMILY_META, lathe_bytes_str("b"));
    lathe_store_batch_put_parts(batch, LATHE_FAMILY_LOG, lathe_bytes_str("c"), parts, 3);
    assert_int_equal(lathe_store_batch_count(batch), 4);
    assert_true(lathe_store_batch_size_bytes(batch) > empty_bytes + 9);
    assert_string_equal(fixture_get(f, NULL, LATHE_FAMILY_META, "a"), "-");
    assert_int_equal(lathe_store_commit(f->store, batch, false, NULL), LATHE_OK);
    assert_string_equal(fixture_get(f, NULL, LATHE_FAMILY_META, "a"), "2");
    assert_string_equal(fixture_get(f, NULL, LATHE_FAMILY_META, "b"), "-");
    assert_string_equal(fixture_get(f, NULL, LATHE_FAMILY_LOG, "c"), "head+tail");
    lathe_store_batch_clear(batch);
    assert_int_equal(lathe_store_batch_count(batch), 0);
    assert_int_equal(lathe_store_batch_size_bytes(batch), empty_bytes);
    lathe_store_batch_destroy(batch);
}

static void a_deleted_range_takes_its_keys_and_leaves_the_upper_bound(void **state)
{
    struct fixture *f = *state;
    struct lathe_store_batch *batch = lathe_store_batch_create(f->store);

    fixture_put(f, LATHE_FAMILY_PAYLOAD, "a", "1");
    fixture_put(f, LATHE_FAMILY_PAYLOAD, "b", "2");
    fixture_put(f, LATHE_FAMILY_PAYLOAD, "bz", "3");
    fixture_put(f, LATHE_FAMILY_PAYLOAD, "c", "4");
    fixture_put(f, LATHE_FAMILY_ORDER, "b", "5");
    lathe_store_batch_delete_range(batch, LATHE_FAMILY_PAYLOAD, lathe_bytes_str("b"),
                                   lathe_bytes_str("c"));
    assert_int_equal(lathe_store_commit(f->store, batch, true, NULL), LATHE_OK);
    lathe_store_batch_destroy(batch);
    assert_string_equal(fixture_get(f, NULL, LATHE_FAMILY_PAYLOAD, "a"), "1");
    assert_string_equal(fixture_get(f, NULL, LATHE_FAMILY_PAYLOAD, "b"), "-");
    assert_string_equal(fixture_get(f, NULL, LATHE_FAMILY_PAYLOAD, "bz"), "-");
    assert_string_equal(fixture_get(f, NULL, LATHE_FAMILY_PAYLOAD, "c"), "4");
    assert_string_equal(fixture_get(f, NULL, LATHE_FAMILY_ORDER, "b"), "5");
}

static void a_snapshot_sees_its_own_time_after_overwrites_and_compaction(void **state)
{
    struct fixture *f = *state;
    const struct lathe_store_snapshot *snapshot;

    fixture_put(f, LATHE_FAMILY_POINTS, "a", "old");
    fixture_put(f, LATHE_FAMILY_POINTS, "gone", "here");
    snapshot = lathe_store_snapshot_acquire(f->store);
    fixture_put(f, LATHE_FAMILY_POINTS, "a", "new");
    fixture_put(f, LATHE_FAMILY_POINTS, "later", "x");
    fixture_delete(f, LATHE_FAMILY_POINTS, "gone");
    assert_int_equal(lathe_store_flush(f->store, NULL), LATHE_OK);
    assert_int_equal(lathe_store_compact(f->store, LATHE_FAMILY_POINTS, lathe_bytes_of(NULL, 0),
                                         lathe_bytes_of(NULL, 0), NULL),
                     LATHE_OK);
    assert_string_equal(fixture_get(f, snapshot, LATHE_FAMILY_POINTS, "a"), "old");
    assert_string_equal(fixture_get(f, snapshot, LATHE_FAMILY_POINTS, "gone"), "here");
    assert_string_equal(fixture_get(f, snapshot, LATHE_FAMILY_POINTS, "later"), "-");
    assert_string_equal(fixture_get(f, NULL, LATHE_FAMILY_POINTS, "a"), "new");
    assert_string_equal(fixture_get(f, NULL, LATHE_FAMILY_POINTS, "gone"), "-");
    lathe_store_snapshot_release(f->store, snapshot);
}

static void multi_get_answers_every_key_in_its_place(void **state)
{
    enum { KEYS = 1000 };
    struct fixture *f = *state;
    struct lathe_store_batch *batch = lathe_store_batch_create(f->store);
    struct lathe_key keys[KEYS];
    struct lathe_bytes views[KEYS];
    struct lathe_store_value values[KEYS];
    uint8_t want[600];

    for (uint64_t i = 0; i < KEYS; i += 2) {
        struct lathe_key key = lathe_key_original(1, 0, i);

        fixture_fill(want, sizeof(want), i, 0);
        lathe_store_batch_put(batch, LATHE_FAMILY_ORIGINALS, lathe_key_view(&key),
                              lathe_bytes_of(want, sizeof(want)));
    }
    assert_int_equal(lathe_store_commit(f->store, batch, true, NULL), LATHE_OK);
    lathe_store_batch_destroy(batch);
    for (int pass = 0; pass < 4; pass++) {
        bool sorted = pass % 2 == 0;

        for (uint64_t i = 0; i < KEYS; i++) {
            keys[i] = lathe_key_original(1, 0, sorted ? i : (i * 7 + 3) % KEYS);
            views[i] = lathe_key_view(&keys[i]);
        }
        assert_int_equal(lathe_store_multi_get(f->store, NULL, LATHE_FAMILY_ORIGINALS, views, KEYS,
                                               sorted, values, NULL),
                         LATHE_OK);
        for (uint64_t i = 0; i < KEYS; i++) {
            uint64_t row = sorted ? i : (i * 7 + 3) % KEYS;

            assert_int_equal(values[i].found, row % 2 == 0);
            if (values[i].found) {
                fixture_fill(want, sizeof(want), row, 0);
                assert_int_equal(values[i].bytes.size, sizeof(want));
                assert_memory_equal(values[i].bytes.data, want, sizeof(want));
            }
            lathe_store_value_release(&values[i]);
        }
        /* The second half reads from blob files. */
        assert_int_equal(lathe_store_flush(f->store, NULL), LATHE_OK);
    }
}

/* ---- Iterators ------------------------------------------------------------------------------ */

/* Keys seen from first to last, joined by spaces. */
static const char *walk(struct fixture *f, const struct lathe_store_scan *scan, bool backwards)
{
    static char text[512];
    struct lathe_store_iter *iter = NULL;

    text[0] = '\0';
    assert_int_equal(lathe_store_iter_create(f->store, LATHE_FAMILY_ORDER, scan, &iter, NULL),
                     LATHE_OK);
    if (backwards)
        lathe_store_iter_seek_last(iter);
    else
        lathe_store_iter_seek_first(iter);
    while (lathe_store_iter_valid(iter)) {
        struct lathe_bytes key = lathe_store_iter_key(iter);
        struct lathe_bytes value = lathe_store_iter_value(iter);

        (void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%.*s=%.*s ",
                       (int)key.size, (const char *)key.data, (int)value.size,
                       (const char *)value.data);
        if (backwards)
            lathe_store_iter_prev(iter);
        else
            lathe_store_iter_next(iter);
    }
    assert_int_equal(lathe_store_iter_status(iter, NULL), LATHE_OK);
    lathe_store_iter_destroy(iter);
    return text;
}

static void iterators_stay_within_their_bounds_in_both_directions(void **state)
{
    struct fixture *f = *state;
    struct lathe_store_scan scan = {0};

    fixture_put(f, LATHE_FAMILY_ORDER, "a", "1");
    fixture_put(f, LATHE_FAMILY_ORDER, "b", "2");
    fixture_put(f, LATHE_FAMILY_ORDER, "c", "3");
    fixture_put(f, LATHE_FAMILY_ORDER, "d", "4");
    fixture_put(f, LATHE_FAMILY_POINTS, "bb", "9");
    for (int pass = 0; pass < 2; pass++) {
        scan = (struct lathe_store_scan){.large = pass == 1};
        assert_string_equal(walk(f, &scan, false), "a=1 b=2 c=3 d=4 ");
        assert_string_equal(walk(f, &scan, true), "d=4 c=3 b=2 a=1 ");
        scan.lower = lathe_bytes_str("b");
        assert_string_equal(walk(f, &scan, false), "b=2 c=3 d=4 ");
        scan.upper = lathe_bytes_str("d");
        assert_string_equal(walk(f, &scan, false), "b=2 c=3 ");
        assert_string_equal(walk(f, &scan, true), "c=3 b=2 ");
        scan.lower = lathe_bytes_str("bb");
        scan.upper = lathe_bytes_str("bc");
        assert_string_equal(walk(f, &scan, false), "");
        assert_int_equal(lathe_store_flush(f->store, NULL), LATHE_OK);
    }
}

static void an_iterator_seeks_to_both_sides_of_a_missing_key(void **state)
{
    struct fixture *f = *state;
    struct lathe_store_scan scan = {0};
    struct lathe_store_iter *iter = NULL;

    fixture_put(f, LATHE_FAMILY_ORDER, "b", "2");
    fixture_put(f, LATHE_FAMILY_ORDER, "d", "4");
    assert_int_equal(lathe_store_iter_create(f->store, LATHE_FAMILY_ORDER, &scan, &iter, NULL),
                     LATHE_OK);
    assert_false(lathe_store_iter_valid(iter));
    lathe_store_iter_seek(iter, lathe_bytes_str("c"));
    assert_true(lathe_bytes_equal(lathe_store_iter_key(iter), lathe_bytes_str("d")));
    lathe_store_iter_seek_before(iter, lathe_bytes_str("c"));
    assert_true(lathe_bytes_equal(lathe_store_iter_key(iter), lathe_bytes_str("b")));
    lathe_store_iter_seek_before(iter, lathe_bytes_str("d"));
    assert_true(lathe_bytes_equal(lathe_store_iter_key(iter), lathe_bytes_str("d")));
    lathe_store_iter_seek(iter, lathe_bytes_str("e"));
    assert_false(lathe_store_iter_valid(iter));
    lathe_store_iter_seek_before(iter, lathe_bytes_str("a"));
    assert_false(lathe_store_iter_valid(iter));
    lathe_store_iter_destroy(iter);
}

static void an_iterator_keeps_its_time_and_a_snapshot_sets_it(void **state)
{
    struct fixture *f = *state;
    struct lathe_store_scan scan = {0};
    struct lathe_store_iter *iter = NULL;

    fixture_put(f, LATHE_FAMILY_ORDER, "a", "1");
    scan.snapshot = lathe_store_snapshot_acquire(f->store);
    fixture_put(f, LATHE_FAMILY_ORDER, "b", "2");
    assert_string_equal(walk(f, &scan, false), "a=1 ");
    lathe_store_snapshot_release(f->store, scan.snapshot);
    scan.snapshot = NULL;
    assert_int_equal(lathe_store_iter_create(f->store, LATHE_FAMILY_ORDER, &scan, &iter, NULL),
                     LATHE_OK);
    fixture_put(f, LATHE_FAMILY_ORDER, "c", "3");
    lathe_store_iter_seek_last(iter);
    assert_true(lathe_bytes_equal(lathe_store_iter_key(iter), lathe_bytes_str("b")));
    lathe_store_iter_destroy(iter);
}

/* ---- Opening -------------------------------------------------------------------------------- */

static void reopening_keeps_everything_flushed_or_not(void **state)
{
    struct fixture *f = *state;

    for (unsigned family = 0; family < LATHE_FAMILIES; family++)
        fixture_put(f, (enum lathe_family)family, "flushed", lathe_family_name(family));
    assert_int_equal(lathe_store_flush(f->store, NULL), LATHE_OK);
    for (unsigned family = 0; family < LATHE_FAMILIES; family++)
        fixture_put(f, (enum lathe_family)family, "logged", lathe_family_name(family));
    for (int pass = 0; pass < 2; pass++) {
        fixture_close(f);
        fixture_open(f);
        for (unsigned family = 0; family < LATHE_FAMILIES; family++) {
            const char *want = lathe_family_name((enum lathe_family)family);

            assert_string_equal(fixture_get(f, NULL, (enum lathe_family)family, "flushed"), want);
            assert_string_equal(fixture_get(f, NULL, (enum lathe_family)family, "logged"), want);
        }
    }
}

static enum lathe_status try_open(const char *path, enum lathe_store_mode mode, uint32_t families,
                                  struct lathe_error *err)
{
    struct lathe_store_config config = {.mode = mode, .families = families};
    struct lathe_store *store = NULL;
    enum lathe_status status;

    *err = (struct lathe_error){0};
    status = lathe_store_open(path, &config, &store, err);
    assert_int_equal(status == LATHE_OK, store != NULL);
    lathe_store_close(store);
    return status;
}

static void modes_never_make_or_take_a_store_by_accident(void **state)
{
    struct fixture *f = *state;
    struct lathe_error err;
    char path[4300];

    (void)snprintf(path, sizeof(path), "%s/other", f->dir);
    assert_int_equal(try_open(path, LATHE_STORE_OPEN, LATHE_FAMILIES_ALL, &err), LATHE_NOT_FOUND);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(try_open(path, LATHE_STORE_CREATE, LATHE_FAMILIES_ALL, &err), LATHE_OK);
    assert_int_equal(try_open(path, LATHE_STORE_CREATE, LATHE_FAMILIES_ALL, &err),
                     LATHE_ALREADY_EXISTS);
    assert_int_equal(try_open(path, LATHE_STORE_OPEN, LATHE_FAMILIES_ALL, &err), LATHE_OK);
    assert_int_equal(try_open(path, LATHE_STORE_OPEN_OR_CREATE, LATHE_FAMILIES_ALL, &err),
                     LATHE_OK);
}

/* RocksDB's texts hold paths, and a directory may be called anything. */
static void the_name_of_a_directory_is_not_taken_for_an_error(void **state)
{
    struct fixture *f = *state;
    struct lathe_store_config config = {.mode = LATHE_STORE_OPEN_OR_CREATE,
                                        .families = LATHE_FAMILIES_ALL};
    struct lathe_store *store, *second;
    struct lathe_error err = {0};
    char path[4300];

    (void)snprintf(path, sizeof(path), "%s/No space left: NoSpace", f->dir);
    assert_int_equal(lathe_store_open(path, &config, &store, &err), LATHE_OK);
    assert_int_equal(lathe_store_open(path, &config, &second, &err), LATHE_FAILED_PRECONDITION);
    lathe_store_close(store);
}

static void a_store_of_other_families_is_refused_and_more_may_be_added(void **state)
{
    struct fixture *f = *state;
    uint32_t meta = LATHE_FAMILY_BIT(LATHE_FAMILY_META);
    struct lathe_error err;
    char path[4300];

    (void)snprintf(path, sizeof(path), "%s/catalog", f->dir);
    assert_int_equal(try_open(path, LATHE_STORE_CREATE, meta, &err), LATHE_OK);
    assert_int_equal(try_open(path, LATHE_STORE_OPEN, meta, &err), LATHE_OK);
    assert_int_equal(try_open(path, LATHE_STORE_OPEN, LATHE_FAMILIES_ALL, &err), LATHE_OK);
    assert_int_equal(try_open(path, LATHE_STORE_OPEN, meta, &err), LATHE_FAILED_PRECONDITION);
    assert_non_null(strstr(err.message, "points"));
}

static void a_store_that_lost_its_current_file_is_not_overwritten(void **state)
{
    struct fixture *f = *state;
    struct lathe_error err;
    char current[4300];
    struct fixture_files files;

    fixture_put(f, LATHE_FAMILY_META, "a", "1");
    assert_int_equal(lathe_store_flush(f->store, NULL), LATHE_OK);
    fixture_close(f);
    (void)snprintf(current, sizeof(current), "%s/CURRENT", f->path);
    assert_int_equal(unlink(current), 0);
    for (int mode = LATHE_STORE_OPEN; mode <= LATHE_STORE_OPEN_OR_CREATE; mode++) {
        assert_int_equal(try_open(f->path, (enum lathe_store_mode)mode, LATHE_FAMILIES_ALL, &err),
                         LATHE_DATA_LOSS);
        assert_non_null(strstr(err.message, "CURRENT"));
    }
    fixture_list(f->path, ".sst", &files);
    assert_true(files.count > 0);
}

static void a_second_open_in_the_same_process_is_refused(void **state)
{
    struct fixture *f = *state;
    struct lathe_error err;

    assert_int_equal(try_open(f->path, LATHE_STORE_OPEN, LATHE_FAMILIES_ALL, &err),
                     LATHE_FAILED_PRECONDITION);
    fixture_put(f, LATHE_FAMILY_META, "a", "1");
    assert_string_equal(fixture_get(f, NULL, LATHE_FAMILY_META, "a"), "1");
}

/* Makes the store and holds it open until its input ends; says so by one byte. */
static void hold_store(const char *path, int ready_fd, int stop_fd)
{
    struct lathe_store_config config = {.mode = LATHE_STORE_CREATE, .families = LATHE_FAMILIES_ALL};
    struct lathe_store *store = NULL;
    char byte = 'x';

    if (lathe_store_open(path, &config, &store, NULL) != LATHE_OK)
        _exit(1);
    if (write(ready_fd, &byte, 1) != 1)
        _exit(2);
    (void)!read(stop_fd, &byte, 1);
    lathe_store_close(store);
    _exit(0);
}

/* The first test: a process that has RocksDB's threads already cannot be forked for this. */
static void an_open_by_another_process_is_refused_saying_so(void **state)
{
    struct lathe_error err;
    char *dir = test_dir_create();
    char path[4300];
    int ready[2], stop[2], status;
    char byte;
    pid_t child;

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/store", dir);
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(stop), 0);
    child = fork();
    if (child == 0) {
        (void)close(stop[1]);
        hold_store(path, ready[1], stop[0]);
    }
    (void)close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(try_open(path, LATHE_STORE_OPEN, LATHE_FAMILIES_ALL, &err),
                     LATHE_FAILED_PRECONDITION);
    assert_non_null(strstr(err.message, "another process uses the directory"));
    (void)close(stop[1]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(try_open(path, LATHE_STORE_OPEN, LATHE_FAMILIES_ALL, &err), LATHE_OK);
    (void)close(ready[0]);
    (void)close(stop[0]);
    test_dir_remove(dir);
}

static void opening_where_a_directory_cannot_be_made_fails_with_the_path(void **state)
{
    struct lathe_error err;

    (void)state;
    assert_int_not_equal(
        try_open("/proc/lathe-store", LATHE_STORE_CREATE, LATHE_FAMILIES_ALL, &err), LATHE_OK);
    assert_non_null(strstr(err.message, "/proc/lathe-store"));
}

static void a_checkpoint_opens_with_what_was_there_and_lives_by_itself(void **state)
{
    struct fixture *f = *state;
    struct fixture copy = {0};
    uint8_t want[5000];
    struct lathe_store_batch *batch = lathe_store_batch_create(f->store);
    struct lathe_store_value value;

    fixture_fill(want, sizeof(want), 1, 1);
    lathe_store_batch_put(batch, LATHE_FAMILY_ORIGINALS, lathe_bytes_str("row"),
                          lathe_bytes_of(want, sizeof(want)));
    assert_int_equal(lathe_store_commit(f->store, batch, true, NULL), LATHE_OK);
    lathe_store_batch_destroy(batch);
    fixture_put(f, LATHE_FAMILY_META, "a", "before");
    (void)snprintf(copy.path, sizeof(copy.path), "%s/checkpoint", f->dir);
    assert_int_equal(lathe_store_checkpoint(f->store, copy.path, NULL), LATHE_OK);
    assert_int_not_equal(lathe_store_checkpoint(f->store, copy.path, NULL), LATHE_OK);
    fixture_put(f, LATHE_FAMILY_META, "a", "after");
    fixture_open(&copy);
    assert_string_equal(fixture_get(&copy, NULL, LATHE_FAMILY_META, "a"), "before");
    fixture_put(&copy, LATHE_FAMILY_META, "a", "elsewhere");
    assert_int_equal(lathe_store_get(copy.store, NULL, LATHE_FAMILY_ORIGINALS,
                                     lathe_bytes_str("row"), &value, NULL),
                     LATHE_OK);
    assert_int_equal(value.bytes.size, sizeof(want));
    assert_memory_equal(value.bytes.data, want, sizeof(want));
    lathe_store_value_release(&value);
    fixture_close(&copy);
    assert_string_equal(fixture_get(f, NULL, LATHE_FAMILY_META, "a"), "after");
}

static void stores_share_one_cache(void **state)
{
    struct fixture *f = *state;
    struct lathe_store_cache *cache = lathe_store_cache_create(4u << 20);
    struct lathe_store_config config = {
        .mode = LATHE_STORE_CREATE, .families = LATHE_FAMILIES_ALL, .cache = cache};
    struct lathe_store_figures figures;
    struct fixture a = {0};
    struct fixture b = {0};

    (void)snprintf(a.path, sizeof(a.path), "%s/a", f->dir);
    (void)snprintf(b.path, sizeof(b.path), "%s/b", f->dir);
    assert_int_equal(lathe_store_open(a.path, &config, &a.store, NULL), LATHE_OK);
    assert_int_equal(lathe_store_open(b.path, &config, &b.store, NULL), LATHE_OK);
    fixture_put(&a, LATHE_FAMILY_POINTS, "a", "1");
    fixture_put(&b, LATHE_FAMILY_POINTS, "a", "2");
    assert_int_equal(lathe_store_flush(a.store, NULL), LATHE_OK);
    assert_int_equal(lathe_store_flush(b.store, NULL), LATHE_OK);
    assert_string_equal(fixture_get(&a, NULL, LATHE_FAMILY_POINTS, "a"), "1");
    assert_string_equal(fixture_get(&b, NULL, LATHE_FAMILY_POINTS, "a"), "2");
    assert_true(lathe_store_cache_used_bytes(cache) > 0);
    lathe_store_figures(a.store, &figures);
    assert_int_equal(figures.cache_used_bytes, lathe_store_cache_used_bytes(cache));
    fixture_close(&a);
    fixture_close(&b);
    lathe_store_cache_destroy(cache);
}

static void family_names_on_disk_are_golden(void **state)
{
    static const char *const names[] = {"points",   "order", "originals", "payload",
                                        "segments", "ids",   "meta",      "log"};

    (void)state;
    assert_int_equal(LATHE_FAMILIES, 8);
    for (unsigned i = 0; i < LATHE_FAMILIES; i++)
        assert_string_equal(lathe_family_name((enum lathe_family)i), names[i]);
}

#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_open_by_another_process_is_refused_saying_so),
        STORE_TEST(a_value_comes_back_from_its_own_family_only),
        STORE_TEST(an_empty_value_is_found_and_an_absent_one_is_not),
        STORE_TEST(a_batch_applies_in_order_and_nothing_before_commit),
        STORE_TEST(a_deleted_range_takes_its_keys_and_leaves_the_upper_bound),
        STORE_TEST(a_snapshot_sees_its_own_time_after_overwrites_and_compaction),
        STORE_TEST(multi_get_answers_every_key_in_its_place),
        STORE_TEST(iterators_stay_within_their_bounds_in_both_directions),
        STORE_TEST(an_iterator_seeks_to_both_sides_of_a_missing_key),
        STORE_TEST(an_iterator_keeps_its_time_and_a_snapshot_sets_it),
        STORE_TEST(reopening_keeps_everything_flushed_or_not),
        STORE_TEST(modes_never_make_or_take_a_store_by_accident),
        STORE_TEST(the_name_of_a_directory_is_not_taken_for_an_error),
        STORE_TEST(a_store_of_other_families_is_refused_and_more_may_be_added),
        STORE_TEST(a_store_that_lost_its_current_file_is_not_overwritten),
        STORE_TEST(a_second_open_in_the_same_process_is_refused),
        cmocka_unit_test(opening_where_a_directory_cannot_be_made_fails_with_the_path),
        STORE_TEST(a_checkpoint_opens_with_what_was_there_and_lives_by_itself),
        STORE_TEST(stores_share_one_cache),
        cmocka_unit_test(family_names_on_disk_are_golden),
    };

    return cmocka_run_group_tests_name("store/store", tests, NULL, NULL);
}
