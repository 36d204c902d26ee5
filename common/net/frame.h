/* frame.h - the frame between coordinator and shards: a fixed header, a protobuf body, a raw vector
 * block.
 *
 * All numbers are little-endian. The header is 64 bytes and never changes its first 8:
 *    0 u32 magic "LTHE"     4 u16 version          6 u16 kind
 *    8 u64 request id      16 u32 collection id   20 u32 schema version
 *   24 u32 slot map version 28 u32 flags          32 u64 epoch
 *   40 u64 budget in us    48 u32 body bytes      52 u64 block bytes
 *   60 u32 crc32c of bytes 0..59, the body and the block
 * On the wire: one ZeroMQ part with header and body, and a second one with the block if it is not
 * empty. */
#ifndef LATHE_NET_FRAME_H
#define LATHE_NET_FRAME_H
#include "common/base/bytes.h"
#include "common/base/limits.h"

#define LATHE_FRAME_MAGIC 0x4548544Cu /* "LTHE" */
enum { LATHE_FRAME_HEADER_BYTES = 64, LATHE_FRAME_VERSION = 1 };
/* Header and body together, and the block: each at most this. A peer drops the link of whoever
 * sends more. */
#define LATHE_FRAME_MAX_PART_BYTES (LATHE_MAX_MESSAGE_BYTES + 1024u * 1024u)

enum lathe_frame_kind {
    LATHE_FRAME_HELLO = 1,
    LATHE_FRAME_SYNC = 2,
    LATHE_FRAME_WRITE = 3,
    LATHE_FRAME_SEARCH = 4,
    LATHE_FRAME_FETCH = 5,   /* of a held search: same request id */
    LATHE_FRAME_RELEASE = 6, /* of a held search: same request id; no answer */
    LATHE_FRAME_GET = 7,
    LATHE_FRAME_LIST = 8,
    LATHE_FRAME_STATS = 9,
    LATHE_FRAME_CANCEL = 10, /* no answer */
    LATHE_FRAME_ERROR = 11,  /* only as an answer */
    LATHE_FRAME_KINDS
};
#define LATHE_FRAME_REPLY 0x8000u /* set in the kind of every answer */

struct lathe_frame_header {
    uint16_t kind;
    uint64_t request_id; /* low 32 bits index, high 32 bits generation */
    uint32_t collection;
    uint32_t schema_version;
    uint32_t slot_map_version;
    uint32_t flags; /* 0; in an ERROR answer: the kind of the frame it answers */
    uint64_t epoch;
    uint64_t budget_us; /* time left when it was sent; 0 in answers */
};

/* The header of the answer to `request`: LATHE_FRAME_ERROR, or the request's own kind. */
static inline struct lathe_frame_header
lathe_frame_answer_header(const struct lathe_frame_header *request, enum lathe_frame_kind kind)
{
    return (struct lathe_frame_header){
        .kind = (uint16_t)(kind | LATHE_FRAME_REPLY),
        .request_id = request->request_id,
        .collection = request->collection,
        .flags = kind == LATHE_FRAME_ERROR ? request->kind : 0,
    };
}

/* A frame on its way: header fields, and the bytes it owns. Body and block are moved into the frame
 * and freed by lathe_frame_fini(). In a received frame they are views into the transport's memory
 * (`owner`), at any alignment. A frame without body and block needs no owner: only its header is
 * set. */
struct lathe_frame {
    struct lathe_frame_header header;
    struct lathe_bytes body;
    struct lathe_bytes block;
    void *owner; /* what the bytes live in; NULL in an empty frame */
    void (*release)(void *owner);
};

/* Takes the buffers' bytes (both are zeroed, also on failure; either may be empty or NULL). The
 * block is sent from where it lies; the body is moved once, to make room for the header before it.
 * So bulk data belong in the block. False, with an empty frame: memory is short, or a buffer has
 * failed before. */
LATHE_MUST_CHECK bool lathe_frame_make(struct lathe_frame *frame,
                                       const struct lathe_frame_header *header,
                                       struct lathe_buf *body, struct lathe_buf *block);
void lathe_frame_fini(struct lathe_frame *frame); /* frees and zeroes; an empty frame is accepted */

/* Writes the 64 header bytes for this header, body and block (crc included). */
void lathe_frame_encode_header(const struct lathe_frame_header *header, struct lathe_bytes body,
                               struct lathe_bytes block, uint8_t out[LATHE_FRAME_HEADER_BYTES]);

/* Checks and decodes bytes from outside: `first` is header and body, `second` the block (may be
 * empty). Body and block are views into them. INVALID_ARGUMENT naming what is wrong; UNIMPLEMENTED
 * for another version. */
LATHE_MUST_CHECK enum lathe_status
lathe_frame_decode(struct lathe_bytes first, struct lathe_bytes second,
                   struct lathe_frame_header *header_out, struct lathe_bytes *body_out,
                   struct lathe_bytes *block_out, struct lathe_error *err);
#endif
