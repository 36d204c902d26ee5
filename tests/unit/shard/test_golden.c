/* test_golden.c - a store as format 1 left it, opened by today's code.
 *
 * tests/golden/shard-format-1/ holds the store and expected.txt, what it must be read as. They were
 * made once, by "test_shard_golden make DIRECTORY" (see tests/golden/README.md), and stay as they
 * are: a build that changes the stored bytes adds a directory for its format and keeps this one. */
#include "tests/unit/shard/shard_fixture.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/mem.h"
#include "shard/write/operation.h"
#include "shard/write/replay.h"

enum { DIMS = 3, LONG_DIMS = 100, LONG_PAYLOAD_BYTES = 5000 };

static const uint8_t client_id[16] = {0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x00, 0x70, 0x01,
                                      0x80, 0,    0,    0,    0,    0,    0,    1};

/* ---- Making the store ---- */

static const uint32_t dims[] = {DIMS, LONG_DIMS};
static const enum lathe_metric metrics[] = {LATHE_COSINE, LATHE_EUCLIDEAN};

static void send(struct parts *parts, uint32_t collection, struct request *request, uint64_t number)
{
    struct lathe_task *task;

    request_client(request, client_id, number);
    task = parts_write(parts, collection, request);
    (void)write_reply(task);
    lathe_task_destroy(task);
    request_fini(request);
}

static void upsert(struct request *request, uint32_t number, int64_t round, bool both)
{
    Lathe__Shard__Operation *operation = request_add(request, LATHE__SHARD__OPERATION_KIND__UPSERT,
                                                     id_of(number));
    float first[DIMS] = {1, (float)number, 0.25f * (float)round}, second[LONG_DIMS];

    for (int i = 0; i < LONG_DIMS; i++)
        second[i] = (float)i / (float)(number + 1);
    request_payload(
        request, operation,
        payload_make(&request->arena, (struct pair[]){{"number", number}, {"round", round}}, 2));
    request_vector(request, operation, 0, first, DIMS);
    if (both)
        request_vector(request, operation, 1, second, LONG_DIMS);
}

/* The second request, which a client may send again. */
static void changes(struct request *request, uint64_t time_ms)
{
    Lathe__Shard__Operation *operation;

    request_init(request, time_ms);
    upsert(request, 2, 1, true);
    upsert(request, 3, 1, false);
    (void)request_add(request, LATHE__SHARD__OPERATION_KIND__DELETE, id_of(5));
    operation = request_add(request, LATHE__SHARD__OPERATION_KIND__SET_PAYLOAD, id_of(6));
    request_payload(request, operation,
                    payload_make(&request->arena, (struct pair[]){{"more", -7}}, 1));
    operation = request_add(request, LATHE__SHARD__OPERATION_KIND__DELETE_PAYLOAD_KEYS, id_of(7));
    request_key(request, operation, "number");
    (void)request_add(request, LATHE__SHARD__OPERATION_KIND__CLEAR_PAYLOAD, id_of(8));
    operation = request_add(request, LATHE__SHARD__OPERATION_KIND__DELETE_VECTORS, id_of(1));
    request_field(request, operation, 1);
    (void)request_add(request, LATHE__SHARD__OPERATION_KIND__CLEAR_PAYLOAD, id_of(1000));
    upsert(request, 4, 9, true);
    request->write.operations[request->write.n_operations - 1]->mode = LATHE_MODE_INSERT_ONLY;
}

static void fill(struct parts *parts)
{
    uint64_t time_ms = lathe_wall_ms(&parts->clock.clock);
    struct request request;
    char text[LONG_PAYLOAD_BYTES + 1];
    uint32_t first = parts_create(parts, 2, dims, metrics);
    uint32_t passing = parts_create(parts, 1, dims, metrics);

    request_init(&request, time_ms);
    for (uint32_t i = 0; i < 9; i++)
        upsert(&request, i, 0, true);
    send(parts, first, &request, 1);
    changes(&request, time_ms + 1000);
    send(parts, first, &request, 2);
    request_init(&request, time_ms + 2000);
    upsert(&request, 0, 0, false);
    send(parts, passing, &request, 3);
    parts_drop(parts, passing);
    request_init(&request, time_ms + 3000);
    memset(text, 'x', LONG_PAYLOAD_BYTES);
    text[LONG_PAYLOAD_BYTES] = '\0';
    request_payload(&request,
                    request_add(&request, LATHE__SHARD__OPERATION_KIND__UPSERT, id_of(20)),
                    payload_make(&request.arena, (struct pair[]){{text, 1}}, 1));
    send(parts, first, &request, 4);
    /* What comes now stays in the write-ahead log. */
    assert_int_equal(lathe_store_flush(parts->store, NULL), LATHE_OK);
    request_init(&request, time_ms + 4000);
    upsert(&request, 30, 0, true);
    upsert(&request, 0, 2, true);
    send(parts, first, &request, 2000); /* numbers 1 to 4 fall out of the window */
    changes(&request, time_ms + 5000);
    send(parts, first, &request, 2001);
}

static void write_file(const char *path, const struct lathe_buf *buf)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(buf->data, 1, buf->size, file), buf->size);
    assert_int_equal(fclose(file), 0);
}

static char *made_in;

static void make(void **state)
{
    struct parts parts;
    struct lathe_buf text = {0};
    char path[4300];

    (void)state;
    parts_init(&parts);
    parts_stop(&parts);
    assert_int_equal(mkdir(made_in, 0755), 0);
    (void)snprintf(parts.path, sizeof(parts.path), "%s/store", made_in);
    parts_start(&parts);
    fill(&parts);
    store_export(parts.store, &text);
    (void)snprintf(path, sizeof(path), "%s/expected.txt", made_in);
    write_file(path, &text);
    lathe_buf_fini(&text);
    parts_fini(&parts);
}

/* ---- Reading it ---- */

static void read_file(const char *path, struct lathe_buf *out)
{
    FILE *file = fopen(path, "rb");
    char piece[4096];
    size_t size;

    if (file == NULL)
        fail_msg("%s is not there", path);
    while ((size = fread(piece, 1, sizeof(piece), file)) > 0)
        lathe_buf_append(out, piece, size);
    assert_int_equal(fclose(file), 0);
}

static void copy_directory(const char *from, const char *to)
{
    DIR *directory = opendir(from);
    struct dirent *entry;

    assert_non_null(directory);
    assert_int_equal(mkdir(to, 0755), 0);
    while ((entry = readdir(directory)) != NULL) {
        char source[4300], target[4600];
        struct lathe_buf bytes = {0};

        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(source, sizeof(source), "%s/%s", from, entry->d_name);
        (void)snprintf(target, sizeof(target), "%s/%s", to, entry->d_name);
        read_file(source, &bytes);
        write_file(target, &bytes);
        lathe_buf_fini(&bytes);
    }
    (void)closedir(directory);
}

static int setup(void **state)
{
    struct parts *parts = lathe_zalloc(sizeof(*parts));

    parts_init(parts);
    parts_stop(parts);
    (void)snprintf(parts->path, sizeof(parts->path), "%s/golden", parts->dir);
    copy_directory(LATHE_GOLDEN_DIR "/shard-format-1/store", parts->path);
    *state = parts;
    return 0;
}

static int teardown(void **state)
{
    parts_fini(*state);
    lathe_free(*state);
    return 0;
}

static void the_golden_store_is_read_as_it_was_written(void **state)
{
    struct parts *parts = *state;
    struct lathe_store *store = store_open_at(parts->path);
    struct lathe_buf wanted = {0}, got = {0};

    read_file(LATHE_GOLDEN_DIR "/shard-format-1/expected.txt", &wanted);
    store_export(store, &got);
    assert_exports_equal(&wanted, &got);
    lathe_store_close(store);
    lathe_buf_fini(&wanted);
    lathe_buf_fini(&got);
}

static void the_golden_log_replays(void **state)
{
    struct parts *parts = *state;
    struct lathe_store *store = store_open_at(parts->path), *into;
    struct lathe_buf wanted = {0}, got = {0};
    struct lathe_error err = {0};
    char path[4300];

    (void)snprintf(path, sizeof(path), "%s/replayed", parts->dir);
    into = store_open_at(path);
    if (lathe_replay(store, into, &err) != LATHE_OK)
        fail_msg("%s", err.message);
    read_file(LATHE_GOLDEN_DIR "/shard-format-1/expected.txt", &wanted);
    store_export(into, &got);
    assert_exports_equal(&wanted, &got);
    lathe_store_close(store);
    lathe_store_close(into);
    lathe_buf_fini(&wanted);
    lathe_buf_fini(&got);
}

/* It is served, knows the last request when it is repeated, and takes the next. */
static void the_golden_store_is_served(void **state)
{
    struct parts *parts = *state;
    uint64_t time_ms = lathe_wall_ms(&parts->clock.clock);

    parts_start(parts);
    for (uint64_t number = 2001; number < 2003; number++) {
        struct request request;
        struct lathe_task *task;

        changes(&request, time_ms + 5000);
        request_client(&request, client_id, number);
        task = parts_write(parts, 1, &request);
        assert_int_equal(write_reply(task)->repeated_request, number == 2001);
        assert_int_equal(write_reply(task)->applied_seq, number == 2001 ? 9 : 10);
        lathe_task_destroy(task);
        request_fini(&request);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_golden_store_is_read_as_it_was_written, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_golden_log_replays, setup, teardown),
        cmocka_unit_test_setup_teardown(the_golden_store_is_served, setup, teardown),
    };
    const struct CMUnitTest making[] = {cmocka_unit_test(make)};

    if (!lathe_hash_init())
        return 1;
    if (argc == 3 && strcmp(argv[1], "make") == 0) {
        made_in = argv[2];
        return cmocka_run_group_tests_name("make golden store", making, NULL, NULL);
    }
    return cmocka_run_group_tests_name("golden", tests, NULL, NULL);
}
