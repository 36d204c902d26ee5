/* test_import_state.c - the file that lets an import go on, and batches that can be cut and
 * renumbered. */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/import_batch.h"
#include "cli/import_state.h"
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "lathe/v1/points.pb-c.h"

#define NOW 1790000000000u /* ms */

static char *dir;
static char file[4300], state_file[4400];
static struct lathe_rows *rows;

static void write_file(const char *lines)
{
    FILE *out = fopen(file, "w");

    assert_non_null(out);
    (void)fputs(lines, out);
    (void)fclose(out);
}

static void open_rows(void)
{
    lathe_rows_close(&rows);
    assert_int_equal(lathe_rows_open(file, LATHE_ROWS_POINTS, &rows, NULL), LATHE_OK);
}

static const char six_rows[] =
    "{\"id\":0}\n{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n{\"id\":4}\n{\"id\":5}\n";

static int setup(void **state)
{
    (void)state;
    dir = test_dir_create();
    (void)snprintf(file, sizeof(file), "%s/rows.jsonl", dir);
    (void)snprintf(state_file, sizeof(state_file), "%s.lathe-import", file);
    write_file(six_rows);
    open_rows();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    lathe_rows_close(&rows);
    test_dir_remove(dir);
    return 0;
}

static struct lathe_import_state fresh(void)
{
    struct lathe_import_state s;

    lathe_import_state_init(&s, rows, NOW);
    (void)snprintf(s.server, sizeof(s.server), "127.0.0.1:7770");
    (void)snprintf(s.collection, sizeof(s.collection), "words \"quoted\"");
    s.collection_id = 4000000000u;
    s.first_id = UINT64_MAX;
    return s;
}

/* Reads `count` rows and counts them as done. */
static void advance(struct lathe_import_state *s, int count)
{
    struct lathe_row row;

    for (int i = 0; i < count; i++)
        assert_int_equal(lathe_rows_next(rows, &row, NULL), LATHE_OK);
    s->done = lathe_rows_position(rows);
}

static void a_saved_state_loads_as_it_was(void **state)
{
    struct lathe_import_state s = fresh(), back;
    struct lathe_error err = {0};
    struct stat info;

    (void)state;
    advance(&s, 3);
    (void)snprintf(s.field, sizeof(s.field), "title\n");
    s.next_request = 17;
    s.fresh_request = 25;
    s.untouched = false; /* what a file says of itself by being there */
    assert_int_equal(lathe_import_state_save(state_file, &s, &err), LATHE_OK);
    if (lathe_import_state_load(state_file, &back, &err) != LATHE_OK)
        fail_msg("%s", err.message);
    assert_memory_equal(&s, &back, sizeof(s));
    assert_int_equal(back.done.row, 3);
    assert_int_equal(back.done.line, 3);
    assert_int_equal(back.done.offset, 27);
    assert_int_equal(back.done.crc, lathe_crc32c(0, lathe_bytes_of(six_rows, 27)));
    (void)strcat(state_file, ".new");
    assert_int_not_equal(stat(state_file, &info), 0); /* nothing lies about */
}

static void without_a_file_there_is_no_state(void **state)
{
    struct lathe_import_state s = fresh(), back;
    struct lathe_error err = {0};

    (void)state;
    assert_int_equal(lathe_import_state_load(state_file, &back, &err), LATHE_NOT_FOUND);
    assert_int_equal(lathe_import_state_save("/nowhere/x", &s, &err), LATHE_INTERNAL);
    assert_string_equal(err.message, "the state of the import cannot be written to /nowhere/x: No "
                                     "such file or directory");
    assert_int_equal(lathe_import_state_save(state_file, &s, &err), LATHE_OK);
    lathe_import_state_remove(state_file);
    assert_int_equal(lathe_import_state_load(state_file, &back, &err), LATHE_NOT_FOUND);
}

static void a_damaged_state_is_named(void **state)
{
    static const char *const keys[] = {
        "version",       "server",     "collection", "collection_id", "field",
        "first_id",      "import_id",  "client_id",  "next_request",  "fresh_request",
        "row",           "line",       "offset",     "file_bytes",    "file_modified_ns",
        "prefix_crc32c", "batch_rows", "batch_bytes"};
    struct lathe_import_state s = fresh(), back;
    char *text;
    size_t size;
    FILE *in;

    (void)state;
    assert_int_equal(lathe_import_state_save(state_file, &s, NULL), LATHE_OK);
    in = fopen(state_file, "r");
    text = calloc(1, 4096);
    size = fread(text, 1, 4095, in);
    (void)fclose(in);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        struct lathe_error err = {0};
        char quoted[32], *at;
        FILE *out = fopen(state_file, "w");

        (void)snprintf(quoted, sizeof(quoted), "\"%s\"", keys[i]);
        at = strstr(text, quoted);
        assert_non_null(at);
        at[1] ^= 1; /* another key */
        (void)fwrite(text, 1, size, out);
        (void)fclose(out);
        at[1] ^= 1;
        assert_int_equal(lathe_import_state_load(state_file, &back, &err), LATHE_DATA_LOSS);
        assert_non_null(strstr(err.message, "is damaged: a value is missing or wrong"));
    }
    for (size_t cut = 0; cut + 2 < size; cut += 7) {
        FILE *out = fopen(state_file, "w");

        (void)fwrite(text, 1, cut, out);
        (void)fclose(out);
        assert_int_equal(lathe_import_state_load(state_file, &back, NULL), LATHE_DATA_LOSS);
    }
    free(text);
}

static enum lathe_import_resume compare(const struct lathe_import_state *saved, uint64_t wall_ms)
{
    struct lathe_import_state wanted = fresh();
    enum lathe_import_resume resume;

    assert_int_equal(lathe_import_state_compare(saved, &wanted, rows, wall_ms, &resume, NULL),
                     LATHE_OK);
    return resume;
}

static void the_same_import_goes_on(void **state)
{
    struct lathe_import_state s = fresh();

    (void)state;
    advance(&s, 3);
    assert_int_equal(compare(&s, NOW), LATHE_IMPORT_RESUME);
    assert_int_equal(compare(&s, NOW + 22 * 3600 * 1000), LATHE_IMPORT_RESUME);
    /* The server forgets a client after a day. */
    assert_int_equal(compare(&s, NOW + 24 * 3600 * 1000), LATHE_IMPORT_RESUME_NEW);
    s.batch_rows--;
    assert_int_equal(compare(&s, NOW), LATHE_IMPORT_RESUME_NEW);
}

static void another_import_is_left_alone(void **state)
{
    struct lathe_import_state s = fresh();

    (void)state;
    s.server[0] = 'x';
    assert_int_equal(compare(&s, NOW), LATHE_IMPORT_OTHER_IMPORT);
    s = fresh();
    s.collection[0] = 'x';
    assert_int_equal(compare(&s, NOW), LATHE_IMPORT_OTHER_IMPORT);
    s = fresh();
    s.field[0] = 'x';
    assert_int_equal(compare(&s, NOW), LATHE_IMPORT_OTHER_IMPORT);
    s = fresh();
    s.first_id = 0;
    assert_int_equal(compare(&s, NOW), LATHE_IMPORT_OTHER_IMPORT);
    s = fresh();
    s.collection_id++; /* the collection was made anew */
    assert_int_equal(compare(&s, NOW), LATHE_IMPORT_START_OVER);
}

static void a_file_changed_behind_what_is_done_goes_on(void **state)
{
    struct lathe_import_state s = fresh();

    (void)state;
    advance(&s, 3);
    write_file("{\"id\":0}\n{\"id\":1}\n{\"id\":2}\n{\"id\":33}\n");
    open_rows();
    assert_int_equal(compare(&s, NOW), LATHE_IMPORT_RESUME_NEW);
    write_file("{\"id\":0}\n{\"id\":9}\n{\"id\":2}\n{\"id\":3}\n{\"id\":4}\n{\"id\":55}\n");
    open_rows();
    assert_int_equal(compare(&s, NOW), LATHE_IMPORT_START_OVER);
    write_file("{\"id\":0}\n{\"id\":1}\n"); /* shorter than what is done */
    open_rows();
    assert_int_equal(compare(&s, NOW), LATHE_IMPORT_START_OVER);
}

static void a_renewed_state_is_another_client_at_the_same_place(void **state)
{
    struct lathe_import_state s = fresh(), before;

    (void)state;
    advance(&s, 3);
    s.next_request = 9;
    s.fresh_request = 12;
    before = s;
    lathe_import_state_renew(&s, NOW + 1);
    assert_memory_not_equal(s.client_id, before.client_id, 16);
    assert_memory_equal(s.import_id, before.import_id, 16); /* rows keep the ids made for them */
    assert_int_equal(s.next_request, 1);
    assert_int_equal(s.fresh_request, 2);
    assert_int_equal(s.done.row, 3);
}

static const char *xdg, *home;

static const char *environment(const char *name)
{
    return strcmp(name, "XDG_STATE_HOME") == 0 ? xdg : strcmp(name, "HOME") == 0 ? home : NULL;
}

static void the_state_lies_beside_the_file_or_in_the_home(void **state)
{
    char want[4500], locked[4400];
    char *path;

    (void)state;
    xdg = dir;
    path = lathe_import_state_path(file, environment);
    assert_string_equal(path, state_file);
    lathe_free(path);
    path = lathe_import_state_path("rows.fvecs", environment);
    assert_string_equal(path, "rows.fvecs.lathe-import");
    lathe_free(path);
    /* A directory that is not there cannot be written either, also not by root. */
    (void)snprintf(locked, sizeof(locked), "%s/none/rows.fvecs", dir);
    path = lathe_import_state_path(locked, environment);
    (void)snprintf(want, sizeof(want), "%s/lathe/", dir);
    assert_int_equal(strncmp(path, want, strlen(want)), 0);
    assert_string_equal(path + strlen(path) - strlen(".lathe-import"), ".lathe-import");
    assert_int_equal(access(want, W_OK), 0);
    lathe_free(path);
    xdg = "";
    home = dir;
    path = lathe_import_state_path(locked, environment);
    (void)snprintf(want, sizeof(want), "%s/.local/state/lathe/", dir);
    assert_int_equal(strncmp(path, want, strlen(want)), 0);
    lathe_free(path);
    home = NULL;
    path = lathe_import_state_path(locked, environment);
    (void)snprintf(want, sizeof(want), "%s.lathe-import", locked);
    assert_string_equal(path, want);
    lathe_free(path);
}

static Lathe__V1__WritePointsRequest *decoded(const struct lathe_import_batch *batch)
{
    Lathe__V1__WritePointsRequest *request = lathe__v1__write_points_request__unpack(
        NULL, batch->bytes.size, batch->bytes.data);

    assert_non_null(request);
    return request;
}

static void batches_can_be_cut_and_numbered_again(void **state)
{
    static const uint8_t client[16] = "sixteen bytes of";
    static const float values[2] = {1.5f, -2};
    struct lathe_import_batch *batch = calloc(1, sizeof(*batch));
    Lathe__V1__WritePointsRequest *request;

    (void)state;
    lathe_import_batch_clear(batch, (struct lathe_rows_position){.row = 10, .offset = 100});
    assert_int_equal(lathe_import_batch_end(batch).row, 10);
    for (uint64_t i = 0; i < 3; i++) {
        struct lathe_idkey id = lathe_idkey_number(i);
        struct lathe_row row = {.vector_count = 2};

        row.vectors[0] = (struct lathe_row_vector){"", lathe_bytes_of(values, 8)};
        row.vectors[1] = (struct lathe_row_vector){"other", lathe_bytes_of(values, 4)};
        assert_int_equal(lathe_import_batch_add(batch, &row, &id, "main",
                                                (struct lathe_rows_position){.row = 11 + i}, NULL),
                         LATHE_OK);
    }
    assert_int_equal(lathe_import_batch_seal(batch, "words", client, 7, NULL), LATHE_OK);
    request = decoded(batch);
    assert_string_equal(request->collection, "words");
    assert_int_equal(request->request_number, 7);
    assert_memory_equal(request->client_id.data, client, 16);
    assert_int_equal(request->n_operations, 3);
    assert_int_equal(request->operations[2]->upsert->id->number, 2);
    assert_int_equal(request->operations[2]->upsert->n_vectors, 2);
    assert_string_equal(request->operations[2]->upsert->vectors[0]->field, "main");
    assert_string_equal(request->operations[2]->upsert->vectors[1]->field, "other");
    assert_int_equal(request->operations[2]->upsert->vectors[0]->dense->data.len, 8);
    assert_memory_equal(request->operations[2]->upsert->vectors[0]->dense->data.data, values, 8);
    lathe__v1__write_points_request__free_unpacked(request, NULL);
    assert_int_equal(lathe_import_batch_end(batch).row, 13);
    lathe_import_batch_cut(batch, 1);
    assert_int_equal(lathe_import_batch_end(batch).row, 11);
    assert_int_equal(lathe_import_batch_seal(batch, "words", client, 1u << 30, NULL), LATHE_OK);
    request = decoded(batch);
    assert_int_equal(request->request_number, 1 << 30);
    assert_int_equal(request->n_operations, 1);
    assert_int_equal(request->operations[0]->upsert->id->number, 0);
    lathe__v1__write_points_request__free_unpacked(request, NULL);
    lathe_import_batch_fini(batch);
    free(batch);
}

static void a_batch_is_full_at_its_rows_or_bytes(void **state)
{
    struct lathe_import_batch *batch = calloc(1, sizeof(*batch));
    struct lathe_idkey id = lathe_idkey_number(1);
    struct lathe_row row = {.vector_count = 0};
    float *values = calloc(LATHE_MAX_DIMS, sizeof(float));
    unsigned count = 0;

    (void)state;
    lathe_import_batch_clear(batch, (struct lathe_rows_position){0});
    for (; !lathe_import_batch_full(batch); count++)
        assert_int_equal(
            lathe_import_batch_add(batch, &row, &id, "", (struct lathe_rows_position){0}, NULL),
            LATHE_OK);
    assert_int_equal(count, LATHE_IMPORT_BATCH_ROWS);
    lathe_import_batch_clear(batch, (struct lathe_rows_position){0});
    row.vector_count = 1;
    row.vectors[0] = (struct lathe_row_vector){
        "", lathe_bytes_of(values, LATHE_MAX_DIMS * sizeof(float))};
    for (count = 0; !lathe_import_batch_full(batch); count++)
        assert_int_equal(
            lathe_import_batch_add(batch, &row, &id, "", (struct lathe_rows_position){0}, NULL),
            LATHE_OK);
    assert_int_equal(count, 16);
    lathe_import_batch_fini(batch);
    free(batch);
    free(values);
}

static int init(void **state)
{
    (void)state;
    return lathe_hash_init() ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_saved_state_loads_as_it_was, setup, teardown),
        cmocka_unit_test_setup_teardown(without_a_file_there_is_no_state, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_state_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(the_same_import_goes_on, setup, teardown),
        cmocka_unit_test_setup_teardown(another_import_is_left_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_changed_behind_what_is_done_goes_on, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_renewed_state_is_another_client_at_the_same_place, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_state_lies_beside_the_file_or_in_the_home, setup,
                                        teardown),
        cmocka_unit_test(batches_can_be_cut_and_numbered_again),
        cmocka_unit_test(a_batch_is_full_at_its_rows_or_bytes),
    };

    return cmocka_run_group_tests_name("cli/import_state", tests, init, NULL);
}
