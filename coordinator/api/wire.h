/* wire.h - writes protobuf bytes straight into a buffer: for replies of thousands of points, whose
 * payloads and vectors are copied once from a shard's frame, not decoded and built anew.
 *
 * The same function counts and writes: with `buf` NULL only `size` grows. A nested message is
 * counted first, so that its length can stand before it. */
#ifndef LATHE_COORDINATOR_API_WIRE_H
#define LATHE_COORDINATOR_API_WIRE_H
#include "common/base/bytes.h"

struct lathe_wire {
    struct lathe_buf *buf; /* NULL: only count */
    size_t size;           /* bytes counted or written */
};

void lathe_wire_varint(struct lathe_wire *wire, uint64_t value);
/* A field of type uint32, uint64 or enum, also when it is 0 (for members of a oneof). */
void lathe_wire_uint(struct lathe_wire *wire, uint32_t field, uint64_t value);
/* The same, left out when it is 0, as proto3 does. */
void lathe_wire_uint_set(struct lathe_wire *wire, uint32_t field, uint64_t value);
void lathe_wire_float(struct lathe_wire *wire, uint32_t field,
                      float value); /* left out when it is +0 */
void lathe_wire_double(struct lathe_wire *wire, uint32_t field, double value); /* the same */
/* A field of type bytes, string, packed numbers or an encoded message; also when it is empty. */
void lathe_wire_bytes(struct lathe_wire *wire, uint32_t field, struct lathe_bytes value);
void lathe_wire_string_set(struct lathe_wire *wire, uint32_t field,
                           const char *value); /* left out when empty */

/* Writes one message's fields. */
typedef void lathe_wire_fn(struct lathe_wire *wire, const void *source);
/* A field that is a message, written by `fill` (called twice when writing). */
void lathe_wire_message(struct lathe_wire *wire, uint32_t field, lathe_wire_fn *fill,
                        const void *source);
#endif
