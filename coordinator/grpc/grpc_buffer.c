/* grpc_buffer.c - see grpc_buffer.h. */
#include "coordinator/grpc/grpc_buffer.h"

#include <grpc/byte_buffer_reader.h>

#include "common/base/check.h"
#include "common/base/mem.h"

bool lathe_grpc_message_open(struct lathe_grpc_message *message, grpc_byte_buffer *buffer)
{
    grpc_byte_buffer_reader reader;

    LATHE_REQUIRE(!message->open);
    if (buffer->data.raw.compression == GRPC_COMPRESS_NONE &&
        buffer->data.raw.slice_buffer.count == 1) {
        message->slice = grpc_slice_ref(buffer->data.raw.slice_buffer.slices[0]);
    } else if (grpc_byte_buffer_reader_init(&reader, buffer)) {
        message->slice = grpc_byte_buffer_reader_readall(&reader);
        grpc_byte_buffer_reader_destroy(&reader);
    } else {
        grpc_byte_buffer_destroy(buffer);
        return false;
    }
    grpc_byte_buffer_destroy(buffer);
    message->open = true;
    message->bytes = lathe_bytes_of(GRPC_SLICE_START_PTR(message->slice),
                                    GRPC_SLICE_LENGTH(message->slice));
    return true;
}

void lathe_grpc_message_close(struct lathe_grpc_message *message)
{
    if (!message->open)
        return;
    grpc_slice_unref(message->slice);
    message->bytes = lathe_bytes_of(NULL, 0);
    message->open = false;
}

grpc_byte_buffer *lathe_grpc_pack(struct lathe_buf *buf)
{
    grpc_byte_buffer *buffer;
    grpc_slice slice;

    if (buf->size == 0) { /* gRPC frees only what has a length */
        lathe_buf_fini(buf);
        return grpc_raw_byte_buffer_create(NULL, 0);
    }
    slice = grpc_slice_new(buf->data, buf->size, lathe_free);
    *buf = (struct lathe_buf){0};
    buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return buffer;
}
