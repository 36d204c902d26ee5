/* test_lathe_client.c - liblathe against a real server: replies, failures, retries, write streams.
 */
#include <lathe/v1/points.pb-c.h>
#include <lathe/v1/server.pb-c.h>
#include <stdio.h>
#include <string.h>

#include "client/lathe.h"
#include "common/base/clock.h"
#include "common/base/id.h"
#include "common/net/message.h"
#include "tests/unit/grpc/grpc_fixture.h"

static const struct fixture_options defaults;
static const char info_path[] = "/lathe.v1.ServerService/GetInfo";

static struct lathe_client *open_client(const char *address)
{
    struct lathe_client *client = NULL;
    struct lathe_error err = {0};

    assert_int_equal(lathe_client_open(address, &client, &err), LATHE_OK);
    return client;
}

static enum lathe_status get_info(struct lathe_client *client, uint32_t timeout_ms,
                                  Lathe__V1__GetInfoResponse **info_out, struct lathe_error *err)
{
    Lathe__V1__GetInfoRequest request = LATHE__V1__GET_INFO_REQUEST__INIT;
    ProtobufCMessage *reply = NULL;
    enum lathe_status status = lathe_client_call(client, info_path, &request.base,
                                                 &lathe__v1__get_info_response__descriptor,
                                                 timeout_ms, &reply, err);

    *info_out = (Lathe__V1__GetInfoResponse *)reply;
    return status;
}

static void a_reply_is_decoded_and_freed_whole(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    struct lathe_client *client = open_client(fixture->address);
    Lathe__V1__GetInfoResponse *info;
    struct lathe_error err = {0};

    (void)state;
    assert_int_equal(get_info(client, 20000, &info, &err), LATHE_OK);
    assert_string_equal(info->version, "1.2.3");
    assert_int_equal(info->shards, 7);
    assert_ptr_equal(info->base.descriptor, &lathe__v1__get_info_response__descriptor);
    lathe_client_free_reply(&info->base);
    lathe_client_free_reply(NULL);
    lathe_client_close(&client);
    assert_null(client);
    fixture_stop(fixture);
}

static void a_failure_is_the_servers_and_is_not_tried_again(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    struct lathe_client *client = open_client(fixture->address);
    Lathe__V1__GetInfoRequest request = LATHE__V1__GET_INFO_REQUEST__INIT;
    ProtobufCMessage *reply = NULL;
    struct lathe_error err = {0};

    (void)state;
    assert_int_equal(lathe_client_call(client, "/test.T/Fail", &request.base,
                                       &lathe__v1__get_info_response__descriptor, 20000, &reply,
                                       &err),
                     LATHE_INVALID_ARGUMENT);
    assert_null(reply);
    assert_string_equal(err.field, "operations[3].vectors[0]");
    assert_int_equal(lathe_client_call(client, "/test.T/Fail", &request.base,
                                       &lathe__v1__get_info_response__descriptor, 20000, &reply,
                                       NULL),
                     LATHE_INVALID_ARGUMENT);
    lathe_client_close(&client);
    fixture_stop(fixture);
}

static void a_reply_of_another_kind_is_an_internal_error(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    struct lathe_client *client = open_client(fixture->address);
    Lathe__V1__CountPointsRequest request = LATHE__V1__COUNT_POINTS_REQUEST__INIT;
    ProtobufCMessage *reply = NULL;
    struct lathe_error err = {0};

    (void)state;
    request.collection = (char *)"\xFF\xFE"; /* echoed as a string that is not UTF-8 */
    assert_int_equal(lathe_client_call(client, "/test.T/Echo", &request.base,
                                       &lathe__v1__get_info_response__descriptor, 20000, &reply,
                                       &err),
                     LATHE_INTERNAL);
    assert_null(reply);
    assert_non_null(strstr(err.message, "GetInfoResponse"));
    lathe_client_close(&client);
    fixture_stop(fixture);
}

static void a_missing_answer_is_deadline_exceeded(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    struct lathe_client *client = open_client(fixture->address);
    Lathe__V1__GetInfoRequest request = LATHE__V1__GET_INFO_REQUEST__INIT;
    ProtobufCMessage *reply = NULL;
    struct lathe_error err = {0};

    (void)state;
    assert_int_equal(lathe_client_call(client, "/test.T/Hold", &request.base,
                                       &lathe__v1__get_info_response__descriptor, 150, &reply,
                                       &err),
                     LATHE_DEADLINE_EXCEEDED);
    assert_true(fixture_wait(fixture, &fixture->cancelled, 1));
    lathe_client_close(&client);
    fixture_stop(fixture);
}

/* --- Retries --- */

static void unavailable_is_tried_again_with_the_same_bytes(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    struct lathe_client *client = open_client(fixture->address);
    uint64_t begin_us = lathe_now_us(&lathe_system_clock);
    Lathe__V1__GetInfoResponse *info;
    struct lathe_error err = {0};

    (void)state;
    fixture->unavailable_left = 3;
    assert_int_equal(get_info(client, 20000, &info, &err), LATHE_OK);
    assert_int_equal(err.status, LATHE_OK);
    lathe_client_free_reply(&info->base);
    assert_int_equal(fixture_get(fixture, &fixture->info_calls), 4);
    assert_false(fixture->info_differed);
    /* It waited at least as long as the server asked for, three times 30 ms. */
    assert_true(lathe_now_us(&lathe_system_clock) - begin_us >= 90000);
    lathe_client_close(&client);
    fixture_stop(fixture);
}

static void tries_end_with_the_time_and_the_last_failure(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    struct lathe_client *client = open_client(fixture->address);
    uint64_t begin_us = lathe_now_us(&lathe_system_clock);
    Lathe__V1__GetInfoResponse *info;
    struct lathe_error err = {0};

    (void)state;
    fixture->unavailable_left = 1000000;
    assert_int_equal(get_info(client, 300, &info, &err), LATHE_UNAVAILABLE);
    assert_string_equal(err.message, "shard 2 is not reachable");
    assert_int_equal(err.retry_after_ms, 30);
    assert_true(fixture_get(fixture, &fixture->info_calls) >= 2);
    assert_true(lathe_now_us(&lathe_system_clock) - begin_us < 10000000);
    lathe_client_close(&client);
    fixture_stop(fixture);
}

struct waiting_call {
    pthread_t thread;
    struct lathe_client *client;
    enum lathe_status status;
    struct lathe_error err;
};

static void *run_waiting_call(void *context)
{
    struct waiting_call *call = context;
    Lathe__V1__GetInfoResponse *info;

    call->status = get_info(call->client, 20000, &info, &call->err);
    if (call->status == LATHE_OK)
        lathe_client_free_reply(&info->base);
    return NULL;
}

static void a_call_outlives_a_server_that_comes_later(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    struct waiting_call call = {0};
    struct fixture *restarted;
    char address[256];

    (void)state;
    (void)snprintf(address, sizeof(address), "%s", fixture->address);
    call.client = open_client(address);
    fixture_stop(fixture);
    assert_int_equal(pthread_create(&call.thread, NULL, run_waiting_call, &call), 0);
    restarted = fixture_start(&(struct fixture_options){.listen = address});
    (void)pthread_join(call.thread, NULL);
    assert_int_equal(call.status, LATHE_OK);
    lathe_client_close(&call.client);
    fixture_stop(restarted);
}

static void a_server_that_is_not_there_is_unavailable(void **state)
{
    struct lathe_client *client = open_client("unix:/nonexistent/lathe.sock");
    Lathe__V1__GetInfoResponse *info;
    struct lathe_error err = {0};

    (void)state;
    assert_int_equal(get_info(client, 100, &info, &err), LATHE_UNAVAILABLE);
    assert_true(strlen(err.message) > 0);
    lathe_client_close(&client);
}

/* --- Who writes --- */

static void every_client_has_its_own_id_and_numbers(void **state)
{
    struct lathe_client *one = open_client("127.0.0.1:1");
    struct lathe_client *two = open_client("127.0.0.1:1");
    uint64_t now_ms = lathe_wall_ms(&lathe_system_clock);

    (void)state;
    assert_memory_not_equal(lathe_client_id(one), lathe_client_id(two), 16);
    assert_in_range(lathe_uuid_time_ms(lathe_client_id(one)), now_ms - 60000, now_ms);
    assert_int_equal(lathe_client_id(one)[6] >> 4, 7);
    for (uint64_t i = 1; i < 10; i++)
        assert_int_equal(lathe_client_next_request(one), i);
    assert_int_equal(lathe_client_next_request(two), 1);
    lathe_client_close(&one);
    lathe_client_close(&two);
}

/* --- Write streams --- */

static void send_number(struct lathe_write_stream *stream, uint64_t number,
                        enum lathe_status expected)
{
    Lathe__V1__WritePointsRequest request = LATHE__V1__WRITE_POINTS_REQUEST__INIT;
    struct lathe_buf bytes = {0};

    request.request_number = number;
    lathe_message_encode(&request.base, &bytes);
    assert_int_equal(lathe_write_stream_send(stream, bytes.data, bytes.size, NULL), expected);
    lathe_buf_fini(&bytes);
}

static uint64_t receive_number(struct lathe_write_stream *stream)
{
    ProtobufCMessage *reply = NULL;
    struct lathe_error err = {0};
    uint64_t number;

    if (lathe_write_stream_receive(stream, &reply, &err) != LATHE_OK)
        fail_msg("%s: %s", lathe_status_name(err.status), err.message);
    number = ((Lathe__V1__WritePointsResponse *)reply)->request_number;
    lathe_client_free_reply(reply);
    return number;
}

static void a_window_of_writes_is_answered_in_order(void **state)
{
    enum { WINDOW = 16, WRITES = 1000 };
    struct fixture *fixture = fixture_start(&defaults);
    struct lathe_client *client = open_client(fixture->address);
    struct lathe_write_stream *stream = NULL;
    struct lathe_error err = {0};
    uint64_t answered = 0;

    (void)state;
    assert_int_equal(lathe_write_stream_open(client, WINDOW, &stream, &err), LATHE_OK);
    for (uint64_t number = 1; number <= WRITES; number++) {
        if (number == 999)
            continue; /* means something else to the fixture */
        if (lathe_write_stream_pending(stream) == WINDOW) {
            send_number(stream, number, LATHE_FAILED_PRECONDITION);
            assert_int_equal(receive_number(stream), ++answered);
        }
        send_number(stream, number, LATHE_OK);
    }
    while (lathe_write_stream_pending(stream) > 0) {
        answered += answered == 998 ? 2 : 1;
        assert_int_equal(receive_number(stream), answered);
    }
    assert_int_equal(answered, WRITES);
    {
        ProtobufCMessage *reply;

        assert_int_equal(lathe_write_stream_receive(stream, &reply, &err),
                         LATHE_FAILED_PRECONDITION);
    }
    lathe_write_stream_close(&stream);
    assert_null(stream);
    assert_true(fixture_wait(fixture, &fixture->half_closed, 1)); /* it said good-bye */
    lathe_client_close(&client);
    fixture_stop(fixture);
}

static void a_broken_stream_says_so_and_a_new_one_works(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    struct lathe_client *client = open_client(fixture->address);
    struct lathe_write_stream *stream = NULL;
    ProtobufCMessage *reply = NULL;
    struct lathe_error err = {0};

    (void)state;
    assert_int_equal(lathe_write_stream_open(client, 4, &stream, &err), LATHE_OK);
    send_number(stream, 1, LATHE_OK);
    send_number(stream, 999, LATHE_OK); /* the server ends the stream, successfully */
    assert_int_equal(receive_number(stream), 1);
    assert_int_equal(lathe_write_stream_receive(stream, &reply, &err), LATHE_UNAVAILABLE);
    assert_int_equal(lathe_write_stream_pending(stream), 1);
    lathe_write_stream_close(&stream);

    assert_int_equal(lathe_write_stream_open(client, 4, &stream, &err), LATHE_OK);
    assert_int_equal(lathe_write_stream_send(stream, (const uint8_t *)"\xFF\xFF", 2, &err),
                     LATHE_OK);
    assert_int_equal(lathe_write_stream_receive(stream, &reply, &err), LATHE_INVALID_ARGUMENT);
    lathe_write_stream_close(&stream);

    assert_int_equal(lathe_write_stream_open(client, 4, &stream, &err), LATHE_OK);
    send_number(stream, 2, LATHE_OK);
    assert_int_equal(receive_number(stream), 2);
    lathe_write_stream_close(&stream);
    lathe_client_close(&client);
    fixture_stop(fixture);
}

static void a_stream_notices_that_the_server_went(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    struct lathe_client *client = open_client(fixture->address);
    struct lathe_write_stream *stream = NULL;
    ProtobufCMessage *reply = NULL;
    struct lathe_error err = {0};

    (void)state;
    assert_int_equal(lathe_write_stream_open(client, 4, &stream, &err), LATHE_OK);
    send_number(stream, 1, LATHE_OK);
    assert_int_equal(receive_number(stream), 1);
    fixture_stop(fixture);
    if (lathe_write_stream_send(stream, (const uint8_t *)"", 0, &err) == LATHE_OK)
        assert_int_equal(lathe_write_stream_receive(stream, &reply, &err), LATHE_UNAVAILABLE);
    assert_int_equal(err.status, LATHE_UNAVAILABLE);
    lathe_write_stream_close(&stream);
    lathe_client_close(&client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reply_is_decoded_and_freed_whole),
        cmocka_unit_test(a_failure_is_the_servers_and_is_not_tried_again),
        cmocka_unit_test(a_reply_of_another_kind_is_an_internal_error),
        cmocka_unit_test(a_missing_answer_is_deadline_exceeded),
        cmocka_unit_test(unavailable_is_tried_again_with_the_same_bytes),
        cmocka_unit_test(tries_end_with_the_time_and_the_last_failure),
        cmocka_unit_test(a_call_outlives_a_server_that_comes_later),
        cmocka_unit_test(a_server_that_is_not_there_is_unavailable),
        cmocka_unit_test(every_client_has_its_own_id_and_numbers),
        cmocka_unit_test(a_window_of_writes_is_answered_in_order),
        cmocka_unit_test(a_broken_stream_says_so_and_a_new_one_works),
        cmocka_unit_test(a_stream_notices_that_the_server_went),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
