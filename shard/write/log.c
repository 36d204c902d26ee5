/* log.c - see log.h. */
#include "shard/write/log.h"

enum { LOG_FORMAT = 1, CRC_AT = 76, EFFECT_DELETE = 1, EFFECT_PUT = 2, EFFECT_PUT_PAYLOAD = 3 };

static uint32_t entry_crc(struct lathe_bytes bytes)
{
    static const uint8_t zero[4];
    uint32_t crc = lathe_crc32c(0, lathe_bytes_of(bytes.data, CRC_AT));

    crc = lathe_crc32c(crc, lathe_bytes_of(zero, sizeof(zero)));
    return lathe_crc32c(crc, lathe_bytes_of(bytes.data + LATHE_LOG_HEADER_BYTES,
                                            bytes.size - LATHE_LOG_HEADER_BYTES));
}

void lathe_log_entry_encode(const struct lathe_log_entry *entry, struct lathe_buf *buf,
                            uint8_t hash_out[LATHE_DIGEST_BYTES])
{
    size_t begin = buf->size;
    struct lathe_bytes bytes;

    lathe_buf_u8(buf, LOG_FORMAT);
    lathe_buf_u8(buf, (uint8_t)entry->kind);
    lathe_buf_u16le(buf, 0);
    lathe_buf_u32le(buf, entry->collection);
    lathe_buf_u64le(buf, entry->seq);
    lathe_buf_u64le(buf, entry->epoch);
    lathe_buf_u64le(buf, entry->time_ms);
    lathe_buf_append(buf, entry->previous_hash, sizeof(entry->previous_hash));
    lathe_buf_append(buf, entry->client_id, sizeof(entry->client_id));
    lathe_buf_u64le(buf, entry->request_number);
    lathe_buf_u32le(buf, (uint32_t)entry->body.size);
    lathe_buf_u32le(buf, 0);
    lathe_buf_append(buf, entry->body.data, entry->body.size);
    if (buf->failed)
        return;
    bytes = lathe_bytes_of(buf->data + begin, buf->size - begin);
    lathe_put_u32le(buf->data + begin + CRC_AT, entry_crc(bytes));
    lathe_digest(&bytes, 1, hash_out);
}

/* Copies a fixed run of bytes out of the reader. */
static void read_fixed(struct lathe_reader *reader, uint8_t *out, size_t size)
{
    struct lathe_bytes bytes = lathe_read_bytes(reader, size);

    if (bytes.data != NULL)
        memcpy(out, bytes.data, size);
}

enum lathe_status lathe_log_entry_decode(struct lathe_bytes bytes,
                                         struct lathe_log_entry *entry_out,
                                         uint8_t hash_out[LATHE_DIGEST_BYTES],
                                         struct lathe_error *err)
{
    struct lathe_reader reader = lathe_reader_of(bytes);
    uint8_t format, kind;
    uint32_t body_bytes, crc;

    *entry_out = (struct lathe_log_entry){0};
    if (bytes.size < LATHE_LOG_HEADER_BYTES)
        return lathe_fail(err, LATHE_DATA_LOSS, "log entry: %zu bytes, a header has %d", bytes.size,
                          LATHE_LOG_HEADER_BYTES);
    format = lathe_read_u8(&reader);
    kind = lathe_read_u8(&reader);
    (void)lathe_read_u16le(&reader);
    if (format != LOG_FORMAT || kind < LATHE_LOG_WRITE || kind > LATHE_LOG_FORGET_CLIENTS)
        return lathe_fail(err, LATHE_DATA_LOSS, "log entry: format %u, kind %u", format, kind);
    entry_out->kind = (enum lathe_log_kind)kind;
    entry_out->collection = lathe_read_u32le(&reader);
    entry_out->seq = lathe_read_u64le(&reader);
    entry_out->epoch = lathe_read_u64le(&reader);
    entry_out->time_ms = lathe_read_u64le(&reader);
    read_fixed(&reader, entry_out->previous_hash, sizeof(entry_out->previous_hash));
    read_fixed(&reader, entry_out->client_id, sizeof(entry_out->client_id));
    entry_out->request_number = lathe_read_u64le(&reader);
    body_bytes = lathe_read_u32le(&reader);
    crc = lathe_read_u32le(&reader);
    if (lathe_reader_left(&reader) != body_bytes)
        return lathe_fail(err, LATHE_DATA_LOSS, "log entry: body of %zu bytes, the header says %u",
                          lathe_reader_left(&reader), body_bytes);
    if (crc != entry_crc(bytes))
        return lathe_fail(err, LATHE_DATA_LOSS, "log entry: checksum differs");
    entry_out->body = lathe_read_bytes(&reader, body_bytes);
    if (hash_out != NULL)
        lathe_digest(&bytes, 1, hash_out);
    return LATHE_OK;
}

void lathe_effect_encode(const struct lathe_effect *effect, struct lathe_buf *buf)
{
    lathe_buf_u8(buf, !effect->exists           ? EFFECT_DELETE
                      : effect->payload_changed ? EFFECT_PUT_PAYLOAD
                                                : EFFECT_PUT);
    lathe_buf_u8(buf, (uint8_t)effect->idkey.size);
    lathe_buf_append(buf, effect->idkey.data, effect->idkey.size);
    if (!effect->exists)
        return;
    lathe_buf_u64le(buf, effect->point);
    lathe_buf_u8(buf, (uint8_t)effect->row_count);
    for (uint32_t i = 0; i < effect->row_count; i++)
        lathe_buf_u64le(buf, effect->rows[i]);
    if (!effect->payload_changed)
        return;
    lathe_buf_u32le(buf, (uint32_t)effect->payload.size);
    lathe_buf_append(buf, effect->payload.data, effect->payload.size);
}

enum lathe_status lathe_effect_decode(struct lathe_reader *reader, struct lathe_effect *effect_out,
                                      struct lathe_error *err)
{
    uint8_t kind = lathe_read_u8(reader);

    *effect_out = (struct lathe_effect){.exists = kind != EFFECT_DELETE,
                                        .payload_changed = kind == EFFECT_PUT_PAYLOAD};
    effect_out->idkey = lathe_read_bytes(reader, lathe_read_u8(reader));
    if (kind < EFFECT_DELETE || kind > EFFECT_PUT_PAYLOAD || !lathe_idkey_valid(effect_out->idkey))
        return lathe_fail(err, LATHE_DATA_LOSS, "log effect: kind %u or its id is malformed", kind);
    for (uint32_t i = 0; i < LATHE_MAX_FIELDS; i++)
        effect_out->rows[i] = LATHE_NO_ROW;
    if (effect_out->exists) {
        effect_out->point = lathe_read_u64le(reader);
        effect_out->row_count = lathe_read_u8(reader);
        if (effect_out->row_count > LATHE_MAX_FIELDS)
            return lathe_fail(err, LATHE_DATA_LOSS, "log effect: %u fields", effect_out->row_count);
        for (uint32_t i = 0; i < effect_out->row_count; i++)
            effect_out->rows[i] = lathe_read_u64le(reader);
        if (effect_out->payload_changed)
            effect_out->payload = lathe_read_bytes(reader, lathe_read_u32le(reader));
    }
    return reader->failed ? lathe_fail(err, LATHE_DATA_LOSS, "log effect: cut short") : LATHE_OK;
}
