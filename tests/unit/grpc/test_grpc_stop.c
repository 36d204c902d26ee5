/* test_grpc_stop.c - stopping under load, with streams open, and with calls that never end. */
#include <string.h>

#include "tests/unit/grpc/grpc_fixture.h"

static const struct fixture_options defaults;

struct stopper {
    pthread_t thread;
    struct fixture *fixture;
    uint64_t drain_ms;
};

static void *run_stop(void *context)
{
    struct stopper *stopper = context;

    lathe_grpc_server_stop(&stopper->fixture->server, stopper->drain_ms);
    return NULL;
}

static void stop_start(struct stopper *stopper, struct fixture *fixture, uint64_t drain_ms)
{
    *stopper = (struct stopper){.fixture = fixture, .drain_ms = drain_ms};
    assert_int_equal(pthread_create(&stopper->thread, NULL, run_stop, stopper), 0);
}

/* True once the port refuses connections. */
static void wait_until_closed(const struct fixture *fixture)
{
    for (;;) {
        struct lathe_channel *channel = lathe_channel_open(fixture->address);
        enum lathe_status status = fixture_call(channel, "/test.T/Echo", "x", NULL, NULL);

        lathe_channel_close(channel);
        if (status == LATHE_UNAVAILABLE)
            return;
        assert_true(status == LATHE_OK || status == LATHE_CANCELLED);
    }
}

static void calls_in_flight_are_answered_while_the_server_stops(void **state)
{
    enum { HELD = 32 };
    struct fixture *fixture = fixture_start(&defaults);
    struct caller callers[HELD];
    struct stopper stopper;

    (void)state;
    for (int i = 0; i < HELD; i++)
        caller_start(&callers[i], fixture, "/test.T/Hold", 100, 1);
    assert_true(fixture_wait(fixture, &fixture->held_count, HELD));
    stop_start(&stopper, fixture, 60000);
    wait_until_closed(fixture);
    fixture_release(fixture, NULL);
    (void)pthread_join(stopper.thread, NULL);
    for (int i = 0; i < HELD; i++) {
        caller_join(&callers[i]);
        assert_int_equal(callers[i].status, LATHE_OK);
    }
    assert_int_equal(fixture_get(fixture, &fixture->cancelled), 0);
    fixture_stop(fixture);
}

static void no_call_that_was_taken_up_fails_under_load(void **state)
{
    enum { CALLERS = 16 };

    (void)state;
    for (int round = 0; round < 5; round++) {
        struct fixture *fixture = fixture_start(&defaults);
        struct caller callers[CALLERS];
        unsigned ok = 0;

        for (int i = 0; i < CALLERS; i++)
            caller_start(&callers[i], fixture, "/test.T/Echo", 3000, 0); /* until one fails */
        assert_true(fixture_wait(fixture, &fixture->echoed, 500));
        lathe_grpc_server_stop(&fixture->server, 60000);
        for (int i = 0; i < CALLERS; i++) {
            caller_join(&callers[i]);
            ok += callers[i].ok;
            /* The last call of each found the server gone, and may be sent again. */
            assert_int_equal(callers[i].status, LATHE_UNAVAILABLE);
        }
        assert_int_equal(ok, fixture_get(fixture, &fixture->echoed));
        fixture_stop(fixture);
    }
}

static void calls_that_do_not_end_are_cancelled_after_the_drain(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    struct stopper stopper;
    struct caller caller;

    (void)state;
    caller_start(&caller, fixture, "/test.T/Hold", 100, 1);
    assert_true(fixture_wait(fixture, &fixture->held_count, 1));
    stop_start(&stopper, fixture, 100);
    assert_true(fixture_wait(fixture, &fixture->cancelled, 1));
    caller_join(&caller);
    assert_true(caller.status == LATHE_CANCELLED || caller.status == LATHE_UNAVAILABLE);
    fixture_release(fixture, NULL); /* the stop waits for this */
    (void)pthread_join(stopper.thread, NULL);
    fixture_stop(fixture);
}

static void open_streams_are_ended_with_all_answers(void **state)
{
    enum { STREAMS = 10 };
    struct fixture *fixture = fixture_start(&defaults);
    struct lathe_channel_stream *streams[STREAMS];
    struct lathe_buf message = {0};
    struct lathe_error err = {0};

    (void)state;
    for (int i = 0; i < STREAMS; i++) {
        assert_int_equal(
            lathe_channel_stream_open(fixture->channel, "/test.T/Stream", &streams[i], NULL),
            LATHE_OK);
        assert_int_equal(lathe_channel_stream_send(streams[i], lathe_bytes_str("one"), NULL),
                         LATHE_OK);
    }
    assert_true(fixture_wait(fixture, &fixture->messages, STREAMS));
    lathe_grpc_server_stop(&fixture->server, 60000);
    for (int i = 0; i < STREAMS; i++) {
        assert_int_equal(lathe_channel_stream_receive(streams[i], &message, &err), LATHE_OK);
        lathe_buf_fini(&message);
        assert_int_equal(lathe_channel_stream_receive(streams[i], &message, &err),
                         LATHE_UNAVAILABLE);
        assert_non_null(strstr(err.message, "stopping"));
        lathe_channel_stream_close(streams[i], false);
    }
    assert_int_equal(fixture_get(fixture, &fixture->half_closed), STREAMS);
    assert_int_equal(fixture_get(fixture, &fixture->gone), 0);
    fixture_stop(fixture);
}

/* A reference keeps the call's memory, and with it the server, until it is given back. */
static void *release_late(void *context)
{
    lathe_call_release(context);
    return NULL;
}

static void the_stop_waits_for_the_last_reference(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    struct lathe_call *call;
    struct stopper stopper;
    struct caller caller;
    pthread_t thread;

    (void)state;
    caller_start(&caller, fixture, "/test.T/Hold", 1, 1);
    assert_true(fixture_wait(fixture, &fixture->held_count, 1));
    call = fixture->held[0];
    lathe_call_acquire(call);
    fixture_release(fixture, NULL);
    caller_join(&caller);
    stop_start(&stopper, fixture, 60000);
    wait_until_closed(fixture);
    lathe_call_set_user(call, fixture); /* still memory of ours */
    assert_ptr_equal(lathe_call_user(call), fixture);
    assert_int_equal(pthread_create(&thread, NULL, release_late, call), 0);
    (void)pthread_join(thread, NULL);
    (void)pthread_join(stopper.thread, NULL);
    fixture_stop(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_in_flight_are_answered_while_the_server_stops),
        cmocka_unit_test(no_call_that_was_taken_up_fails_under_load),
        cmocka_unit_test(calls_that_do_not_end_are_cancelled_after_the_drain),
        cmocka_unit_test(open_streams_are_ended_with_all_answers),
        cmocka_unit_test(the_stop_waits_for_the_last_reference),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
