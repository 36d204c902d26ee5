/* test_replay.c - a shard made again from its log: the same export from the first entry and from a
 * checkpoint, after random histories; and no damaged log is believed. */
#include "tests/unit/shard/model.h"

#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"
#include "shard/write/log.h"
#include "shard/write/replay.h"

struct fixture {
    struct parts parts;
    struct test_rng rng;
    uint64_t seq;
    struct model model;
    char checkpoint[4200];
    char copy[4200];
};

static int setup(void **state)
{
    struct fixture *f = lathe_zalloc(sizeof(*f));

    test_rng_seed(&f->rng, "replay");
    parts_init(&f->parts);
    f->parts.max_payload_bytes = 60;
    parts_stop(&f->parts);
    parts_start(&f->parts);
    model_init(&f->model, &f->parts, &f->rng, &f->seq);
    (void)snprintf(f->checkpoint, sizeof(f->checkpoint), "%s/checkpoint", f->parts.dir);
    (void)snprintf(f->copy, sizeof(f->copy), "%s/copy", f->parts.dir);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    model_fini(&f->model);
    parts_fini(&f->parts);
    lathe_free(f);
    return 0;
}

static void steps(struct fixture *f, int count)
{
    for (int i = 0; i < count; i++)
        model_step(&f->model, 1 + test_rng_below(&f->rng, 12));
}

/* A client of long ago, which the writer will forget when it next looks. */
static void old_client_writes(struct fixture *f, uint8_t client[16])
{
    uint64_t then_ms = lathe_wall_ms(&f->parts.clock.clock) - LATHE_CLIENT_FORGET_MS - 1000;
    struct request request;
    struct lathe_task *task;

    lathe_uuid_new(then_ms, client);
    request_init(&request, then_ms);
    request_add(&request, LATHE__SHARD__OPERATION_KIND__DELETE, id_of(1000));
    request_client(&request, client, 1);
    task = parts_write(&f->parts, f->model.collection, &request);
    assert_int_equal(write_reply(task)->applied_seq, ++f->seq);
    lathe_task_destroy(task);
    request_fini(&request);
}

/* A second collection that comes, is written to and goes again. */
static void passing_collection(struct fixture *f)
{
    struct model other;

    model_init(&other, &f->parts, &f->rng, &f->seq);
    for (int i = 0; i < 5; i++)
        model_step(&other, 5);
    parts_drop(&f->parts, other.collection);
    f->seq++;
    model_fini(&other);
}

/* Replays into the store at `path`, and compares with the source. */
static void assert_replays(struct fixture *f, const char *path)
{
    struct lathe_store *into = store_open_at(path);
    struct lathe_buf wanted = {0}, got = {0};
    struct lathe_error err = {0};

    if (lathe_replay(f->parts.store, into, &err) != LATHE_OK)
        fail_msg("replay: %s", err.message);
    store_export(f->parts.store, &wanted);
    store_export(into, &got);
    assert_exports_equal(&wanted, &got);
    lathe_store_close(into);
    lathe_buf_fini(&wanted);
    lathe_buf_fini(&got);
}

static void the_whole_log_gives_the_same_export(void **state)
{
    struct fixture *f = *state;

    steps(f, 30);
    passing_collection(f);
    steps(f, 30);
    assert_replays(f, f->copy);
    assert_replays(f, f->copy); /* again: there is nothing left to do */
    steps(f, 20);
    assert_replays(f, f->copy); /* and on from where it stood */
}

static void a_checkpoint_and_the_rest_give_the_same_export(void **state)
{
    struct fixture *f = *state;

    steps(f, 25);
    passing_collection(f);
    steps(f, 10);
    assert_int_equal(lathe_store_checkpoint(f->parts.store, f->checkpoint, NULL), LATHE_OK);
    steps(f, 30);
    passing_collection(f);
    steps(f, 10);
    assert_replays(f, f->checkpoint);
    assert_replays(f, f->copy);
}

/* The copy is a shard: it starts, answers as the model says, and knows every repeat. */
static void a_replayed_shard_goes_on(void **state)
{
    struct fixture *f = *state;
    struct lathe_store *into;

    steps(f, 30);
    into = store_open_at(f->copy);
    assert_int_equal(lathe_replay(f->parts.store, into, NULL), LATHE_OK);
    lathe_store_close(into);
    parts_stop(&f->parts);
    (void)snprintf(f->parts.path, sizeof(f->parts.path), "%s", f->copy);
    parts_start(&f->parts);
    model_compare(&f->model);
    steps(f, 30);
    model_compare(&f->model);
}

static void forgotten_clients_are_forgotten_in_the_copy(void **state)
{
    struct fixture *f = *state;
    struct lathe_buf record = {0};
    uint8_t client[16];

    steps(f, 5);
    old_client_writes(f, client);
    store_get(f->parts.store, LATHE_FAMILY_META, lathe_key_meta_client(client), &record);
    assert_true(record.size > 0);
    lathe_buf_clear(&record);
    assert_int_equal(lathe_store_checkpoint(f->parts.store, f->checkpoint, NULL), LATHE_OK);
    fake_clock_advance(&f->parts.clock, 16 * 60 * 1000); /* the writer looks every 15 minutes */
    for (int i = 0; i < 2; i++) {
        struct request request;
        struct lathe_task *task;

        request_init(&request, lathe_wall_ms(&f->parts.clock.clock));
        request_add(&request, LATHE__SHARD__OPERATION_KIND__DELETE, id_of(1000));
        task = parts_write(&f->parts, f->model.collection, &request);
        assert_true(write_reply(task)->applied_seq > f->seq);
        f->seq = write_reply(task)->applied_seq;
        lathe_task_destroy(task);
        request_fini(&request);
    }
    store_get(f->parts.store, LATHE_FAMILY_META, lathe_key_meta_client(client), &record);
    assert_int_equal(record.size, 0);
    lathe_buf_fini(&record);
    assert_replays(f, f->copy);
    assert_replays(f, f->checkpoint);
}

/* ---- Damage ---- */

/* Replays the log of the source into a fresh store; returns what came of it. */
static enum lathe_status replay_fresh(struct fixture *f, struct lathe_error *err)
{
    static int count;
    char path[4300];
    struct lathe_store *into;
    enum lathe_status rc;

    (void)snprintf(path, sizeof(path), "%s-%d", f->copy, count++);
    into = store_open_at(path);
    *err = (struct lathe_error){0};
    rc = lathe_replay(f->parts.store, into, err);
    lathe_store_close(into);
    return rc;
}

static void assert_refused_at(struct fixture *f, uint64_t seq)
{
    struct lathe_error err;
    char wanted[64];

    (void)snprintf(wanted, sizeof(wanted), "log entry %llu: ", (unsigned long long)seq);
    assert_int_equal(replay_fresh(f, &err), LATHE_DATA_LOSS);
    if (strncmp(err.message, wanted, strlen(wanted)) != 0)
        fail_msg("\"%s\" does not name entry %llu", err.message, (unsigned long long)seq);
}

static void a_flipped_bit_is_named(void **state)
{
    struct fixture *f = *state;

    steps(f, 3);
    for (int i = 0; i < 8; i++) {
        uint64_t seq = 1 + test_rng_below(&f->rng, f->seq);
        struct lathe_buf value = {0};
        uint64_t bit;

        store_get(f->parts.store, LATHE_FAMILY_LOG, lathe_key_log(seq), &value);
        bit = test_rng_below(&f->rng, value.size * 8);
        value.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        store_put(f->parts.store, LATHE_FAMILY_LOG, lathe_key_log(seq), lathe_buf_view(&value));
        assert_refused_at(f, seq);
        value.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        store_put(f->parts.store, LATHE_FAMILY_LOG, lathe_key_log(seq), lathe_buf_view(&value));
        lathe_buf_fini(&value);
    }
    assert_replays(f, f->copy);
}

static void a_missing_entry_is_named(void **state)
{
    struct fixture *f = *state;

    steps(f, 3);
    store_delete(f->parts.store, LATHE_FAMILY_LOG, lathe_key_log(f->seq));
    assert_refused_at(f, f->seq);
    store_delete(f->parts.store, LATHE_FAMILY_LOG, lathe_key_log(2));
    assert_refused_at(f, 2);
}

/* Writes an entry anew with a sound checksum, as somebody would who wants it to be believed. */
static void forge(struct fixture *f, uint64_t seq, void (*change)(struct lathe_log_entry *entry))
{
    struct lathe_buf value = {0}, forged = {0};
    struct lathe_log_entry entry;
    uint8_t hash[LATHE_DIGEST_BYTES];

    store_get(f->parts.store, LATHE_FAMILY_LOG, lathe_key_log(seq), &value);
    assert_int_equal(lathe_log_entry_decode(lathe_buf_view(&value), &entry, hash, NULL), LATHE_OK);
    change(&entry);
    lathe_log_entry_encode(&entry, &forged, hash);
    store_put(f->parts.store, LATHE_FAMILY_LOG, lathe_key_log(seq), lathe_buf_view(&forged));
    lathe_buf_fini(&value);
    lathe_buf_fini(&forged);
}

static void change_time(struct lathe_log_entry *entry)
{
    entry->time_ms++;
}

static void change_seq(struct lathe_log_entry *entry)
{
    entry->seq++;
}

static void change_collection(struct lathe_log_entry *entry)
{
    entry->collection++;
}

static void a_forged_entry_breaks_the_chain(void **state)
{
    struct fixture *f = *state;

    steps(f, 3);
    forge(f, f->seq - 1, change_time); /* only its successor can tell */
    assert_refused_at(f, f->seq);
    forge(f, 2, change_seq);
    assert_refused_at(f, 2);
}

static void a_forged_last_entry_does_not_match_the_state(void **state)
{
    struct fixture *f = *state;

    steps(f, 3);
    forge(f, f->seq, change_time);
    assert_refused_at(f, f->seq);
    forge(f, f->seq, change_collection);
    assert_refused_at(f, f->seq);
}

/* A vector that got lost from the source is no "superseded row": the counters tell. */
static void a_lost_row_is_noticed(void **state)
{
    struct fixture *f = *state;
    struct lathe_store_scan scan = {0};
    struct lathe_store_iter *iter = NULL;
    struct lathe_original_key key;
    struct lathe_error err;

    steps(f, 10);
    assert_int_equal(
        lathe_store_iter_create(f->parts.store, LATHE_FAMILY_ORIGINALS, &scan, &iter, NULL),
        LATHE_OK);
    lathe_store_iter_seek_first(iter);
    assert_true(lathe_store_iter_valid(iter));
    assert_int_equal(lathe_key_original_parse(lathe_store_iter_key(iter), &key, NULL), LATHE_OK);
    lathe_store_iter_destroy(iter);
    store_delete(f->parts.store, LATHE_FAMILY_ORIGINALS,
                 lathe_key_original(key.collection, key.field, key.row));
    assert_int_equal(replay_fresh(f, &err), LATHE_DATA_LOSS);
    assert_non_null(strstr(err.message, "other rows"));
}

static void a_trimmed_log_needs_a_checkpoint(void **state)
{
    struct fixture *f = *state;
    struct lathe_error err;

    steps(f, 2);
    assert_int_equal(lathe_store_checkpoint(f->parts.store, f->checkpoint, NULL), LATHE_OK);
    fake_clock_advance(&f->parts.clock, 31 * 60 * 1000); /* entries are kept for 30 minutes */
    steps(f, 2);
    fake_clock_advance(&f->parts.clock, 3000); /* trimming looks every two seconds */
    steps(f, 1);
    parts_stop(&f->parts);
    parts_start(&f->parts);
    assert_int_equal(replay_fresh(f, &err), LATHE_OUT_OF_RANGE);
    assert_non_null(strstr(err.message, "entry 1 is needed"));
}

static void a_copy_that_is_ahead_is_refused(void **state)
{
    struct fixture *f = *state;
    struct lathe_store *behind;
    struct lathe_error err = {0};

    steps(f, 2);
    assert_int_equal(lathe_store_checkpoint(f->parts.store, f->checkpoint, NULL), LATHE_OK);
    steps(f, 2);
    behind = store_open_at(f->checkpoint);
    parts_stop(&f->parts);
    f->parts.store = store_open_at(f->parts.path);
    assert_int_equal(lathe_replay(behind, f->parts.store, &err), LATHE_FAILED_PRECONDITION);
    lathe_store_close(behind);
    lathe_store_close(f->parts.store);
    parts_start(&f->parts);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_whole_log_gives_the_same_export),
        TEST(a_checkpoint_and_the_rest_give_the_same_export),
        TEST(a_replayed_shard_goes_on),
        TEST(forgotten_clients_are_forgotten_in_the_copy),
        TEST(a_flipped_bit_is_named),
        TEST(a_missing_entry_is_named),
        TEST(a_forged_entry_breaks_the_chain),
        TEST(a_forged_last_entry_does_not_match_the_state),
        TEST(a_lost_row_is_noticed),
        TEST(a_trimmed_log_needs_a_checkpoint),
        TEST(a_copy_that_is_ahead_is_refused),
    };

    return cmocka_run_group_tests_name("replay", tests, NULL, NULL);
}
