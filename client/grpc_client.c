/* grpc_client.c - see grpc_client.h. The only file of the client that sees gRPC.
 *
 * A unary call is one batch on a completion queue of its own, which is plucked: the event is taken
 * up by the thread that waits for it, without a hand-over. A stream has a queue too, and whoever
 * uses the stream takes up its events one after the other. */
#include "client/grpc_client.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <stdio.h>

#include "client/status_details.h"
#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/mem.h"

struct lathe_channel {
    grpc_channel *channel;
};

/* --- The channel --- */

static grpc_arg integer(const char *key, int value)
{
    grpc_arg arg = {.type = GRPC_ARG_INTEGER, .key = (char *)key};

    arg.value.integer = value;
    return arg;
}

static grpc_channel *create_channel(const char *address)
{
    grpc_arg list[] = {
        integer(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, (int)LATHE_MAX_MESSAGE_BYTES),
        integer(GRPC_ARG_ENABLE_RETRIES, 0), /* they are ours */
        integer(GRPC_ARG_ENABLE_HTTP_PROXY, 0),
        /* Every client has a connection of its own. */
        integer(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1),
        /* A server that is being restarted should be found soon. */
        integer(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50),
        integer(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000),
        /* A server whose machine vanished fails the calls that wait for it. */
        integer(GRPC_ARG_KEEPALIVE_TIME_MS, 30000),
        integer(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000),
    };
    grpc_channel_args args = {sizeof(list) / sizeof(list[0]), list};
    grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
    grpc_channel *channel = grpc_channel_create(address, credentials, &args);

    grpc_channel_credentials_release(credentials);
    return channel;
}

struct lathe_channel *lathe_channel_open(const char *address)
{
    struct lathe_channel *channel = lathe_zalloc(sizeof(*channel));

    if (channel == NULL)
        return NULL;
    grpc_init();
    channel->channel = create_channel(address);
    return channel;
}

void lathe_channel_close(struct lathe_channel *channel)
{
    if (channel == NULL)
        return;
    grpc_channel_destroy(channel->channel);
    grpc_shutdown_blocking();
    lathe_free(channel);
}

/* --- What both kinds of calls receive at their end --- */

struct ending {
    grpc_metadata_array metadata;
    grpc_status_code status;
    grpc_slice text;
};

static void ending_init(struct ending *ending)
{
    grpc_metadata_array_init(&ending->metadata);
    ending->status = GRPC_STATUS_UNKNOWN;
    ending->text = grpc_empty_slice();
}

static void ending_fini(struct ending *ending)
{
    grpc_metadata_array_destroy(&ending->metadata);
    grpc_slice_unref(ending->text);
}

static grpc_op ending_op(struct ending *ending)
{
    grpc_op op = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT};

    op.data.recv_status_on_client.trailing_metadata = &ending->metadata;
    op.data.recv_status_on_client.status = &ending->status;
    op.data.recv_status_on_client.status_details = &ending->text;
    return op;
}

/* The status that came, as ours. */
static enum lathe_status ending_status(const struct ending *ending, struct lathe_error *err)
{
    enum lathe_status status = lathe_status_from_number((uint32_t)ending->status);
    size_t size = GRPC_SLICE_LENGTH(ending->text);

    if (status == LATHE_OK)
        return LATHE_OK;
    (void)lathe_fail(err, status, "%.*s", size < LATHE_ERROR_MESSAGE_BYTES ? (int)size : 511,
                     (const char *)GRPC_SLICE_START_PTR(ending->text));
    for (size_t i = 0; err != NULL && i < ending->metadata.count; i++) {
        const grpc_metadata *entry = &ending->metadata.metadata[i];

        if (grpc_slice_str_cmp(entry->key, "grpc-status-details-bin") == 0)
            lathe_status_details_decode(
                lathe_bytes_of(GRPC_SLICE_START_PTR(entry->value), GRPC_SLICE_LENGTH(entry->value)),
                err);
    }
    return status;
}

static grpc_byte_buffer *pack(struct lathe_bytes bytes)
{
    grpc_slice slice = grpc_slice_from_copied_buffer((const char *)bytes.data, bytes.size);
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);

    grpc_slice_unref(slice);
    return buffer;
}

/* Copies a received message out. */
static enum lathe_status unpack(grpc_byte_buffer *buffer, struct lathe_buf *out,
                                struct lathe_error *err)
{
    grpc_byte_buffer_reader reader;
    grpc_slice slice;

    if (!grpc_byte_buffer_reader_init(&reader, buffer))
        return lathe_fail(err, LATHE_INTERNAL, "the reply's bytes cannot be read");
    (void)lathe_buf_extend(out, grpc_byte_buffer_length(buffer)); /* room for it in one piece */
    out->size = 0;
    while (grpc_byte_buffer_reader_next(&reader, &slice)) {
        lathe_buf_append(out, GRPC_SLICE_START_PTR(slice), GRPC_SLICE_LENGTH(slice));
        grpc_slice_unref(slice);
    }
    grpc_byte_buffer_reader_destroy(&reader);
    if (out->failed)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a reply of %zu bytes",
                          grpc_byte_buffer_length(buffer));
    return LATHE_OK;
}

static void destroy_queue(grpc_completion_queue *queue)
{
    grpc_completion_queue_shutdown(queue);
    grpc_completion_queue_destroy(queue);
}

static gpr_timespec after_ms(uint32_t ms)
{
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(ms, GPR_TIMESPAN));
}

static grpc_call *create_call(struct lathe_channel *channel, grpc_completion_queue *queue,
                              const char *path, gpr_timespec deadline)
{
    grpc_slice method = grpc_slice_from_copied_string(path);
    grpc_call *call = grpc_channel_create_call(channel->channel, NULL, GRPC_PROPAGATE_DEFAULTS,
                                               queue, method, NULL, deadline, NULL);

    grpc_slice_unref(method);
    return call;
}

/* --- Unary --- */

/* Runs the call's one batch to its end. *reply_out may stay NULL. */
static void run_batch(grpc_call *call, grpc_completion_queue *queue, grpc_byte_buffer *message,
                      struct ending *ending, grpc_byte_buffer **reply_out)
{
    grpc_op ops[6] = {
        {.op = GRPC_OP_SEND_INITIAL_METADATA},  {.op = GRPC_OP_SEND_MESSAGE},
        {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT}, {.op = GRPC_OP_RECV_INITIAL_METADATA},
        {.op = GRPC_OP_RECV_MESSAGE},           ending_op(ending),
    };
    grpc_metadata_array first;
    grpc_call_error error;

    grpc_metadata_array_init(&first);
    ops[1].data.send_message.send_message = message;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &first;
    ops[4].data.recv_message.recv_message = reply_out;
    error = grpc_call_start_batch(call, ops, 6, call, NULL);
    LATHE_REQUIRE(error == GRPC_CALL_OK);
    (void)grpc_completion_queue_pluck(queue, call, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    grpc_metadata_array_destroy(&first);
}

enum lathe_status lathe_channel_call(struct lathe_channel *channel, const char *path,
                                     struct lathe_bytes request, uint32_t timeout_ms,
                                     struct lathe_buf *reply, struct lathe_error *err)
{
    grpc_completion_queue *queue = grpc_completion_queue_create_for_pluck(NULL);
    grpc_call *call = create_call(channel, queue, path,
                                  timeout_ms == UINT32_MAX ? gpr_inf_future(GPR_CLOCK_MONOTONIC)
                                                           : after_ms(timeout_ms));
    grpc_byte_buffer *message = pack(request);
    grpc_byte_buffer *received = NULL;
    struct ending ending;
    enum lathe_status status;

    ending_init(&ending);
    run_batch(call, queue, message, &ending, &received);
    status = ending_status(&ending, err);
    if (status == LATHE_OK && received == NULL)
        status = lathe_fail(err, LATHE_INTERNAL, "%s was answered without a message", path);
    else if (status == LATHE_OK)
        status = unpack(received, reply, err);
    if (received != NULL)
        grpc_byte_buffer_destroy(received);
    grpc_byte_buffer_destroy(message);
    ending_fini(&ending);
    grpc_call_unref(call);
    destroy_queue(queue);
    return status;
}

/* --- Streams --- */

enum { FINISH_WAIT_MS = 2000 };

struct received {
    struct received *next;
    struct lathe_buf bytes;
};

struct lathe_channel_stream {
    grpc_completion_queue *queue;
    grpc_call *call;
    grpc_metadata_array first_metadata;
    grpc_byte_buffer *buffer; /* where gRPC puts what it receives */
    struct ending ending;
    bool opening, sending, receiving, closing; /* operations in flight; each field is its tag */
    struct received *first, *last;
    struct lathe_error trouble; /* of receiving: memory */
};

static void start(struct lathe_channel_stream *stream, const grpc_op *ops, size_t count, bool *tag)
{
    *tag = true;
    LATHE_REQUIRE(grpc_call_start_batch(stream->call, ops, count, tag, NULL) == GRPC_CALL_OK);
}

static void start_receive(struct lathe_channel_stream *stream)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};

    op.data.recv_message.recv_message = &stream->buffer;
    start(stream, &op, 1, &stream->receiving);
}

static void keep_received(struct lathe_channel_stream *stream)
{
    struct received *received = lathe_zalloc(sizeof(*received));

    if (received == NULL) {
        (void)lathe_fail(&stream->trouble, LATHE_RESOURCE_EXHAUSTED, "no memory for an answer");
        return;
    }
    (void)unpack(stream->buffer, &received->bytes, &stream->trouble);
    if (stream->last != NULL)
        stream->last->next = received;
    else
        stream->first = received;
    stream->last = received;
}

/* Takes one event up. False: until_us passed. */
static bool step(struct lathe_channel_stream *stream, gpr_timespec until)
{
    grpc_event event = grpc_completion_queue_next(stream->queue, until, NULL);
    bool *tag = event.tag;

    if (event.type != GRPC_OP_COMPLETE)
        return false;
    *tag = false;
    if (tag == &stream->receiving && stream->buffer != NULL) {
        keep_received(stream);
        grpc_byte_buffer_destroy(stream->buffer);
        stream->buffer = NULL;
        start_receive(stream);
    }
    return true;
}

static void wait_step(struct lathe_channel_stream *stream)
{
    (void)step(stream, gpr_inf_future(GPR_CLOCK_MONOTONIC));
}

/* The failure that ended the stream. */
static enum lathe_status stream_failure(struct lathe_channel_stream *stream,
                                        struct lathe_error *err)
{
    enum lathe_status status;

    if (stream->trouble.status != LATHE_OK) {
        if (err != NULL)
            *err = stream->trouble;
        return stream->trouble.status;
    }
    while (stream->closing)
        wait_step(stream);
    status = ending_status(&stream->ending, err);
    return status != LATHE_OK ? status
                              : lathe_fail(err, LATHE_UNAVAILABLE, "the server ended the stream");
}

enum lathe_status lathe_channel_stream_open(struct lathe_channel *channel, const char *path,
                                            struct lathe_channel_stream **stream_out,
                                            struct lathe_error *err)
{
    struct lathe_channel_stream *stream = lathe_zalloc(sizeof(*stream));
    grpc_op ops[2] = {{.op = GRPC_OP_SEND_INITIAL_METADATA}, {.op = GRPC_OP_RECV_INITIAL_METADATA}};
    grpc_op end;

    if (stream == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a stream");
    stream->queue = grpc_completion_queue_create_for_next(NULL);
    stream->call = create_call(channel, stream->queue, path, gpr_inf_future(GPR_CLOCK_MONOTONIC));
    grpc_metadata_array_init(&stream->first_metadata);
    ending_init(&stream->ending);
    end = ending_op(&stream->ending);
    start(stream, &end, 1, &stream->closing);
    ops[1].data.recv_initial_metadata.recv_initial_metadata = &stream->first_metadata;
    start(stream, ops, 2, &stream->opening);
    start_receive(stream);
    *stream_out = stream;
    return LATHE_OK;
}

enum lathe_status lathe_channel_stream_send(struct lathe_channel_stream *stream,
                                            struct lathe_bytes message, struct lathe_error *err)
{
    grpc_byte_buffer *buffer;
    grpc_op op = {.op = GRPC_OP_SEND_MESSAGE};

    if (!stream->closing || stream->trouble.status != LATHE_OK)
        return stream_failure(stream, err);
    buffer = pack(message);
    op.data.send_message.send_message = buffer;
    start(stream, &op, 1, &stream->sending);
    grpc_byte_buffer_destroy(buffer);
    while (stream->sending)
        wait_step(stream);
    /* A message that could not be sent shows in the status, which receive() reports. */
    return LATHE_OK;
}

enum lathe_status lathe_channel_stream_receive(struct lathe_channel_stream *stream,
                                               struct lathe_buf *message_out,
                                               struct lathe_error *err)
{
    struct received *received;

    while (stream->first == NULL && stream->receiving)
        wait_step(stream);
    received = stream->first;
    if (received == NULL || received->bytes.failed)
        return stream_failure(stream, err);
    stream->first = received->next;
    if (stream->first == NULL)
        stream->last = NULL;
    *message_out = received->bytes;
    lathe_free(received);
    return LATHE_OK;
}

/* Tells the server that nothing more comes, and gives it a moment to say good-bye. */
static void finish_stream(struct lathe_channel_stream *stream)
{
    grpc_op op = {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT};
    gpr_timespec until = after_ms(FINISH_WAIT_MS);

    start(stream, &op, 1, &stream->sending);
    while (stream->closing && step(stream, until))
        continue;
}

void lathe_channel_stream_close(struct lathe_channel_stream *stream, bool finish)
{
    if (stream == NULL)
        return;
    if (finish && stream->closing)
        finish_stream(stream);
    if (stream->closing)
        (void)grpc_call_cancel(stream->call, NULL);
    while (stream->opening || stream->sending || stream->receiving || stream->closing)
        wait_step(stream);
    grpc_call_unref(stream->call);
    grpc_completion_queue_shutdown(stream->queue);
    while (step(stream, gpr_inf_future(GPR_CLOCK_MONOTONIC)))
        continue;
    grpc_completion_queue_destroy(stream->queue);
    while (stream->first != NULL) {
        struct received *received = stream->first;

        stream->first = received->next;
        lathe_buf_fini(&received->bytes);
        lathe_free(received);
    }
    grpc_metadata_array_destroy(&stream->first_metadata);
    ending_fini(&stream->ending);
    lathe_free(stream);
}
