/* fake_client.c - see fake_client.h. */
#include "tests/unit/cli/fake_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"

enum { WINDOW_MOST = 64, RESULTS_MOST = 1024 };

struct lathe_client {
    uint8_t id[16];
    uint64_t request;
};

struct lathe_write_stream {
    ProtobufCMessage *answers[WINDOW_MOST];
    uint32_t first, count, window;
    bool broken;
};

struct fake_server fake;
static ProtobufCMessage *reply;

void fake_reset(void)
{
    memset(&fake, 0, sizeof(fake));
    fake.broken_status = LATHE_UNAVAILABLE;
}

static ProtobufCMessage *copy_of(const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = malloc(size + 1);
    ProtobufCMessage *copy;

    (void)protobuf_c_message_pack(message, bytes);
    copy = protobuf_c_message_unpack(message->descriptor, NULL, size, bytes);
    free(bytes);
    LATHE_REQUIRE(copy != NULL);
    return copy;
}

void fake_reply(const ProtobufCMessage *message)
{
    reply = copy_of(message);
}

enum lathe_status lathe_client_open(const char *address, struct lathe_client **client_out,
                                    struct lathe_error *err)
{
    (void)err;
    (void)snprintf(fake.address, sizeof(fake.address), "%s", address);
    fake.clients++;
    *client_out = calloc(1, sizeof(**client_out));
    memset((*client_out)->id, 0xC1, 16);
    return LATHE_OK;
}

void lathe_client_close(struct lathe_client **client_p)
{
    if (*client_p != NULL)
        fake.clients--;
    free(*client_p);
    *client_p = NULL;
}

enum lathe_status lathe_client_call(struct lathe_client *client, const char *path,
                                    const ProtobufCMessage *request,
                                    const ProtobufCMessageDescriptor *reply_type,
                                    uint32_t timeout_ms, ProtobufCMessage **reply_out,
                                    struct lathe_error *err)
{
    enum lathe_status rc;

    LATHE_REQUIRE(client != NULL);
    LATHE_REQUIRE(fake.call != NULL);
    fake.timeout_ms = timeout_ms;
    reply = NULL;
    *reply_out = NULL;
    rc = fake.call(path, request, err);
    if (rc == LATHE_OK) {
        LATHE_REQUIRE(reply != NULL);
        LATHE_REQUIRE(reply->descriptor == reply_type);
        *reply_out = reply;
    }
    return rc;
}

void lathe_client_free_reply(ProtobufCMessage *message)
{
    protobuf_c_message_free_unpacked(message, NULL);
}

const uint8_t *lathe_client_id(const struct lathe_client *client)
{
    return client->id;
}

uint64_t lathe_client_next_request(struct lathe_client *client)
{
    return ++client->request;
}

enum lathe_status lathe_write_stream_open(struct lathe_client *client, uint32_t window,
                                          struct lathe_write_stream **stream_out,
                                          struct lathe_error *err)
{
    (void)err;
    LATHE_REQUIRE(client != NULL);
    LATHE_REQUIRE(window <= WINDOW_MOST);
    *stream_out = calloc(1, sizeof(**stream_out));
    (*stream_out)->window = window;
    fake.streams++;
    fake.streams_opened++;
    return LATHE_OK;
}

static enum lathe_status broken(struct lathe_write_stream *stream, struct lathe_error *err)
{
    stream->broken = true;
    return lathe_fail(err, fake.broken_status, "the connection was lost");
}

enum lathe_status lathe_write_stream_send(struct lathe_write_stream *stream, const uint8_t *bytes,
                                          size_t size, struct lathe_error *err)
{
    Lathe__V1__WriteResult results[RESULTS_MOST], *pointers[RESULTS_MOST];
    Lathe__V1__WritePointsResponse response = LATHE__V1__WRITE_POINTS_RESPONSE__INIT;
    Lathe__V1__WritePointsRequest *request;

    LATHE_REQUIRE(stream->count < stream->window);
    if (stream->broken)
        return broken(stream, err);
    request = lathe__v1__write_points_request__unpack(NULL, size, bytes);
    LATHE_REQUIRE(request != NULL);
    LATHE_REQUIRE(request->n_operations <= RESULTS_MOST);
    for (size_t i = 0; i < request->n_operations; i++) {
        lathe__v1__write_result__init(&results[i]);
        results[i].outcome = LATHE__V1__OUTCOME__OUTCOME_APPLIED;
        pointers[i] = &results[i];
    }
    response.request_number = request->request_number;
    response.results = pointers;
    response.n_results = request->n_operations;
    if (!fake.write(request, &response)) {
        lathe__v1__write_points_request__free_unpacked(request, NULL);
        return broken(stream, err);
    }
    stream->answers[(stream->first + stream->count++) % WINDOW_MOST] = copy_of(&response.base);
    if (stream->count > fake.pending_most)
        fake.pending_most = stream->count;
    lathe__v1__write_points_request__free_unpacked(request, NULL);
    return LATHE_OK;
}

uint32_t lathe_write_stream_pending(const struct lathe_write_stream *stream)
{
    return stream->count;
}

enum lathe_status lathe_write_stream_receive(struct lathe_write_stream *stream,
                                             ProtobufCMessage **reply_out, struct lathe_error *err)
{
    *reply_out = NULL;
    if (stream->broken || stream->count == 0 || (fake.answer != NULL && !fake.answer()))
        return broken(stream, err);
    *reply_out = stream->answers[stream->first];
    stream->first = (stream->first + 1) % WINDOW_MOST;
    stream->count--;
    return LATHE_OK;
}

void lathe_write_stream_close(struct lathe_write_stream **stream_p)
{
    struct lathe_write_stream *stream = *stream_p;

    *stream_p = NULL;
    if (stream == NULL)
        return;
    for (; stream->count > 0; stream->count--) {
        lathe_client_free_reply(stream->answers[stream->first]);
        stream->first = (stream->first + 1) % WINDOW_MOST;
    }
    fake.streams--;
    free(stream);
}
