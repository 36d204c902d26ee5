/* points_stream.c - StreamWrites: requests of one client in order, several in flight, answers in
 * order.
 *
 * Requests are numbered as they come; request n lives in slot n mod STREAM_WINDOW until its answer
 * is sent. The next message is asked for only while a slot is free: that is what slows a fast
 * client down. The handlers run on a completion-queue thread, the ends of writes on the engine
 * thread; `mutex` guards all fields, and lathe_call_send() is called under it so that answers keep
 * their order. */
#include "common/base/check.h"
#include "coordinator/api/points_write.h"

enum { STREAM_WINDOW = 8 };

struct slot {
    struct write_stream *stream;
    struct lathe_write *write; /* in flight, or NULL */
    struct lathe_buf reply;
    bool answered;
};

struct write_stream {
    struct lathe_api *api;
    struct lathe_call *call;
    pthread_mutex_t mutex;
    uint64_t taken; /* requests that came */
    uint64_t sent;  /* answers that left */
    bool wants;     /* the next message was not asked for, since no slot is free */
    bool closed;    /* no more messages will come */
    struct slot slots[STREAM_WINDOW];
};

/* What to do once the mutex is free again. */
struct after {
    bool next;
    bool finish;
};

/* Sends what is next in order. Under the mutex. */
static struct after advance(struct write_stream *stream)
{
    struct after after = {false, false};

    while (stream->sent < stream->taken && stream->slots[stream->sent % STREAM_WINDOW].answered) {
        struct slot *slot = &stream->slots[stream->sent % STREAM_WINDOW];

        lathe_call_send(stream->call, &slot->reply);
        slot->answered = false;
        stream->sent++;
    }
    if (stream->wants && stream->taken - stream->sent < STREAM_WINDOW) {
        stream->wants = false;
        after.next = true;
        lathe_call_acquire(stream->call);
    }
    after.finish = stream->closed && stream->sent == stream->taken;
    return after;
}

/* Without the mutex, which goes with the stream: another thread may free that as soon as it is
 * finished, so the call is held for asking for the next message (of a finished stream, that does
 * nothing). */
static void carry_out(struct lathe_call *call, struct after after)
{
    if (after.finish)
        lathe_call_finish(call, NULL);
    if (after.next) {
        lathe_call_next(call);
        lathe_call_release(call);
    }
}

static void slot_answer(struct slot *slot, struct lathe_buf *reply)
{
    struct write_stream *stream = slot->stream;
    struct lathe_call *call = stream->call;
    struct after after;

    (void)pthread_mutex_lock(&stream->mutex);
    slot->write = NULL;
    slot->reply = *reply;
    *reply = (struct lathe_buf){0};
    slot->answered = true;
    after = advance(stream);
    (void)pthread_mutex_unlock(&stream->mutex);
    carry_out(call, after);
}

static void stream_end(struct lathe_write *write, const struct lathe_error *err,
                       struct lathe_buf *reply)
{
    struct slot *slot = write->owner;

    (void)err; /* the response says it */
    slot_answer(slot, reply);
    lathe_request_close(&write->base);
}

static void slot_refuse(struct slot *slot, uint64_t request_number, const struct lathe_error *err)
{
    struct lathe_buf reply = {0};

    lathe_write_respond_failure(request_number, err, &reply);
    slot_answer(slot, &reply);
}

static uint64_t deadline_of(const struct write_stream *stream)
{
    uint64_t call_us = lathe_call_deadline_us(stream->call);
    uint64_t request_us = lathe_now_us(stream->api->clock) +
                          LATHE_DEFAULT_WRITE_TIMEOUT_MS * 1000ull;

    return call_us < request_us ? call_us : request_us;
}

static void stream_opened(void *context, struct lathe_call *call)
{
    struct write_stream *stream = lathe_zalloc(sizeof(*stream));
    struct lathe_error err;

    if (stream == NULL) {
        (void)lathe_request_no_memory(&err);
        lathe_call_finish(call, &err);
        return;
    }
    stream->api = context;
    stream->call = call;
    (void)pthread_mutex_init(&stream->mutex, NULL);
    for (int i = 0; i < STREAM_WINDOW; i++)
        stream->slots[i].stream = stream;
    lathe_call_set_user(call, stream);
}

/* Takes the next slot. The stream has one free: it asked for this message. */
static struct slot *slot_take(struct write_stream *stream)
{
    struct slot *slot;

    (void)pthread_mutex_lock(&stream->mutex);
    LATHE_REQUIRE(stream->taken - stream->sent < STREAM_WINDOW);
    slot = &stream->slots[stream->taken % STREAM_WINDOW];
    stream->taken++;
    (void)pthread_mutex_unlock(&stream->mutex);
    return slot;
}

static void ask_next(struct write_stream *stream)
{
    struct lathe_call *call = stream->call;
    bool next;

    (void)pthread_mutex_lock(&stream->mutex);
    next = stream->taken - stream->sent < STREAM_WINDOW;
    stream->wants = !next;
    (void)pthread_mutex_unlock(&stream->mutex);
    if (next)
        lathe_call_next(call);
}

static void stream_message(void *context, struct lathe_call *call, struct lathe_bytes message)
{
    struct write_stream *stream = lathe_call_user(call);
    struct slot *slot = slot_take(stream);
    struct lathe_error err = {0};
    struct lathe_write *write = lathe_request_open(context, NULL, sizeof(struct lathe_write),
                                                   message.size);

    if (write == NULL) {
        (void)lathe_request_no_memory(&err);
        slot_refuse(slot, 0, &err);
        ask_next(stream);
        return;
    }
    write->base.scatter.deadline_us = deadline_of(stream);
    write->end = stream_end;
    write->owner = slot;
    (void)pthread_mutex_lock(&stream->mutex);
    slot->write = write; /* before it starts: it may end on the engine thread at once */
    (void)pthread_mutex_unlock(&stream->mutex);
    if (lathe_write_start(write, message, &err) != LATHE_OK) {
        slot_refuse(slot, write->request_number, &err);
        lathe_request_close(&write->base);
    }
    ask_next(stream);
}

/* Nobody waits for the answers of a client that is gone: stop waiting for the shards. */
static void give_up(struct write_stream *stream)
{
    for (int i = 0; i < STREAM_WINDOW; i++) {
        if (stream->slots[i].write != NULL)
            lathe_request_cancel(&stream->slots[i].write->base);
    }
}

static void stream_closed(void *context, struct lathe_call *call, bool half_closed)
{
    struct write_stream *stream = lathe_call_user(call);
    struct after after;

    (void)context;
    if (stream == NULL)
        return; /* it was finished when it opened */
    (void)pthread_mutex_lock(&stream->mutex);
    stream->closed = true;
    stream->wants = false;
    if (!half_closed)
        give_up(stream);
    after = advance(stream);
    (void)pthread_mutex_unlock(&stream->mutex);
    carry_out(call, after);
}

static void stream_destroyed(void *context, struct lathe_call *call)
{
    struct write_stream *stream = lathe_call_user(call);

    (void)context;
    if (stream == NULL)
        return;
    for (int i = 0; i < STREAM_WINDOW; i++)
        lathe_buf_fini(&stream->slots[i].reply);
    (void)pthread_mutex_destroy(&stream->mutex);
    lathe_free(stream);
}

const struct lathe_stream_handler lathe_api_stream_writes = {
    .opened = stream_opened,
    .message = stream_message,
    .closed = stream_closed,
    .destroyed = stream_destroyed,
};
