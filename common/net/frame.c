/* frame.c - see frame.h. */
#include "common/net/frame.h"

#include <inttypes.h>

#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/net/frame_parts.h"

/* Where the fields of the header lie (docs/wire.md). */
enum {
    AT_MAGIC = 0,
    AT_VERSION = 4,
    AT_KIND = 6,
    AT_REQUEST_ID = 8,
    AT_COLLECTION = 16,
    AT_SCHEMA_VERSION = 20,
    AT_SLOT_MAP_VERSION = 24,
    AT_FLAGS = 28,
    AT_EPOCH = 32,
    AT_BUDGET = 40,
    AT_BODY_BYTES = 48,
    AT_BLOCK_BYTES = 52,
    AT_CRC = 60,
    FIXED_BYTES = 8 /* magic, version, kind: the same in every version */
};

/* The memory of a frame that was made here: this, room for the header, then the body. The block
 * keeps the memory it came in. */
struct made {
    void *block;
    size_t block_size;
};

enum { MADE_BYTES = sizeof(struct made), BODY_AT = MADE_BYTES + LATHE_FRAME_HEADER_BYTES };

static void made_release(void *owner)
{
    struct made *made = owner;

    lathe_free(made->block);
    lathe_free(made);
}

static bool buf_failed(const struct lathe_buf *buf)
{
    return buf != NULL && buf->failed;
}

/* Moves the body's bytes so that there is room before them; NULL when memory is short. */
static struct made *body_take(struct lathe_buf *body)
{
    size_t size = body != NULL ? body->size : 0;
    uint8_t *memory = body != NULL ? body->data : NULL;

    if (memory == NULL || body->capacity - size < BODY_AT) {
        memory = lathe_realloc(memory, BODY_AT + size);
        if (memory == NULL)
            return NULL;
    }
    if (size > 0)
        memmove(memory + BODY_AT, memory, size);
    if (body != NULL)
        *body = (struct lathe_buf){0};
    return (struct made *)(void *)memory;
}

bool lathe_frame_make(struct lathe_frame *frame, const struct lathe_frame_header *header,
                      struct lathe_buf *body, struct lathe_buf *block)
{
    size_t body_size = body != NULL ? body->size : 0;
    struct made *made = NULL;

    *frame = (struct lathe_frame){0};
    if (!buf_failed(body) && !buf_failed(block))
        made = body_take(body);
    if (made == NULL) {
        if (body != NULL)
            lathe_buf_fini(body);
        if (block != NULL)
            lathe_buf_fini(block);
        return false;
    }
    *made = (struct made){0};
    if (block != NULL) {
        if (block->size > 0) {
            *made = (struct made){block->data, block->size};
            block->data = NULL;
        }
        lathe_buf_fini(block);
    }
    frame->header = *header;
    frame->body = lathe_bytes_of((uint8_t *)made + BODY_AT, body_size);
    frame->block = lathe_bytes_of(made->block, made->block_size);
    frame->owner = made;
    frame->release = made_release;
    return true;
}

void lathe_frame_fini(struct lathe_frame *frame)
{
    if (frame->owner != NULL)
        frame->release(frame->owner);
    *frame = (struct lathe_frame){0};
}

static void put_u16le(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static uint16_t get_u16le(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t frame_crc(const uint8_t *header, struct lathe_bytes body, struct lathe_bytes block)
{
    uint32_t crc = lathe_crc32c(0, lathe_bytes_of(header, AT_CRC));

    crc = lathe_crc32c(crc, body);
    return lathe_crc32c(crc, block);
}

void lathe_frame_encode_header(const struct lathe_frame_header *header, struct lathe_bytes body,
                               struct lathe_bytes block, uint8_t out[LATHE_FRAME_HEADER_BYTES])
{
    lathe_put_u32le(out + AT_MAGIC, LATHE_FRAME_MAGIC);
    put_u16le(out + AT_VERSION, LATHE_FRAME_VERSION);
    put_u16le(out + AT_KIND, header->kind);
    lathe_put_u64le(out + AT_REQUEST_ID, header->request_id);
    lathe_put_u32le(out + AT_COLLECTION, header->collection);
    lathe_put_u32le(out + AT_SCHEMA_VERSION, header->schema_version);
    lathe_put_u32le(out + AT_SLOT_MAP_VERSION, header->slot_map_version);
    lathe_put_u32le(out + AT_FLAGS, header->flags);
    lathe_put_u64le(out + AT_EPOCH, header->epoch);
    lathe_put_u64le(out + AT_BUDGET, header->budget_us);
    lathe_put_u32le(out + AT_BODY_BYTES, (uint32_t)body.size);
    lathe_put_u64le(out + AT_BLOCK_BYTES, block.size);
    lathe_put_u32le(out + AT_CRC, frame_crc(out, body, block));
}

bool lathe_frame_take_parts(struct lathe_frame *frame, struct lathe_frame_parts *parts_out)
{
    struct made *made;

    if (frame->owner == NULL || frame->release != made_release) {
        struct lathe_buf body = {0}, block = {0};
        struct lathe_frame copy;
        bool ok;

        lathe_buf_append(&body, frame->body.data, frame->body.size);
        lathe_buf_append(&block, frame->block.data, frame->block.size);
        ok = lathe_frame_make(&copy, &frame->header, &body, &block);
        lathe_frame_fini(frame);
        if (!ok)
            return false;
        *frame = copy;
    }
    made = frame->owner;
    *parts_out = (struct lathe_frame_parts){
        .first = (uint8_t *)made + MADE_BYTES,
        .first_size = LATHE_FRAME_HEADER_BYTES + frame->body.size,
        .first_memory = made,
        .block = made->block,
        .block_size = made->block_size,
    };
    lathe_frame_encode_header(&frame->header, frame->body, frame->block, parts_out->first);
    *frame = (struct lathe_frame){0};
    return true;
}

/* A kind that may stand in a frame: known, and with an answer only where there is one. */
static bool kind_valid(uint16_t kind)
{
    uint16_t plain = (uint16_t)(kind & ~LATHE_FRAME_REPLY);
    bool answer = (kind & LATHE_FRAME_REPLY) != 0;

    if (plain == 0 || plain >= LATHE_FRAME_KINDS)
        return false;
    if (plain == LATHE_FRAME_ERROR)
        return answer;
    if (plain == LATHE_FRAME_RELEASE || plain == LATHE_FRAME_CANCEL)
        return !answer;
    return true;
}

/* What can be said before anything else of the header is believed. */
static enum lathe_status check_fixed(struct lathe_bytes first, struct lathe_error *err)
{
    if (first.size < FIXED_BYTES)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "frame of %zu bytes; a header has %d",
                          first.size, LATHE_FRAME_HEADER_BYTES);
    if (lathe_get_u32le(first.data + AT_MAGIC) != LATHE_FRAME_MAGIC)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT,
                          "frame begins with 0x%08" PRIX32 ", not 0x%08X",
                          lathe_get_u32le(first.data + AT_MAGIC), LATHE_FRAME_MAGIC);
    if (get_u16le(first.data + AT_VERSION) != LATHE_FRAME_VERSION)
        return lathe_fail(err, LATHE_UNIMPLEMENTED, "frame has version %u; this program speaks %d",
                          (unsigned)get_u16le(first.data + AT_VERSION), LATHE_FRAME_VERSION);
    if (first.size < LATHE_FRAME_HEADER_BYTES)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "frame of %zu bytes; a header has %d",
                          first.size, LATHE_FRAME_HEADER_BYTES);
    return LATHE_OK;
}

static enum lathe_status check_sizes(struct lathe_bytes first, struct lathe_bytes second,
                                     struct lathe_error *err)
{
    size_t body_size = first.size - LATHE_FRAME_HEADER_BYTES;
    uint32_t said_body = lathe_get_u32le(first.data + AT_BODY_BYTES);
    uint64_t said_block = lathe_get_u64le(first.data + AT_BLOCK_BYTES);

    if (said_body != body_size)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT,
                          "frame says %" PRIu32 " bytes of body and has %zu", said_body, body_size);
    if (said_block != second.size)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT,
                          "frame says %" PRIu64 " bytes of block and has %zu", said_block,
                          second.size);
    if (first.size > LATHE_FRAME_MAX_PART_BYTES || second.size > LATHE_FRAME_MAX_PART_BYTES)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT,
                          "frame has %zu and %zu bytes; each part has at most %u", first.size,
                          second.size, LATHE_FRAME_MAX_PART_BYTES);
    return LATHE_OK;
}

static enum lathe_status check_kind(const uint8_t *p, struct lathe_error *err)
{
    uint16_t kind = get_u16le(p + AT_KIND);
    uint32_t flags = lathe_get_u32le(p + AT_FLAGS);

    if (!kind_valid(kind))
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "frame has the unknown kind 0x%04X",
                          (unsigned)kind);
    if (flags != 0 &&
        (kind != (LATHE_FRAME_ERROR | LATHE_FRAME_REPLY) || flags >= LATHE_FRAME_KINDS))
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "frame has the unknown flags 0x%08" PRIX32,
                          flags);
    return LATHE_OK;
}

enum lathe_status lathe_frame_decode(struct lathe_bytes first, struct lathe_bytes second,
                                     struct lathe_frame_header *header_out,
                                     struct lathe_bytes *body_out, struct lathe_bytes *block_out,
                                     struct lathe_error *err)
{
    enum lathe_status status = check_fixed(first, err);
    const uint8_t *p = first.data;
    struct lathe_bytes body;

    *header_out = (struct lathe_frame_header){0};
    *body_out = *block_out = lathe_bytes_of(NULL, 0);
    if (status == LATHE_OK)
        status = check_sizes(first, second, err);
    if (status != LATHE_OK)
        return status;
    body = lathe_bytes_of(p + LATHE_FRAME_HEADER_BYTES, first.size - LATHE_FRAME_HEADER_BYTES);
    if (lathe_get_u32le(p + AT_CRC) != frame_crc(p, body, second))
        return lathe_fail(err, LATHE_INVALID_ARGUMENT,
                          "frame's checksum is 0x%08" PRIX32 "; it says 0x%08" PRIX32,
                          frame_crc(p, body, second), lathe_get_u32le(p + AT_CRC));
    status = check_kind(p, err);
    if (status != LATHE_OK)
        return status;
    *header_out = (struct lathe_frame_header){
        .kind = get_u16le(p + AT_KIND),
        .request_id = lathe_get_u64le(p + AT_REQUEST_ID),
        .collection = lathe_get_u32le(p + AT_COLLECTION),
        .schema_version = lathe_get_u32le(p + AT_SCHEMA_VERSION),
        .slot_map_version = lathe_get_u32le(p + AT_SLOT_MAP_VERSION),
        .flags = lathe_get_u32le(p + AT_FLAGS),
        .epoch = lathe_get_u64le(p + AT_EPOCH),
        .budget_us = lathe_get_u64le(p + AT_BUDGET),
    };
    *body_out = body;
    *block_out = second;
    return LATHE_OK;
}
