/* grpc_server.c - the server as a whole: options, methods, threads, start and stop.
 *
 * One completion queue with N threads takes every event of every call. A second one, which must be
 * registered before the start and listens to nothing, takes the shutdown's event alone. */
#include <grpc/grpc_security.h>
#include <inttypes.h>
#include <time.h>

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/tsan.h"
#include "coordinator/grpc/grpc_internal.h"
#include "coordinator/grpc/grpc_log.h"

/* --- Threads --- */

static void *poll_events(void *context)
{
    grpc_completion_queue *queue = context;

    for (;;) {
        grpc_event event = grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_MONOTONIC),
                                                      NULL);
        struct lathe_grpc_tag *tag;
        struct lathe_call *call;

        if (event.type == GRPC_QUEUE_SHUTDOWN)
            return NULL;
        tag = event.tag;
        LATHE_HB_ACQUIRE(tag);
        call = tag->call;
        tag->event(call, event.success != 0);
        lathe_call_release(call); /* the event's */
    }
}

static bool start_threads(struct lathe_grpc_server *server, unsigned count)
{
    server->threads = lathe_zalloc_array(count, sizeof(*server->threads));
    if (server->threads == NULL)
        return false;
    for (unsigned i = 0; i < count; i++) {
        if (pthread_create(&server->threads[i], NULL, poll_events, server->queue) != 0)
            return false;
        server->thread_count++;
    }
    return true;
}

/* --- Start --- */

static grpc_arg integer(const char *key, int value)
{
    grpc_arg arg = {.type = GRPC_ARG_INTEGER, .key = (char *)key};

    arg.value.integer = value;
    return arg;
}

/* What gRPC itself may hold, for all connections together: twice the requests' bytes (received and
 * in the making) and room for a largest message. Above it gRPC refuses streams and ends
 * connections, so that clients that send slowly or in parallel cannot take all memory: a request is
 * counted by us only once it is whole. */
static grpc_arg memory_quota(grpc_resource_quota *quota, uint64_t limit_bytes)
{
    grpc_arg arg = {.type = GRPC_ARG_POINTER, .key = (char *)GRPC_ARG_RESOURCE_QUOTA};
    uint64_t size = limit_bytes < SIZE_MAX / 4 ? 2 * limit_bytes : SIZE_MAX / 2;

    grpc_resource_quota_resize(quota, size + 2 * (size_t)LATHE_MAX_MESSAGE_BYTES);
    arg.value.pointer.p = quota;
    arg.value.pointer.vtable = grpc_resource_quota_arg_vtable();
    return arg;
}

static grpc_server *create_server(uint64_t limit_bytes)
{
    grpc_resource_quota *quota = grpc_resource_quota_create("lathe");
    grpc_arg list[] = {
        memory_quota(quota, limit_bytes),
        integer(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, (int)LATHE_MAX_MESSAGE_BYTES),
        /* With reuse of ports a second server would silently take half of the connections. */
        integer(GRPC_ARG_ALLOW_REUSEPORT, 0),
        integer(GRPC_ARG_MAX_CONCURRENT_STREAMS, 256),
        /* gRPC looks at a message's size only after inflating it: 1 MB can become 1 GB. Compressed
         * requests are therefore answered UNIMPLEMENTED; vectors hardly compress anyway. */
        integer(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1 << GRPC_COMPRESS_NONE),
        /* Clients may look after idle connections as often as every 5 s without "too many pings".
         */
        integer(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1),
        integer(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5000),
        /* A client that vanished without a word ends its streams after 80 s. */
        integer(GRPC_ARG_KEEPALIVE_TIME_MS, 60000),
        integer(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20000),
        integer(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10000),
    };
    grpc_channel_args args = {sizeof(list) / sizeof(list[0]), list};
    grpc_server *server = grpc_server_create(&args, NULL);

    grpc_resource_quota_unref(quota);
    return server;
}

static void add_method(struct lathe_grpc_server *server, const struct lathe_method *def,
                       void *context, bool internal)
{
    struct lathe_grpc_method *method = &server->methods[server->method_count++];

    LATHE_REQUIRE((def->unary == NULL) != (def->stream == NULL));
    method->def = *def;
    method->context = context;
    method->internal = internal;
    method->registered = grpc_server_register_method(
        server->server, def->path, NULL,
        def->unary != NULL ? GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER : GRPC_SRM_PAYLOAD_NONE, 0);
    LATHE_REQUIRE(method->registered != NULL); /* the same path twice */
}

static enum lathe_status add_methods(struct lathe_grpc_server *server,
                                     const struct lathe_grpc_config *config,
                                     struct lathe_error *err)
{
    server->methods = lathe_zalloc_array(config->method_count + LATHE_GRPC_HEALTH_METHODS +
                                             LATHE_GRPC_REFLECTION_METHODS + 1 /* unknown paths */,
                                         sizeof(*server->methods));
    server->health = lathe_grpc_health_create(server);
    if (server->methods == NULL || server->health == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for the gRPC server");
    server->reflection = lathe_grpc_reflection_create(server, err);
    if (server->reflection == NULL)
        return LATHE_RESOURCE_EXHAUSTED;
    for (size_t i = 0; i < config->method_count; i++)
        add_method(server, &config->methods[i], config->context, false);
    for (size_t i = 0; i < LATHE_GRPC_HEALTH_METHODS; i++)
        add_method(server, &lathe_grpc_health_methods[i], server->health, true);
    for (size_t i = 0; i < LATHE_GRPC_REFLECTION_METHODS; i++)
        add_method(server, &lathe_grpc_reflection_methods[i], server->reflection, true);
    server->methods[server->method_count++].internal = true; /* answered at once, by nobody */
    return LATHE_OK;
}

static enum lathe_status bind_address(struct lathe_grpc_server *server, const char *listen,
                                      struct lathe_error *err)
{
    grpc_server_credentials *credentials = grpc_insecure_server_credentials_create();
    char why[LATHE_ERROR_MESSAGE_BYTES];

    lathe_grpc_log_capture(why, sizeof(why));
    server->port = grpc_server_add_http2_port(server->server, listen, credentials);
    lathe_grpc_log_release();
    grpc_server_credentials_release(credentials);
    if (server->port > 0)
        return LATHE_OK;
    return lathe_fail(err, LATHE_FAILED_PRECONDITION, "cannot listen on %s: %s", listen, why);
}

static void create_queues(struct lathe_grpc_server *server)
{
    grpc_completion_queue_attributes attributes = {
        .version = GRPC_CQ_CURRENT_VERSION,
        .cq_completion_type = GRPC_CQ_NEXT,
        .cq_polling_type = GRPC_CQ_NON_LISTENING,
    };

    server->queue = grpc_completion_queue_create_for_next(NULL);
    server->shutdown_queue = grpc_completion_queue_create(
        grpc_completion_queue_factory_lookup(&attributes), &attributes, NULL);
    grpc_server_register_completion_queue(server->server, server->queue, NULL);
    grpc_server_register_completion_queue(server->server, server->shutdown_queue, NULL);
}

static void arm_all(struct lathe_grpc_server *server)
{
    for (size_t i = 0; i < server->method_count; i++)
        for (int n = 0; n < LATHE_GRPC_ARMED; n++)
            lathe_grpc_arm(server, &server->methods[i]);
}

static enum lathe_status start(struct lathe_grpc_server *server,
                               const struct lathe_grpc_config *config, struct lathe_error *err)
{
    enum lathe_status status;

    status = add_methods(server, config, err);
    if (status == LATHE_OK)
        status = bind_address(server, config->listen, err);
    if (status != LATHE_OK)
        return status;
    if (!lathe_grpc_deadlines_start(server) || !start_threads(server, config->thread_count))
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "cannot start %u gRPC threads",
                          config->thread_count);
    grpc_server_start(server->server);
    arm_all(server);
    return LATHE_OK;
}

enum lathe_status lathe_grpc_server_start(const struct lathe_grpc_config *config,
                                          struct lathe_grpc_server **server_out,
                                          struct lathe_error *err)
{
    struct lathe_grpc_server *server = lathe_zalloc(sizeof(*server));
    enum lathe_status status;

    LATHE_REQUIRE(config->thread_count > 0);
    LATHE_REQUIRE(config->in_flight_calls > 0);
    LATHE_REQUIRE(config->in_flight_bytes > 0);
    if (server == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for the gRPC server");
    server->budget = config->budget;
    server->limit_calls = config->in_flight_calls;
    server->limit_bytes = config->in_flight_bytes;
    (void)pthread_mutex_init(&server->lock, NULL);
    (void)pthread_cond_init(&server->ended, NULL);
    lathe_grpc_deadlines_init(&server->deadlines);
    lathe_grpc_log_redirect();
    grpc_init();
    server->server = create_server(config->in_flight_bytes);
    create_queues(server);
    status = start(server, config, err);
    if (status == LATHE_OK)
        *server_out = server;
    else
        lathe_grpc_server_stop(&server, 0);
    return status;
}

/* --- Stop --- */

/* Waits for the end of every call that gRPC knows of. False: drain_ms passed. */
static bool wait_shutdown(struct lathe_grpc_server *server, uint64_t drain_ms)
{
    gpr_timespec until = drain_ms > INT64_MAX / 2000000
                             ? gpr_inf_future(GPR_CLOCK_MONOTONIC)
                             : gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                            gpr_time_from_millis((int64_t)drain_ms, GPR_TIMESPAN));

    return grpc_completion_queue_next(server->shutdown_queue, until, NULL).type == GRPC_OP_COMPLETE;
}

/* Our own call objects outlive gRPC's, and a batch on a queue that is shut down ends the process:
 * so the queue stays open until the last is gone. */
static void wait_calls(struct lathe_grpc_server *server)
{
    (void)pthread_mutex_lock(&server->lock);
    while (server->live > 0)
        (void)pthread_cond_wait(&server->ended, &server->lock);
    (void)pthread_mutex_unlock(&server->lock);
}

static bool any_call(struct lathe_grpc_server *server)
{
    bool any;

    (void)pthread_mutex_lock(&server->lock);
    any = server->live > 0;
    (void)pthread_mutex_unlock(&server->lock);
    return any;
}

/* Once gRPC's own shutdown has begun it breaks off calls that still arrive, until its word has
 * reached the clients: they see CANCELLED and cannot know whether the call was carried out. So new
 * calls are first refused by us, as UNAVAILABLE, until every call in flight has its answer (its
 * client may send the next one then) and the clients have gone quiet. */
static void leave(struct lathe_grpc_server *server, uint64_t drain_ms)
{
    const struct timespec pause = {0, 2000000};
    uint64_t begin_us = lathe_now_us(&lathe_system_clock);
    uint64_t busy_us = begin_us; /* when the last call was still in flight */

    for (;;) {
        uint64_t now_us = lathe_now_us(&lathe_system_clock);

        if (lathe_grpc_server_calls(server) > 0)
            busy_us = now_us;
        if (now_us - begin_us >= drain_ms * 1000u ||
            now_us - busy_us >= LATHE_GRPC_LEAVE_MS * 1000u ||
            (now_us - busy_us > 0 &&
             now_us >= atomic_load(&server->last_arrival_us) + LATHE_GRPC_QUIET_MS * 1000u))
            return;
        (void)nanosleep(&pause, NULL);
    }
}

/* Waits for the end of every call, then a moment for the clients to close their connections: an
 * idle one may not look at what the server said for seconds. False: drain_ms passed. */
static bool wait_end(struct lathe_grpc_server *server, uint64_t drain_ms)
{
    const uint64_t step_ms = 20;
    uint64_t idle_ms = 0;

    for (uint64_t waited_ms = 0;; waited_ms += step_ms) {
        if (wait_shutdown(server, waited_ms < drain_ms ? step_ms : 0))
            return true;
        if (waited_ms >= drain_ms)
            return false;
        idle_ms = any_call(server) ? 0 : idle_ms + step_ms;
        if (idle_ms >= LATHE_GRPC_LINGER_MS) {
            grpc_server_cancel_all_calls(server->server); /* there are none: it cuts connections */
            return wait_shutdown(server, drain_ms);
        }
    }
}

static void end_calls(struct lathe_grpc_server *server, uint64_t drain_ms)
{
    uint64_t begin_us = lathe_now_us(&lathe_system_clock);
    uint64_t left_ms;

    (void)pthread_mutex_lock(&server->lock); /* streams are listed and drained under it */
    atomic_store(&server->stopping, true);
    (void)pthread_mutex_unlock(&server->lock);
    if (server->health != NULL)
        lathe_grpc_health_stop(server->health);
    lathe_grpc_streams_drain(server);
    leave(server, drain_ms);
    grpc_server_shutdown_and_notify(server->server, server->shutdown_queue, server);
    left_ms = (lathe_now_us(&lathe_system_clock) - begin_us) / 1000u;
    left_ms = left_ms < drain_ms ? drain_ms - left_ms : 0;
    if (!wait_end(server, left_ms)) {
        lathe_log(LATHE_LOG_WARN, "grpc-calls-cancelled", "calls=%" PRIu32 " drain_ms=%" PRIu64,
                  lathe_grpc_server_calls(server), drain_ms);
        grpc_server_cancel_all_calls(server->server);
        (void)wait_shutdown(server, UINT64_MAX);
    }
    wait_calls(server);
}

static void destroy_queue(grpc_completion_queue *queue)
{
    grpc_completion_queue_shutdown(queue);
    while (grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
           GRPC_QUEUE_SHUTDOWN)
        continue;
    grpc_completion_queue_destroy(queue);
}

void lathe_grpc_server_stop(struct lathe_grpc_server **server_p, uint64_t drain_ms)
{
    struct lathe_grpc_server *server = *server_p;

    if (server == NULL)
        return;
    *server_p = NULL;
    end_calls(server, drain_ms);
    grpc_completion_queue_shutdown(server->queue);
    for (unsigned i = 0; i < server->thread_count; i++)
        (void)pthread_join(server->threads[i], NULL);
    lathe_grpc_deadlines_fini(&server->deadlines);
    grpc_server_destroy(server->server);
    destroy_queue(server->queue);
    destroy_queue(server->shutdown_queue);
    grpc_shutdown_blocking();
    lathe_grpc_health_destroy(server->health);
    lathe_grpc_reflection_destroy(server->reflection);
    (void)pthread_cond_destroy(&server->ended);
    (void)pthread_mutex_destroy(&server->lock);
    lathe_free(server->methods);
    lathe_free(server->threads);
    lathe_free(server);
}

/* --- The rest --- */

int lathe_grpc_server_port(const struct lathe_grpc_server *server)
{
    return server->port;
}

void lathe_grpc_server_set_serving(struct lathe_grpc_server *server, bool serving)
{
    lathe_grpc_health_set(server->health, serving);
}

uint32_t lathe_grpc_server_calls(const struct lathe_grpc_server *server)
{
    return atomic_load(&server->calls);
}
