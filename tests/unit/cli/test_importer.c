/* test_importer.c - imports against a server that forgets nothing: lost connections, refusals, bad
 * rows, stops and restarts end with every row in, once, and the last of an id winning. */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/import_batch.h"
#include "cli/importer.h"
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "tests/unit/cli/fake_client.h"

enum { ROWS = 3000, IDS = 4000, REQUESTS = 4096 };

/* One request that the server has applied, as a shard remembers it. */
struct memory {
    uint8_t client[16];
    uint64_t number;
    uint8_t digest[LATHE_DIGEST_BYTES];
};

/* The server: the value of each id, and how often it was written. */
static struct {
    float values[IDS];
    unsigned writes[IDS];
    struct memory requests[REQUESTS];
    size_t request_count;
    unsigned repeats, calls;
    uint64_t bad_id; /* refused for good; UINT64_MAX = none */
} server;

static struct test_rng rng;
static char *dir;
static char file[4300], state_file[4400];
static volatile sig_atomic_t stop;
static unsigned slept;

static void digest_of(const Lathe__V1__WritePointsRequest *request, uint8_t digest_out[16])
{
    size_t size = lathe__v1__write_points_request__get_packed_size(request);
    uint8_t *bytes = malloc(size + 1);
    struct lathe_bytes part = {bytes, size};

    (void)lathe__v1__write_points_request__pack(request, bytes);
    lathe_digest(&part, 1, digest_out);
    free(bytes);
}

static const struct memory *remembered(const Lathe__V1__WritePointsRequest *request)
{
    for (size_t i = 0; i < server.request_count; i++)
        if (server.requests[i].number == request->request_number &&
            memcmp(server.requests[i].client, request->client_id.data, 16) == 0)
            return &server.requests[i];
    return NULL;
}

/* Applies a request once, and never takes other content under a number that it knows. */
static void server_apply(const Lathe__V1__WritePointsRequest *request,
                         Lathe__V1__WritePointsResponse *response)
{
    const struct memory *known = remembered(request);
    struct memory *memory = &server.requests[server.request_count];
    uint8_t digest[16];

    assert_string_equal(request->collection, "words");
    assert_int_equal(request->client_id.len, 16);
    digest_of(request, digest);
    if (known != NULL) {
        assert_memory_equal(known->digest, digest, 16);
        server.repeats++;
        response->repeated_request = true;
        return;
    }
    assert_true(server.request_count < REQUESTS);
    memcpy(memory->client, request->client_id.data, 16);
    memory->number = request->request_number;
    memcpy(memory->digest, digest, 16);
    server.request_count++;
    for (size_t i = 0; i < request->n_operations; i++) {
        const Lathe__V1__UpsertPoint *upsert = request->operations[i]->upsert;

        assert_int_equal(request->operations[i]->operation_case,
                         LATHE__V1__WRITE_OPERATION__OPERATION_UPSERT);
        assert_int_equal(upsert->id->id_case, LATHE__V1__POINT_ID__ID_NUMBER);
        assert_true(upsert->id->number < IDS);
        memcpy(&server.values[upsert->id->number], upsert->vectors[0]->dense->data.data, 4);
        server.writes[upsert->id->number]++;
    }
}

/* Refuses a request that holds the bad id, as the coordinator does: before anything is stored. */
static bool server_refuses(const Lathe__V1__WritePointsRequest *request,
                           Lathe__V1__WritePointsResponse *response)
{
    static char field[64];

    for (size_t i = 0; i < request->n_operations; i++) {
        if (request->operations[i]->upsert->id->number != server.bad_id)
            continue;
        (void)snprintf(field, sizeof(field), "operations[%zu].upsert.vectors[0]", i);
        response->status = LATHE_INVALID_ARGUMENT;
        response->field = field;
        response->message = (char *)"a zero vector";
        response->n_results = 0;
        return true;
    }
    return false;
}

static bool write_well(const Lathe__V1__WritePointsRequest *request,
                       Lathe__V1__WritePointsResponse *response)
{
    server.calls++;
    if (!server_refuses(request, response))
        server_apply(request, response);
    return true;
}

/* One request in eight meets trouble, before or after it was applied. */
static bool write_with_trouble(const Lathe__V1__WritePointsRequest *request,
                               Lathe__V1__WritePointsResponse *response)
{
    uint64_t trouble = test_rng_below(&rng, 40);

    if (trouble == 0)
        return false; /* lost on the way there */
    if (trouble == 1) {
        response->status = LATHE_RESOURCE_EXHAUSTED;
        response->message = (char *)"memory is at its limit";
        response->retry_after_ms = 7;
        response->n_results = 0;
        return true;
    }
    (void)write_well(request, response);
    if (trouble == 2)
        return false; /* lost on the way back */
    if (trouble == 3) {
        response->status = LATHE_DEADLINE_EXCEEDED;
        response->message = (char *)"no answer from a shard";
    } else if (trouble == 4) {
        response->results[response->n_results - 1]->outcome = LATHE__V1__OUTCOME__OUTCOME_UNKNOWN;
    }
    return true;
}

static bool answer_with_trouble(void)
{
    return test_rng_below(&rng, 40) != 0;
}

static void sleep_fake(void *context, uint32_t ms)
{
    (void)context;
    assert_in_range(ms, 1, 2000);
    slept++;
}

/* JSON lines: ids 0..rows-1 in order with the value of their line, but every seventh line writes
 * the id of the line before again. */
static float line_value(uint64_t line)
{
    return (float)line + 0.5f;
}

static uint64_t line_id(uint64_t line)
{
    return line % 7 == 6 ? line - 1 : line;
}

static void write_lines(uint64_t count, uint64_t broken_line)
{
    FILE *out = fopen(file, "w");

    assert_non_null(out);
    for (uint64_t i = 0; i < count; i++) {
        if (i == broken_line)
            (void)fprintf(out, "{\"id\":%llu,\"vectors\":\n", (unsigned long long)i);
        else
            (void)fprintf(out, "{\"id\":%llu,\"vectors\":[%.1f]}\n", (unsigned long long)line_id(i),
                          (double)line_value(i));
    }
    (void)fclose(out);
}

static void check_server(uint64_t lines)
{
    for (uint64_t id = 0; id < lines; id++) {
        uint64_t line = id % 7 == 5 && id + 1 < lines ? id + 1 : id;

        if (line_id(id) != id) {
            assert_int_equal(server.writes[id], 0);
            continue;
        }
        if (server.values[id] != line_value(line))
            fail_msg("id %llu has %g, not that of line %llu", (unsigned long long)id,
                     (double)server.values[id], (unsigned long long)line);
    }
    for (uint64_t id = lines; id < IDS; id++)
        assert_int_equal(server.writes[id], 0);
}

/* One run of the program: state from its file, if there is one. */
static enum lathe_status import_once(struct lathe_import_state *state, uint32_t patience_ms,
                                     struct lathe_error *err)
{
    struct lathe_client *client = NULL;
    struct lathe_rows *rows = NULL;
    struct lathe_progress progress;
    struct lathe_importer_config config = {.state = state,
                                           .state_path = state_file,
                                           .progress = &progress,
                                           .clock = &lathe_system_clock,
                                           .sleep_ms = sleep_fake,
                                           .stop = &stop,
                                           .patience_ms = patience_ms};
    enum lathe_status rc;
    FILE *nowhere = fopen("/dev/null", "w");

    assert_int_equal(lathe_client_open("x:1", &client, NULL), LATHE_OK);
    assert_int_equal(lathe_rows_open(file, LATHE_ROWS_POINTS, &rows, NULL), LATHE_OK);
    if (lathe_import_state_load(state_file, state, NULL) != LATHE_OK)
        lathe_import_state_init(state, rows, lathe_wall_ms(&lathe_system_clock));
    (void)strcpy(state->collection, "words");
    assert_int_equal(lathe_rows_seek(rows, state->done, NULL), LATHE_OK);
    lathe_progress_start(&progress, nowhere, 0, &lathe_system_clock, state->done.row, 0);
    config.client = client;
    config.rows = rows;
    rc = lathe_importer_run(&config, err);
    lathe_rows_close(&rows);
    lathe_client_close(&client);
    (void)fclose(nowhere);
    assert_int_equal(fake.streams, 0);
    assert_in_range(fake.pending_most, 0, LATHE_IMPORT_WINDOW);
    return rc;
}

static int setup(void **state)
{
    (void)state;
    dir = test_dir_create();
    (void)snprintf(file, sizeof(file), "%s/rows.jsonl", dir);
    (void)snprintf(state_file, sizeof(state_file), "%s/state", dir);
    memset(&server, 0, sizeof(server));
    server.bad_id = UINT64_MAX;
    fake_reset();
    fake.write = write_well;
    stop = 0;
    slept = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_dir_remove(dir);
    return 0;
}

static void every_row_is_written_once_with_a_full_window(void **state)
{
    struct lathe_import_state s;

    (void)state;
    write_lines(ROWS, UINT64_MAX);
    assert_int_equal(import_once(&s, 1000, NULL), LATHE_OK);
    check_server(ROWS);
    assert_int_equal(s.done.row, ROWS);
    assert_int_equal(server.calls, (ROWS + 255) / 256);
    assert_int_equal(server.repeats, 0);
    assert_int_equal(fake.pending_most, LATHE_IMPORT_WINDOW);
    assert_int_equal(fake.streams_opened, 1);
    assert_int_equal(slept, 0);
}

static void trouble_on_the_way_changes_nothing(void **state)
{
    (void)state;
    for (int run = 0; run < 60; run++) {
        struct lathe_import_state s;
        struct lathe_error err = {0};

        memset(&server, 0, sizeof(server));
        server.bad_id = UINT64_MAX;
        fake.write = write_with_trouble;
        fake.answer = answer_with_trouble;
        lathe_import_state_remove(state_file);
        write_lines(1 + test_rng_below(&rng, ROWS), UINT64_MAX);
        if (import_once(&s, 60000, &err) != LATHE_OK)
            fail_msg("%s", err.message);
        check_server(s.done.row);
    }
    assert_in_range(slept, 30, 100000);
}

static bool one_more(void)
{
    static unsigned answers;

    if (++answers % 5 == 0)
        fake.broken_status = LATHE_PERMISSION_DENIED; /* ends the run at once, as a kill would */
    return answers % 5 != 0;
}

static void a_run_that_ends_anywhere_goes_on_under_the_same_numbers(void **state)
{
    struct lathe_import_state s;
    unsigned runs = 0;

    (void)state;
    write_lines(ROWS, UINT64_MAX);
    fake.answer = one_more;
    while (import_once(&s, 60000, NULL) != LATHE_OK) {
        struct lathe_import_state saved;

        assert_int_equal(lathe_import_state_load(state_file, &saved, NULL), LATHE_OK);
        assert_int_equal(saved.done.row, s.done.row);
        fake.broken_status = LATHE_UNAVAILABLE;
        runs++;
    }
    assert_int_equal(runs, 2); /* 12 batches, the fifth answer is lost each time */
    check_server(ROWS);
    assert_true(server.repeats > 0);
    for (uint64_t id = 0; id < ROWS; id++) /* repeats were known, so nothing was written again */
        assert_int_equal(server.writes[id], line_id(id) != id ? 0 : id % 7 == 5 ? 2 : 1);
}

static void trouble_and_ends_together_lose_nothing(void **state)
{
    (void)state;
    for (int run = 0; run < 40; run++) {
        struct lathe_import_state s;
        uint64_t lines = 1 + test_rng_below(&rng, ROWS);

        memset(&server, 0, sizeof(server));
        server.bad_id = UINT64_MAX;
        fake.write = write_with_trouble;
        fake.answer = answer_with_trouble;
        lathe_import_state_remove(state_file);
        write_lines(lines, UINT64_MAX);
        do { /* some broken connections end the run */
            fake.broken_status = test_rng_below(&rng, 3) == 0 ? LATHE_PERMISSION_DENIED
                                                              : LATHE_CANCELLED;
        } while (import_once(&s, 60000, NULL) != LATHE_OK);
        assert_int_equal(s.done.row, lines);
        check_server(lines);
    }
}

static void a_bad_line_ends_it_with_all_before_it_written(void **state)
{
    struct lathe_import_state s;
    struct lathe_error err = {0};

    (void)state;
    write_lines(ROWS, 1000);
    assert_int_equal(import_once(&s, 1000, &err), LATHE_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "rows.jsonl: line 1001: "));
    check_server(1000);
    assert_int_equal(s.done.row, 1000);
    /* Repaired, it goes on behind them; the new client is what lathe_import_state_compare() asks
     * for. */
    write_lines(ROWS, UINT64_MAX);
    assert_int_equal(lathe_import_state_load(state_file, &s, NULL), LATHE_OK);
    lathe_import_state_renew(&s, lathe_wall_ms(&lathe_system_clock));
    assert_int_equal(lathe_import_state_save(state_file, &s, NULL), LATHE_OK);
    assert_int_equal(import_once(&s, 1000, &err), LATHE_OK);
    check_server(ROWS);
    assert_int_equal(server.writes[998], 1);
}

static void a_row_that_the_server_refuses_ends_it_likewise(void **state)
{
    static const uint64_t bad[] = {0, 1, 255, 256, 1001, 2998};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct lathe_import_state s;
        struct lathe_error err = {0};
        char want[100];

        memset(&server, 0, sizeof(server));
        lathe_import_state_remove(state_file);
        write_lines(ROWS, UINT64_MAX);
        server.bad_id = bad[i];
        assert_int_equal(import_once(&s, 1000, &err), LATHE_INVALID_ARGUMENT);
        (void)snprintf(want, sizeof(want),
                       "rows.jsonl: line %llu: upsert.vectors[0]: a zero vector",
                       (unsigned long long)bad[i] + 1);
        assert_non_null(strstr(err.message, want));
        assert_int_equal(s.done.row, bad[i]);
        for (uint64_t id = 0; id < bad[i]; id++)
            assert_true(server.writes[id] > 0 || line_id(id) != id);
        /* The same again stops at the same row; when the server takes it, it goes on. */
        assert_int_equal(import_once(&s, 1000, &err), LATHE_INVALID_ARGUMENT);
        assert_int_equal(s.done.row, bad[i]);
        server.bad_id = UINT64_MAX;
        assert_int_equal(import_once(&s, 1000, &err), LATHE_OK);
        check_server(ROWS);
    }
}

static uint64_t cut_bytes;

/* Cuts the file off while the first rows of it are on their way. */
static bool write_and_cut(const Lathe__V1__WritePointsRequest *request,
                          Lathe__V1__WritePointsResponse *response)
{
    if (server.calls == 0)
        assert_int_equal(truncate(file, (off_t)cut_bytes), 0);
    return write_well(request, response);
}

/* Lines of one length, so that it is known where a line ends; longer than is read at once. */
static void write_long_lines(uint64_t count)
{
    FILE *out = fopen(file, "w");

    assert_non_null(out);
    for (uint64_t i = 0; i < count; i++)
        (void)fprintf(out, "{\"id\":%4llu,\"vectors\":[%6.1f]%*s}\n",
                      (unsigned long long)line_id(i), (double)line_value(i), 999 - 30, "");
    (void)fclose(out);
}

static void a_file_that_is_cut_off_ends_it_with_all_before_written(void **state)
{
    struct lathe_import_state s, wanted;
    enum lathe_import_resume resume;
    struct lathe_error err = {0};
    struct lathe_rows *rows = NULL;

    (void)state;
    write_long_lines(ROWS);
    fake.write = write_and_cut;
    cut_bytes = 2000 * 1000 + 500; /* in the middle of line 2001 */
    assert_int_equal(import_once(&s, 1000, &err), LATHE_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "rows.jsonl: line 2001: the file was cut off while it was "
                                        "read: 2000500 bytes are left of 3000000"));
    assert_int_equal(s.done.row, 2000);
    check_server(2000);
    /* Whole again it goes on behind them, as another client: the file was touched. */
    write_long_lines(ROWS);
    assert_int_equal(lathe_import_state_load(state_file, &s, NULL), LATHE_OK);
    assert_int_equal(s.done.row, 2000);
    assert_int_equal(lathe_rows_open(file, LATHE_ROWS_POINTS, &rows, NULL), LATHE_OK);
    lathe_import_state_init(&wanted, rows, lathe_wall_ms(&lathe_system_clock));
    (void)strcpy(wanted.collection, "words");
    assert_int_equal(lathe_import_state_compare(&s, &wanted, rows, 0, &resume, &err), LATHE_OK);
    assert_int_equal(resume, LATHE_IMPORT_RESUME_NEW);
    lathe_rows_close(&rows);
    lathe_import_state_renew(&s, lathe_wall_ms(&lathe_system_clock));
    assert_int_equal(lathe_import_state_save(state_file, &s, NULL), LATHE_OK);
    fake.write = write_well;
    assert_int_equal(import_once(&s, 1000, &err), LATHE_OK);
    check_server(ROWS);
    assert_int_equal(server.writes[1001], 1);
}

static bool write_refused(const Lathe__V1__WritePointsRequest *request,
                          Lathe__V1__WritePointsResponse *response)
{
    (void)request;
    response->status = LATHE_NOT_FOUND;
    response->field = (char *)"collection";
    response->message = (char *)"there is no collection words";
    response->n_results = 0;
    return true;
}

static void a_refusal_of_the_whole_names_where_it_began(void **state)
{
    struct lathe_import_state s;
    struct lathe_error err = {0};

    (void)state;
    write_lines(ROWS, UINT64_MAX);
    fake.write = write_refused;
    assert_int_equal(import_once(&s, 1000, &err), LATHE_NOT_FOUND);
    assert_non_null(
        strstr(err.message, "rows.jsonl: from line 1: collection: there is no collection words"));
    assert_int_equal(s.done.row, 0);
    assert_int_equal(lathe_import_state_load(state_file, &s, NULL), LATHE_NOT_FOUND);
}

static bool write_in_part(const Lathe__V1__WritePointsRequest *request,
                          Lathe__V1__WritePointsResponse *response)
{
    (void)request;
    response->status = LATHE_FAILED_PRECONDITION; /* of one shard; the others have their part */
    response->message = (char *)"shard 1 is damaged";
    return true;
}

static bool write_lost(const Lathe__V1__WritePointsRequest *request,
                       Lathe__V1__WritePointsResponse *response)
{
    (void)request;
    (void)response;
    return false;
}

static void the_state_stays_where_something_may_be_stored(void **state)
{
    struct lathe_import_state s;

    (void)state;
    write_lines(ROWS, UINT64_MAX);
    fake.write = write_in_part;
    assert_int_equal(import_once(&s, 1000, NULL), LATHE_FAILED_PRECONDITION);
    assert_int_equal(lathe_import_state_load(state_file, &s, NULL), LATHE_OK);
    lathe_import_state_remove(state_file);
    fake.write = write_lost;
    assert_int_equal(import_once(&s, 0, NULL), LATHE_UNAVAILABLE);
    assert_int_equal(lathe_import_state_load(state_file, &s, NULL), LATHE_OK);
    /* An earlier run left it: what that one stored is not known. */
    fake.write = write_refused;
    assert_int_equal(import_once(&s, 0, NULL), LATHE_NOT_FOUND);
    assert_int_equal(lathe_import_state_load(state_file, &s, NULL), LATHE_OK);
}

static bool write_never(const Lathe__V1__WritePointsRequest *request,
                        Lathe__V1__WritePointsResponse *response)
{
    (void)request;
    response->status = LATHE_RESOURCE_EXHAUSTED;
    response->message = (char *)"memory is at its limit";
    response->n_results = 0;
    return true;
}

static uint64_t fake_us;

static uint64_t fake_now_us(void *context)
{
    (void)context;
    return fake_us;
}

static uint64_t fake_wall_ms(void *context)
{
    (void)context;
    return 1790000000000u;
}

static const struct lathe_clock fake_clock = {fake_now_us, fake_wall_ms, NULL};

static void sleep_on_the_clock(void *context, uint32_t ms)
{
    (void)context;
    fake_us += (uint64_t)ms * 1000;
    slept++;
}

static void patience_ends_when_nothing_is_acknowledged(void **state)
{
    struct lathe_client *client = NULL;
    struct lathe_rows *rows = NULL;
    struct lathe_import_state s;
    struct lathe_progress progress;
    struct lathe_error err = {0};
    struct lathe_importer_config config = {.state = &s,
                                           .state_path = state_file,
                                           .progress = &progress,
                                           .clock = &fake_clock,
                                           .sleep_ms = sleep_on_the_clock,
                                           .stop = &stop,
                                           .patience_ms = 10000};

    (void)state;
    write_lines(10, UINT64_MAX);
    fake.write = write_never;
    assert_int_equal(lathe_client_open("x:1", &client, NULL), LATHE_OK);
    assert_int_equal(lathe_rows_open(file, LATHE_ROWS_POINTS, &rows, NULL), LATHE_OK);
    lathe_import_state_init(&s, rows, 0);
    (void)strcpy(s.collection, "words");
    lathe_progress_start(&progress, stderr, 0, &fake_clock, 0, 0);
    config.client = client;
    config.rows = rows;
    fake_us = 1;
    assert_int_equal(lathe_importer_run(&config, &err), LATHE_RESOURCE_EXHAUSTED);
    assert_string_equal(err.message, "memory is at its limit");
    assert_in_range(fake_us, 10000000, 12000001);
    assert_in_range(slept, 8, 12); /* 50, 100, 200 ... 2000, 2000 ms */
    lathe_rows_close(&rows);
    lathe_client_close(&client);
}

static bool stop_soon(void)
{
    stop = server.calls >= 9;
    return true;
}

static void a_stop_takes_the_answers_that_are_due(void **state)
{
    struct lathe_import_state s;
    struct lathe_error err = {0};

    (void)state;
    write_lines(ROWS, UINT64_MAX);
    fake.answer = stop_soon;
    assert_int_equal(import_once(&s, 1000, &err), LATHE_CANCELLED);
    assert_int_equal(s.done.row, 9 * 256);
    check_server(9 * 256);
    fake.answer = NULL;
    stop = 0;
    assert_int_equal(import_once(&s, 1000, &err), LATHE_OK);
    assert_int_equal(server.repeats, 0);
    check_server(ROWS);
}

static void a_state_that_cannot_be_written_stops_it_at_once(void **state)
{
    struct lathe_import_state s;
    struct lathe_error err = {0};

    (void)state;
    write_lines(ROWS, UINT64_MAX);
    (void)snprintf(state_file, sizeof(state_file), "%s/none/state", dir);
    assert_int_equal(import_once(&s, 1000, &err), LATHE_INTERNAL);
    assert_int_equal(server.calls, 0);
}

static int init(void **state)
{
    (void)state;
    test_rng_seed(&rng, "cli/importer");
    return lathe_hash_init() ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_row_is_written_once_with_a_full_window, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(trouble_on_the_way_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_run_that_ends_anywhere_goes_on_under_the_same_numbers,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(trouble_and_ends_together_lose_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_bad_line_ends_it_with_all_before_it_written, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_file_that_is_cut_off_ends_it_with_all_before_written,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_row_that_the_server_refuses_ends_it_likewise, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_refusal_of_the_whole_names_where_it_began, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_state_stays_where_something_may_be_stored, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(patience_ends_when_nothing_is_acknowledged, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_stop_takes_the_answers_that_are_due, setup, teardown),
        cmocka_unit_test_setup_teardown(a_state_that_cannot_be_written_stops_it_at_once, setup,
                                        teardown),
    };

    return cmocka_run_group_tests_name("cli/importer", tests, init, NULL);
}
