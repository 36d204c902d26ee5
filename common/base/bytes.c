/* bytes.c - see bytes.h. */
#include "common/base/bytes.h"

#include <stdarg.h>
#include <stdio.h>

#include "common/base/mem.h"

int lathe_bytes_compare(struct lathe_bytes a, struct lathe_bytes b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common > 0 ? memcmp(a.data, b.data, common) : 0;

    if (order != 0)
        return order;
    return (a.size > b.size) - (a.size < b.size);
}

/* Length of the well-formed sequence at p (Unicode 15, table 3-7), or 0. */
static size_t utf8_sequence(const uint8_t *p, size_t left)
{
    uint8_t low = 0x80, high = 0xBF;
    size_t size;

    if (p[0] < 0x80)
        return 1;
    if (p[0] >= 0xC2 && p[0] <= 0xDF)
        size = 2;
    else if (p[0] >= 0xE0 && p[0] <= 0xEF)
        size = 3;
    else if (p[0] >= 0xF0 && p[0] <= 0xF4)
        size = 4;
    else
        return 0;
    if (left < size)
        return 0;
    if (p[0] == 0xE0)
        low = 0xA0; /* shorter would be overlong */
    else if (p[0] == 0xED)
        high = 0x9F; /* higher would be a surrogate */
    else if (p[0] == 0xF0)
        low = 0x90;
    else if (p[0] == 0xF4)
        high = 0x8F; /* U+10FFFF is the last */
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < size; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    return size;
}

bool lathe_utf8_valid(struct lathe_bytes text)
{
    size_t at = 0;

    while (at < text.size) {
        size_t size;
        uint64_t word;

        /* Most text is ASCII: eight characters at a time. */
        if (text.size - at >= sizeof(word)) {
            memcpy(&word, text.data + at, sizeof(word));
            if ((word & 0x8080808080808080u) == 0) {
                at += sizeof(word);
                continue;
            }
        }
        size = utf8_sequence(text.data + at, text.size - at);

        if (size == 0)
            return false;
        at += size;
    }
    return true;
}

void lathe_buf_fini(struct lathe_buf *buf)
{
    lathe_free(buf->data);
    *buf = (struct lathe_buf){0};
}

void lathe_buf_clear(struct lathe_buf *buf)
{
    buf->size = 0;
    buf->failed = false;
}

uint8_t *lathe_buf_extend(struct lathe_buf *buf, size_t size)
{
    size_t at = buf->size;

    if (buf->failed)
        return NULL;
    if (size > buf->capacity - at) {
        size_t wanted = buf->capacity < 64 ? 64 : buf->capacity;
        uint8_t *grown;

        while (wanted - at < size) {
            if (wanted > SIZE_MAX / 2) {
                buf->failed = true;
                return NULL;
            }
            wanted *= 2;
        }
        grown = lathe_realloc(buf->data, wanted);
        if (grown == NULL) {
            buf->failed = true;
            return NULL;
        }
        buf->data = grown;
        buf->capacity = wanted;
    }
    buf->size = at + size;
    return buf->data != NULL ? buf->data + at : NULL; /* NULL here: nothing asked, nothing there */
}

void lathe_buf_append(struct lathe_buf *buf, const void *data, size_t size)
{
    uint8_t *p = lathe_buf_extend(buf, size);

    if (p != NULL && size > 0)
        memcpy(p, data, size);
}

void lathe_buf_u8(struct lathe_buf *buf, uint8_t value)
{
    lathe_buf_append(buf, &value, 1);
}

void lathe_buf_u16le(struct lathe_buf *buf, uint16_t value)
{
    uint8_t p[2] = {(uint8_t)value, (uint8_t)(value >> 8)};

    lathe_buf_append(buf, p, sizeof(p));
}

void lathe_buf_u32le(struct lathe_buf *buf, uint32_t value)
{
    uint8_t p[4];

    lathe_put_u32le(p, value);
    lathe_buf_append(buf, p, sizeof(p));
}

void lathe_buf_u64le(struct lathe_buf *buf, uint64_t value)
{
    uint8_t p[8];

    lathe_put_u64le(p, value);
    lathe_buf_append(buf, p, sizeof(p));
}

void lathe_buf_u32be(struct lathe_buf *buf, uint32_t value)
{
    uint8_t p[4];

    lathe_put_u32be(p, value);
    lathe_buf_append(buf, p, sizeof(p));
}

void lathe_buf_u64be(struct lathe_buf *buf, uint64_t value)
{
    uint8_t p[8];

    lathe_put_u64be(p, value);
    lathe_buf_append(buf, p, sizeof(p));
}

void lathe_buf_text(struct lathe_buf *buf, const char *text)
{
    lathe_buf_append(buf, text, strlen(text));
}

void lathe_buf_printf(struct lathe_buf *buf, const char *format, ...)
{
    va_list args;
    uint8_t *p;
    int size;

    va_start(args, format);
    size = vsnprintf(NULL, 0, format, args);
    va_end(args);
    /* vsnprintf ends with a NUL, which is written into the buffer and then given back. */
    p = size >= 0 ? lathe_buf_extend(buf, (size_t)size + 1) : NULL;
    if (p == NULL) {
        buf->failed = true;
        return;
    }
    va_start(args, format);
    (void)vsnprintf((char *)p, (size_t)size + 1, format, args);
    va_end(args);
    buf->size--;
}

struct lathe_bytes lathe_read_bytes(struct lathe_reader *reader, size_t size)
{
    struct lathe_bytes bytes;

    if (reader->failed || size > lathe_reader_left(reader)) {
        reader->failed = true;
        return lathe_bytes_of(NULL, 0);
    }
    bytes = lathe_bytes_of(reader->at, size);
    reader->at += size;
    return bytes;
}

uint8_t lathe_read_u8(struct lathe_reader *reader)
{
    struct lathe_bytes b = lathe_read_bytes(reader, 1);

    return b.data != NULL ? b.data[0] : 0;
}

uint16_t lathe_read_u16le(struct lathe_reader *reader)
{
    struct lathe_bytes b = lathe_read_bytes(reader, 2);

    return (uint16_t)(b.data != NULL ? b.data[0] | b.data[1] << 8 : 0);
}

uint32_t lathe_read_u32le(struct lathe_reader *reader)
{
    struct lathe_bytes b = lathe_read_bytes(reader, 4);

    return b.data != NULL ? lathe_get_u32le(b.data) : 0;
}

uint64_t lathe_read_u64le(struct lathe_reader *reader)
{
    struct lathe_bytes b = lathe_read_bytes(reader, 8);

    return b.data != NULL ? lathe_get_u64le(b.data) : 0;
}

uint32_t lathe_read_u32be(struct lathe_reader *reader)
{
    struct lathe_bytes b = lathe_read_bytes(reader, 4);

    return b.data != NULL ? lathe_get_u32be(b.data) : 0;
}

uint64_t lathe_read_u64be(struct lathe_reader *reader)
{
    struct lathe_bytes b = lathe_read_bytes(reader, 8);

    return b.data != NULL ? lathe_get_u64be(b.data) : 0;
}
