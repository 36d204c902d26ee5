/* grpc_deadline.c - the thread that watches default deadlines.
 *
 * It sleeps until the earliest deadline it knows and is woken only for an earlier one. With steady
 * traffic it therefore runs about once a timeout, and not at all while no call is timed. */
#include <time.h>

#include "common/base/clock.h"
#include "coordinator/grpc/grpc_internal.h"

void lathe_grpc_deadline_set(struct lathe_call *call)
{
    struct lathe_grpc_deadlines *deadlines = &call->server->deadlines;
    struct lathe_grpc_method *method = call->method;

    (void)pthread_mutex_lock(&deadlines->lock);
    call->timed = true;
    call->previous_timed = method->last_timed;
    if (method->last_timed != NULL)
        method->last_timed->next_timed = call;
    else
        method->first_timed = call;
    method->last_timed = call;
    if (call->deadline_us < deadlines->wake_at_us) {
        deadlines->wake_at_us = call->deadline_us;
        (void)pthread_cond_signal(&deadlines->changed);
    }
    (void)pthread_mutex_unlock(&deadlines->lock);
}

/* Under the lock. */
static void unlink_timed(struct lathe_call *call)
{
    struct lathe_grpc_method *method = call->method;

    if (!call->timed)
        return;
    if (call->previous_timed != NULL)
        call->previous_timed->next_timed = call->next_timed;
    else
        method->first_timed = call->next_timed;
    if (call->next_timed != NULL)
        call->next_timed->previous_timed = call->previous_timed;
    else
        method->last_timed = call->previous_timed;
    call->next_timed = NULL;
    call->previous_timed = NULL;
    call->timed = false;
}

void lathe_grpc_deadline_clear(struct lathe_call *call)
{
    struct lathe_grpc_deadlines *deadlines = &call->server->deadlines;

    (void)pthread_mutex_lock(&deadlines->lock);
    unlink_timed(call);
    (void)pthread_mutex_unlock(&deadlines->lock);
}

/* The first call due now, with a reference, or NULL and the time of the next. Under the lock. */
static struct lathe_call *take_due(struct lathe_grpc_server *server, uint64_t now_us,
                                   uint64_t *next_us_out)
{
    *next_us_out = UINT64_MAX;
    for (size_t i = 0; i < server->method_count; i++) {
        struct lathe_call *call = server->methods[i].first_timed;

        if (call == NULL)
            continue;
        if (call->deadline_us <= now_us) {
            unlink_timed(call);
            lathe_call_acquire(call);
            return call;
        }
        if (call->deadline_us < *next_us_out)
            *next_us_out = call->deadline_us;
    }
    return NULL;
}

/* Under the lock. */
static void sleep_until(struct lathe_grpc_deadlines *deadlines, uint64_t wake_at_us)
{
    struct timespec until = {(time_t)(wake_at_us / 1000000u), (long)(wake_at_us % 1000000u) * 1000};

    deadlines->wake_at_us = wake_at_us;
    if (wake_at_us == UINT64_MAX)
        (void)pthread_cond_wait(&deadlines->changed, &deadlines->lock);
    else
        (void)pthread_cond_timedwait(&deadlines->changed, &deadlines->lock, &until);
}

static void *watch(void *context)
{
    struct lathe_grpc_server *server = context;
    struct lathe_grpc_deadlines *deadlines = &server->deadlines;
    uint64_t next_us;

    (void)pthread_mutex_lock(&deadlines->lock);
    while (!deadlines->stopping) {
        struct lathe_call *call = take_due(server, lathe_now_us(&lathe_system_clock), &next_us);

        if (call == NULL) {
            sleep_until(deadlines, next_us);
            continue;
        }
        (void)pthread_mutex_unlock(&deadlines->lock);
        lathe_grpc_cancel(call);
        lathe_call_release(call);
        (void)pthread_mutex_lock(&deadlines->lock);
    }
    (void)pthread_mutex_unlock(&deadlines->lock);
    return NULL;
}

void lathe_grpc_deadlines_init(struct lathe_grpc_deadlines *deadlines)
{
    pthread_condattr_t attributes;

    (void)pthread_mutex_init(&deadlines->lock, NULL);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&deadlines->changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    deadlines->wake_at_us = 0; /* the thread looks before it first sleeps */
}

bool lathe_grpc_deadlines_start(struct lathe_grpc_server *server)
{
    server->deadlines.started = pthread_create(&server->deadlines.thread, NULL, watch, server) == 0;
    return server->deadlines.started;
}

void lathe_grpc_deadlines_fini(struct lathe_grpc_deadlines *deadlines)
{
    (void)pthread_mutex_lock(&deadlines->lock);
    deadlines->stopping = true;
    (void)pthread_cond_signal(&deadlines->changed);
    (void)pthread_mutex_unlock(&deadlines->lock);
    if (deadlines->started)
        (void)pthread_join(deadlines->thread, NULL);
    (void)pthread_cond_destroy(&deadlines->changed);
    (void)pthread_mutex_destroy(&deadlines->lock);
}
