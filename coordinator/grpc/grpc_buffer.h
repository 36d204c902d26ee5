/* grpc_buffer.h - gRPC's byte buffers as views, and our buffers as gRPC's. */
#ifndef LATHE_COORDINATOR_GRPC_BUFFER_H
#define LATHE_COORDINATOR_GRPC_BUFFER_H
#include <grpc/byte_buffer.h>
#include <grpc/slice.h>

#include "common/base/bytes.h"

/* A received message. `bytes` may point into the struct itself (gRPC keeps short slices inline), so
 * it must not be moved while open. Starts zeroed. */
struct lathe_grpc_message {
    grpc_slice slice;
    struct lathe_bytes bytes;
    bool open;
};

/* Takes the buffer over. One copy if it came in several pieces, none otherwise. False: the bytes
 * cannot be read (the buffer is gone all the same). */
bool lathe_grpc_message_open(struct lathe_grpc_message *message, grpc_byte_buffer *buffer);
void lathe_grpc_message_close(struct lathe_grpc_message *message); /* does nothing when not open */

/* Moves the bytes of `buf` (zeroed afterwards) into a gRPC buffer without a copy. */
grpc_byte_buffer *lathe_grpc_pack(struct lathe_buf *buf);
#endif
