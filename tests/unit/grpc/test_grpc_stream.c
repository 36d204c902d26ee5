/* test_grpc_stream.c - bidirectional streams through a real server: order, flow control, ends. */
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "coordinator/grpc/grpc_internal.h"
#include "tests/unit/grpc/grpc_fixture.h"

extern char **environ;

static const struct fixture_options defaults;
static const char path[] = "/test.T/Stream";

static struct lathe_channel_stream *open_stream(struct lathe_channel *channel)
{
    struct lathe_channel_stream *stream = NULL;
    struct lathe_error err;

    assert_int_equal(lathe_channel_stream_open(channel, path, &stream, &err), LATHE_OK);
    return stream;
}

static void send_text(struct lathe_channel_stream *stream, const char *text)
{
    assert_int_equal(lathe_channel_stream_send(stream, lathe_bytes_str(text), NULL), LATHE_OK);
}

static void expect_text(struct lathe_channel_stream *stream, const char *text)
{
    struct lathe_buf message = {0};
    struct lathe_error err = {0};

    if (lathe_channel_stream_receive(stream, &message, &err) != LATHE_OK)
        fail_msg("%s: %s", lathe_status_name(err.status), err.message);
    assert_true(lathe_bytes_equal(lathe_buf_view(&message), lathe_bytes_str(text)));
    lathe_buf_fini(&message);
}

static void expect_end(struct lathe_channel_stream *stream, enum lathe_status status,
                       struct lathe_error *err)
{
    struct lathe_buf message = {0};

    assert_int_equal(lathe_channel_stream_receive(stream, &message, err), status);
    assert_null(message.data);
}

static void many_messages_are_answered_in_order(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    struct lathe_channel_stream *stream = open_stream(fixture->channel);
    unsigned answered = 0;
    char text[32];

    (void)state;
    for (unsigned i = 0; i < 5000; i++) {
        (void)snprintf(text, sizeof(text), "%u", i);
        send_text(stream, i % 100 == 0 ? "" : text);
        while (i - answered >= 200) {
            (void)snprintf(text, sizeof(text), "%u", answered);
            expect_text(stream, answered % 100 == 0 ? "" : text);
            answered++;
        }
    }
    lathe_channel_stream_close(stream, true);
    assert_true(fixture_wait(fixture, &fixture->destroyed, 1));
    assert_int_equal(fixture_get(fixture, &fixture->messages), 5000);
    assert_int_equal(fixture_get(fixture, &fixture->half_closed), 1);
    assert_int_equal(fixture_get(fixture, &fixture->gone), 0);
    fixture_stop(fixture);
}

static void streams_and_calls_go_side_by_side(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    struct lathe_channel_stream *streams[20];
    char text[64];

    (void)state;
    for (unsigned i = 0; i < 20; i++)
        streams[i] = open_stream(fixture->channel);
    for (unsigned round = 0; round < 50; round++)
        for (unsigned i = 0; i < 20; i++) {
            (void)snprintf(text, sizeof(text), "%u-%u", round, i);
            send_text(streams[i], text);
            assert_int_equal(fixture_call(fixture->channel, "/test.T/Echo", text, text, NULL),
                             LATHE_OK);
            expect_text(streams[i], text);
        }
    assert_int_equal(lathe_grpc_server_calls(fixture->server), 20);
    for (unsigned i = 0; i < 20; i++)
        lathe_channel_stream_close(streams[i], true);
    assert_true(fixture_wait(fixture, &fixture->half_closed, 20));
    fixture_stop(fixture);
}

static void no_message_comes_before_it_is_asked_for(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    struct lathe_channel_stream *stream = open_stream(fixture->channel);

    (void)state;
    send_text(stream, "next-is-mine");
    expect_text(stream, "next-is-mine");
    assert_true(fixture_wait(fixture, &fixture->messages, 1));
    send_text(stream, "later");
    /* Another stream's message is served on the same connection, after it in time. */
    {
        struct lathe_channel_stream *other = open_stream(fixture->channel);

        send_text(other, "other");
        expect_text(other, "other");
        lathe_channel_stream_close(other, true);
    }
    assert_true(fixture_wait(fixture, &fixture->messages, 2));
    assert_int_equal(fixture_get(fixture, &fixture->messages), 2);
    assert_true(fixture->stream_waits);
    lathe_call_next(fixture->first_stream);
    expect_text(stream, "later");
    lathe_channel_stream_close(stream, true);
    fixture_stop(fixture);
}

static void a_handler_can_fail_a_stream(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    struct lathe_channel_stream *stream = open_stream(fixture->channel);
    struct lathe_error err = {0};

    (void)state;
    send_text(stream, "one");
    send_text(stream, "fail");
    expect_text(stream, "one");
    expect_end(stream, LATHE_ABORTED, &err);
    assert_string_equal(err.message, "asked to fail");
    assert_string_equal(err.field, "stream");
    expect_end(stream, LATHE_ABORTED, &err); /* and stays so */
    assert_int_equal(lathe_channel_stream_send(stream, lathe_bytes_str("more"), &err),
                     LATHE_ABORTED);
    lathe_channel_stream_close(stream, false);
    assert_true(fixture_wait(fixture, &fixture->destroyed, 1));
    assert_int_equal(fixture_get(fixture, &fixture->half_closed), 0);
    assert_int_equal(fixture_get(fixture, &fixture->gone), 0);
    fixture_stop(fixture);
}

static void an_answer_that_cannot_be_sent_ends_the_stream(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    struct lathe_channel_stream *stream = open_stream(fixture->channel);
    struct lathe_error err = {0};

    (void)state;
    send_text(stream, "too-large");
    expect_end(stream, LATHE_RESOURCE_EXHAUSTED, &err);
    assert_non_null(strstr(err.message, "above the limit"));
    lathe_channel_stream_close(stream, false);
    assert_true(fixture_wait(fixture, &fixture->gone, 1));
    fixture_stop(fixture);
}

static void an_oversize_message_ends_the_stream(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    struct lathe_channel_stream *stream = open_stream(fixture->channel);
    struct lathe_error err = {0};
    struct lathe_buf large = {0};

    (void)state;
    memset(lathe_buf_extend(&large, (64u << 20) + 1), 'x', (64u << 20) + 1);
    assert_int_equal(lathe_channel_stream_send(stream, lathe_buf_view(&large), NULL), LATHE_OK);
    expect_end(stream, LATHE_RESOURCE_EXHAUSTED, &err);
    lathe_buf_fini(&large);
    lathe_channel_stream_close(stream, false);
    assert_true(fixture_wait(fixture, &fixture->gone, 1));
    assert_int_equal(fixture_get(fixture, &fixture->messages), 0);
    fixture_stop(fixture);
}

static void a_client_that_cancels_is_noticed(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    struct lathe_channel_stream *stream = open_stream(fixture->channel);

    (void)state;
    send_text(stream, "one");
    expect_text(stream, "one");
    lathe_channel_stream_close(stream, false);
    assert_true(fixture_wait(fixture, &fixture->gone, 1));
    assert_true(fixture_wait(fixture, &fixture->destroyed, 1));
    assert_int_equal(fixture_get(fixture, &fixture->half_closed), 0);
    fixture_stop(fixture);
}

/* --- A client that is killed: this program again, with the address as its argument --- */

static int run_victim(const char *address)
{
    struct lathe_channel *channel = lathe_channel_open(address);
    struct lathe_channel_stream *stream;
    struct lathe_buf message = {0};

    if (lathe_channel_stream_open(channel, path, &stream, NULL) != LATHE_OK ||
        lathe_channel_stream_send(stream, lathe_bytes_str("here"), NULL) != LATHE_OK)
        return 1;
    /* The second receive waits for ever: the server has nothing more to say. */
    while (lathe_channel_stream_receive(stream, &message, NULL) == LATHE_OK)
        lathe_buf_fini(&message);
    return 1;
}

static void a_client_that_is_killed_is_noticed(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    char *arguments[] = {(char *)"victim", fixture->address, NULL};
    int status = 0;
    pid_t pid;

    (void)state;
    assert_int_equal(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, arguments, environ), 0);
    assert_true(fixture_wait(fixture, &fixture->messages, 1));
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_true(fixture_wait(fixture, &fixture->gone, 1));
    assert_true(fixture_wait(fixture, &fixture->destroyed, 1));
    fixture_stop(fixture);
}

/* --- A client that sends and does not take its answers: gRPC's own calls, since ours always do ---
 */

struct raw_stream {
    grpc_channel *channel;
    grpc_completion_queue *queue;
    grpc_call *call;
    grpc_metadata_array metadata;
};

static bool raw_wait(struct raw_stream *raw, void *tag, int64_t limit_ms)
{
    gpr_timespec until = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                      gpr_time_from_millis(limit_ms, GPR_TIMESPAN));
    grpc_event event = grpc_completion_queue_pluck(raw->queue, tag, until, NULL);

    return event.type == GRPC_OP_COMPLETE;
}

static void raw_open(struct raw_stream *raw, const struct fixture *fixture,
                     const grpc_channel_args *args)
{
    grpc_op ops[2] = {{.op = GRPC_OP_SEND_INITIAL_METADATA}, {.op = GRPC_OP_RECV_INITIAL_METADATA}};
    grpc_channel_credentials *credentials = grpc_insecure_credentials_create();

    grpc_metadata_array_init(&raw->metadata);
    ops[1].data.recv_initial_metadata.recv_initial_metadata = &raw->metadata;
    raw->channel = grpc_channel_create(fixture->address, credentials, args);
    grpc_channel_credentials_release(credentials);
    raw->queue = grpc_completion_queue_create_for_pluck(NULL);
    raw->call = grpc_channel_create_call(raw->channel, NULL, GRPC_PROPAGATE_DEFAULTS, raw->queue,
                                         grpc_slice_from_static_string(path), NULL,
                                         gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    assert_int_equal(grpc_call_start_batch(raw->call, &ops[0], 1, &ops[0], NULL), GRPC_CALL_OK);
    assert_true(raw_wait(raw, &ops[0], 20000));
    assert_int_equal(grpc_call_start_batch(raw->call, &ops[1], 1, raw, NULL), GRPC_CALL_OK);
}

/* Starts sending `size` bytes of `fill`; the tag is the fill's address. */
static void raw_send(struct raw_stream *raw, const uint8_t *fill, size_t size)
{
    grpc_slice slice = grpc_slice_malloc(size);
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_op op = {.op = GRPC_OP_SEND_MESSAGE};

    memset(GRPC_SLICE_START_PTR(slice), *fill, size);
    op.data.send_message.send_message = buffer;
    assert_int_equal(grpc_call_start_batch(raw->call, &op, 1, (void *)fill, NULL), GRPC_CALL_OK);
    grpc_byte_buffer_destroy(buffer);
    grpc_slice_unref(slice);
}

/* Receives an answer and compares it. */
static void raw_expect(struct raw_stream *raw, uint8_t fill, size_t size)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};
    grpc_byte_buffer *buffer = NULL;

    op.data.recv_message.recv_message = &buffer;
    assert_int_equal(grpc_call_start_batch(raw->call, &op, 1, &buffer, NULL), GRPC_CALL_OK);
    assert_true(raw_wait(raw, &buffer, 20000));
    assert_non_null(buffer);
    assert_int_equal(grpc_byte_buffer_length(buffer), size);
    assert_int_equal(GRPC_SLICE_START_PTR(buffer->data.raw.slice_buffer.slices[0])[0], fill);
    grpc_byte_buffer_destroy(buffer);
}

/* Waits for the end, after cancelling if asked to; returns gRPC's code. */
static int raw_close(struct raw_stream *raw, bool cancel)
{
    grpc_metadata_array trailing;
    grpc_op op = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT};
    grpc_slice text = grpc_empty_slice();
    grpc_status_code code;

    grpc_metadata_array_init(&trailing);
    op.data.recv_status_on_client.trailing_metadata = &trailing;
    op.data.recv_status_on_client.status = &code;
    op.data.recv_status_on_client.status_details = &text;
    assert_int_equal(grpc_call_start_batch(raw->call, &op, 1, &op, NULL), GRPC_CALL_OK);
    if (cancel)
        (void)grpc_call_cancel(raw->call, NULL);
    assert_true(raw_wait(raw, &op, 20000));
    assert_true(raw_wait(raw, raw, 20000));
    grpc_slice_unref(text);
    grpc_metadata_array_destroy(&trailing);
    grpc_metadata_array_destroy(&raw->metadata);
    grpc_call_unref(raw->call);
    grpc_completion_queue_shutdown(raw->queue);
    grpc_completion_queue_destroy(raw->queue);
    grpc_channel_destroy(raw->channel);
    return (int)code;
}

static void a_client_that_takes_no_answers_is_not_read_on(void **state)
{
    enum { SIZE = 64 * 1024, COUNT = 1000, QUIET_MS = 1500 };
    struct fixture *fixture = fixture_start(&defaults);
    struct raw_stream raw;
    uint8_t fills[COUNT];
    unsigned sent = 0;

    (void)state;
    raw_open(&raw, fixture, NULL);
    do {
        fills[sent] = (uint8_t)sent;
        raw_send(&raw, &fills[sent], SIZE);
    } while (raw_wait(&raw, &fills[sent], QUIET_MS) && ++sent < COUNT);
    assert_in_range(sent, 16, COUNT / 2); /* the server stopped reading */
    assert_true(lathe_budget_used(&fixture->budget) < 4u << 20);
    assert_int_equal(fixture_call(fixture->channel, "/test.T/Echo", "x", "x", NULL), LATHE_OK);
    for (unsigned i = 0; i < sent; i++)
        raw_expect(&raw, fills[i], SIZE);
    assert_true(raw_wait(&raw, &fills[sent], 20000)); /* and reads again */
    raw_expect(&raw, fills[sent], SIZE);
    (void)raw_close(&raw, true);
    assert_true(fixture_wait(fixture, &fixture->gone, 1));
    fixture_stop(fixture);
}

/* gRPC would inflate it before it looks at the size. */
static void a_compressed_message_is_refused(void **state)
{
    grpc_arg gzip = {.type = GRPC_ARG_INTEGER,
                     .key = (char *)GRPC_COMPRESSION_CHANNEL_DEFAULT_ALGORITHM,
                     .value.integer = GRPC_COMPRESS_GZIP};
    grpc_channel_args args = {1, &gzip};
    struct fixture *fixture = fixture_start(&defaults);
    struct raw_stream raw;
    uint8_t fill = 0;

    (void)state;
    raw_open(&raw, fixture, &args);
    raw_send(&raw, &fill, 16 << 20);
    assert_true(raw_wait(&raw, &fill, 20000));
    assert_int_equal(raw_close(&raw, false), LATHE_UNIMPLEMENTED);
    assert_int_equal(fixture_get(fixture, &fixture->messages), 0);
    fixture_stop(fixture);
}

/* --- Requests' bytes --- */

static bool wait_parked(struct fixture *fixture, uint32_t wanted)
{
    uint64_t until_us = lathe_now_us(&lathe_system_clock) + 20000000u;

    while (atomic_load(&fixture->server->parked_count) != wanted) {
        if (lathe_now_us(&lathe_system_clock) > until_us)
            return false;
        (void)sched_yield();
    }
    return true;
}

static void streams_wait_while_requests_have_no_room(void **state)
{
    struct fixture *fixture = fixture_start(&(struct fixture_options){.in_flight_bytes = 1 << 20});
    struct lathe_channel_stream *streams[3];
    struct caller large;

    (void)state;
    caller_start(&large, fixture, "/test.T/Hold", 2 << 20, 1);
    assert_true(fixture_wait(fixture, &fixture->held_count, 1));
    for (int i = 0; i < 3; i++) {
        streams[i] = open_stream(fixture->channel);
        send_text(streams[i], "wait");
    }
    assert_true(wait_parked(fixture, 3));
    assert_int_equal(fixture_get(fixture, &fixture->messages), 0);
    lathe_channel_stream_close(streams[2], false); /* leaving while parked is fine */
    assert_true(fixture_wait(fixture, &fixture->gone, 1));
    fixture_release(fixture, NULL);
    caller_join(&large);
    for (int i = 0; i < 2; i++)
        expect_text(streams[i], "wait");
    assert_true(wait_parked(fixture, 0));
    for (int i = 0; i < 2; i++)
        lathe_channel_stream_close(streams[i], true);
    fixture_stop(fixture);
}

static void streams_count_among_the_calls_in_flight(void **state)
{
    struct fixture *fixture = fixture_start(&(struct fixture_options){.in_flight_calls = 1});
    struct lathe_channel_stream *first = open_stream(fixture->channel);
    struct lathe_channel_stream *second;
    struct lathe_error err = {0};

    (void)state;
    send_text(first, "one");
    expect_text(first, "one");
    second = open_stream(fixture->channel);
    expect_end(second, LATHE_RESOURCE_EXHAUSTED, &err);
    assert_true(err.retry_after_ms > 0);
    lathe_channel_stream_close(second, false);
    lathe_channel_stream_close(first, true);
    assert_int_equal(fixture_get(fixture, &fixture->opened), 1);
    assert_int_equal(fixture_call(fixture->channel, "/test.T/Echo", "x", "x", NULL), LATHE_OK);
    fixture_stop(fixture);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_messages_are_answered_in_order),
        cmocka_unit_test(streams_and_calls_go_side_by_side),
        cmocka_unit_test(no_message_comes_before_it_is_asked_for),
        cmocka_unit_test(a_handler_can_fail_a_stream),
        cmocka_unit_test(an_answer_that_cannot_be_sent_ends_the_stream),
        cmocka_unit_test(an_oversize_message_ends_the_stream),
        cmocka_unit_test(a_client_that_cancels_is_noticed),
        cmocka_unit_test(a_client_that_is_killed_is_noticed),
        cmocka_unit_test(a_client_that_takes_no_answers_is_not_read_on),
        cmocka_unit_test(a_compressed_message_is_refused),
        cmocka_unit_test(streams_wait_while_requests_have_no_room),
        cmocka_unit_test(streams_count_among_the_calls_in_flight),
    };

    if (argc == 2 && strcmp(argv[0], "victim") == 0)
        return run_victim(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
