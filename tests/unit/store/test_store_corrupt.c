/* test_store_corrupt.c - a wrong byte in any file of a store is reported: never a wrong value, and
 * never a value missing without a word. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/mem.h"
#include "common/store/keys.h"
#include "tests/unit/store/store_fixture.h"

enum { RECORDS = 60, VALUE_BYTES = 1500, PAYLOAD_BYTES = 200, FLIPS = 40 };

/* What one look at a damaged store found. */
struct findings {
    bool reported; /* some call said DATA_LOSS */
    bool missing;  /* a record was absent without an error */
    bool wrong;    /* a value differed */
    bool other;    /* a failure of another kind */
};

static void write_records(struct fixture *f)
{
    for (uint64_t i = 0; i < RECORDS; i++) {
        struct lathe_store_batch *batch = lathe_store_batch_create(f->store);
        struct lathe_key original = lathe_key_original(1, 0, i);
        struct lathe_key payload = lathe_key_payload(1, i);
        uint8_t bytes[VALUE_BYTES];

        fixture_fill(bytes, sizeof(bytes), i, 0);
        lathe_store_batch_put(batch, LATHE_FAMILY_ORIGINALS, lathe_key_view(&original),
                              lathe_bytes_of(bytes, sizeof(bytes)));
        lathe_store_batch_put(batch, LATHE_FAMILY_PAYLOAD, lathe_key_view(&payload),
                              lathe_bytes_of(bytes, PAYLOAD_BYTES));
        assert_int_equal(lathe_store_commit(f->store, batch, true, NULL), LATHE_OK);
        lathe_store_batch_destroy(batch);
    }
}

static void note_status(struct findings *findings, enum lathe_status status)
{
    findings->reported |= status == LATHE_DATA_LOSS;
    findings->other |= status != LATHE_OK && status != LATHE_DATA_LOSS;
}

static void look_at(struct fixture *f, enum lathe_family family, uint64_t number, size_t size,
                    struct findings *findings)
{
    struct lathe_key key = family == LATHE_FAMILY_PAYLOAD ? lathe_key_payload(1, number)
                                                          : lathe_key_original(1, 0, number);
    struct lathe_store_value value;
    uint8_t want[VALUE_BYTES];
    enum lathe_status status = lathe_store_get(f->store, NULL, family, lathe_key_view(&key), &value,
                                               NULL);

    note_status(findings, status);
    if (status != LATHE_OK)
        return;
    fixture_fill(want, sizeof(want), number, 0);
    findings->missing |= !value.found;
    findings->wrong |= value.found &&
                       (value.bytes.size != size || memcmp(value.bytes.data, want, size) != 0);
    lathe_store_value_release(&value);
}

static void walk(struct fixture *f, enum lathe_family family, size_t size,
                 struct findings *findings)
{
    struct lathe_store_scan scan = {.large = true};
    struct lathe_store_iter *iter = NULL;
    uint8_t want[VALUE_BYTES];
    uint64_t count = 0;
    enum lathe_status status;

    assert_int_equal(lathe_store_iter_create(f->store, family, &scan, &iter, NULL), LATHE_OK);
    for (lathe_store_iter_seek_first(iter); lathe_store_iter_valid(iter);
         lathe_store_iter_next(iter)) {
        struct lathe_bytes value = lathe_store_iter_value(iter);

        fixture_fill(want, sizeof(want), count++, 0);
        findings->wrong |= value.size != size || memcmp(value.data, want, size) != 0;
    }
    status = lathe_store_iter_status(iter, NULL);
    note_status(findings, status);
    findings->missing |= status == LATHE_OK && count != RECORDS;
    lathe_store_iter_destroy(iter);
}

static struct findings examine(struct fixture *f)
{
    struct findings findings = {0};
    struct lathe_error err = {0};
    enum lathe_status status = fixture_try_open(f, &err);

    note_status(&findings, status);
    if (status != LATHE_OK) {
        assert_true(err.message[0] != '\0');
        return findings;
    }
    for (uint64_t i = 0; i < RECORDS; i++) {
        look_at(f, LATHE_FAMILY_ORIGINALS, i, VALUE_BYTES, &findings);
        look_at(f, LATHE_FAMILY_PAYLOAD, i, PAYLOAD_BYTES, &findings);
    }
    walk(f, LATHE_FAMILY_ORIGINALS, VALUE_BYTES, &findings);
    walk(f, LATHE_FAMILY_PAYLOAD, PAYLOAD_BYTES, &findings);
    fixture_close(f);
    return findings;
}

static void flip_byte(const char *path, off_t at, uint8_t mask)
{
    int fd = open(path, O_RDWR);
    uint8_t byte;

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= mask;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    (void)close(fd);
}

static void find_manifest(struct fixture *f, char *path_out)
{
    char current[4300], name[64] = "";
    FILE *file;

    (void)snprintf(current, sizeof(current), "%s/CURRENT", f->path);
    file = fopen(current, "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%63s", name), 1);
    (void)fclose(file);
    (void)snprintf(path_out, 4400, "%s/%s", f->path, name);
}

/* Damages one byte at FLIPS places of the largest file with `suffix`, its last `spared` bytes
 * excepted, each time in a fresh copy. Returns how many of the damages were reported; the others
 * must have changed no answer. */
static unsigned damage(struct fixture *f, const char *suffix, off_t spared)
{
    struct fixture copy = {0};
    struct test_rng rng;
    unsigned reported = 0;

    test_rng_seed(&rng, suffix);
    fixture_close(f);
    (void)snprintf(copy.path, sizeof(copy.path), "%s/copy", f->dir);
    for (int i = 0; i < FLIPS; i++) {
        char path[4400];
        struct findings findings;
        off_t at;
        uint8_t mask = (uint8_t)(1u << test_rng_below(&rng, 8));

        fixture_copy(f->path, copy.path);
        fixture_largest(copy.path, suffix, path);
        at = (off_t)test_rng_below(&rng, (uint64_t)(fixture_file_size(path) - spared));
        flip_byte(path, at, mask);
        findings = examine(&copy);
        if (findings.wrong || findings.missing || findings.other)
            fail_msg("%s: bit 0x%02x at byte %lld of %lld: wrong %d, missing %d, other %d", suffix,
                     mask, (long long)at, (long long)fixture_file_size(path), findings.wrong,
                     findings.missing, findings.other);
        reported += findings.reported;
    }
    fixture_open(f);
    print_message("%s: %u of %d damages reported, the others harmless\n", suffix, reported, FLIPS);
    return reported;
}

static void an_undamaged_store_examines_clean(void **state)
{
    struct fixture *f = *state;
    struct findings findings;

    write_records(f);
    fixture_close(f);
    findings = examine(f);
    assert_false(findings.reported || findings.wrong || findings.missing || findings.other);
    fixture_open(f);
    assert_int_equal(lathe_store_flush(f->store, NULL), LATHE_OK);
    fixture_close(f);
    findings = examine(f);
    assert_false(findings.reported || findings.wrong || findings.missing || findings.other);
    fixture_open(f);
}

static void a_wrong_byte_in_a_blob_file_is_reported(void **state)
{
    struct fixture *f = *state;

    write_records(f);
    assert_int_equal(lathe_store_flush(f->store, NULL), LATHE_OK);
    assert_true(damage(f, ".blob", 0) >= FLIPS * 9 / 10);
}

static void a_wrong_byte_in_a_table_is_reported(void **state)
{
    struct fixture *f = *state;

    write_records(f);
    assert_int_equal(lathe_store_flush(f->store, NULL), LATHE_OK);
    /* Tables hold statistics beside the data; nobody asks for some of them. */
    assert_true(damage(f, ".sst", 0) >= FLIPS / 2);
}

/* Seals the log and returns the seal's size. Damage in the last batch of a log looks as a commit
 * that was interrupted, and is dropped: so the last batch must be a seal, which holds nothing. */
static off_t seal(struct fixture *f)
{
    char path[4400];
    off_t before;

    fixture_largest(f->path, ".log", path);
    before = fixture_file_size(path);
    assert_int_equal(lathe_store_seal(f->store, NULL), LATHE_OK);
    assert_true(fixture_file_size(path) > before);
    return fixture_file_size(path) - before;
}

static void a_wrong_byte_in_the_write_ahead_log_is_reported(void **state)
{
    struct fixture *f = *state;

    write_records(f);
    assert_true(damage(f, ".log", seal(f)) == FLIPS);
}

/* Damages the header of every record from the file's last whole block on: where a wrong length or
 * type can look like a write that was interrupted. `find` names the file in a directory. Its last
 * `seal_bytes` are a seal: damage there may go unreported. */
static void damage_headers(struct fixture *f, void (*find)(struct fixture *, char *),
                           off_t seal_bytes)
{
    enum { BLOCK_BYTES = 32768, HEADER_BYTES = 7 };
    static const uint8_t masks[] = {0x04, 0x40};
    struct fixture copy = {0};
    char path[4400];
    uint8_t block[BLOCK_BYTES];
    off_t begin, size;
    int fd;

    find(f, path);
    size = fixture_file_size(path);
    begin = size / BLOCK_BYTES * BLOCK_BYTES;
    fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, block, (size_t)(size - begin), begin), size - begin);
    (void)close(fd);
    (void)snprintf(copy.path, sizeof(copy.path), "%s/copy", f->dir);
    for (off_t at = begin; at + HEADER_BYTES <= size;
         at += HEADER_BYTES + block[at - begin + 4] + block[at - begin + 5] * 256) {
        for (int i = 0; i < 2 * HEADER_BYTES; i++) {
            struct findings findings;

            fixture_copy(f->path, copy.path);
            find(&copy, path);
            flip_byte(path, at + i / 2, masks[i % 2]);
            findings = examine(&copy);
            if ((!findings.reported && at < size - seal_bytes) || findings.wrong ||
                findings.missing || findings.other)
                fail_msg("%s: mask 0x%02x on byte %d of the header at %lld of %lld: reported %d, "
                         "wrong %d, missing %d, other %d",
                         path, masks[i % 2], i / 2, (long long)at, (long long)size,
                         findings.reported, findings.wrong, findings.missing, findings.other);
        }
    }
}

static void find_log(struct fixture *f, char *path_out)
{
    fixture_largest(f->path, ".log", path_out);
}

static void every_header_byte_at_the_end_of_the_log_matters(void **state)
{
    struct fixture *f = *state;

    off_t seal_bytes;

    write_records(f);
    seal_bytes = seal(f);
    fixture_close(f);
    damage_headers(f, find_log, seal_bytes);
    fixture_open(f);
}

static void every_header_byte_of_the_manifest_matters(void **state)
{
    struct fixture *f = *state;

    write_records(f);
    assert_int_equal(lathe_store_flush(f->store, NULL), LATHE_OK);
    fixture_close(f);
    damage_headers(f, find_manifest, 0);
    fixture_open(f);
}

static void a_wrong_byte_in_the_manifest_is_reported(void **state)
{
    struct fixture *f = *state;
    struct fixture copy = {0};
    struct test_rng rng;

    test_rng_seed(&rng, "manifest");
    write_records(f);
    assert_int_equal(lathe_store_flush(f->store, NULL), LATHE_OK);
    fixture_close(f);
    (void)snprintf(copy.path, sizeof(copy.path), "%s/copy", f->dir);
    for (int i = 0; i < FLIPS; i++) {
        char path[4400];
        struct findings findings;

        fixture_copy(f->path, copy.path);
        find_manifest(&copy, path);
        flip_byte(path, (off_t)test_rng_below(&rng, (uint64_t)fixture_file_size(path)),
                  (uint8_t)(1u << test_rng_below(&rng, 8)));
        findings = examine(&copy);
        assert_true(findings.reported);
        assert_false(findings.wrong || findings.missing || findings.other);
    }
    fixture_open(f);
}

static void a_missing_file_is_reported(void **state)
{
    static const char *const suffixes[] = {".sst", ".blob"};
    struct fixture *f = *state;
    struct fixture copy = {0};

    write_records(f);
    assert_int_equal(lathe_store_flush(f->store, NULL), LATHE_OK);
    fixture_close(f);
    (void)snprintf(copy.path, sizeof(copy.path), "%s/copy", f->dir);
    for (int i = 0; i < 2; i++) {
        char path[4400];
        struct findings findings;

        fixture_copy(f->path, copy.path);
        fixture_largest(copy.path, suffixes[i], path);
        assert_int_equal(unlink(path), 0);
        findings = examine(&copy);
        assert_true(findings.reported);
        assert_false(findings.wrong || findings.missing || findings.other);
    }
    fixture_open(f);
}

/* An interrupted write: the log ends inside a record. What came before is there. */
static void a_log_cut_anywhere_opens_with_a_prefix_of_the_commits(void **state)
{
    struct fixture *f = *state;
    struct fixture copy = {0};
    struct test_rng rng;

    test_rng_seed(&rng, "cut");
    write_records(f);
    fixture_close(f);
    (void)snprintf(copy.path, sizeof(copy.path), "%s/copy", f->dir);
    for (int i = 0; i < FLIPS; i++) {
        char path[4400];
        struct lathe_error err = {0};
        bool ended = false;

        fixture_copy(f->path, copy.path);
        fixture_largest(copy.path, ".log", path);
        assert_int_equal(
            truncate(path, (off_t)test_rng_below(&rng, (uint64_t)fixture_file_size(path))), 0);
        assert_int_equal(fixture_try_open(&copy, &err), LATHE_OK);
        for (uint64_t n = 0; n < RECORDS; n++) {
            struct findings original = {0}, payload = {0};

            look_at(&copy, LATHE_FAMILY_ORIGINALS, n, VALUE_BYTES, &original);
            look_at(&copy, LATHE_FAMILY_PAYLOAD, n, PAYLOAD_BYTES, &payload);
            assert_false(original.wrong || original.reported || payload.wrong || payload.reported);
            assert_int_equal(original.missing, payload.missing);
            assert_false(ended && !original.missing);
            ended |= original.missing;
        }
        fixture_close(&copy);
    }
    fixture_open(f);
}

#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(an_undamaged_store_examines_clean),
        STORE_TEST(a_wrong_byte_in_a_blob_file_is_reported),
        STORE_TEST(a_wrong_byte_in_a_table_is_reported),
        STORE_TEST(a_wrong_byte_in_the_write_ahead_log_is_reported),
        STORE_TEST(every_header_byte_at_the_end_of_the_log_matters),
        STORE_TEST(every_header_byte_of_the_manifest_matters),
        STORE_TEST(a_wrong_byte_in_the_manifest_is_reported),
        STORE_TEST(a_missing_file_is_reported),
        STORE_TEST(a_log_cut_anywhere_opens_with_a_prefix_of_the_commits),
    };

    return cmocka_run_group_tests_name("store/corrupt", tests, NULL, NULL);
}
