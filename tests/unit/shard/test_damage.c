/* test_damage.c - stored bytes that are lost or wrong: named, kept to their collection, and never
 * served. */
#include "tests/unit/shard/served.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LOG_BYTES = 32768 };

static struct lathe_store *store_of(struct served *f)
{
    served_stop(f);
    return store_open_at(f->path);
}

static void damage_original(struct lathe_store *store)
{
    store_put(store, LATHE_FAMILY_ORIGINALS, lathe_key_original(1, 0, 3), lathe_bytes_str("short"));
}

static void lose_original(struct lathe_store *store)
{
    store_delete(store, LATHE_FAMILY_ORIGINALS, lathe_key_original(1, 1, 2));
}

static struct lathe_key point_key(uint32_t number)
{
    static const uint8_t slot_key[LATHE_SLOT_KEY_BYTES] = {1, 2, 3, 4, 5, 6, 7, 8};
    struct lathe_idkey id = id_of(number);

    return lathe_key_point(1, (uint16_t)lathe_slot_of(slot_key, lathe_idkey_view(&id)),
                           lathe_idkey_view(&id));
}

static void damage_point(struct lathe_store *store)
{
    store_put(store, LATHE_FAMILY_POINTS, point_key(4), lathe_bytes_str("\x02nonsense"));
}

static void lose_point(struct lathe_store *store)
{
    store_delete(store, LATHE_FAMILY_POINTS, point_key(5));
}

/* Changes a point's record in place. */
static void rewrite_point(struct lathe_store *store, uint32_t number, uint64_t point, uint64_t row)
{
    struct lathe_buf value = {0};
    struct lathe_point_record record;

    store_get(store, LATHE_FAMILY_POINTS, point_key(number), &value);
    assert_int_equal(lathe_point_record_decode(lathe_buf_view(&value), &record, NULL), LATHE_OK);
    record.point = point != 0 ? point : record.point;
    record.rows[0] = row != 0 ? row : record.rows[0];
    lathe_buf_clear(&value);
    lathe_point_record_encode(&record, &value);
    store_put(store, LATHE_FAMILY_POINTS, point_key(number), lathe_buf_view(&value));
    lathe_buf_fini(&value);
}

static void name_a_row_twice(struct lathe_store *store)
{
    rewrite_point(store, 2, 0, 6);
}

static void name_a_row_to_come(struct lathe_store *store)
{
    rewrite_point(store, 2, 0, 1000);
}

static void name_a_point_to_come(struct lathe_store *store)
{
    rewrite_point(store, 2, 1000, 0);
}

static void move_a_slot(struct lathe_store *store)
{
    struct lathe_key key = point_key(6);
    struct lathe_buf value = {0};

    store_get(store, LATHE_FAMILY_POINTS, key, &value);
    store_delete(store, LATHE_FAMILY_POINTS, key);
    key.bytes[5] ^= 1;
    store_put(store, LATHE_FAMILY_POINTS, key, lathe_buf_view(&value));
    lathe_buf_fini(&value);
}

static void lose_counters(struct lathe_store *store)
{
    store_delete(store, LATHE_FAMILY_META, lathe_counters_key(1));
}

static void damage_counters(struct lathe_store *store)
{
    store_put(store, LATHE_FAMILY_META, lathe_counters_key(1), lathe_bytes_str("\x01"));
}

/* A damaged collection is refused by name; the others, and the shard, go on; dropping it heals. */
static void damage_stays_in_its_collection(void **state)
{
    static void (*const damages[])(struct lathe_store *) = {
        damage_original,    lose_original,        damage_point, lose_point,    name_a_row_twice,
        name_a_row_to_come, name_a_point_to_come, move_a_slot,  lose_counters, damage_counters};
    struct served *f = *state;

    for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        Lathe__Shard__List list;
        Lathe__Shard__Fetch fetch;
        struct asked asked = served_list_of(&list, &fetch, 1);
        const Lathe__Shard__Failure *failure;
        struct lathe_store *store;
        struct request request;
        struct search search;

        served_sync(f, (uint32_t[]){1, 2}, 2, 3, i == 0 ? 2 : 1, 0);
        served_write(f, 1, 0, 20, 1);
        served_write(f, 2, 0, 20, 1);
        store = store_of(f);
        damages[i](store);
        lathe_store_close(store);
        served_start(f);
        failure = served_call_fails(f, &asked, LATHE_DATA_LOSS);
        assert_false(failure->stale_route);
        assert_non_null(strstr(failure->message, "\"collection 1\" (1) is damaged"));
        asked = served_search_of(&search, 1, 10, false);
        (void)served_call_fails(f, &asked, LATHE_DATA_LOSS);
        lathe_buf_fini(&search.block);
        served_upserts(&request, 0, 1, 1);
        asked = served_write_of(1, &request);
        (void)served_call_fails(f, &asked, LATHE_DATA_LOSS);
        request_fini(&request);
        served_write(f, 2, 10, 20, 2);
        assert_int_equal(served_search(f, 2, 100, false, 0)->hits[0]->n_scores, 30);
        served_sync(f, (uint32_t[]){2}, 1, 3, 0, 1);
        served_write(f, 2, 20, 10, 3);
    }
}

/* Damage that shows only while the shard runs: the collection is refused from then on. */
static void damage_found_by_a_write_is_remembered(void **state)
{
    struct served *f = *state;
    struct lathe_store *store;
    struct request request;
    struct asked asked;
    struct search search;

    served_sync(f, (uint32_t[]){1, 2}, 2, 3, 2, 0);
    served_write(f, 1, 0, 20, 1);
    served_write(f, 2, 0, 20, 1);
    store = store_of(f);
    store_delete(store, LATHE_FAMILY_PAYLOAD, lathe_key_payload(1, 7)); /* not read at start */
    lathe_store_close(store);
    served_start(f);
    assert_int_equal(served_search(f, 1, 100, false, 0)->hits[0]->n_scores, 20);
    request_init(&request, 1);
    request_payload(&request,
                    request_add(&request, LATHE__SHARD__OPERATION_KIND__SET_PAYLOAD, id_of(7)),
                    payload_make(&request.arena, (struct pair[]){{"k", 1}}, 1));
    asked = served_write_of(1, &request);
    assert_non_null(
        strstr(served_call_fails(f, &asked, LATHE_DATA_LOSS)->message, "\"collection 1\""));
    asked = served_search_of(&search, 1, 10, false);
    (void)served_call_fails(f, &asked, LATHE_DATA_LOSS);
    lathe_buf_fini(&search.block);
    request_fini(&request);
    served_write(f, 2, 10, 20, 2);
}

static void a_damaged_collection_record_stops_the_start(void **state)
{
    struct served *f = *state;
    struct lathe_shard_config config = served_config(f);
    struct lathe_error err = {0};

    served_sync(f, (uint32_t[]){1, 2}, 2, 3, 2, 0);
    for (int i = 0; i < 3; i++) {
        struct lathe_store *store = i == 0 ? store_of(f) : store_open_at(f->path);
        struct lathe_key key = i < 2 ? lathe_key_meta_collection(1) : lathe_log_state_key();
        struct lathe_buf sound = {0}, other = {0};

        store_get(store, LATHE_FAMILY_META, key, &sound);
        store_get(store, LATHE_FAMILY_META, lathe_key_meta_collection(2), &other);
        store_put(store, LATHE_FAMILY_META, key,
                  i == 1 ? lathe_buf_view(&other) : lathe_bytes_str("\x0a\x7f"));
        lathe_store_close(store);
        assert_int_equal(lathe_shard_start(&config, &f->shard, &err), LATHE_DATA_LOSS);
        assert_null(f->shard);
        store = store_open_at(f->path);
        store_put(store, LATHE_FAMILY_META, key, lathe_buf_view(&sound));
        lathe_store_close(store);
        lathe_buf_fini(&sound);
        lathe_buf_fini(&other);
    }
    served_start(f);
    served_write(f, 1, 0, 2, 1);
}

/* Reads the newest write-ahead log, which has one block at most. Its size; path_out: 4400 bytes. */
static size_t log_read(struct served *f, char *path_out, uint8_t bytes_out[LOG_BYTES])
{
    DIR *directory = opendir(f->path);
    struct dirent *entry;
    unsigned long newest = 0;
    FILE *file;
    size_t size;

    assert_non_null(directory);
    while ((entry = readdir(directory)) != NULL) {
        unsigned long number = strtoul(entry->d_name, NULL, 10);

        if (strstr(entry->d_name, ".log") != NULL && number > newest)
            newest = number;
    }
    (void)closedir(directory);
    (void)snprintf(path_out, 4400, "%s/%06lu.log", f->path, newest);
    file = fopen(path_out, "rb");
    assert_non_null(file);
    size = fread(bytes_out, 1, LOG_BYTES, file);
    assert_true(size < LOG_BYTES);
    (void)fclose(file);
    return size;
}

static bool is_sealed(const uint8_t *bytes, size_t size)
{
    return size >= 4 && memcmp(bytes + size - 4, "seal", 4) == 0;
}

/* Spoils the last byte before the seal and starts the shard. */
static void damage_last_batch(struct served *f, const char *path, size_t size)
{
    enum { SEAL_BYTES = 25 };
    struct lathe_shard_config config = served_config(f);
    struct lathe_error err = {0};
    int fd = open(path, O_RDWR);
    uint8_t byte;

    assert_int_equal(pread(fd, &byte, 1, (off_t)size - SEAL_BYTES - 1), 1);
    for (int i = 0; i < 2; i++) {
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)size - SEAL_BYTES - 1), 1);
        if (i == 0) {
            assert_int_equal(lathe_shard_start(&config, &f->shard, &err), LATHE_DATA_LOSS);
            assert_non_null(strstr(err.message, path));
        }
    }
    (void)close(fd);
}

/* Damage in the last batch of a log looks as a commit that a power cut interrupted, so the writer
 * puts a seal behind it when it stops, and when nobody has written for a while. */
static void damage_in_the_last_write_stops_the_start(void **state)
{
    struct served *f = *state;
    uint8_t bytes[LOG_BYTES];
    char path[4400];
    size_t size;

    assert_int_equal(log_read(f, path, bytes), 0); /* nothing to seal */
    served_sync(f, (uint32_t[]){1}, 1, 2, 1, 0);
    served_write(f, 1, 0, 5, 1);
    served_stop(f);
    size = log_read(f, path, bytes);
    assert_true(is_sealed(bytes, size));
    damage_last_batch(f, path, size);
    served_start(f);
    assert_int_equal(served_search(f, 1, 100, false, 0)->hits[0]->n_scores, 5);
    served_write(f, 1, 5, 5, 1);
    do
        size = log_read(f, path, bytes);
    while (!is_sealed(bytes, size));
    served_stop(f);
    assert_int_equal(log_read(f, path, bytes), size); /* sealed once */
    damage_last_batch(f, path, size);
    served_start(f);
    assert_int_equal(served_search(f, 1, 100, false, 0)->hits[0]->n_scores, 10);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, served_setup, served_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(damage_stays_in_its_collection),
        TEST(damage_found_by_a_write_is_remembered),
        TEST(a_damaged_collection_record_stops_the_start),
        TEST(damage_in_the_last_write_stops_the_start),
    };

    return cmocka_run_group_tests_name("damage", tests, NULL, NULL);
}
