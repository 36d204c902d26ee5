/* write_stream.c - see lathe.h: a window of unanswered writes over one stream. */
#include <inttypes.h>
#include <lathe/v1/points.pb-c.h>

#include "client/client_internal.h"
#include "common/base/check.h"
#include "common/base/mem.h"

struct lathe_write_stream {
    struct lathe_channel_stream *stream;
    uint32_t window;
    uint32_t pending;
    bool broken;
};

enum lathe_status lathe_write_stream_open(struct lathe_client *client, uint32_t window,
                                          struct lathe_write_stream **stream_out,
                                          struct lathe_error *err)
{
    struct lathe_write_stream *stream = lathe_zalloc(sizeof(*stream));
    enum lathe_status status;

    LATHE_REQUIRE(window > 0);
    if (stream == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a stream");
    stream->window = window;
    status = lathe_channel_stream_open(client->channel, "/lathe.v1.PointService/StreamWrites",
                                       &stream->stream, err);
    if (status != LATHE_OK)
        lathe_free(stream);
    else
        *stream_out = stream;
    return status;
}

enum lathe_status lathe_write_stream_send(struct lathe_write_stream *stream, const uint8_t *request,
                                          size_t size, struct lathe_error *err)
{
    enum lathe_status status;

    if (stream->pending == stream->window)
        return lathe_fail(err, LATHE_FAILED_PRECONDITION,
                          "the stream has its window of %" PRIu32 " requests unanswered",
                          stream->window);
    status = lathe_channel_stream_send(stream->stream, lathe_bytes_of(request, size), err);
    if (status == LATHE_OK)
        stream->pending++;
    else
        stream->broken = true;
    return status;
}

uint32_t lathe_write_stream_pending(const struct lathe_write_stream *stream)
{
    return stream->pending;
}

enum lathe_status lathe_write_stream_receive(struct lathe_write_stream *stream,
                                             ProtobufCMessage **reply_out, struct lathe_error *err)
{
    struct lathe_buf bytes = {0};
    enum lathe_status status;

    if (stream->pending == 0)
        return lathe_fail(err, LATHE_FAILED_PRECONDITION, "the stream has no request unanswered");
    status = lathe_channel_stream_receive(stream->stream, &bytes, err);
    if (status == LATHE_OK)
        status = lathe_client_decode(&lathe__v1__write_points_response__descriptor,
                                     lathe_buf_view(&bytes), reply_out, err);
    lathe_buf_fini(&bytes);
    if (status == LATHE_OK)
        stream->pending--;
    else
        stream->broken = true;
    return status;
}

void lathe_write_stream_close(struct lathe_write_stream **stream_p)
{
    struct lathe_write_stream *stream = *stream_p;

    if (stream == NULL)
        return;
    *stream_p = NULL;
    lathe_channel_stream_close(stream->stream, !stream->broken && stream->pending == 0);
    lathe_free(stream);
}
