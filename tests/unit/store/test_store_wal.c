/* test_store_wal.c - what a power cut may leave of a commit that was not synced yet, whose pages
 * reach the disk in any order, is dropped; any other damage to a write-ahead log is reported. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/mem.h"
#include "common/store/keys.h"
#include "tests/unit/store/store_fixture.h"

enum {
    PAGE = 4096,
    BLOCK = 32768,
    SYNCED = 20,
    SMALL_BYTES = 700,
    LARGE_BYTES = 400 * 1000,
    ROUNDS = 60
};

/* Commits record `number` with a value of `size` bytes. */
static void put(struct fixture *f, uint64_t number, size_t size)
{
    struct lathe_store_batch *batch = lathe_store_batch_create(f->store);
    struct lathe_key key = lathe_key_original(1, 0, number);
    uint8_t *bytes = lathe_zalloc(size);

    fixture_fill(bytes, size, number, 0);
    lathe_store_batch_put(batch, LATHE_FAMILY_ORIGINALS, lathe_key_view(&key),
                          lathe_bytes_of(bytes, size));
    assert_int_equal(lathe_store_commit(f->store, batch, true, NULL), LATHE_OK);
    lathe_store_batch_destroy(batch);
    lathe_free(bytes);
}

static bool is_there(struct fixture *f, uint64_t number)
{
    struct lathe_key key = lathe_key_original(1, 0, number);
    struct lathe_store_value value;
    bool found;

    assert_int_equal(
        lathe_store_get(f->store, NULL, LATHE_FAMILY_ORIGINALS, lathe_key_view(&key), &value, NULL),
        LATHE_OK);
    found = value.found;
    if (found) {
        uint8_t *want = lathe_zalloc(value.bytes.size);

        fixture_fill(want, value.bytes.size, number, 0);
        assert_memory_equal(value.bytes.data, want, value.bytes.size);
        lathe_free(want);
    }
    lathe_store_value_release(&value);
    return found;
}

/* A store of SYNCED small commits and one large one, closed; where that one lies in the log. */
struct scene {
    struct fixture *f;
    struct fixture copy; /* what is damaged */
    char log[4400];      /* of the copy */
    off_t begin, end;
};

static void scene_init(struct scene *scene, struct fixture *f, size_t small_bytes)
{
    char path[4400];

    *scene = (struct scene){.f = f};
    for (uint64_t i = 0; i < SYNCED; i++)
        put(f, i, small_bytes);
    fixture_largest(f->path, ".log", path);
    scene->begin = fixture_file_size(path);
    put(f, SYNCED, LARGE_BYTES);
    scene->end = fixture_file_size(path);
    (void)snprintf(scene->copy.path, sizeof(scene->copy.path), "%s/copy", f->dir);
}

static void scene_fresh(struct scene *scene)
{
    fixture_copy(scene->f->path, scene->copy.path);
    fixture_largest(scene->copy.path, ".log", scene->log);
}

/* Overwrites [from, to) of the log with zeros or garbage. */
static void spoil(struct scene *scene, off_t from, off_t to, struct test_rng *garbage)
{
    int fd = open(scene->log, O_WRONLY);

    assert_true(fd >= 0);
    for (off_t at = from; at < to; at++) {
        uint8_t byte = garbage != NULL ? (uint8_t)test_rng_u64(garbage) : 0;

        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    }
    (void)close(fd);
}

/* The open succeeds, also a second time, with exactly the synced commits. */
static void expect_dropped(struct scene *scene, const char *what)
{
    for (int i = 0; i < 2; i++) {
        struct lathe_error err = {0};

        if (fixture_try_open(&scene->copy, &err) != LATHE_OK)
            fail_msg("%s: %s", what, err.message);
        for (uint64_t n = 0; n <= SYNCED; n++) {
            if (is_there(&scene->copy, n) != (n < SYNCED))
                fail_msg("%s: record %d", what, (int)n);
        }
        fixture_close(&scene->copy);
    }
}

/* The open fails, names the log, and leaves it as it was. */
static void expect_refused(struct scene *scene, const char *what)
{
    struct lathe_error err = {0};
    off_t before = fixture_file_size(scene->log);

    if (fixture_try_open(&scene->copy, &err) != LATHE_DATA_LOSS)
        fail_msg("%s: %s: %s", what, lathe_status_name(err.status), err.message);
    assert_non_null(strstr(err.message, scene->log));
    assert_non_null(strstr(err.message, "at byte"));
    assert_int_equal(fixture_file_size(scene->log), before);
}

static off_t page_after(off_t at)
{
    return (at / PAGE + 1) * PAGE;
}

/* The named ways in which the pages of the large commit are damaged. */
static void spoil_variant(struct scene *scene, int variant)
{
    off_t first_page = page_after(scene->begin);
    off_t middle = page_after((scene->begin + scene->end) / 2);

    switch (variant) {
    case 0:
        spoil(scene, first_page, scene->end, NULL);
        break;
    case 1:
        spoil(scene, first_page, first_page + 2 * PAGE, NULL);
        break;
    case 2:
        spoil(scene, middle, middle + 25 * PAGE, NULL);
        break;
    default:
        spoil(scene, scene->begin, first_page, NULL);
        break;
    }
}

static const char *const variants[] = {
    "zeros from the next page to the end",
    "a hole of 8 KiB after the first page",
    "a hole of 100 KiB in the middle",
    "zeros up to the first page boundary",
};
enum { VARIANTS = sizeof(variants) / sizeof(variants[0]) };

static void an_interrupted_commit_with_holes_is_dropped(void **state)
{
    struct scene scene;

    scene_init(&scene, *state, SMALL_BYTES);
    for (int i = 0; i < VARIANTS; i++) {
        scene_fresh(&scene);
        spoil_variant(&scene, i);
        expect_dropped(&scene, variants[i]);
    }
}

static void the_same_holes_before_another_commit_are_reported(void **state)
{
    struct scene scene;

    scene_init(&scene, *state, SMALL_BYTES);
    put(scene.f, SYNCED + 1, SMALL_BYTES);
    for (int i = 0; i < VARIANTS; i++) {
        scene_fresh(&scene);
        spoil_variant(&scene, i);
        expect_refused(&scene, variants[i]);
    }
}

/* Each page of the large commit stays, or becomes zeros or garbage; at least one does. */
static void spoil_pages(struct scene *scene, struct test_rng *rng)
{
    off_t sure = scene->begin + (off_t)test_rng_below(rng, (uint64_t)(scene->end - scene->begin));

    for (off_t from = scene->begin; from < scene->end; from = page_after(from)) {
        off_t to = page_after(from) < scene->end ? page_after(from) : scene->end;
        bool must = from <= sure && sure < to;

        if (must || test_rng_below(rng, 4) == 0)
            spoil(scene, from, to, test_rng_below(rng, 2) == 0 ? rng : NULL);
    }
}

static void random_pages_of_an_interrupted_commit_may_be_lost(void **state)
{
    struct scene scene;
    struct test_rng rng;

    test_rng_seed(&rng, "pages");
    scene_init(&scene, *state, SMALL_BYTES + test_rng_below(&rng, PAGE));
    for (int i = 0; i < ROUNDS; i++) {
        scene_fresh(&scene);
        spoil_pages(&scene, &rng);
        if (test_rng_below(&rng, 4) == 0) {
            off_t size = scene.begin +
                         (off_t)test_rng_below(&rng, (uint64_t)(scene.end - scene.begin));

            assert_int_equal(truncate(scene.log, size), 0);
        }
        expect_dropped(&scene, "random pages");
    }
}

/* Random pages again, but the commit was synced, for another follows, or a seal. */
static void random_pages_lost_of_a_synced_commit_are_reported(void **state)
{
    struct scene scene;
    struct test_rng rng;

    test_rng_seed(&rng, "synced pages");
    scene_init(&scene, *state, SMALL_BYTES + test_rng_below(&rng, PAGE));
    assert_int_equal(lathe_store_seal(scene.f->store, NULL), LATHE_OK);
    for (int i = 0; i < ROUNDS; i++) {
        if (i == ROUNDS / 2)
            put(scene.f, SYNCED + 1, SMALL_BYTES);
        scene_fresh(&scene);
        spoil_pages(&scene, &rng);
        expect_refused(&scene, "random pages");
    }
}

/* Zeros over whole commits, to which RocksDB says nothing if they reach to the end of a block. */
static void zeros_over_whole_commits_are_reported(void **state)
{
    struct scene scene;

    scene_init(&scene, *state, 3 * SMALL_BYTES);
    assert_true(scene.begin > BLOCK);
    scene_fresh(&scene);
    spoil(&scene, 0, BLOCK, NULL);
    expect_refused(&scene, "the first block is zeros");
}

static void zeros_behind_the_end_are_harmless(void **state)
{
    struct fixture *f = *state;
    struct scene scene;

    scene_init(&scene, f, SMALL_BYTES);
    scene_fresh(&scene);
    assert_int_equal(truncate(scene.log, scene.end + 3 * BLOCK), 0);
    fixture_open(&scene.copy);
    for (uint64_t n = 0; n <= SYNCED; n++)
        assert_true(is_there(&scene.copy, n));
    fixture_close(&scene.copy);
}

/* The log is cut everywhere around the ends of blocks, with every trailer that holds no header. */
static void a_commit_cut_around_the_ends_of_blocks_is_dropped(void **state)
{
    struct fixture *f = *state;

    for (off_t trailer = 0; trailer <= 8; trailer++) {
        struct scene scene;
        size_t overhead;
        char path[4400];

        fixture_close(f);
        test_dir_remove(f->dir);
        f->dir = test_dir_create();
        (void)snprintf(f->path, sizeof(f->path), "%s/store", f->dir);
        fixture_open(f);
        put(f, 0, SMALL_BYTES);
        fixture_largest(f->path, ".log", path);
        overhead = (size_t)fixture_file_size(path) - SMALL_BYTES;
        /* The 20 commits end `trailer` bytes before the end of the first block; lengths of one
         * and two bytes differ in the encoding, so the sizes stay in one range. */
        scene = (struct scene){.f = f};
        for (uint64_t i = 1; i < SYNCED; i++) {
            size_t left = (size_t)(BLOCK - trailer - fixture_file_size(path));

            put(f, i, left / (SYNCED - i) - overhead);
        }
        scene.begin = fixture_file_size(path);
        assert_int_equal(scene.begin, BLOCK - trailer);
        put(f, SYNCED, LARGE_BYTES);
        scene.end = fixture_file_size(path);
        (void)snprintf(scene.copy.path, sizeof(scene.copy.path), "%s/copy", f->dir);
        for (off_t at = BLOCK - trailer; at <= BLOCK + 9; at += 3) {
            scene_fresh(&scene);
            assert_int_equal(truncate(scene.log, at), 0);
            expect_dropped(&scene, "cut at the end of the first block");
            scene_fresh(&scene);
            assert_int_equal(truncate(scene.log, at + BLOCK), 0);
            expect_dropped(&scene, "cut at the end of the second block");
        }
    }
}

static void a_seal_is_written_once_and_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct scene scene;
    off_t sealed;

    assert_int_equal(lathe_store_seal(f->store, NULL), LATHE_OK);
    scene_init(&scene, f, SMALL_BYTES);
    assert_int_equal(lathe_store_seal(f->store, NULL), LATHE_OK);
    scene_fresh(&scene);
    sealed = fixture_file_size(scene.log);
    assert_true(sealed > scene.end);
    assert_int_equal(lathe_store_seal(f->store, NULL), LATHE_OK);
    scene_fresh(&scene);
    assert_int_equal(fixture_file_size(scene.log), sealed);
    fixture_open(&scene.copy);
    for (uint64_t n = 0; n <= SYNCED; n++)
        assert_true(is_there(&scene.copy, n));
    fixture_close(&scene.copy);
}

/* ---- Several logs --------------------------------------------------------------------------- */

/* Fills one family's memtable, so that the log rolls, while another family still needs the old log.
 * Leaves a copy; the old log's path. */
static void two_logs(struct scene *scene, struct fixture *f)
{
    struct fixture_files files;
    uint8_t value[8192];

    fixture_fill(value, sizeof(value), 0, 0);
    *scene = (struct scene){.f = f};
    (void)snprintf(scene->copy.path, sizeof(scene->copy.path), "%s/copy", f->dir);
    put(f, 0, SMALL_BYTES);
    do {
        struct lathe_store_batch *batch = lathe_store_batch_create(f->store);

        lathe_store_batch_put(batch, LATHE_FAMILY_META, lathe_bytes_str("key"),
                              lathe_bytes_of(value, sizeof(value)));
        assert_int_equal(lathe_store_commit(f->store, batch, true, NULL), LATHE_OK);
        lathe_store_batch_destroy(batch);
        fixture_list(f->path, ".log", &files);
    } while (files.count < 2);
    put(f, 1, SMALL_BYTES);
    fixture_close(f);
    fixture_copy(f->path, scene->copy.path);
    fixture_largest(scene->copy.path, ".log", scene->log);
}

static void damage_in_an_older_log_is_reported(void **state)
{
    struct scene scene;

    two_logs(&scene, *state);
    spoil(&scene, fixture_file_size(scene.log) - 100, fixture_file_size(scene.log), NULL);
    expect_refused(&scene, "zeros at the end of the older log");
    fixture_open(scene.f);
}

static void an_older_log_that_is_shorter_or_gone_is_reported(void **state)
{
    struct scene scene;
    struct lathe_error err = {0};

    two_logs(&scene, *state);
    assert_int_equal(truncate(scene.log, fixture_file_size(scene.log) - 100), 0);
    expect_refused(&scene, "the older log ends early");
    assert_int_equal(truncate(scene.log, 0), 0);
    assert_int_equal(fixture_try_open(&scene.copy, &err), LATHE_DATA_LOSS);
    assert_int_equal(unlink(scene.log), 0);
    assert_int_equal(fixture_try_open(&scene.copy, &err), LATHE_DATA_LOSS);
    fixture_open(scene.f);
}

static void a_store_without_any_log_is_reported(void **state)
{
    struct fixture *f = *state;
    struct scene scene;
    struct fixture_files files;
    struct lathe_error err = {0};

    scene_init(&scene, f, SMALL_BYTES);
    fixture_close(f);
    /* After a flush too, when the log that is there is empty. */
    for (int i = 0; i < 2; i++) {
        fixture_open(f);
        assert_int_equal(lathe_store_flush(f->store, NULL), LATHE_OK);
        fixture_close(f);
        scene_fresh(&scene);
        fixture_list(scene.copy.path, ".log", &files);
        assert_true(files.count > 0);
        for (size_t n = 0; n < files.count; n++)
            assert_int_equal(unlink(files.paths[n]), 0);
        assert_int_equal(fixture_try_open(&scene.copy, &err), LATHE_DATA_LOSS);
        assert_non_null(strstr(err.message, "*.log"));
    }
    fixture_open(f);
}

static void a_checkpoint_opens_with_or_without_a_log(void **state)
{
    struct fixture *f = *state;
    struct fixture checkpoint = {0};
    struct scene scene;

    scene_init(&scene, f, SMALL_BYTES);
    for (int i = 0; i < 2; i++) {
        (void)snprintf(checkpoint.path, sizeof(checkpoint.path), "%s/checkpoint-%d", f->dir, i);
        assert_int_equal(lathe_store_checkpoint(f->store, checkpoint.path, NULL), LATHE_OK);
        for (int again = 0; again < 2; again++) {
            fixture_open(&checkpoint);
            for (uint64_t n = 0; n <= SYNCED; n++)
                assert_true(is_there(&checkpoint, n));
            fixture_close(&checkpoint);
        }
    }
}

/* ---- A store that is open ------------------------------------------------------------------- */

/* What a second open says in a process of its own. */
static enum lathe_status open_elsewhere(const char *path)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        struct lathe_store_config config = {.families = LATHE_FAMILIES_ALL};
        struct lathe_store *store = NULL;

        _exit((int)lathe_store_open(path, &config, &store, NULL));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return (enum lathe_status)WEXITSTATUS(status);
}

/* Its log may end in a commit that is being written: nobody else may cut that. */
static void the_log_of_an_open_store_is_not_cut(void **state)
{
    struct fixture *f = *state;
    struct fixture second = {0};
    struct lathe_error err = {0};
    char path[4400];
    int fd;

    put(f, 0, SMALL_BYTES);
    fixture_largest(f->path, ".log", path);
    fd = open(path, O_WRONLY | O_APPEND);
    assert_int_equal(write(fd, "half a commit", 13), 13);
    (void)close(fd);
    (void)strcpy(second.path, f->path);
    for (int i = 0; i < 2; i++) {
        off_t size = fixture_file_size(path);

        assert_int_equal(open_elsewhere(f->path), LATHE_FAILED_PRECONDITION);
        assert_int_equal(fixture_try_open(&second, &err), LATHE_FAILED_PRECONDITION);
        assert_int_equal(fixture_file_size(path), size);
    }
}

#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(an_interrupted_commit_with_holes_is_dropped),
        STORE_TEST(the_same_holes_before_another_commit_are_reported),
        STORE_TEST(random_pages_of_an_interrupted_commit_may_be_lost),
        STORE_TEST(random_pages_lost_of_a_synced_commit_are_reported),
        STORE_TEST(zeros_over_whole_commits_are_reported),
        STORE_TEST(zeros_behind_the_end_are_harmless),
        STORE_TEST(a_commit_cut_around_the_ends_of_blocks_is_dropped),
        STORE_TEST(a_seal_is_written_once_and_changes_nothing),
        STORE_TEST(damage_in_an_older_log_is_reported),
        STORE_TEST(an_older_log_that_is_shorter_or_gone_is_reported),
        STORE_TEST(a_store_without_any_log_is_reported),
        STORE_TEST(a_checkpoint_opens_with_or_without_a_log),
        STORE_TEST(the_log_of_an_open_store_is_not_cut),
    };

    return cmocka_run_group_tests_name("store/wal", tests, NULL, NULL);
}
