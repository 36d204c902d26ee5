/* status_details.c - see status_details.h. */
#include "client/status_details.h"

#include <google/protobuf/duration.pb-c.h>
#include <google/rpc/error_details.pb-c.h>
#include <google/rpc/status.pb-c.h>
#include <stdio.h>

#include "common/net/message.h"

static void read_bad_request(struct lathe_bytes bytes, struct lathe_arena *arena,
                             struct lathe_error *err)
{
    const Google__Rpc__BadRequest *bad;
    ProtobufCMessage *message;

    if (lathe_message_decode(&google__rpc__bad_request__descriptor, bytes, arena, &message, NULL) !=
        LATHE_OK)
        return;
    bad = (const Google__Rpc__BadRequest *)message;
    if (bad->n_field_violations > 0)
        (void)snprintf(err->field, sizeof(err->field), "%s", bad->field_violations[0]->field);
}

static void read_retry(struct lathe_bytes bytes, struct lathe_arena *arena, struct lathe_error *err)
{
    const Google__Protobuf__Duration *delay;
    ProtobufCMessage *message;
    int64_t ms;

    if (lathe_message_decode(&google__rpc__retry_info__descriptor, bytes, arena, &message, NULL) !=
        LATHE_OK)
        return;
    delay = ((const Google__Rpc__RetryInfo *)message)->retry_delay;
    if (delay == NULL || delay->seconds < 0 || delay->nanos < 0)
        return;
    ms = delay->seconds > 3600 ? 3600 * 1000 : delay->seconds * 1000 + delay->nanos / 1000000;
    err->retry_after_ms = (uint32_t)ms;
}

void lathe_status_details_decode(struct lathe_bytes details, struct lathe_error *err)
{
    struct lathe_arena arena = {0};
    const Google__Rpc__Status *status;
    ProtobufCMessage *message;

    if (lathe_message_decode(&google__rpc__status__descriptor, details, &arena, &message, NULL) !=
        LATHE_OK) {
        lathe_arena_fini(&arena);
        return;
    }
    status = (const Google__Rpc__Status *)message;
    for (size_t i = 0; i < status->n_details; i++) {
        const Google__Protobuf__Any *any = status->details[i];
        struct lathe_bytes bytes = lathe_bytes_of(any->value.data, any->value.len);

        if (strcmp(any->type_url, "type.googleapis.com/google.rpc.BadRequest") == 0)
            read_bad_request(bytes, &arena, err);
        else if (strcmp(any->type_url, "type.googleapis.com/google.rpc.RetryInfo") == 0)
            read_retry(bytes, &arena, err);
    }
    lathe_arena_fini(&arena);
}
