/* wire_id.c - see wire_id.h. */
#include "cli/wire_id.h"

#include <inttypes.h>

void lathe_wire_id_set(struct lathe_wire_id *id, const struct lathe_idkey *key)
{
    struct lathe_bytes view = lathe_idkey_view(key);

    lathe__v1__point_id__init(&id->message);
    lathe_idkey_format(view, id->text);
    switch (lathe_idkey_kind(view)) {
    case LATHE_ID_NUMBER:
        id->message.id_case = LATHE__V1__POINT_ID__ID_NUMBER;
        id->message.number = lathe_idkey_as_number(view);
        return;
    case LATHE_ID_UUID:
        id->message.id_case = LATHE__V1__POINT_ID__ID_UUID;
        id->message.uuid = id->text;
        return;
    case LATHE_ID_STRING:
        id->message.id_case = LATHE__V1__POINT_ID__ID_STRING;
        id->message.string = id->text;
        return;
    }
}

void lathe_wire_id_text(const Lathe__V1__PointId *message, struct lathe_buf *out)
{
    struct lathe_idkey key;

    switch (message != NULL ? message->id_case : LATHE__V1__POINT_ID__ID__NOT_SET) {
    case LATHE__V1__POINT_ID__ID_NUMBER:
        lathe_buf_printf(out, "%" PRIu64, message->number);
        return;
    case LATHE__V1__POINT_ID__ID_UUID:
        lathe_buf_text(out, message->uuid);
        return;
    case LATHE__V1__POINT_ID__ID_STRING:
        /* "7" as a string is another id than 7. */
        if (lathe_idkey_parse(message->string, &key, NULL) != LATHE_OK ||
            lathe_idkey_kind(lathe_idkey_view(&key)) != LATHE_ID_STRING ||
            strncmp(message->string, "str:", 4) == 0)
            lathe_buf_text(out, "str:");
        lathe_buf_text(out, message->string);
        return;
    default:
        lathe_buf_text(out, "-");
    }
}
