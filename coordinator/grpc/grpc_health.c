/* grpc_health.c - grpc.health.v1: one state for the whole process, asked for once (Check) or
 * followed (Watch). "" and every service of the server are known names. */
#include <grpc/health/v1/health.pb-c.h>

#include "common/net/message.h"
#include "coordinator/grpc/grpc_internal.h"

enum { REQUEST_BYTES = 1024 }; /* a service's name, with room to spare */

typedef Grpc__Health__V1__HealthCheckResponse__ServingStatus serving_status;

struct watcher {
    struct lathe_call *call;
    struct watcher *next;
    bool known;  /* the service it asked for exists */
    bool listed; /* whoever takes it off the list ends the call */
};

struct lathe_grpc_health {
    const struct lathe_grpc_server *server;
    pthread_mutex_t lock;
    bool serving;
    bool stopping;
    struct watcher *watchers;
};

struct lathe_grpc_health *lathe_grpc_health_create(const struct lathe_grpc_server *server)
{
    struct lathe_grpc_health *health = lathe_zalloc(sizeof(*health));

    if (health == NULL)
        return NULL;
    health->server = server;
    (void)pthread_mutex_init(&health->lock, NULL);
    return health;
}

void lathe_grpc_health_destroy(struct lathe_grpc_health *health)
{
    if (health == NULL)
        return;
    (void)pthread_mutex_destroy(&health->lock);
    lathe_free(health);
}

static bool service_known(const struct lathe_grpc_server *server, struct lathe_bytes name)
{
    if (name.size == 0)
        return true;
    for (size_t i = 0; i < server->method_count; i++)
        if (lathe_bytes_equal(lathe_grpc_service_of(&server->methods[i]), name))
            return true;
    return false;
}

static serving_status status_of(const struct lathe_grpc_health *health, bool known)
{
    if (!known)
        return GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN;
    return health->serving ? GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
                           : GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
}

static void encode(serving_status status, struct lathe_buf *buf)
{
    Grpc__Health__V1__HealthCheckResponse response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;

    response.status = status;
    lathe_message_encode(&response.base, buf);
}

/* Does the request name a service that the server has? */
static enum lathe_status decode(const struct lathe_grpc_health *health, struct lathe_bytes bytes,
                                bool *known_out, struct lathe_error *err)
{
    struct lathe_arena arena = {0};
    ProtobufCMessage *message;
    enum lathe_status status;

    if (bytes.size > REQUEST_BYTES)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "service",
                                "the request has %zu bytes, more than the limit of %d", bytes.size,
                                REQUEST_BYTES);
    status = lathe_message_decode(&grpc__health__v1__health_check_request__descriptor, bytes,
                                  &arena, &message, err);
    if (status == LATHE_OK) {
        const char *service = ((Grpc__Health__V1__HealthCheckRequest *)message)->service;

        *known_out = service_known(health->server, lathe_bytes_str(service));
    }
    lathe_arena_fini(&arena);
    return status;
}

static void check(void *context, struct lathe_call *call, struct lathe_bytes request)
{
    struct lathe_grpc_health *health = context;
    struct lathe_error err = {0};
    struct lathe_buf reply = {0};
    bool known = false;

    if (decode(health, request, &known, &err) == LATHE_OK && !known)
        (void)lathe_fail_field(&err, LATHE_NOT_FOUND, "service", "the server has no such service");
    if (err.status != LATHE_OK) {
        lathe_call_fail(call, &err);
        return;
    }
    (void)pthread_mutex_lock(&health->lock);
    encode(status_of(health, true), &reply);
    (void)pthread_mutex_unlock(&health->lock);
    lathe_call_reply(call, &reply);
}

/* --- Watch --- */

static void tell(const struct lathe_grpc_health *health, const struct watcher *watcher)
{
    struct lathe_buf reply = {0};

    encode(status_of(health, watcher->known), &reply);
    lathe_call_send(watcher->call, &reply);
}

static void end_watch(struct lathe_call *call)
{
    struct lathe_error err = {0};

    (void)lathe_fail(&err, LATHE_UNAVAILABLE, "the server is stopping");
    lathe_call_finish(call, &err);
}

static void watch_message(void *context, struct lathe_call *call, struct lathe_bytes request)
{
    struct lathe_grpc_health *health = context;
    struct watcher *watcher = lathe_zalloc(sizeof(*watcher));
    struct lathe_error err = {0};
    bool stopping;

    if (watcher == NULL)
        (void)lathe_fail(&err, LATHE_RESOURCE_EXHAUSTED, "no memory for the watch");
    else
        (void)decode(health, request, &watcher->known, &err);
    if (err.status != LATHE_OK) {
        lathe_free(watcher);
        lathe_call_finish(call, &err);
        return;
    }
    watcher->call = call;
    lathe_call_set_user(call, watcher);
    (void)pthread_mutex_lock(&health->lock);
    stopping = health->stopping;
    tell(health, watcher);
    if (!stopping) {
        watcher->listed = true;
        watcher->next = health->watchers;
        health->watchers = watcher;
    }
    (void)pthread_mutex_unlock(&health->lock);
    if (stopping)
        end_watch(call);
    /* No next request is asked for: the end of the stream is the client's leaving. */
}

static bool unlist(struct lathe_grpc_health *health, struct watcher *watcher)
{
    bool listed;

    (void)pthread_mutex_lock(&health->lock);
    listed = watcher->listed;
    watcher->listed = false;
    for (struct watcher **link = &health->watchers; listed && *link != NULL; link = &(*link)->next)
        if (*link == watcher) {
            *link = watcher->next;
            break;
        }
    (void)pthread_mutex_unlock(&health->lock);
    return listed;
}

static void watch_closed(void *context, struct lathe_call *call, bool half_closed)
{
    struct watcher *watcher = lathe_call_user(call);
    struct lathe_error err = {0};

    (void)half_closed;
    if (watcher == NULL) {
        (void)lathe_fail(&err, LATHE_INVALID_ARGUMENT, "the call has no request message");
        lathe_call_finish(call, &err);
    } else if (unlist(context, watcher)) {
        end_watch(call);
    }
}

static void watch_destroyed(void *context, struct lathe_call *call)
{
    (void)context;
    lathe_free(lathe_call_user(call));
}

static const struct lathe_stream_handler watch = {NULL, watch_message, watch_closed,
                                                  watch_destroyed};

const struct lathe_method lathe_grpc_health_methods[LATHE_GRPC_HEALTH_METHODS] = {
    {"/grpc.health.v1.Health/Check", check, NULL, 0},
    {"/grpc.health.v1.Health/Watch", NULL, &watch, 0},
};

void lathe_grpc_health_set(struct lathe_grpc_health *health, bool serving)
{
    (void)pthread_mutex_lock(&health->lock);
    if (health->serving != serving && !health->stopping) {
        health->serving = serving;
        for (struct watcher *watcher = health->watchers; watcher != NULL; watcher = watcher->next)
            if (watcher->known)
                tell(health, watcher);
    }
    (void)pthread_mutex_unlock(&health->lock);
}

void lathe_grpc_health_stop(struct lathe_grpc_health *health)
{
    struct watcher *ended;

    lathe_grpc_health_set(health, false);
    (void)pthread_mutex_lock(&health->lock);
    health->stopping = true;
    ended = health->watchers;
    health->watchers = NULL;
    for (struct watcher *watcher = ended; watcher != NULL; watcher = watcher->next)
        watcher->listed = false;
    (void)pthread_mutex_unlock(&health->lock);
    while (ended != NULL) {
        struct watcher *watcher = ended;

        ended = watcher->next;
        end_watch(watcher->call); /* frees the watcher, now or later */
    }
}
