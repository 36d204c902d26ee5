/* client.c - see lathe.h: connections, unary calls and their retries. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>

#include "client/client_internal.h"
#include "common/base/clock.h"
#include "common/base/hash.h"
#include "common/base/id.h"
#include "common/base/mem.h"
#include "common/net/message.h"

enum { BACKOFF_FIRST_MS = 25, BACKOFF_MAX_MS = 1000 };

enum lathe_status lathe_client_open(const char *address, struct lathe_client **client_out,
                                    struct lathe_error *err)
{
    struct lathe_client *client = lathe_zalloc(sizeof(*client));

    if (client == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a client");
    if (!lathe_hash_init()) {
        lathe_free(client);
        return lathe_fail(err, LATHE_INTERNAL, "the system gives no random bytes");
    }
    client->channel = lathe_channel_open(address);
    if (client->channel == NULL) {
        lathe_free(client);
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a connection");
    }
    lathe_uuid_new(lathe_wall_ms(&lathe_system_clock), client->id);
    atomic_init(&client->next_request, 1);
    *client_out = client;
    return LATHE_OK;
}

void lathe_client_close(struct lathe_client **client_p)
{
    struct lathe_client *client = *client_p;

    if (client == NULL)
        return;
    *client_p = NULL;
    lathe_channel_close(client->channel);
    lathe_free(client);
}

const uint8_t *lathe_client_id(const struct lathe_client *client)
{
    return client->id;
}

uint64_t lathe_client_next_request(struct lathe_client *client)
{
    return atomic_fetch_add(&client->next_request, 1);
}

/* --- Replies --- */

/* A reply's message as the caller has it, with the arena that all it points to lives in. */
struct reply {
    struct lathe_arena arena;
    _Alignas(16) uint8_t message[];
};

enum lathe_status lathe_client_decode(const ProtobufCMessageDescriptor *type,
                                      struct lathe_bytes bytes, ProtobufCMessage **reply_out,
                                      struct lathe_error *err)
{
    struct reply *reply = lathe_alloc(sizeof(*reply) + type->sizeof_message);
    struct lathe_error why = {0};
    ProtobufCMessage *message;

    if (reply == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a reply");
    lathe_arena_init(&reply->arena, 0);
    if (lathe_message_decode(type, bytes, &reply->arena, &message, &why) != LATHE_OK) {
        lathe_arena_fini(&reply->arena);
        lathe_free(reply);
        return lathe_fail(err, LATHE_INTERNAL, "the reply is no %s: %.300s", type->name,
                          why.message);
    }
    /* A copy beside the arena, so that the arena is found when only the message is given back. */
    memcpy(reply->message, message, type->sizeof_message);
    *reply_out = (ProtobufCMessage *)(void *)reply->message;
    return LATHE_OK;
}

void lathe_client_free_reply(ProtobufCMessage *message)
{
    struct reply *reply;

    if (message == NULL)
        return;
    reply = (struct reply *)(void *)((uint8_t *)message - offsetof(struct reply, message));
    lathe_arena_fini(&reply->arena);
    lathe_free(reply);
}

/* --- Calls --- */

/* The pause before the next try: the backoff, half of it random so that clients spread out, but not
 * less than the server asked for. */
static uint64_t pause_us(uint32_t backoff_ms, const struct lathe_error *err)
{
    uint64_t backoff_us = (uint64_t)backoff_ms * 1000u;
    uint32_t random;

    lathe_random(&random, sizeof(random));
    backoff_us = backoff_us / 2 + random % (backoff_us / 2);
    if (backoff_us < (uint64_t)err->retry_after_ms * 1000u)
        backoff_us = (uint64_t)err->retry_after_ms * 1000u;
    return backoff_us;
}

static void wait_us(uint64_t us)
{
    struct timespec pause = {(time_t)(us / 1000000u), (long)(us % 1000000u) * 1000};

    while (nanosleep(&pause, &pause) != 0)
        continue;
}

/* The server was not there, or it broke the call off while stopping: this client itself never
 * cancels a call, so CANCELLED can mean nothing else. */
static bool worth_another_try(enum lathe_status status)
{
    return status == LATHE_UNAVAILABLE || status == LATHE_CANCELLED;
}

/* Tries until there is a real answer, or the time is over. */
static enum lathe_status call_with_retries(struct lathe_client *client, const char *path,
                                           struct lathe_bytes request, uint32_t timeout_ms,
                                           struct lathe_buf *reply, struct lathe_error *err)
{
    uint64_t now_us = lathe_now_us(&lathe_system_clock);
    uint64_t end_us = now_us + (uint64_t)timeout_ms * 1000u;
    uint32_t backoff_ms = BACKOFF_FIRST_MS;

    for (;;) {
        uint32_t left_ms = (uint32_t)((end_us - now_us + 999u) / 1000u);
        enum lathe_status status = lathe_channel_call(client->channel, path, request, left_ms,
                                                      reply, err);
        uint64_t pause;

        if (!worth_another_try(status))
            return status;
        pause = pause_us(backoff_ms, err);
        now_us = lathe_now_us(&lathe_system_clock);
        if (now_us + pause >= end_us)
            return status;
        wait_us(pause);
        now_us += pause;
        lathe_buf_clear(reply);
        backoff_ms = backoff_ms * 2 < BACKOFF_MAX_MS ? backoff_ms * 2 : BACKOFF_MAX_MS;
    }
}

enum lathe_status lathe_client_call(struct lathe_client *client, const char *path,
                                    const ProtobufCMessage *request,
                                    const ProtobufCMessageDescriptor *reply_type,
                                    uint32_t timeout_ms, ProtobufCMessage **reply_out,
                                    struct lathe_error *err)
{
    struct lathe_buf bytes = {0}, reply = {0};
    struct lathe_error own = {0};
    enum lathe_status status;

    lathe_message_encode(request, &bytes);
    if (bytes.failed)
        status = lathe_fail(&own, LATHE_RESOURCE_EXHAUSTED, "no memory for the request");
    else
        status = call_with_retries(client, path, lathe_buf_view(&bytes), timeout_ms, &reply, &own);
    if (status == LATHE_OK)
        status = lathe_client_decode(reply_type, lathe_buf_view(&reply), reply_out, &own);
    if (status != LATHE_OK && err != NULL)
        *err = own;
    lathe_buf_fini(&bytes);
    lathe_buf_fini(&reply);
    return status;
}
