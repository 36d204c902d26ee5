/* grpc_fixture.c - see grpc_fixture.h. */
#include "tests/unit/grpc/grpc_fixture.h"

#include <errno.h>
#include <lathe/v1/points.pb-c.h>
#include <lathe/v1/server.pb-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/net/message.h"

static void count(struct fixture *fixture, unsigned *counter)
{
    (void)pthread_mutex_lock(&fixture->lock);
    (*counter)++;
    (void)pthread_cond_broadcast(&fixture->changed);
    (void)pthread_mutex_unlock(&fixture->lock);
}

/* --- Unary handlers --- */

static void echo(void *context, struct lathe_call *call, struct lathe_bytes request)
{
    struct fixture *fixture = context;
    struct lathe_buf reply = {0};

    lathe_buf_append(&reply, request.data, request.size);
    count(fixture, &fixture->echoed);
    lathe_call_reply(call, &reply);
}

static void fail_call(void *context, struct lathe_call *call, struct lathe_bytes request)
{
    struct lathe_error err = {0};

    (void)context;
    (void)request;
    (void)lathe_fail_field(&err, LATHE_INVALID_ARGUMENT, "operations[3].vectors[0]",
                           "12 dims, 100%% wrong: the field has 768 (Größe, \xE2\x88\x9E)\n");
    err.retry_after_ms = 1250;
    lathe_call_fail(call, &err);
}

static void hold_cancelled(void *context)
{
    struct fixture *fixture = context;

    count(fixture, &fixture->cancelled);
}

static void hold(void *context, struct lathe_call *call, struct lathe_bytes request)
{
    struct fixture *fixture = context;

    (void)request;
    lathe_call_on_cancel(call, hold_cancelled, fixture);
    (void)pthread_mutex_lock(&fixture->lock);
    if (fixture->held_count < FIXTURE_HELD_MAX)
        fixture->held[fixture->held_count++] = call;
    (void)pthread_cond_broadcast(&fixture->changed);
    (void)pthread_mutex_unlock(&fixture->lock);
}

static void timed_cancelled(void *context)
{
    struct lathe_error err = {0};

    (void)lathe_fail(&err, LATHE_CANCELLED, "nobody wants it any more");
    lathe_call_fail(context, &err);
}

static void timed(void *context, struct lathe_call *call, struct lathe_bytes request)
{
    (void)context;
    (void)request;
    lathe_call_on_cancel(call, timed_cancelled, call);
}

static void size(void *context, struct lathe_call *call, struct lathe_bytes request)
{
    struct lathe_buf reply = {0};
    char text[32] = "";
    size_t wanted;

    (void)context;
    memcpy(text, request.data, request.size < 31 ? request.size : 31);
    wanted = strtoull(text, NULL, 10);
    memset(lathe_buf_extend(&reply, wanted), 'x', wanted);
    lathe_call_reply(call, &reply);
}

static void deadline(void *context, struct lathe_call *call, struct lathe_bytes request)
{
    uint64_t end_us = lathe_call_deadline_us(call);
    uint64_t now_us = lathe_now_us(&lathe_system_clock);
    struct lathe_buf reply = {0};
    char text[32] = "none";

    (void)context;
    (void)request;
    if (end_us != UINT64_MAX)
        (void)snprintf(text, sizeof(text), "%d", (int)((end_us - now_us) / 1000));
    lathe_buf_append(&reply, text, strlen(text));
    lathe_call_reply(call, &reply);
}

static void get_info(void *context, struct lathe_call *call, struct lathe_bytes request)
{
    Lathe__V1__GetInfoResponse response = LATHE__V1__GET_INFO_RESPONSE__INIT;
    struct fixture *fixture = context;
    struct lathe_error err = {0};
    struct lathe_buf reply = {0};

    (void)pthread_mutex_lock(&fixture->lock);
    if (fixture->info_calls++ == 0)
        lathe_buf_append(&fixture->info_request, request.data, request.size);
    else if (!lathe_bytes_equal(lathe_buf_view(&fixture->info_request), request))
        fixture->info_differed = true;
    if (fixture->unavailable_left > 0) {
        fixture->unavailable_left--;
        (void)lathe_fail(&err, LATHE_UNAVAILABLE, "shard 2 is not reachable");
        err.retry_after_ms = 30;
    }
    (void)pthread_mutex_unlock(&fixture->lock);
    if (err.status != LATHE_OK) {
        lathe_call_fail(call, &err);
        return;
    }
    response.version = (char *)"1.2.3";
    response.shards = 7;
    lathe_message_encode(&response.base, &reply);
    lathe_call_reply(call, &reply);
}

/* --- Streams --- */

static void stream_opened(void *context, struct lathe_call *call)
{
    struct fixture *fixture = context;

    (void)pthread_mutex_lock(&fixture->lock);
    if (fixture->first_stream == NULL)
        fixture->first_stream = call;
    (void)pthread_mutex_unlock(&fixture->lock);
    count(fixture, &fixture->opened);
}

static void stream_message(void *context, struct lathe_call *call, struct lathe_bytes request)
{
    struct fixture *fixture = context;
    struct lathe_error err = {0};
    struct lathe_buf reply = {0};

    if (lathe_bytes_equal(request, lathe_bytes_str("fail"))) {
        (void)lathe_fail_field(&err, LATHE_ABORTED, "stream", "asked to fail");
        lathe_call_finish(call, &err);
        return;
    }
    if (lathe_bytes_equal(request, lathe_bytes_str("too-large"))) {
        (void)lathe_buf_extend(&reply, (size_t)64 * 1024 * 1024 + 1);
        lathe_call_send(call, &reply);
        return;
    }
    lathe_buf_append(&reply, request.data, request.size);
    lathe_call_send(call, &reply);
    if (lathe_bytes_equal(request, lathe_bytes_str("next-is-mine"))) {
        (void)pthread_mutex_lock(&fixture->lock);
        fixture->stream_waits = true;
        (void)pthread_mutex_unlock(&fixture->lock);
    } else {
        lathe_call_next(call);
    }
    count(fixture, &fixture->messages);
}

static void stream_closed(void *context, struct lathe_call *call, bool half_closed)
{
    struct fixture *fixture = context;

    count(fixture, half_closed ? &fixture->half_closed : &fixture->gone);
    lathe_call_finish(call, NULL);
}

static void stream_destroyed(void *context, struct lathe_call *call)
{
    struct fixture *fixture = context;

    (void)call;
    count(fixture, &fixture->destroyed);
}

static void write_message(void *context, struct lathe_call *call, struct lathe_bytes request)
{
    Lathe__V1__WritePointsResponse response = LATHE__V1__WRITE_POINTS_RESPONSE__INIT;
    struct lathe_arena arena = {0};
    struct lathe_error err = {0};
    struct lathe_buf reply = {0};
    ProtobufCMessage *message;

    (void)context;
    if (lathe_message_decode(&lathe__v1__write_points_request__descriptor, request, &arena,
                             &message, &err) != LATHE_OK) {
        lathe_call_finish(call, &err);
    } else if (((Lathe__V1__WritePointsRequest *)message)->request_number == 999) {
        lathe_call_finish(call, NULL);
    } else {
        response.request_number = ((Lathe__V1__WritePointsRequest *)message)->request_number;
        lathe_message_encode(&response.base, &reply);
        lathe_call_send(call, &reply);
        lathe_call_next(call);
    }
    lathe_arena_fini(&arena);
}

static const struct lathe_stream_handler stream_handler = {stream_opened, stream_message,
                                                           stream_closed, stream_destroyed};
static const struct lathe_stream_handler write_handler = {stream_opened, write_message,
                                                          stream_closed, stream_destroyed};

static const struct lathe_method methods[] = {
    {"/test.T/Echo", echo, NULL, 0},
    {"/test.T/Fail", fail_call, NULL, 0},
    {"/test.T/Hold", hold, NULL, 0},
    {"/test.T/Timed", timed, NULL, 40},
    {"/test.T/Size", size, NULL, 0},
    {"/test.T/Deadline", deadline, NULL, 0},
    {"/test.T/DefaultDeadline", deadline, NULL, 5000},
    {"/test.T/Stream", NULL, &stream_handler, 0},
    {"/lathe.v1.ServerService/GetInfo", get_info, NULL, 0},
    {"/lathe.v1.PointService/StreamWrites", NULL, &write_handler, 0},
};

/* --- The fixture --- */

struct fixture *fixture_start(const struct fixture_options *options)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct lathe_grpc_config config = {
        .listen = options->listen != NULL ? options->listen : "127.0.0.1:0",
        .methods = methods,
        .method_count = sizeof(methods) / sizeof(methods[0]),
        .context = fixture,
        .thread_count = 2,
        .in_flight_calls = options->in_flight_calls > 0 ? options->in_flight_calls : 1000,
        .in_flight_bytes = options->in_flight_bytes > 0 ? options->in_flight_bytes : 1u << 30,
        .budget = &fixture->budget,
    };
    struct lathe_error err = {0};

    assert_non_null(fixture);
    (void)pthread_mutex_init(&fixture->lock, NULL);
    (void)pthread_cond_init(&fixture->changed, NULL);
    if (lathe_grpc_server_start(&config, &fixture->server, &err) != LATHE_OK)
        fail_msg("%s", err.message);
    if (strncmp(config.listen, "unix:", 5) == 0)
        (void)snprintf(fixture->address, sizeof(fixture->address), "%s", config.listen);
    else
        (void)snprintf(fixture->address, sizeof(fixture->address), "127.0.0.1:%d",
                       lathe_grpc_server_port(fixture->server));
    fixture->channel = lathe_channel_open(fixture->address);
    assert_non_null(fixture->channel);
    return fixture;
}

void fixture_stop(struct fixture *fixture)
{
    fixture_release(fixture, NULL);
    lathe_channel_close(fixture->channel);
    lathe_grpc_server_stop(&fixture->server, 10000);
    /* Whatever was charged was given back. */
    assert_int_equal(lathe_budget_used(&fixture->budget), 0);
    assert_int_equal(atomic_load(&fixture->budget.used_bytes[LATHE_MEM_REQUESTS]), 0);
    assert_int_equal(fixture->opened, fixture->destroyed);
    lathe_buf_fini(&fixture->info_request);
    (void)pthread_cond_destroy(&fixture->changed);
    (void)pthread_mutex_destroy(&fixture->lock);
    free(fixture);
}

bool fixture_wait(struct fixture *fixture, const unsigned *counter, unsigned wanted)
{
    struct timespec until;
    bool reached;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    (void)pthread_mutex_lock(&fixture->lock);
    while (*counter < wanted &&
           pthread_cond_timedwait(&fixture->changed, &fixture->lock, &until) != ETIMEDOUT)
        continue;
    reached = *counter >= wanted;
    (void)pthread_mutex_unlock(&fixture->lock);
    return reached;
}

unsigned fixture_get(struct fixture *fixture, const unsigned *counter)
{
    unsigned value;

    (void)pthread_mutex_lock(&fixture->lock);
    value = *counter;
    (void)pthread_mutex_unlock(&fixture->lock);
    return value;
}

void fixture_release(struct fixture *fixture, const struct lathe_error *err)
{
    struct lathe_call *held[FIXTURE_HELD_MAX];
    unsigned held_count;

    (void)pthread_mutex_lock(&fixture->lock);
    held_count = fixture->held_count;
    memcpy(held, fixture->held, held_count * sizeof(held[0]));
    fixture->held_count = 0;
    (void)pthread_mutex_unlock(&fixture->lock);
    for (unsigned i = 0; i < held_count; i++) {
        struct lathe_buf reply = {0};

        lathe_buf_append(&reply, "held", 4);
        if (err != NULL) {
            lathe_buf_fini(&reply);
            lathe_call_fail(held[i], err);
        } else {
            lathe_call_reply(held[i], &reply);
        }
    }
}

enum lathe_status fixture_call(struct lathe_channel *channel, const char *path, const char *request,
                               const char *expected, struct lathe_error *err)
{
    struct lathe_buf reply = {0};
    enum lathe_status status = lathe_channel_call(channel, path, lathe_bytes_str(request), 20000,
                                                  &reply, err);

    if (status == LATHE_OK && expected != NULL) {
        assert_int_equal(reply.size, strlen(expected));
        assert_memory_equal(reply.data, expected, reply.size);
    }
    lathe_buf_fini(&reply);
    return status;
}

/* --- Callers --- */

static void *run_caller(void *context)
{
    struct caller *caller = context;
    struct lathe_bytes request = lathe_buf_view(&caller->request);

    for (unsigned i = 0; caller->count == 0 || i < caller->count; i++) {
        struct lathe_buf reply = {0};

        caller->status = lathe_channel_call(caller->channel, caller->path, request,
                                            caller->timeout_ms, &reply, &caller->err);
        if (caller->status == LATHE_OK) {
            caller->ok++;
            if (!lathe_bytes_equal(lathe_buf_view(&reply), request))
                caller->echo_differed++;
        }
        lathe_buf_fini(&reply);
        if (caller->status != LATHE_OK)
            break;
    }
    return NULL;
}

void caller_start(struct caller *caller, struct fixture *fixture, const char *path, size_t size,
                  unsigned calls)
{
    uint8_t *room;

    *caller = (struct caller){
        .channel = fixture->channel, .path = path, .timeout_ms = 30000, .count = calls};
    room = lathe_buf_extend(&caller->request, size);
    for (size_t i = 0; i < size; i++)
        room[i] = (uint8_t)(i * 7 + (uintptr_t)caller / 64);
    assert_int_equal(pthread_create(&caller->thread, NULL, run_caller, caller), 0);
}

void caller_join(struct caller *caller)
{
    (void)pthread_join(caller->thread, NULL);
    lathe_buf_fini(&caller->request);
}
