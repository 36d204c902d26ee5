/* test_grpc_unary.c - unary calls through a real server: answers, failures, deadlines, limits. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/limits.h"
#include "tests/unit/grpc/grpc_fixture.h"

static const struct fixture_options defaults;

static void an_answer_comes_back_unchanged(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    struct lathe_error err = {0};

    (void)state;
    assert_int_equal(fixture_call(fixture->channel, "/test.T/Echo", "hello", "hello", &err),
                     LATHE_OK);
    assert_int_equal(fixture_call(fixture->channel, "/test.T/Echo", "", "", &err), LATHE_OK);
    assert_int_equal(fixture_get(fixture, &fixture->echoed), 2);
    fixture_stop(fixture);
}

static void messages_of_all_sizes_come_back_unchanged(void **state)
{
    static const size_t sizes[] = {
        1, 100, 8191, 65536, 600 * 1024, 5 * 1024 * 1024, LATHE_MAX_MESSAGE_BYTES};
    struct fixture *fixture = fixture_start(&defaults);

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct caller caller;

        caller_start(&caller, fixture, "/test.T/Echo", sizes[i], 1);
        caller_join(&caller);
        assert_int_equal(caller.status, LATHE_OK);
        assert_int_equal(caller.echo_differed, 0);
    }
    fixture_stop(fixture);
}

static void a_failure_carries_status_text_field_and_hint(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    struct lathe_error err = {0};

    (void)state;
    assert_int_equal(fixture_call(fixture->channel, "/test.T/Fail", "x", NULL, &err),
                     LATHE_INVALID_ARGUMENT);
    assert_int_equal(err.status, LATHE_INVALID_ARGUMENT);
    assert_string_equal(err.message,
                        "12 dims, 100% wrong: the field has 768 (Größe, \xE2\x88\x9E)\n");
    assert_string_equal(err.field, "operations[3].vectors[0]");
    assert_int_equal(err.retry_after_ms, 1250);
    fixture_stop(fixture);
}

static void an_unknown_method_is_unimplemented(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    struct lathe_error err = {0};

    (void)state;
    for (int i = 0; i < 100; i++) { /* more than are armed at once */
        assert_int_equal(fixture_call(fixture->channel, "/test.T/Nothing", "x", NULL, &err),
                         LATHE_UNIMPLEMENTED);
        assert_non_null(strstr(err.message, "/test.T/Nothing"));
    }
    assert_int_equal(fixture_call(fixture->channel, "/", "x", NULL, &err), LATHE_UNIMPLEMENTED);
    assert_int_equal(lathe_grpc_server_calls(fixture->server), 0);
    fixture_stop(fixture);
}

/* --- Deadlines --- */

static void the_handler_sees_the_clients_deadline_else_the_default(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    static const struct {
        const char *path;
        uint32_t timeout_ms;
        int low_ms, high_ms;
    } cases[] = {/* the wire rounds up */
                 {"/test.T/Deadline", 30000, 10000, 31000},
                 {"/test.T/DefaultDeadline", 30000, 10000, 31000},
                 {"/test.T/DefaultDeadline", UINT32_MAX, 4000, 5000}};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct lathe_buf reply = {0};
        struct lathe_error err;

        assert_int_equal(lathe_channel_call(fixture->channel, cases[i].path, lathe_bytes_str("x"),
                                            cases[i].timeout_ms, &reply, &err),
                         LATHE_OK);
        lathe_buf_u8(&reply, 0);
        assert_in_range(atoi((const char *)reply.data), cases[i].low_ms, cases[i].high_ms);
        lathe_buf_fini(&reply);
    }
    {
        struct lathe_buf reply = {0};

        assert_int_equal(lathe_channel_call(fixture->channel, "/test.T/Deadline",
                                            lathe_bytes_str("x"), UINT32_MAX, &reply, NULL),
                         LATHE_OK);
        assert_memory_equal(reply.data, "none", 4);
        lathe_buf_fini(&reply);
    }
    fixture_stop(fixture);
}

static void a_call_without_a_deadline_gets_the_default(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    struct lathe_buf reply = {0};
    struct lathe_error err = {0};

    (void)state;
    for (int i = 0; i < 3; i++) {
        /* The handler answers CANCELLED from on_cancel; the client did not cancel, though. */
        assert_int_equal(lathe_channel_call(fixture->channel, "/test.T/Timed", lathe_bytes_str("x"),
                                            UINT32_MAX, &reply, &err),
                         LATHE_DEADLINE_EXCEEDED);
        assert_non_null(strstr(err.message, "40 ms"));
    }
    assert_int_equal(lathe_grpc_server_calls(fixture->server), 0);
    fixture_stop(fixture);
}

static void a_passed_deadline_reaches_client_and_handler(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    struct lathe_buf reply = {0};
    struct lathe_error err = {0};

    (void)state;
    assert_int_equal(lathe_channel_call(fixture->channel, "/test.T/Hold", lathe_bytes_str("x"), 200,
                                        &reply, &err),
                     LATHE_DEADLINE_EXCEEDED);
    assert_true(fixture_wait(fixture, &fixture->cancelled, 1));
    assert_true(lathe_call_cancelled(fixture->held[0]));
    assert_int_equal(lathe_grpc_server_calls(fixture->server), 1);
    fixture_release(fixture, NULL); /* an answer that nobody waits for is fine */
    assert_int_equal(lathe_grpc_server_calls(fixture->server), 0);
    assert_int_equal(fixture_get(fixture, &fixture->cancelled), 1);
    lathe_buf_fini(&reply);
    fixture_stop(fixture);
}

static void an_answer_that_is_too_late_is_not_cancelled_again(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    struct caller caller;

    (void)state;
    caller_start(&caller, fixture, "/test.T/Hold", 1, 1);
    assert_true(fixture_wait(fixture, &fixture->held_count, 1));
    assert_false(lathe_call_cancelled(fixture->held[0]));
    fixture_release(fixture, NULL);
    caller_join(&caller);
    assert_int_equal(caller.status, LATHE_OK);
    assert_int_equal(fixture_get(fixture, &fixture->cancelled), 0);
    fixture_stop(fixture);
}

static void a_cancelled_answer_stays_cancelled_while_the_deadline_has_not_passed(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    struct lathe_error err = {0};
    struct caller caller;

    (void)state;
    caller_start(&caller, fixture, "/test.T/Hold", 1, 1);
    assert_true(fixture_wait(fixture, &fixture->held_count, 1));
    (void)lathe_fail(&err, LATHE_CANCELLED, "given up");
    fixture_release(fixture, &err);
    caller_join(&caller);
    assert_int_equal(caller.status, LATHE_CANCELLED);
    assert_string_equal(caller.err.message, "given up");
    fixture_stop(fixture);
}

/* --- Limits --- */

static void an_oversize_request_is_refused(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    struct caller caller;

    (void)state;
    caller_start(&caller, fixture, "/test.T/Echo", (size_t)LATHE_MAX_MESSAGE_BYTES + 1, 1);
    caller_join(&caller);
    assert_int_equal(caller.status, LATHE_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(caller.err.message, "67108864"));
    assert_int_equal(fixture_get(fixture, &fixture->echoed), 0);
    assert_int_equal(fixture_call(fixture->channel, "/test.T/Echo", "on", "on", NULL), LATHE_OK);
    fixture_stop(fixture);
}

static void an_oversize_reply_is_refused(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    struct lathe_error err = {0};
    char text[32];

    (void)state;
    (void)snprintf(text, sizeof(text), "%u", LATHE_MAX_MESSAGE_BYTES + 1u);
    assert_int_equal(fixture_call(fixture->channel, "/test.T/Size", text, NULL, &err),
                     LATHE_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(err.message, "67108865"));
    assert_non_null(strstr(err.message, "67108864"));
    (void)snprintf(text, sizeof(text), "%u", LATHE_MAX_MESSAGE_BYTES);
    assert_int_equal(fixture_call(fixture->channel, "/test.T/Size", text, NULL, &err), LATHE_OK);
    fixture_stop(fixture);
}

static void more_calls_than_the_limit_are_refused_at_once(void **state)
{
    struct fixture *fixture = fixture_start(&(struct fixture_options){.in_flight_calls = 4});
    struct lathe_error err = {0};
    struct caller callers[4];

    (void)state;
    for (int i = 0; i < 4; i++)
        caller_start(&callers[i], fixture, "/test.T/Hold", 10, 1);
    assert_true(fixture_wait(fixture, &fixture->held_count, 4));
    assert_int_equal(lathe_grpc_server_calls(fixture->server), 4);
    assert_int_equal(fixture_call(fixture->channel, "/test.T/Echo", "x", NULL, &err),
                     LATHE_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(err.message, "limit of 4 calls"));
    assert_true(err.retry_after_ms > 0);
    fixture_release(fixture, NULL);
    for (int i = 0; i < 4; i++) {
        caller_join(&callers[i]);
        assert_int_equal(callers[i].status, LATHE_OK);
    }
    assert_int_equal(fixture_call(fixture->channel, "/test.T/Echo", "x", "x", &err), LATHE_OK);
    fixture_stop(fixture);
}

static void more_bytes_than_the_limit_are_refused_at_once(void **state)
{
    struct fixture *fixture = fixture_start(&(struct fixture_options){.in_flight_bytes = 1 << 20});
    struct caller first, second;

    (void)state;
    caller_start(&first, fixture, "/test.T/Hold", 700 * 1024, 1);
    assert_true(fixture_wait(fixture, &fixture->held_count, 1));
    assert_int_equal(lathe_budget_used(&fixture->budget), 700 * 1024);
    caller_start(&second, fixture, "/test.T/Echo", 700 * 1024, 1);
    caller_join(&second);
    assert_int_equal(second.status, LATHE_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(second.err.message, "1048576 bytes"));
    assert_true(second.err.retry_after_ms > 0);
    assert_int_equal(lathe_grpc_server_calls(fixture->server), 1);
    fixture_release(fixture, NULL);
    caller_join(&first);
    /* Alone, a request above the whole limit passes. */
    caller_start(&second, fixture, "/test.T/Echo", 3 << 20, 3);
    caller_join(&second);
    assert_int_equal(second.status, LATHE_OK);
    fixture_stop(fixture);
}

static void sixty_four_callers_at_once_are_all_answered(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    struct caller callers[64];

    (void)state;
    for (int i = 0; i < 64; i++)
        caller_start(&callers[i], fixture, "/test.T/Echo", (size_t)i * 400, 20);
    for (int i = 0; i < 64; i++) {
        caller_join(&callers[i]);
        assert_int_equal(callers[i].ok, 20);
        assert_int_equal(callers[i].echo_differed, 0);
    }
    for (int i = 0; i < 64; i++)
        caller_start(&callers[i], fixture, "/test.T/Hold", 100, 1);
    assert_true(fixture_wait(fixture, &fixture->held_count, 64));
    assert_int_equal(lathe_grpc_server_calls(fixture->server), 64);
    fixture_release(fixture, NULL);
    for (int i = 0; i < 64; i++) {
        caller_join(&callers[i]);
        assert_int_equal(callers[i].ok, 1);
    }
    fixture_stop(fixture);
}

/* --- Addresses and strangers --- */

static void a_unix_socket_serves_as_well(void **state)
{
    char *directory = test_dir_create();
    struct lathe_error err = {0};
    struct fixture *fixture;
    char listen[300];

    (void)state;
    (void)snprintf(listen, sizeof(listen), "unix:%s/socket", directory);
    fixture = fixture_start(&(struct fixture_options){.listen = listen});
    assert_int_equal(fixture_call(fixture->channel, "/test.T/Echo", "hi", "hi", &err), LATHE_OK);
    fixture_stop(fixture);
    test_dir_remove(directory);
}

static void a_taken_port_is_refused_with_the_reason(void **state)
{
    static const struct lathe_method none[1];
    struct fixture *fixture = fixture_start(&defaults);
    struct lathe_grpc_server *second = NULL;
    struct lathe_error err = {0};
    struct lathe_grpc_config config = {.listen = fixture->address,
                                       .methods = none,
                                       .thread_count = 1,
                                       .in_flight_calls = 1,
                                       .in_flight_bytes = 1};

    (void)state;
    assert_int_equal(lathe_grpc_server_start(&config, &second, &err), LATHE_FAILED_PRECONDITION);
    assert_null(second);
    assert_non_null(strstr(err.message, fixture->address));
    assert_non_null(strstr(err.message, "in use"));
    assert_int_equal(fixture_call(fixture->channel, "/test.T/Echo", "x", "x", &err), LATHE_OK);
    fixture_stop(fixture);
}

/* Sends bytes to the port and reads until the server ends the connection. False after 30 s. */
static bool send_and_wait_for_end(const struct fixture *fixture, const void *bytes, size_t size)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)lathe_grpc_server_port(fixture->server))};
    struct timeval limit = {30, 0};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char answer[4096];
    ssize_t got;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    (void)send(fd, bytes, size, MSG_NOSIGNAL);
    do {
        got = recv(fd, answer, sizeof(answer), 0);
    } while (got > 0);
    (void)close(fd);
    return got == 0 || errno == ECONNRESET;
}

static void strangers_are_shown_the_door(void **state)
{
    static const char http1[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    struct fixture *fixture = fixture_start(&defaults);
    struct test_rng rng;
    uint8_t noise[2000];

    (void)state;
    test_rng_seed(&rng, "strangers_are_shown_the_door");
    assert_true(send_and_wait_for_end(fixture, http1, sizeof(http1) - 1));
    for (int i = 0; i < 20; i++) {
        for (size_t n = 0; n < sizeof(noise); n++)
            noise[n] = (uint8_t)test_rng_u64(&rng);
        if (i % 2 == 1) /* a good beginning, then noise */
            memcpy(noise, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
        assert_true(send_and_wait_for_end(fixture, noise, sizeof(noise)));
        assert_int_equal(fixture_call(fixture->channel, "/test.T/Echo", "x", "x", NULL), LATHE_OK);
    }
    fixture_stop(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_comes_back_unchanged),
        cmocka_unit_test(messages_of_all_sizes_come_back_unchanged),
        cmocka_unit_test(a_failure_carries_status_text_field_and_hint),
        cmocka_unit_test(an_unknown_method_is_unimplemented),
        cmocka_unit_test(the_handler_sees_the_clients_deadline_else_the_default),
        cmocka_unit_test(a_call_without_a_deadline_gets_the_default),
        cmocka_unit_test(a_passed_deadline_reaches_client_and_handler),
        cmocka_unit_test(an_answer_that_is_too_late_is_not_cancelled_again),
        cmocka_unit_test(a_cancelled_answer_stays_cancelled_while_the_deadline_has_not_passed),
        cmocka_unit_test(an_oversize_request_is_refused),
        cmocka_unit_test(an_oversize_reply_is_refused),
        cmocka_unit_test(more_calls_than_the_limit_are_refused_at_once),
        cmocka_unit_test(more_bytes_than_the_limit_are_refused_at_once),
        cmocka_unit_test(sixty_four_callers_at_once_are_all_answered),
        cmocka_unit_test(a_unix_socket_serves_as_well),
        cmocka_unit_test(a_taken_port_is_refused_with_the_reason),
        cmocka_unit_test(strangers_are_shown_the_door),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
