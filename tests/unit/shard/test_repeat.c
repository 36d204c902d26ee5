/* test_repeat.c - repeated writes: first results again, what is too old, what is another request,
 * and what is forgotten; through the writer, on a clock of the test's own. */
#include "tests/unit/shard/shard_fixture.h"

#include <string.h>

#include "common/base/mem.h"
#include "common/base/table.h"
#include "shard/write/operation.h"

enum { HOUR_MS = 3600 * 1000 };

static const uint32_t dims[] = {2};
static const enum lathe_metric metrics[] = {LATHE_DOT};

struct fixture {
    struct parts parts;
    uint32_t collection;
    uint8_t client[16];
};

static int setup(void **state)
{
    struct fixture *f = lathe_zalloc(sizeof(*f));

    parts_init(&f->parts);
    f->collection = parts_create(&f->parts, 1, dims, metrics);
    lathe_uuid_new(lathe_wall_ms(&f->parts.clock.clock), f->client);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    parts_fini(&f->parts);
    lathe_free(f);
    return 0;
}

static void restart(struct fixture *f)
{
    parts_stop(&f->parts);
    parts_start(&f->parts);
}

static uint64_t now_ms(const struct fixture *f)
{
    return lathe_wall_ms(&f->parts.clock.clock);
}

/* Writes point `point` as the client's request `number`. */
static struct lathe_task *write_at(struct fixture *f, const uint8_t client[16], uint64_t number,
                                   uint32_t point, uint64_t time_ms)
{
    float vector[2] = {(float)(number % 1000), 1};
    struct request request;
    struct lathe_task *task;

    request_init(&request, time_ms);
    request_vector(&request,
                   request_add(&request, LATHE__SHARD__OPERATION_KIND__UPSERT, id_of(point)), 0,
                   vector, 2);
    request_client(&request, client, number);
    /* The digest is the caller's business: here, of what is written and not of when. */
    request.write.digest.data[0] = (uint8_t)point;
    memset(request.write.digest.data + 1, 0, LATHE_DIGEST_BYTES - 1);
    task = parts_write(&f->parts, f->collection, &request);
    request_fini(&request);
    return task;
}

/* seq 0: any. */
static void applies(struct fixture *f, const uint8_t client[16], uint64_t number, uint32_t point,
                    uint64_t seq)
{
    struct lathe_task *task = write_at(f, client, number, point, now_ms(f));

    assert_false(write_reply(task)->repeated_request);
    if (seq != 0)
        assert_int_equal(write_reply(task)->applied_seq, seq);
    assert_int_equal(write_reply(task)->outcomes[0], LATHE_OUTCOME_APPLIED);
    lathe_task_destroy(task);
}

static void repeats(struct fixture *f, const uint8_t client[16], uint64_t number, uint32_t point,
                    uint64_t seq)
{
    struct lathe_task *task = write_at(f, client, number, point, now_ms(f));

    assert_true(write_reply(task)->repeated_request);
    assert_int_equal(write_reply(task)->applied_seq, seq);
    assert_int_equal(write_reply(task)->n_outcomes, 1);
    assert_int_equal(write_reply(task)->outcomes[0], LATHE_OUTCOME_APPLIED);
    assert_int_equal(write_reply(task)->versions[0], seq);
    lathe_task_destroy(task);
}

static void refuses(struct fixture *f, const uint8_t client[16], uint64_t number, uint32_t point,
                    enum lathe_status status, const char *field)
{
    struct lathe_task *task = write_at(f, client, number, point, now_ms(f));

    assert_int_equal(failure_of(task)->status, status);
    assert_string_equal(failure_of(task)->field, field);
    lathe_task_destroy(task);
}

static void a_repeat_gets_the_first_result(void **state)
{
    struct fixture *f = *state;

    applies(f, f->client, 1, 1, 2);
    applies(f, f->client, 2, 1, 3);
    repeats(f, f->client, 1, 1, 2); /* the version it gave, not the one of now */
    repeats(f, f->client, 2, 1, 3);
    restart(f);
    repeats(f, f->client, 1, 1, 2);
    applies(f, f->client, 3, 1, 4); /* nothing was applied in between */
}

static void a_number_belongs_to_its_content(void **state)
{
    struct fixture *f = *state;

    applies(f, f->client, 1, 1, 2);
    refuses(f, f->client, 1, 2, LATHE_INVALID_ARGUMENT, "request_number");
    repeats(f, f->client, 1, 1, 2);
}

static void numbers_may_come_in_any_order_inside_the_window(void **state)
{
    struct fixture *f = *state;

    applies(f, f->client, 1000, 1, 2);
    applies(f, f->client, 3, 1, 3);
    applies(f, f->client, 999, 1, 4);
    repeats(f, f->client, 3, 1, 3);
    repeats(f, f->client, 1000, 1, 2);
}

/* The last 1,024 numbers are kept, to the number. */
static void older_numbers_than_the_window_are_refused(void **state)
{
    struct fixture *f = *state;
    struct lathe_buf value = {0};

    applies(f, f->client, 1, 1, 2);
    applies(f, f->client, 2, 1, 3);
    applies(f, f->client, 1024, 1, 4);
    repeats(f, f->client, 1, 1, 2);
    applies(f, f->client, 1025, 1, 5);
    refuses(f, f->client, 1, 1, LATHE_FAILED_PRECONDITION, "request_number");
    repeats(f, f->client, 2, 1, 3);
    store_get(f->parts.store, LATHE_FAMILY_META, lathe_key_meta_result(f->client, 1), &value);
    assert_int_equal(value.size, 0); /* not kept in secret either */
    applies(f, f->client, 1000000, 1, 6);
    refuses(f, f->client, 1025, 1, LATHE_FAILED_PRECONDITION, "request_number");
    refuses(f, f->client, 1000000 - 1024, 1, LATHE_FAILED_PRECONDITION, "request_number");
    applies(f, f->client, 1000000 - 1023, 1, 7);
    restart(f);
    refuses(f, f->client, 1000000 - 1024, 1, LATHE_FAILED_PRECONDITION, "request_number");
    repeats(f, f->client, 1000000 - 1023, 1, 7);
    lathe_buf_fini(&value);
}

static void the_largest_number_is_a_number(void **state)
{
    struct fixture *f = *state;

    applies(f, f->client, UINT64_MAX, 1, 2);
    repeats(f, f->client, UINT64_MAX, 1, 2);
    applies(f, f->client, UINT64_MAX - 1023, 1, 3);
    refuses(f, f->client, UINT64_MAX - 1024, 1, LATHE_FAILED_PRECONDITION, "request_number");
}

static void clients_do_not_meet(void **state)
{
    struct fixture *f = *state;
    uint8_t other[16];

    lathe_uuid_new(now_ms(f), other);
    applies(f, f->client, 1, 1, 2);
    applies(f, other, 1, 2, 3);
    repeats(f, f->client, 1, 1, 2);
    repeats(f, other, 1, 2, 3);
}

static void without_a_client_nothing_is_remembered(void **state)
{
    struct fixture *f = *state;
    struct request request;

    request_init(&request, now_ms(f));
    request_add(&request, LATHE__SHARD__OPERATION_KIND__UPSERT, id_of(1));
    for (uint64_t seq = 2; seq < 4; seq++) {
        struct lathe_task *task = parts_write(&f->parts, f->collection, &request);

        assert_int_equal(write_reply(task)->applied_seq, seq);
        assert_false(write_reply(task)->repeated_request);
        lathe_task_destroy(task);
    }
    request_fini(&request);
}

static void client_ids_and_digests_must_be_whole(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 3; i++) {
        struct request request;
        struct lathe_task *task;

        request_init(&request, now_ms(f));
        request_add(&request, LATHE__SHARD__OPERATION_KIND__UPSERT, id_of(1));
        request_client(&request, f->client, 1);
        if (i == 0)
            request.write.client_id.len = 15;
        else if (i == 1)
            request.write.digest.len = 15;
        else
            request.write.request_number = 0;
        task = parts_write(&f->parts, f->collection, &request);
        assert_int_equal(failure_of(task)->status, LATHE_INVALID_ARGUMENT);
        assert_string_equal(failure_of(task)->field, "client_id");
        lathe_task_destroy(task);
        request_fini(&request);
    }
}

/* A repeat that arrives while the first is still in the same group waits for its commit. The first
 * request of all keeps the writer busy with its sync, while the others gather. */
static void a_repeat_in_the_same_group_is_a_repeat(void **state)
{
    enum { NUMBERS = 20, TASKS = 1 + 2 * NUMBERS };
    struct fixture *f = *state;
    struct lathe_task *tasks[TASKS];

    for (size_t i = 0; i < TASKS; i++) {
        struct request request;

        request_init(&request, now_ms(f));
        request_add(&request, LATHE__SHARD__OPERATION_KIND__UPSERT, id_of(1));
        request_client(&request, f->client, 1 + (i + 1) / 2);
        tasks[i] = parts_task(&f->parts, LATHE_FRAME_WRITE, f->collection, &request.write.base,
                              NULL);
        request_fini(&request);
    }
    for (size_t i = 0; i < TASKS; i++)
        parts_submit(&f->parts, tasks[i]);
    for (size_t i = 0; i < TASKS; i++)
        (void)parts_wait(&f->parts);
    for (size_t i = 0; i < TASKS; i++) {
        const Lathe__Shard__WriteReply *reply = write_reply(tasks[i]);

        assert_int_equal(reply->repeated_request, i > 0 && i % 2 == 0);
        assert_int_equal(reply->applied_seq, 2 + (i + 1) / 2);
        assert_int_equal(reply->versions[0], 2 + (i + 1) / 2);
        lathe_task_destroy(tasks[i]);
    }
}

static void an_unknown_client_of_yesterday_is_refused(void **state)
{
    struct fixture *f = *state;
    uint8_t edge[16];

    lathe_uuid_new(now_ms(f) - LATHE_CLIENT_FORGET_MS - 1, f->client);
    refuses(f, f->client, 1, 1, LATHE_FAILED_PRECONDITION, "client_id");
    lathe_uuid_new(now_ms(f) - LATHE_CLIENT_FORGET_MS, edge);
    applies(f, edge, 1, 1, 2);
}

static void an_unknown_client_of_the_future_is_refused(void **state)
{
    struct fixture *f = *state;
    struct lathe_task *task;
    uint8_t edge[16];

    lathe_uuid_new(now_ms(f) + LATHE_CLIENT_AHEAD_MS + 1, f->client);
    task = write_at(f, f->client, 1, 1, now_ms(f));
    assert_int_equal(failure_of(task)->status, LATHE_INVALID_ARGUMENT);
    assert_string_equal(failure_of(task)->field, "client_id");
    assert_non_null(strstr(failure_of(task)->message,
                           "600001 ms ahead of the server's clock, the limit is 600000"));
    lathe_task_destroy(task);
    lathe_uuid_new(((uint64_t)1 << 48) - 1, edge); /* the largest time an id can carry */
    refuses(f, edge, 1, 1, LATHE_INVALID_ARGUMENT, "client_id");
    lathe_uuid_new(now_ms(f) + LATHE_CLIENT_AHEAD_MS, edge);
    applies(f, edge, 1, 1, 2);
    fake_clock_advance(&f->parts.clock, 1);
    applies(f, f->client, 1, 1, 3); /* no longer too far ahead */
}

static void a_known_client_may_grow_old(void **state)
{
    struct fixture *f = *state;

    for (uint64_t hour = 0; hour < 72; hour += 12) {
        applies(f, f->client, 1 + hour, 1, 2 + hour / 12);
        fake_clock_advance(&f->parts.clock, 12 * HOUR_MS);
    }
}

/* A client that was silent for 24 h is forgotten, with all it left, and then too old to come back.
 */
static void silent_clients_are_forgotten(void **state)
{
    struct fixture *f = *state;
    struct lathe_buf value = {0};
    uint8_t other[16], fresh[16];

    lathe_uuid_new(now_ms(f), other);
    applies(f, f->client, 5, 1, 2);
    applies(f, f->client, UINT64_MAX, 1, 3);
    applies(f, other, 1, 2, 4);
    fake_clock_advance(&f->parts.clock, 23 * HOUR_MS);
    applies(f, other, 2, 2, 5);
    fake_clock_advance(&f->parts.clock, HOUR_MS + 1);
    lathe_uuid_new(now_ms(f), fresh);
    applies(f, fresh, 1, 3, 0); /* the writer forgets between groups: before this one, or after */
    applies(f, fresh, 2, 3, 8); /* two writes, and the log entry that forgets */
    store_get(f->parts.store, LATHE_FAMILY_META, lathe_key_meta_client(f->client), &value);
    store_get(f->parts.store, LATHE_FAMILY_META, lathe_key_meta_result(f->client, 5), &value);
    store_get(f->parts.store, LATHE_FAMILY_META, lathe_key_meta_result(f->client, UINT64_MAX),
              &value);
    assert_int_equal(value.size, 0);
    refuses(f, f->client, 5, 1, LATHE_FAILED_PRECONDITION, "client_id");
    repeats(f, other, 1, 2, 4);
    restart(f);
    refuses(f, f->client, 5, 1, LATHE_FAILED_PRECONDITION, "client_id");
    repeats(f, other, 2, 2, 5);
    lathe_buf_fini(&value);
}

/* Once forgotten, an id stays refused, whatever the clocks say: its own may have been ahead, and
 * the server's may be put back. */
static void forgotten_clients_stay_out_when_clocks_are_wrong(void **state)
{
    struct fixture *f = *state;
    uint8_t fresh[16];

    lathe_uuid_new(now_ms(f) + LATHE_CLIENT_AHEAD_MS, f->client);
    applies(f, f->client, 1, 1, 2);
    fake_clock_advance(&f->parts.clock, 24 * HOUR_MS + 1);
    lathe_uuid_new(now_ms(f) + LATHE_CLIENT_AHEAD_MS, fresh);
    applies(f, fresh, 1, 3, 0); /* the writer forgets between groups: before this one, or after */
    applies(f, fresh, 2, 3, 5);
    refuses(f, f->client, 1, 1, LATHE_FAILED_PRECONDITION, "client_id");
    f->parts.clock.wall_ms -= 25 * HOUR_MS;
    refuses(f, f->client, 1, 1, LATHE_FAILED_PRECONDITION, "client_id");
    restart(f);
    refuses(f, f->client, 1, 1, LATHE_FAILED_PRECONDITION, "client_id");
    repeats(f, fresh, 2, 3, 5);
}

/* A group that is given up leaves no trace: not in the numbers, not in the window. */
static void what_is_not_committed_is_not_remembered(void **state)
{
    struct fixture *f = *state;
    struct lathe_store_batch *batch = lathe_store_batch_create(f->parts.store);
    struct lathe_clients *clients = NULL;
    struct lathe_result results[] = {{LATHE_OUTCOME_APPLIED, 9}}, *decoded = NULL;
    struct lathe_result_record record = {.seq = 9, .result_count = 1, .results = results}, found;
    struct lathe_request_key key = {f->client, 7, record.digest, now_ms(f)};
    struct lathe_error err = {0};

    assert_int_equal(lathe_clients_open(f->parts.store, &clients, &err), LATHE_OK);
    for (int round = 0; round < 2; round++) {
        /* The first round leaves number 7 behind; the second then tries to pass the window. */
        assert_int_equal(lathe_clients_remember(clients, batch, &key, &record, &err), LATHE_OK);
        if (round == 0)
            assert_int_equal(lathe_store_commit(f->parts.store, batch, true, &err), LATHE_OK);
        lathe_clients_settle(clients, round == 0);
        lathe_store_batch_clear(batch);
        key.number = 5000;
    }
    key.number = 7;
    assert_int_equal(lathe_clients_check(clients, &key, &found, &decoded, &err), LATHE_OK);
    assert_int_equal(found.result_count, 1);
    assert_int_equal(found.seq, 9);

    assert_int_equal(lathe_clients_forget(clients, batch, UINT64_MAX), 1);
    lathe_clients_settle(clients, false);
    assert_true(lathe_clients_any_before(clients, UINT64_MAX));
    assert_int_equal(lathe_clients_forget(clients, batch, UINT64_MAX), 1);
    lathe_clients_settle(clients, true);
    assert_false(lathe_clients_any_before(clients, UINT64_MAX));

    /* A client first met in a group that was given up is unknown again. */
    assert_int_equal(lathe_clients_remember(clients, batch, &key, &record, &err), LATHE_OK);
    lathe_clients_settle(clients, false);
    assert_false(lathe_clients_any_before(clients, UINT64_MAX));
    lathe_clients_close(clients);
    lathe_store_batch_destroy(batch);
    lathe_free(decoded);
}

/* Of a write's two tables, the group's and then the clients': each refuses, and nothing is left. */
static void a_table_without_memory_refuses_the_write(void **state)
{
    static const char *const whose[] = {"no memory for a write", "no memory for a client's memory"};
    struct fixture *f = *state;

    for (int table = 0; table < 2; table++) {
        struct lathe_task *task;

        test_alloc_fail(sizeof(UT_hash_table), table);
        task = write_at(f, f->client, 1, 1, now_ms(f));
        assert_true(test_alloc_failed());
        assert_int_equal(failure_of(task)->status, LATHE_RESOURCE_EXHAUSTED);
        assert_string_equal(failure_of(task)->message, whose[table]);
        lathe_task_destroy(task);
    }
    applies(f, f->client, 1, 1, 2);
    repeats(f, f->client, 1, 1, 2);
}

static void a_damaged_result_is_data_loss(void **state)
{
    struct fixture *f = *state;

    applies(f, f->client, 1, 1, 2);
    store_put(f->parts.store, LATHE_FAMILY_META, lathe_key_meta_result(f->client, 1),
              lathe_bytes_str("\x01nonsense"));
    refuses(f, f->client, 1, 1, LATHE_DATA_LOSS, "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_repeat_gets_the_first_result),
        TEST(a_number_belongs_to_its_content),
        TEST(numbers_may_come_in_any_order_inside_the_window),
        TEST(older_numbers_than_the_window_are_refused),
        TEST(the_largest_number_is_a_number),
        TEST(clients_do_not_meet),
        TEST(without_a_client_nothing_is_remembered),
        TEST(client_ids_and_digests_must_be_whole),
        TEST(a_repeat_in_the_same_group_is_a_repeat),
        TEST(an_unknown_client_of_yesterday_is_refused),
        TEST(an_unknown_client_of_the_future_is_refused),
        TEST(a_known_client_may_grow_old),
        TEST(silent_clients_are_forgotten),
        TEST(forgotten_clients_stay_out_when_clocks_are_wrong),
        TEST(what_is_not_committed_is_not_remembered),
        TEST(a_table_without_memory_refuses_the_write),
        TEST(a_damaged_result_is_data_loss),
    };

    return cmocka_run_group_tests_name("repeat", tests, NULL, NULL);
}
