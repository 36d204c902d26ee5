/* grpc_call.c - a call's life: armed, arrived, checked, handled, answered, freed.
 *
 * An armed call waits inside gRPC. When one arrives, the next is armed at once (gRPC queues calls
 * that find none armed, without bound), the watch for cancellation starts, and the call passes
 * authorise() and the limits before its handler sees it. A unary call is answered in one batch. */
#include <inttypes.h>
#include <stdio.h>

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/tsan.h"
#include "coordinator/grpc/authorise.h"
#include "coordinator/grpc/grpc_details.h"
#include "coordinator/grpc/grpc_internal.h"

enum { RETRY_HINT_MS = 50 }; /* a few times what a call takes */

/* --- Memory --- */

static void call_arrived(struct lathe_call *call, bool ok);
static void call_closed(struct lathe_call *call, bool ok);

static void unary_sent(struct lathe_call *call, bool ok)
{
    (void)call;
    (void)ok; /* the client may have left: nothing to do for it */
}

static struct lathe_call *call_create(struct lathe_grpc_server *server,
                                      struct lathe_grpc_method *method)
{
    struct lathe_call *call = lathe_zalloc(sizeof(*call));
    pthread_mutexattr_t attributes;

    if (call == NULL)
        return NULL;
    (void)pthread_mutexattr_init(&attributes);
    (void)pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    (void)pthread_mutex_init(&call->lock, &attributes);
    (void)pthread_mutexattr_destroy(&attributes);
    call->server = server;
    call->method = method;
    atomic_init(&call->references, 1);
    call->arrived = (struct lathe_grpc_tag){call_arrived, call};
    call->closed = (struct lathe_grpc_tag){call_closed, call};
    call->received = (struct lathe_grpc_tag){lathe_grpc_stream_received, call};
    call->sent = (struct lathe_grpc_tag){
        method->def.stream != NULL ? lathe_grpc_stream_sent : unary_sent, call};
    call->deadline_us = UINT64_MAX;
    call->status_text = grpc_empty_slice();
    call->status_details.value = grpc_empty_slice();
    grpc_metadata_array_init(&call->metadata);
    grpc_call_details_init(&call->details);
    (void)pthread_mutex_lock(&server->lock);
    server->live++;
    (void)pthread_mutex_unlock(&server->lock);
    return call;
}

/* Arms again what could not be armed before; memory may be there now. */
static void arm_owed(struct lathe_grpc_server *server, struct lathe_grpc_method *method)
{
    uint32_t owed = atomic_load(&method->unarmed);

    while (owed > 0)
        if (atomic_compare_exchange_weak(&method->unarmed, &owed, owed - 1)) {
            lathe_grpc_arm(server, method);
            return;
        }
}

static void call_destroy(struct lathe_call *call)
{
    struct lathe_grpc_server *server = call->server;
    struct lathe_grpc_method *method = call->method;

    if (call->opened && method->def.stream->destroyed != NULL)
        method->def.stream->destroyed(method->context, call);
    lathe_grpc_stream_fini(call);
    lathe_grpc_release_request(call);
    lathe_budget_charge(server->budget, LATHE_MEM_REQUESTS, -(int64_t)call->reply_bytes);
    if (call->buffer != NULL)
        grpc_byte_buffer_destroy(call->buffer);
    grpc_slice_unref(call->status_text);
    grpc_slice_unref(call->status_details.value);
    grpc_metadata_array_destroy(&call->metadata);
    grpc_call_details_destroy(&call->details);
    if (call->call != NULL)
        grpc_call_unref(call->call);
    (void)pthread_mutex_destroy(&call->lock);
    lathe_free(call);
    arm_owed(server, method);
    /* Last, since the server may be freed as soon as no call is left. */
    (void)pthread_mutex_lock(&server->lock);
    if (--server->live == 0)
        (void)pthread_cond_broadcast(&server->ended);
    (void)pthread_mutex_unlock(&server->lock);
}

void lathe_call_acquire(struct lathe_call *call)
{
    (void)atomic_fetch_add_explicit(&call->references, 1, memory_order_relaxed);
}

void lathe_call_release(struct lathe_call *call)
{
    if (atomic_fetch_sub_explicit(&call->references, 1, memory_order_acq_rel) == 1)
        call_destroy(call);
}

/* --- Operations --- */

void lathe_grpc_arm(struct lathe_grpc_server *server, struct lathe_grpc_method *method)
{
    struct lathe_call *call = call_create(server, method);
    grpc_call_error error;

    if (call == NULL) {
        (void)atomic_fetch_add(&method->unarmed, 1);
        return;
    }
    LATHE_HB_RELEASE(&call->arrived);
    if (method->def.path == NULL)
        error = grpc_server_request_call(server->server, &call->call, &call->details,
                                         &call->metadata, server->queue, server->queue,
                                         &call->arrived);
    else
        error = grpc_server_request_registered_call(
            server->server, method->registered, &call->call, &call->deadline, &call->metadata,
            method->def.unary != NULL ? &call->buffer : NULL, server->queue, server->queue,
            &call->arrived);
    LATHE_REQUIRE(error == GRPC_CALL_OK);
}

bool lathe_grpc_batch(struct lathe_call *call, const grpc_op *ops, size_t count,
                      struct lathe_grpc_tag *tag)
{
    grpc_call_error error;

    lathe_call_acquire(call); /* the event's */
    LATHE_HB_RELEASE(tag);
    error = grpc_call_start_batch(call->call, ops, count, tag, NULL);
    if (error == GRPC_CALL_OK)
        return true;
    lathe_log(LATHE_LOG_WARN, "grpc-batch-refused", "error=%s", grpc_call_error_to_string(error));
    (void)grpc_call_cancel(call->call, NULL); /* the client must not wait for what does not come */
    lathe_call_release(call);
    return false;
}

grpc_op lathe_grpc_metadata_op(void)
{
    return (grpc_op){.op = GRPC_OP_SEND_INITIAL_METADATA};
}

/* The failure's texts as UTF-8, its details as metadata. */
static void describe(struct lathe_call *call, const struct lathe_error *err)
{
    struct lathe_error clean = *err;
    struct lathe_buf details = {0};

    lathe_grpc_text_clean(clean.message);
    lathe_grpc_text_clean(clean.field);
    call->status_text = grpc_slice_from_copied_string(clean.message);
    if (!lathe_grpc_has_details(&clean))
        return;
    lathe_grpc_details_encode(&clean, &details);
    if (!details.failed) { /* without memory for the details the status alone must do */
        call->status_details.key = grpc_slice_from_static_string("grpc-status-details-bin");
        call->status_details.value = grpc_slice_from_copied_buffer((const char *)details.data,
                                                                   details.size);
        call->has_status_details = true;
    }
    lathe_buf_fini(&details);
}

grpc_op lathe_grpc_status_op(struct lathe_call *call, const struct lathe_error *err)
{
    grpc_op op = {.op = GRPC_OP_SEND_STATUS_FROM_SERVER};

    if (err == NULL || err->status == LATHE_OK)
        return op;
    describe(call, err);
    op.data.send_status_from_server.status = (grpc_status_code)err->status;
    op.data.send_status_from_server.status_details = &call->status_text;
    if (call->has_status_details) {
        op.data.send_status_from_server.trailing_metadata_count = 1;
        op.data.send_status_from_server.trailing_metadata = &call->status_details;
    }
    return op;
}

/* --- Limits --- */

static void charge_request(struct lathe_call *call, size_t size)
{
    call->request_bytes = size;
    lathe_budget_charge(call->server->budget, LATHE_MEM_REQUESTS, (int64_t)size);
}

bool lathe_grpc_take_request(struct lathe_call *call)
{
    grpc_byte_buffer *buffer = call->buffer;
    size_t size = grpc_byte_buffer_length(buffer);

    call->buffer = NULL;
    if (call->method->def.stream != NULL) { /* a unary request was counted when it was admitted */
        (void)atomic_fetch_add(&call->server->request_bytes, size);
        charge_request(call, size);
    }
    return lathe_grpc_message_open(&call->request, buffer);
}

void lathe_grpc_release_request(struct lathe_call *call)
{
    struct lathe_grpc_server *server = call->server;
    struct lathe_grpc_message request;
    size_t size;

    (void)pthread_mutex_lock(&call->lock);
    request = call->request;
    size = call->request_bytes;
    call->request = (struct lathe_grpc_message){0};
    call->request_bytes = 0;
    (void)pthread_mutex_unlock(&call->lock);
    lathe_grpc_message_close(&request);
    if (size == 0)
        return;
    lathe_budget_charge(server->budget, LATHE_MEM_REQUESTS, -(int64_t)size);
    (void)atomic_fetch_sub(&server->request_bytes, size);
    if (atomic_load(&server->parked_count) > 0)
        lathe_grpc_streams_resume(server);
}

void lathe_grpc_settle(struct lathe_call *call)
{
    if (call->watched)
        lathe_grpc_deadline_clear(call);
    if (!call->admitted)
        return;
    call->admitted = false;
    (void)atomic_fetch_sub(
        call->method->internal ? &call->server->internal_calls : &call->server->calls, 1);
}

static enum lathe_status busy(struct lathe_error *err, const char *what, uint64_t limit)
{
    enum lathe_status status = lathe_fail(err, LATHE_RESOURCE_EXHAUSTED,
                                          "the server has its limit of %" PRIu64 " %s in flight",
                                          limit, what);
    err->retry_after_ms = RETRY_HINT_MS;
    return status;
}

/* A request larger than the whole limit passes when it is alone: it could never be sent otherwise.
 */
static bool admit_bytes(struct lathe_call *call, size_t size)
{
    struct lathe_grpc_server *server = call->server;
    uint64_t before = atomic_fetch_add(&server->request_bytes, size);

    if (before > 0 && size > 0 && before + size > server->limit_bytes) {
        (void)atomic_fetch_sub(&server->request_bytes, size);
        return false;
    }
    charge_request(call, size);
    return true;
}

static enum lathe_status admit(struct lathe_call *call, struct lathe_error *err)
{
    struct lathe_grpc_server *server = call->server;
    bool internal = call->method->internal;
    _Atomic uint32_t *counter = internal ? &server->internal_calls : &server->calls;
    uint32_t limit = internal ? LATHE_GRPC_INTERNAL_CALLS : server->limit_calls;

    if (atomic_fetch_add(counter, 1) >= limit) {
        (void)atomic_fetch_sub(counter, 1);
        return busy(err, "calls", limit);
    }
    call->admitted = true;
    if (call->buffer != NULL && !admit_bytes(call, grpc_byte_buffer_length(call->buffer)))
        return busy(err, "bytes of requests", server->limit_bytes);
    return LATHE_OK;
}

/* --- Paths --- */

struct lathe_bytes lathe_grpc_service_of(const struct lathe_grpc_method *method)
{
    const char *name = method->def.path;
    const char *end;

    if (name == NULL || *name++ != '/')
        return lathe_bytes_of(NULL, 0);
    end = strchr(name, '/');
    return end != NULL ? lathe_bytes_of(name, (size_t)(end - name)) : lathe_bytes_of(NULL, 0);
}

static struct lathe_bytes path_of(const struct lathe_call *call)
{
    if (call->method->def.path != NULL)
        return lathe_bytes_str(call->method->def.path);
    return lathe_bytes_of(GRPC_SLICE_START_PTR(call->details.method),
                          GRPC_SLICE_LENGTH(call->details.method));
}

/* --- Arrival --- */

/* Everything that stands between an arrived call and its handler. */
static enum lathe_status check(struct lathe_call *call, struct lathe_error *err)
{
    struct lathe_bytes path = path_of(call);
    enum lathe_status status = lathe_authorise(path, err);

    if (status != LATHE_OK)
        return status;
    if (call->method->def.path == NULL)
        return lathe_fail(err, LATHE_UNIMPLEMENTED, "the server has no method %.*s",
                          path.size < 200 ? (int)path.size : 200, (const char *)path.data);
    if (atomic_load(&call->server->stopping) && !call->method->internal)
        return lathe_fail(err, LATHE_UNAVAILABLE, "the server is stopping");
    return admit(call, err);
}

/* gRPC reports the client's deadline on its own monotonic clock. */
static uint64_t client_deadline_us(gpr_timespec deadline)
{
    gpr_timespec left;

    if (gpr_time_cmp(deadline, gpr_inf_future(deadline.clock_type)) == 0)
        return UINT64_MAX;
    left = gpr_time_sub(gpr_convert_clock_type(deadline, GPR_CLOCK_MONOTONIC),
                        gpr_now(GPR_CLOCK_MONOTONIC));
    if (left.tv_sec > INT32_MAX) /* decades: none */
        return UINT64_MAX;
    if (left.tv_sec < 0)
        return lathe_now_us(&lathe_system_clock);
    return lathe_now_us(&lathe_system_clock) + (uint64_t)left.tv_sec * 1000000u +
           (uint64_t)left.tv_nsec / 1000u;
}

static void watch_close(struct lathe_call *call)
{
    grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER};

    op.data.recv_close_on_server.cancelled = &call->client_gone;
    (void)lathe_grpc_batch(call, &op, 1, &call->closed);
}

/* One batch: metadata, the message if there is one, the status. */
static void send_answer(struct lathe_call *call, struct lathe_buf *reply,
                        const struct lathe_error *err)
{
    grpc_byte_buffer *message = NULL;
    grpc_op ops[3];
    size_t count = 0;

    ops[count++] = lathe_grpc_metadata_op();
    if (reply != NULL) {
        call->reply_bytes = reply->size;
        lathe_budget_charge(call->server->budget, LATHE_MEM_REQUESTS, (int64_t)reply->size);
        message = lathe_grpc_pack(reply);
        ops[count] = (grpc_op){.op = GRPC_OP_SEND_MESSAGE};
        ops[count++].data.send_message.send_message = message;
    }
    ops[count++] = lathe_grpc_status_op(call, err);
    (void)lathe_grpc_batch(call, ops, count, &call->sent);
    if (message != NULL)
        grpc_byte_buffer_destroy(message);
}

/* Answers a call that no handler has seen. */
static void refuse(struct lathe_call *call, const struct lathe_error *err)
{
    call->sent.event = unary_sent;
    (void)pthread_mutex_lock(&call->lock);
    call->answered = true;
    (void)pthread_mutex_unlock(&call->lock);
    lathe_grpc_settle(call);
    lathe_grpc_release_request(call);
    if (call->buffer != NULL)
        grpc_byte_buffer_destroy(call->buffer);
    call->buffer = NULL;
    send_answer(call, NULL, err);
    lathe_call_release(call);
}

static void open_unary(struct lathe_call *call)
{
    const struct lathe_method *def = &call->method->def;
    struct lathe_error err = {0};

    /* Nothing arrives when the client sent no message, or one above the limit; in the second case
     * gRPC has given it that answer already, and this one goes nowhere. */
    if (call->buffer == NULL || !lathe_grpc_take_request(call)) {
        (void)lathe_fail(&err, LATHE_INVALID_ARGUMENT, "the call has no request message");
        refuse(call, &err);
        return;
    }
    if (call->deadline_us == UINT64_MAX && def->default_timeout_ms > 0) {
        call->deadline_us = lathe_now_us(&lathe_system_clock) +
                            (uint64_t)def->default_timeout_ms * 1000u;
        call->watched = true;
        lathe_grpc_deadline_set(call);
    }
    def->unary(call->method->context, call, call->request.bytes);
}

static void call_arrived(struct lathe_call *call, bool ok)
{
    struct lathe_error err = {0};

    if (!ok)
        return; /* the server stops */
    lathe_grpc_arm(call->server, call->method);
    atomic_store_explicit(&call->server->last_arrival_us, lathe_now_us(&lathe_system_clock),
                          memory_order_relaxed);
    lathe_call_acquire(call); /* the handler's, until it answers */
    if (call->method->def.path != NULL)
        call->deadline_us = client_deadline_us(call->deadline);
    watch_close(call);
    if (check(call, &err) != LATHE_OK)
        refuse(call, &err);
    else if (call->method->def.stream != NULL)
        lathe_grpc_stream_open(call);
    else
        open_unary(call);
}

static void call_closed(struct lathe_call *call, bool ok)
{
    (void)ok;
    if (!call->client_gone)
        return;
    (void)pthread_mutex_lock(&call->lock);
    call->gone = true;
    (void)pthread_mutex_unlock(&call->lock);
    if (call->method->def.stream != NULL)
        lathe_grpc_stream_gone(call);
    else
        lathe_grpc_cancel(call);
}

/* --- For handlers --- */

uint64_t lathe_call_deadline_us(const struct lathe_call *call)
{
    return call->deadline_us;
}

bool lathe_call_cancelled(const struct lathe_call *call)
{
    return atomic_load(&call->cancelled) ||
           (call->deadline_us != UINT64_MAX &&
            lathe_now_us(&lathe_system_clock) >= call->deadline_us);
}

void *lathe_call_user(const struct lathe_call *call)
{
    return atomic_load(&call->user);
}

void lathe_call_set_user(struct lathe_call *call, void *user)
{
    atomic_store(&call->user, user);
}

/* Calls on_cancel if it is set and due. Under the call's lock, which is what keeps it from running
 * after the answer. */
static void run_on_cancel(struct lathe_call *call)
{
    void (*on_cancel)(void *context) = call->on_cancel;

    call->on_cancel = NULL;
    if (on_cancel != NULL)
        on_cancel(call->cancel_context);
}

void lathe_grpc_cancel(struct lathe_call *call)
{
    (void)pthread_mutex_lock(&call->lock);
    atomic_store(&call->cancelled, true);
    run_on_cancel(call);
    (void)pthread_mutex_unlock(&call->lock);
}

void lathe_call_on_cancel(struct lathe_call *call, void (*on_cancel)(void *context), void *context)
{
    LATHE_REQUIRE(call->method->def.unary != NULL);
    lathe_call_acquire(call); /* on_cancel may answer, and so give up the handler's reference */
    (void)pthread_mutex_lock(&call->lock);
    LATHE_REQUIRE(!call->answered);
    call->on_cancel = on_cancel;
    call->cancel_context = context;
    if (atomic_load(&call->cancelled))
        run_on_cancel(call);
    (void)pthread_mutex_unlock(&call->lock);
    lathe_call_release(call);
}

/* From here on on_cancel does not run. */
static bool begin_answer(struct lathe_call *call)
{
    bool gone;

    LATHE_REQUIRE(call->method->def.unary != NULL);
    (void)pthread_mutex_lock(&call->lock);
    LATHE_REQUIRE(!call->answered);
    call->answered = true;
    call->on_cancel = NULL;
    gone = call->gone;
    (void)pthread_mutex_unlock(&call->lock);
    /* Before the client can know of the answer: its next call must find the room. */
    lathe_grpc_settle(call);
    lathe_grpc_release_request(call);
    return !gone;
}

void lathe_call_reply(struct lathe_call *call, struct lathe_buf *reply)
{
    struct lathe_error err = {0};
    bool too_large = reply->size > LATHE_MAX_MESSAGE_BYTES;

    if (!too_large && !reply->failed) {
        (void)begin_answer(call);
        send_answer(call, reply, NULL);
        lathe_call_release(call);
        return;
    }
    if (too_large)
        (void)lathe_fail(&err, LATHE_RESOURCE_EXHAUSTED,
                         "the reply has %zu bytes, more than the limit of %u", reply->size,
                         LATHE_MAX_MESSAGE_BYTES);
    else
        (void)lathe_fail(&err, LATHE_RESOURCE_EXHAUSTED, "no memory for the reply");
    lathe_buf_fini(reply);
    lathe_call_fail(call, &err);
}

void lathe_call_fail(struct lathe_call *call, const struct lathe_error *err)
{
    bool there = begin_answer(call);
    struct lathe_error late = {0};

    LATHE_REQUIRE(err->status != LATHE_OK);
    if (err->status == LATHE_CANCELLED && there && lathe_call_cancelled(call)) {
        if (call->watched)
            (void)lathe_fail(&late, LATHE_DEADLINE_EXCEEDED,
                             "the default deadline of %u ms passed (the call had none of its own)",
                             call->method->def.default_timeout_ms);
        else
            (void)lathe_fail(&late, LATHE_DEADLINE_EXCEEDED, "the call's deadline passed");
        err = &late;
    }
    send_answer(call, NULL, err);
    lathe_call_release(call);
}
