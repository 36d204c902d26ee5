/* json_in.h - from parsed JSON to the messages of lathe.v1. */
#ifndef LATHE_CLI_JSON_IN_H
#define LATHE_CLI_JSON_IN_H
#include <jansson.h>

#include "common/base/bytes.h"
#include "common/base/id.h"
#include "lathe/v1/common.pb-c.h"

/* jansson keeps integers apart from doubles, and refuses duplicate keys with this. */
enum { LATHE_JSON_FLAGS = JSON_REJECT_DUPLICATES };

/* A payload. Integers become int64, numbers with a point or exponent double. On LATHE_OK
 * *object_out is freed with protobuf_c_message_free_unpacked(). INVALID_ARGUMENT: not an object, or
 * nested deeper than LATHE_MAX_VALUE_DEPTH; the error's field is the path ("payload.tags[3]"). */
LATHE_MUST_CHECK enum lathe_status lathe_json_to_object(const json_t *json, const char *path,
                                                        Lathe__V1__Object **object_out,
                                                        struct lathe_error *err);

/* A point id: an integer of at least 0, a UUID in its form of 36 characters, or another string. */
LATHE_MUST_CHECK enum lathe_status lathe_json_to_id(const json_t *json, struct lathe_idkey *id_out,
                                                    struct lathe_error *err);

/* Appends a vector's elements as little-endian float32: from a list of numbers, or from the base64
 * (RFC 4648, padded) of exactly those bytes. INVALID_ARGUMENT: neither, empty, more than
 * LATHE_MAX_DIMS elements, or a number beyond float32. */
LATHE_MUST_CHECK enum lathe_status lathe_json_to_vector(const json_t *json, const char *path,
                                                        struct lathe_buf *out,
                                                        struct lathe_error *err);
#endif
