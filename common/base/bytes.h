/* bytes.h - views of bytes, a growing buffer, a reader that cannot run past the end, little and big
 * endian. */
#ifndef LATHE_BASE_BYTES_H
#define LATHE_BASE_BYTES_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/base/status.h"

/* A borrowed run of bytes. `data` may be NULL only when size is 0. */
struct lathe_bytes {
    const uint8_t *data;
    size_t size;
};

static inline struct lathe_bytes lathe_bytes_of(const void *data, size_t size)
{
    return (struct lathe_bytes){(const uint8_t *)data, size};
}

static inline struct lathe_bytes lathe_bytes_str(const char *text)
{
    return lathe_bytes_of(text, strlen(text));
}

static inline bool lathe_bytes_equal(struct lathe_bytes a, struct lathe_bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* Bytewise order; a prefix comes before what it begins. */
int lathe_bytes_compare(struct lathe_bytes a, struct lathe_bytes b);

/* True if the bytes are valid UTF-8 (RFC 3629: no surrogates, no overlong forms, at most U+10FFFF).
 */
bool lathe_utf8_valid(struct lathe_bytes text);

/* A buffer that owns its bytes. Starts zeroed; a failed allocation sets `failed` and makes every
 * later append a no-op, so a sequence of appends is checked once at its end. Threads: one at a
 * time. */
struct lathe_buf {
    uint8_t *data;
    size_t size;
    size_t capacity;
    bool failed;
};

void lathe_buf_fini(struct lathe_buf *buf);  /* frees and zeroes */
void lathe_buf_clear(struct lathe_buf *buf); /* keeps the memory */
/* Room for `size` more bytes at the end, counted as used; NULL after a failed allocation. */
uint8_t *lathe_buf_extend(struct lathe_buf *buf, size_t size);
void lathe_buf_append(struct lathe_buf *buf, const void *data, size_t size);
void lathe_buf_u8(struct lathe_buf *buf, uint8_t value);
void lathe_buf_u16le(struct lathe_buf *buf, uint16_t value);
void lathe_buf_u32le(struct lathe_buf *buf, uint32_t value);
void lathe_buf_u64le(struct lathe_buf *buf, uint64_t value);
void lathe_buf_u32be(struct lathe_buf *buf, uint32_t value);
void lathe_buf_u64be(struct lathe_buf *buf, uint64_t value);
/* Appends text without its NUL; the second form as printf writes it. */
void lathe_buf_text(struct lathe_buf *buf, const char *text);
void lathe_buf_printf(struct lathe_buf *buf, const char *format, ...) LATHE_PRINTF(2, 3);
static inline struct lathe_bytes lathe_buf_view(const struct lathe_buf *buf)
{
    return lathe_bytes_of(buf->data, buf->size);
}

/* Reads from the front of a view. Running past the end sets `failed`, returns zeros and stays
 * failed, so a sequence of reads is checked once at its end. */
struct lathe_reader {
    const uint8_t *at;
    const uint8_t *end;
    bool failed;
};

static inline struct lathe_reader lathe_reader_of(struct lathe_bytes bytes)
{
    static const uint8_t nothing[1];
    const uint8_t *at = bytes.data != NULL ? bytes.data : nothing;

    return (struct lathe_reader){at, at + bytes.size, false};
}

static inline size_t lathe_reader_left(const struct lathe_reader *reader)
{
    return (size_t)(reader->end - reader->at);
}

struct lathe_bytes lathe_read_bytes(struct lathe_reader *reader, size_t size);
uint8_t lathe_read_u8(struct lathe_reader *reader);
uint16_t lathe_read_u16le(struct lathe_reader *reader);
uint32_t lathe_read_u32le(struct lathe_reader *reader);
uint64_t lathe_read_u64le(struct lathe_reader *reader);
uint32_t lathe_read_u32be(struct lathe_reader *reader);
uint64_t lathe_read_u64be(struct lathe_reader *reader);

static inline void lathe_put_u32le(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static inline void lathe_put_u64le(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static inline void lathe_put_u32be(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static inline void lathe_put_u64be(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (56 - 8 * i));
}

static inline uint32_t lathe_get_u32le(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t lathe_get_u64le(const uint8_t *p)
{
    return (uint64_t)lathe_get_u32le(p) | (uint64_t)lathe_get_u32le(p + 4) << 32;
}

static inline uint32_t lathe_get_u32be(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}

static inline uint64_t lathe_get_u64be(const uint8_t *p)
{
    return (uint64_t)lathe_get_u32be(p) << 32 | (uint64_t)lathe_get_u32be(p + 4);
}
#endif
