/* grpc_details.c - see grpc_details.h. */
#include "coordinator/grpc/grpc_details.h"

#include <google/protobuf/duration.pb-c.h>
#include <google/rpc/error_details.pb-c.h>
#include <google/rpc/status.pb-c.h>

bool lathe_grpc_has_details(const struct lathe_error *err)
{
    return err->field[0] != '\0' || err->retry_after_ms > 0;
}

/* Packs a detail as google.protobuf.Any. False when memory is short. */
static bool pack_any(const ProtobufCMessage *detail, const char *type_url, struct lathe_buf *bytes,
                     Google__Protobuf__Any *any)
{
    uint8_t *room = lathe_buf_extend(bytes, protobuf_c_message_get_packed_size(detail));

    if (room == NULL)
        return false;
    google__protobuf__any__init(any);
    any->type_url = (char *)type_url;
    any->value.len = protobuf_c_message_pack(detail, room);
    any->value.data = room;
    return true;
}

static bool pack_bad_request(const struct lathe_error *err, struct lathe_buf *bytes,
                             Google__Protobuf__Any *any)
{
    Google__Rpc__BadRequest__FieldViolation violation =
        GOOGLE__RPC__BAD_REQUEST__FIELD_VIOLATION__INIT;
    Google__Rpc__BadRequest__FieldViolation *violations[] = {&violation};
    Google__Rpc__BadRequest bad = GOOGLE__RPC__BAD_REQUEST__INIT;

    violation.field = (char *)err->field;
    violation.description = (char *)err->message;
    bad.n_field_violations = 1;
    bad.field_violations = violations;
    return pack_any(&bad.base, "type.googleapis.com/google.rpc.BadRequest", bytes, any);
}

static bool pack_retry(const struct lathe_error *err, struct lathe_buf *bytes,
                       Google__Protobuf__Any *any)
{
    Google__Protobuf__Duration delay = GOOGLE__PROTOBUF__DURATION__INIT;
    Google__Rpc__RetryInfo retry = GOOGLE__RPC__RETRY_INFO__INIT;

    delay.seconds = err->retry_after_ms / 1000;
    delay.nanos = (int32_t)(err->retry_after_ms % 1000) * 1000000;
    retry.retry_delay = &delay;
    return pack_any(&retry.base, "type.googleapis.com/google.rpc.RetryInfo", bytes, any);
}

void lathe_grpc_details_encode(const struct lathe_error *err, struct lathe_buf *buf)
{
    Google__Rpc__Status status = GOOGLE__RPC__STATUS__INIT;
    Google__Protobuf__Any any[2];
    Google__Protobuf__Any *details[2] = {&any[0], &any[1]};
    struct lathe_buf bytes[2] = {{0}, {0}};
    uint8_t *room;
    size_t count = 0;

    if (err->field[0] != '\0' && pack_bad_request(err, &bytes[count], &any[count]))
        count++;
    if (err->retry_after_ms > 0 && pack_retry(err, &bytes[count], &any[count]))
        count++;
    status.code = (int32_t)err->status;
    status.message = (char *)err->message;
    status.n_details = count;
    status.details = details;
    room = lathe_buf_extend(buf, google__rpc__status__get_packed_size(&status));
    if (room != NULL)
        (void)google__rpc__status__pack(&status, room);
    lathe_buf_fini(&bytes[0]);
    lathe_buf_fini(&bytes[1]);
}

/* Bytes of the UTF-8 character at `text`, 0 if there is none. */
static size_t character_size(const char *text)
{
    size_t left = strnlen(text, 4);

    for (size_t size = 1; size <= left; size++)
        if (lathe_utf8_valid(lathe_bytes_of(text, size)))
            return size;
    return 0;
}

void lathe_grpc_text_clean(char *text)
{
    while (*text != '\0') {
        size_t size = character_size(text);

        if (size == 0)
            *text = '?';
        text += size > 0 ? size : 1;
    }
}
