/* grpc_stream.c - bidirectional streams: reading, answering and ending, each one step at a time.
 *
 * Three things go on at once in a stream, each with at most one operation in flight:
 *
 *   read     next() -> [room?] -> RECV_MESSAGE -> message() -> ...     at its end: closed()
 *   send     send() -> queue -> SEND_MESSAGE -> ...                    at its end: SEND_STATUS
 *   deliver  one thread at a time calls the handler with what the events have left for it
 *
 * A read starts only while the answers that the client has not taken are few, and while the
 * server's requests are within their bytes: a stream that finds no room is parked on the server's
 * list until some request is given back. Handlers are called without the lock, so they may send,
 * ask for the next message and finish from inside. */
#include "common/base/check.h"
#include "common/base/limits.h"
#include "coordinator/grpc/grpc_internal.h"

static const struct lathe_stream_handler *handler_of(const struct lathe_call *call)
{
    return call->method->def.stream;
}

/* --- The server's lists --- */

/* Puts the stream on the list of open ones. False: the server is stopping. */
static bool list_add(struct lathe_call *call)
{
    struct lathe_grpc_server *server = call->server;
    bool open;

    (void)pthread_mutex_lock(&server->lock);
    open = !atomic_load(&server->stopping);
    if (open) {
        call->next_stream = server->first_stream;
        call->stream_link = &server->first_stream;
        if (call->next_stream != NULL)
            call->next_stream->stream_link = &call->next_stream;
        server->first_stream = call;
    }
    (void)pthread_mutex_unlock(&server->lock);
    return open;
}

static void list_remove(struct lathe_call *call)
{
    struct lathe_grpc_server *server = call->server;

    (void)pthread_mutex_lock(&server->lock);
    if (call->stream_link != NULL) {
        *call->stream_link = call->next_stream;
        if (call->next_stream != NULL)
            call->next_stream->stream_link = call->stream_link;
        call->stream_link = NULL;
    }
    (void)pthread_mutex_unlock(&server->lock);
}

static bool has_room(struct lathe_grpc_server *server)
{
    return atomic_load(&server->request_bytes) < server->limit_bytes;
}

/* Parks the stream until bytes are given back. False if there is room after all: looked at again
 * under the lock, since whoever makes room looks for parked streams after it. */
static bool park(struct lathe_call *call)
{
    struct lathe_grpc_server *server = call->server;
    bool parked;

    (void)pthread_mutex_lock(&server->lock);
    (void)atomic_fetch_add(&server->parked_count, 1);
    parked = !has_room(server) && !call->parked;
    if (parked) {
        lathe_call_acquire(call);
        call->parked = true;
        call->next_parked = server->first_parked;
        server->first_parked = call;
    } else {
        (void)atomic_fetch_sub(&server->parked_count, 1);
    }
    parked = call->parked;
    (void)pthread_mutex_unlock(&server->lock);
    return parked;
}

/* --- Reading, under the call's lock --- */

static bool may_read(const struct lathe_call *call)
{
    return call->read_wanted && !call->reading && !call->answered && !call->close_delivered &&
           !call->draining && !call->gone && call->answer_count < LATHE_GRPC_STREAM_SENDS &&
           call->answer_bytes < LATHE_GRPC_STREAM_BYTES;
}

static void pump_read(struct lathe_call *call)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};

    if (!may_read(call))
        return;
    if (!has_room(call->server) && park(call))
        return;
    call->read_wanted = false;
    op.data.recv_message.recv_message = &call->buffer;
    call->reading = lathe_grpc_batch(call, &op, 1, &call->received);
}

/* A parked stream to go on with, with its reference; NULL when there is none or no room. */
static struct lathe_call *take_parked(struct lathe_grpc_server *server)
{
    struct lathe_call *call = NULL;

    (void)pthread_mutex_lock(&server->lock);
    if (has_room(server) && server->first_parked != NULL) {
        call = server->first_parked;
        server->first_parked = call->next_parked;
        call->parked = false;
        (void)atomic_fetch_sub(&server->parked_count, 1);
    }
    (void)pthread_mutex_unlock(&server->lock);
    return call;
}

void lathe_grpc_streams_resume(struct lathe_grpc_server *server)
{
    struct lathe_call *call;

    /* All of them: nothing would wake those left behind if the first one's client stays silent. */
    while ((call = take_parked(server)) != NULL) {
        (void)pthread_mutex_lock(&call->lock);
        pump_read(call);
        (void)pthread_mutex_unlock(&call->lock);
        lathe_call_release(call);
    }
}

/* --- Sending, under the call's lock --- */

static struct lathe_grpc_answer *pop_answer(struct lathe_call *call)
{
    struct lathe_grpc_answer *answer = call->first_answer;

    call->first_answer = answer->next;
    if (answer->next == NULL)
        call->last_answer = NULL;
    call->answer_count--;
    call->answer_bytes -= answer->size;
    lathe_budget_charge(call->server->budget, LATHE_MEM_REQUESTS, -(int64_t)answer->size);
    return answer;
}

static void drop_answers(struct lathe_call *call)
{
    while (call->first_answer != NULL) {
        struct lathe_grpc_answer *answer = pop_answer(call);

        if (answer->buffer != NULL)
            grpc_byte_buffer_destroy(answer->buffer);
        lathe_free(answer);
    }
}

/* Sends the first answer, which stays on the list (for the counts) until the client has taken it,
 * or, when there is none left, the status once it is known. */
static void pump_send(struct lathe_call *call)
{
    struct lathe_grpc_answer *answer = call->first_answer;
    grpc_op ops[2];
    size_t count = 0;

    if (call->sending || call->status_sent || (answer == NULL && !call->answered))
        return;
    if (!call->metadata_sent)
        ops[count++] = lathe_grpc_metadata_op();
    call->metadata_sent = true;
    if (answer != NULL) {
        ops[count] = (grpc_op){.op = GRPC_OP_SEND_MESSAGE};
        ops[count++].data.send_message.send_message = answer->buffer;
    } else {
        ops[count++] = call->status_op;
        call->status_sent = true;
    }
    call->sending = lathe_grpc_batch(call, ops, count, &call->sent);
    if (answer == NULL)
        return;
    grpc_byte_buffer_destroy(answer->buffer); /* its slices have moved into the batch */
    answer->buffer = NULL;
}

/* --- Delivering --- */

/* What the handler is to be told next. Under the lock; true if there is something. */
enum delivery { DELIVER_NOTHING, DELIVER_MESSAGE, DELIVER_CLOSED };

static enum delivery next_delivery(struct lathe_call *call)
{
    if (!call->opened || call->answered)
        return DELIVER_NOTHING;
    if (call->arrived_message) {
        call->arrived_message = false;
        return DELIVER_MESSAGE;
    }
    if (!call->close_delivered && (call->half_closed || call->gone || call->draining)) {
        call->close_delivered = true;
        return DELIVER_CLOSED;
    }
    return DELIVER_NOTHING;
}

/* Tells the handler what there is to tell. If another thread is doing so, it will see this too. The
 * caller holds a reference, since the handler may give the call up. */
static void deliver(struct lathe_call *call)
{
    const struct lathe_stream_handler *handler = handler_of(call);
    void *context = call->method->context;
    enum delivery what;

    (void)pthread_mutex_lock(&call->lock);
    if (call->delivering) {
        (void)pthread_mutex_unlock(&call->lock);
        return;
    }
    call->delivering = true;
    while ((what = next_delivery(call)) != DELIVER_NOTHING) {
        struct lathe_bytes request = call->request.bytes;
        bool half_closed = !call->gone;

        (void)pthread_mutex_unlock(&call->lock);
        if (what == DELIVER_MESSAGE)
            handler->message(context, call, request);
        else
            handler->closed(context, call, half_closed);
        (void)pthread_mutex_lock(&call->lock);
    }
    call->delivering = false;
    (void)pthread_mutex_unlock(&call->lock);
}

/* --- Events --- */

void lathe_grpc_stream_open(struct lathe_call *call)
{
    struct lathe_error err = {0};

    if (!list_add(call)) {
        (void)lathe_fail(&err, LATHE_UNAVAILABLE, "the server is stopping");
        lathe_call_finish(call, &err);
        return;
    }
    (void)pthread_mutex_lock(&call->lock);
    call->opened = true;
    call->delivering = true; /* nothing comes before `opened` returns */
    (void)pthread_mutex_unlock(&call->lock);
    if (handler_of(call)->opened != NULL)
        handler_of(call)->opened(call->method->context, call);
    (void)pthread_mutex_lock(&call->lock);
    call->delivering = false;
    call->read_wanted = true;
    pump_read(call);
    (void)pthread_mutex_unlock(&call->lock);
    deliver(call);
}

void lathe_grpc_stream_gone(struct lathe_call *call)
{
    atomic_store(&call->cancelled, true);
    deliver(call);
}

/* Ends a stream that cannot go on: the client gets RESOURCE_EXHAUSTED, the handler a close. */
static void break_stream(struct lathe_call *call, const char *why)
{
    (void)grpc_call_cancel_with_status(call->call, GRPC_STATUS_RESOURCE_EXHAUSTED, why, NULL);
}

void lathe_grpc_stream_received(struct lathe_call *call, bool ok)
{
    (void)pthread_mutex_lock(&call->lock);
    call->reading = false;
    if (ok && call->buffer != NULL) {
        call->arrived_message = lathe_grpc_take_request(call);
        if (!call->arrived_message)
            break_stream(call, "a message in the stream cannot be read");
    } else if (ok && !grpc_call_failed_before_recv_message(call->call)) {
        call->half_closed = true; /* otherwise the client is gone, and the close says so */
    }
    (void)pthread_mutex_unlock(&call->lock);
    deliver(call);
}

void lathe_grpc_stream_sent(struct lathe_call *call, bool ok)
{
    (void)pthread_mutex_lock(&call->lock);
    call->sending = false;
    if (call->first_answer != NULL && call->first_answer->buffer == NULL)
        lathe_free(pop_answer(call));
    if (!ok)
        drop_answers(call); /* the client is gone */
    pump_send(call);
    pump_read(call);
    (void)pthread_mutex_unlock(&call->lock);
}

void lathe_grpc_streams_drain(struct lathe_grpc_server *server)
{
    struct lathe_call *drained = NULL;

    (void)pthread_mutex_lock(&server->lock);
    for (struct lathe_call *call = server->first_stream; call != NULL; call = call->next_stream) {
        lathe_call_acquire(call);
        call->next_drained = drained;
        drained = call;
    }
    (void)pthread_mutex_unlock(&server->lock);
    while (drained != NULL) {
        struct lathe_call *call = drained;

        drained = call->next_drained;
        (void)pthread_mutex_lock(&call->lock);
        call->draining = true;
        (void)pthread_mutex_unlock(&call->lock);
        deliver(call);
        lathe_call_release(call);
    }
}

void lathe_grpc_stream_fini(struct lathe_call *call)
{
    drop_answers(call);
}

/* --- For handlers --- */

void lathe_call_send(struct lathe_call *call, struct lathe_buf *reply)
{
    struct lathe_grpc_answer *answer = NULL;

    if (!reply->failed && reply->size <= LATHE_MAX_MESSAGE_BYTES)
        answer = lathe_zalloc(sizeof(*answer));
    if (answer == NULL) {
        lathe_buf_fini(reply);
        break_stream(call, "an answer in the stream is above the limit or has no memory");
        return;
    }
    answer->size = reply->size;
    answer->buffer = lathe_grpc_pack(reply);
    lathe_budget_charge(call->server->budget, LATHE_MEM_REQUESTS, (int64_t)answer->size);
    (void)pthread_mutex_lock(&call->lock);
    LATHE_REQUIRE(!call->answered);
    if (call->last_answer != NULL)
        call->last_answer->next = answer;
    else
        call->first_answer = answer;
    call->last_answer = answer;
    call->answer_count++;
    call->answer_bytes += answer->size;
    pump_send(call);
    (void)pthread_mutex_unlock(&call->lock);
}

void lathe_call_next(struct lathe_call *call)
{
    lathe_grpc_release_request(call);
    (void)pthread_mutex_lock(&call->lock);
    call->read_wanted = true;
    pump_read(call);
    (void)pthread_mutex_unlock(&call->lock);
}

void lathe_call_finish(struct lathe_call *call, const struct lathe_error *err)
{
    struct lathe_error own = {0};

    list_remove(call);
    lathe_grpc_settle(call);
    lathe_grpc_release_request(call);
    (void)pthread_mutex_lock(&call->lock);
    LATHE_REQUIRE(!call->answered);
    if (call->draining && !call->half_closed && (err == NULL || err->status == LATHE_OK)) {
        /* The client may have sent more than was read: it is not told that all is well. */
        (void)lathe_fail(&own, LATHE_UNAVAILABLE, "the server is stopping");
        err = &own;
    }
    call->answered = true;
    call->status_op = lathe_grpc_status_op(call, err);
    pump_send(call);
    (void)pthread_mutex_unlock(&call->lock);
    lathe_call_release(call);
}
