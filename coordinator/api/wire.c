/* wire.c - see wire.h. */
#include "coordinator/api/wire.h"

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_LENGTH = 2, WIRE_FIXED32 = 5 };

static void put(struct lathe_wire *wire, const void *data, size_t size)
{
    wire->size += size;
    if (wire->buf != NULL)
        lathe_buf_append(wire->buf, data, size);
}

void lathe_wire_varint(struct lathe_wire *wire, uint64_t value)
{
    uint8_t bytes[10];
    size_t size = 0;

    while (value >= 0x80) {
        bytes[size++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    bytes[size++] = (uint8_t)value;
    put(wire, bytes, size);
}

static void tag(struct lathe_wire *wire, uint32_t field, uint32_t type)
{
    lathe_wire_varint(wire, (uint64_t)field << 3 | type);
}

void lathe_wire_uint(struct lathe_wire *wire, uint32_t field, uint64_t value)
{
    tag(wire, field, WIRE_VARINT);
    lathe_wire_varint(wire, value);
}

void lathe_wire_uint_set(struct lathe_wire *wire, uint32_t field, uint64_t value)
{
    if (value != 0)
        lathe_wire_uint(wire, field, value);
}

void lathe_wire_float(struct lathe_wire *wire, uint32_t field, float value)
{
    uint8_t bytes[4];
    uint32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    if (bits == 0)
        return;
    lathe_put_u32le(bytes, bits);
    tag(wire, field, WIRE_FIXED32);
    put(wire, bytes, sizeof(bytes));
}

void lathe_wire_double(struct lathe_wire *wire, uint32_t field, double value)
{
    uint8_t bytes[8];
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    if (bits == 0)
        return;
    lathe_put_u64le(bytes, bits);
    tag(wire, field, WIRE_FIXED64);
    put(wire, bytes, sizeof(bytes));
}

void lathe_wire_bytes(struct lathe_wire *wire, uint32_t field, struct lathe_bytes value)
{
    tag(wire, field, WIRE_LENGTH);
    lathe_wire_varint(wire, value.size);
    if (value.size > 0)
        put(wire, value.data, value.size);
}

void lathe_wire_string_set(struct lathe_wire *wire, uint32_t field, const char *value)
{
    if (value[0] != '\0')
        lathe_wire_bytes(wire, field, lathe_bytes_str(value));
}

void lathe_wire_message(struct lathe_wire *wire, uint32_t field, lathe_wire_fn *fill,
                        const void *source)
{
    struct lathe_wire inner = {NULL, 0};

    fill(&inner, source);
    tag(wire, field, WIRE_LENGTH);
    lathe_wire_varint(wire, inner.size);
    if (wire->buf == NULL) {
        wire->size += inner.size;
        return;
    }
    inner = (struct lathe_wire){wire->buf, 0};
    fill(&inner, source);
    wire->size += inner.size;
}
