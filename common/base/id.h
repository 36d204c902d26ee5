/* id.h - point ids: uint64, UUID or string, three distinct kinds, in the one byte form that is
 * stored, hashed, compared and sent between coordinator and shards.
 *
 * An id key is the kind byte, then 8 bytes big-endian, 16 bytes, or 1..128 bytes of UTF-8. Its byte
 * order is the id order: numbers (numerically), UUIDs, strings (bytewise). These bytes never
 * change. */
#ifndef LATHE_BASE_ID_H
#define LATHE_BASE_ID_H
#include "common/base/bytes.h"
#include "common/base/limits.h"

enum lathe_id_kind { LATHE_ID_NUMBER = 1, LATHE_ID_UUID = 2, LATHE_ID_STRING = 3 };

enum {
    LATHE_IDKEY_MAX_BYTES = 1 + LATHE_MAX_ID_BYTES,
    LATHE_ID_TEXT_BYTES = LATHE_MAX_ID_BYTES + 1
};

struct lathe_idkey {
    uint8_t size; /* bytes used, 0 = no id */
    uint8_t bytes[LATHE_IDKEY_MAX_BYTES];
};

static inline struct lathe_bytes lathe_idkey_view(const struct lathe_idkey *key)
{
    return lathe_bytes_of(key->bytes, key->size);
}

struct lathe_idkey lathe_idkey_number(uint64_t number);
struct lathe_idkey lathe_idkey_uuid(const uint8_t uuid[16]);
/* INVALID_ARGUMENT: empty, longer than LATHE_MAX_ID_BYTES, or not UTF-8. */
LATHE_MUST_CHECK enum lathe_status
lathe_idkey_string(struct lathe_bytes text, struct lathe_idkey *key_out, struct lathe_error *err);

/* Checks bytes from outside (a stored key, a frame). INVALID_ARGUMENT if they are no id key. */
LATHE_MUST_CHECK enum lathe_status
lathe_idkey_decode(struct lathe_bytes bytes, struct lathe_idkey *key_out, struct lathe_error *err);
/* True if the bytes are a well-formed id key. */
bool lathe_idkey_valid(struct lathe_bytes bytes);

enum lathe_id_kind lathe_idkey_kind(struct lathe_bytes key); /* key: a valid id key */
uint64_t lathe_idkey_as_number(struct lathe_bytes key);      /* key: of kind NUMBER */

/* An id as a person writes it: digits only is a number, any spelling of a UUID is a UUID, the rest
 * a string. "str:..." forces a string. INVALID_ARGUMENT as above. */
LATHE_MUST_CHECK enum lathe_status lathe_idkey_parse(const char *text, struct lathe_idkey *key_out,
                                                     struct lathe_error *err);
/* The canonical text of a valid id key, NUL-terminated. */
void lathe_idkey_format(struct lathe_bytes key, char text_out[LATHE_ID_TEXT_BYTES]);

/* Accepts 32 hex digits, plain or as 8-4-4-4-12, in any case, also in braces or after "urn:uuid:".
 * Nothing else. */
bool lathe_uuid_parse(struct lathe_bytes text, uint8_t uuid_out[16]);
void lathe_uuid_format(const uint8_t uuid[16], char text_out[37]); /* canonical, lower case */

/* A fresh version 7 UUID: 48 bits of wall time in ms, then random bits (RFC 9562). Used for client
 * ids. */
void lathe_uuid_new(uint64_t wall_ms, uint8_t uuid_out[16]);
/* Wall time in ms that a version 7 UUID carries. */
uint64_t lathe_uuid_time_ms(const uint8_t uuid[16]);
/* The id of a point that came without one: a version 8 UUID made from who wrote it, so that a
 * repeated request meets the same point. */
void lathe_uuid_derive(const uint8_t client_id[16], uint64_t request_number, uint32_t operation,
                       uint8_t uuid_out[16]);
#endif
