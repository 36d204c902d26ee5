/* frame_parts.h - what link.c must know of a frame's memory, and nobody else. */
#ifndef LATHE_NET_FRAME_PARTS_H
#define LATHE_NET_FRAME_PARTS_H
#include "common/net/frame.h"

/* The pieces that go on the wire. Each piece of memory is freed by itself, with lathe_free(). */
struct lathe_frame_parts {
    uint8_t *first; /* header and body, inside `first_memory` */
    size_t first_size;
    void *first_memory;
    void *block; /* NULL when there is none */
    size_t block_size;
};

/* Encodes the header and takes the frame's memory out of it; what a frame does not own is copied.
 * The frame is empty afterwards. False: memory is short. */
LATHE_MUST_CHECK bool lathe_frame_take_parts(struct lathe_frame *frame,
                                             struct lathe_frame_parts *parts_out);
#endif
