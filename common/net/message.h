/* message.h - protobuf messages from outside: checked before they are decoded, in memory with a
 * limit.
 *
 * protobuf-c itself has no nesting limit, accepts invalid UTF-8, and truncates strings at a NUL. So
 * the wire bytes are first walked along the descriptor; only then are they unpacked, into an arena.
 */
#ifndef LATHE_NET_MESSAGE_H
#define LATHE_NET_MESSAGE_H
#include <protobuf-c/protobuf-c.h>

#include "common/base/bytes.h"
#include "common/base/limits.h"

/* Enough for any request of LATHE_MAX_MESSAGE_BYTES that is not made of tiny messages. */
#define LATHE_ARENA_DEFAULT_BYTES ((size_t)3 * LATHE_MAX_MESSAGE_BYTES)

/* A bump allocator that protobuf-c unpacks into. Freed as a whole. Starts zeroed. One thread at a
 * time. */
struct lathe_arena {
    void *chunks;
    size_t used_bytes;  /* taken from the heap, all chunks together */
    size_t limit_bytes; /* 0 = LATHE_ARENA_DEFAULT_BYTES */
};

void lathe_arena_init(struct lathe_arena *arena, size_t limit_bytes);
void lathe_arena_fini(struct lathe_arena *arena); /* frees and zeroes, the limit too */
void *lathe_arena_alloc(struct lathe_arena *arena,
                        size_t size); /* 16-byte aligned; NULL at the limit */

/* Decodes bytes from outside as `descriptor`'s message, which lives as long as the arena (not the
 * bytes: they are copied). Nothing in it is freed by itself. INVALID_ARGUMENT: malformed, nested
 * deeper than LATHE_MAX_MESSAGE_DEPTH, a string that is not UTF-8 or holds a NUL (the field's path
 * is named). RESOURCE_EXHAUSTED: it needs more than the arena's limit. */
LATHE_MUST_CHECK enum lathe_status
lathe_message_decode(const ProtobufCMessageDescriptor *descriptor, struct lathe_bytes bytes,
                     struct lathe_arena *arena, ProtobufCMessage **message_out,
                     struct lathe_error *err);

/* The same, but a field that the descriptor does not have is UNIMPLEMENTED, naming its number: a
 * request of a newer client is refused rather than carried out without what that field asks for. */
LATHE_MUST_CHECK enum lathe_status
lathe_message_decode_known(const ProtobufCMessageDescriptor *descriptor, struct lathe_bytes bytes,
                           struct lathe_arena *arena, ProtobufCMessage **message_out,
                           struct lathe_error *err);

/* Appends the encoded message to the buffer; buf->failed tells of lacking memory. */
void lathe_message_encode(const ProtobufCMessage *message, struct lathe_buf *buf);
#endif
