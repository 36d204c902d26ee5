/* wire_id.h - ids between the command line and the messages of lathe.v1. */
#ifndef LATHE_CLI_WIRE_ID_H
#define LATHE_CLI_WIRE_ID_H
#include "common/base/id.h"
#include "lathe/v1/common.pb-c.h"

/* A message with the room that it needs. Not copied: the message points into it. */
struct lathe_wire_id {
    Lathe__V1__PointId message;
    char text[LATHE_ID_TEXT_BYTES];
};

/* `key`: a valid id key. */
void lathe_wire_id_set(struct lathe_wire_id *id, const struct lathe_idkey *key);
/* Appends the id as lathe_idkey_parse() would read it back. NULL is written as "-". */
void lathe_wire_id_text(const Lathe__V1__PointId *message, struct lathe_buf *out);
#endif
