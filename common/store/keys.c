/* keys.c - building and parsing keys: see keys.h. */
#include "common/store/keys.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"

/* ---- Builders ------------------------------------------------------------------------------- */

static void add_u8(struct lathe_key *key, uint8_t value)
{
    key->bytes[key->size++] = value;
}

static void add_u16(struct lathe_key *key, uint16_t value)
{
    add_u8(key, (uint8_t)(value >> 8));
    add_u8(key, (uint8_t)value);
}

static void add_u32(struct lathe_key *key, uint32_t value)
{
    lathe_put_u32be(key->bytes + key->size, value);
    key->size = (uint8_t)(key->size + 4);
}

static void add_u64(struct lathe_key *key, uint64_t value)
{
    lathe_put_u64be(key->bytes + key->size, value);
    key->size = (uint8_t)(key->size + 8);
}

static void add_bytes(struct lathe_key *key, const void *data, size_t size)
{
    LATHE_REQUIRE(size <= LATHE_KEY_MAX_BYTES - (size_t)key->size);
    memcpy(key->bytes + key->size, data, size);
    key->size = (uint8_t)(key->size + size);
}

static struct lathe_key key_of_collection(uint32_t collection)
{
    struct lathe_key key = {0};

    LATHE_REQUIRE(collection < UINT32_MAX);
    add_u32(&key, collection);
    return key;
}

static struct lathe_key key_of_kind(enum lathe_meta_kind kind)
{
    struct lathe_key key = {0};

    add_u8(&key, (uint8_t)kind);
    return key;
}

struct lathe_key lathe_key_point(uint32_t collection, uint16_t slot, struct lathe_bytes idkey)
{
    struct lathe_key key = key_of_collection(collection);

    LATHE_REQUIRE(slot < LATHE_SLOTS);
    LATHE_REQUIRE(lathe_idkey_valid(idkey));
    add_u16(&key, slot);
    add_bytes(&key, idkey.data, idkey.size);
    return key;
}

struct lathe_key lathe_key_order(uint32_t collection, struct lathe_bytes idkey)
{
    struct lathe_key key = key_of_collection(collection);

    LATHE_REQUIRE(lathe_idkey_valid(idkey));
    add_bytes(&key, idkey.data, idkey.size);
    return key;
}

struct lathe_key lathe_key_original(uint32_t collection, uint16_t field, uint64_t row)
{
    struct lathe_key key = key_of_collection(collection);

    add_u16(&key, field);
    add_u64(&key, row);
    return key;
}

struct lathe_key lathe_key_payload(uint32_t collection, uint64_t point)
{
    struct lathe_key key = key_of_collection(collection);

    add_u64(&key, point);
    return key;
}

struct lathe_key lathe_key_meta_collection(uint32_t collection)
{
    struct lathe_key key = key_of_kind(LATHE_META_COLLECTION);

    LATHE_REQUIRE(collection < UINT32_MAX);
    add_u32(&key, collection);
    return key;
}

struct lathe_key lathe_key_meta_client(const uint8_t client_id[LATHE_CLIENT_ID_BYTES])
{
    struct lathe_key key = key_of_kind(LATHE_META_CLIENT);

    add_bytes(&key, client_id, LATHE_CLIENT_ID_BYTES);
    return key;
}

struct lathe_key lathe_key_meta_result(const uint8_t client_id[LATHE_CLIENT_ID_BYTES],
                                       uint64_t request_number)
{
    struct lathe_key key = key_of_kind(LATHE_META_RESULT);

    add_bytes(&key, client_id, LATHE_CLIENT_ID_BYTES);
    add_u64(&key, request_number);
    return key;
}

struct lathe_key lathe_key_meta_named(const char *name)
{
    struct lathe_key key = key_of_kind(LATHE_META_NAMED);
    size_t size = strlen(name);

    LATHE_REQUIRE(size > 0 && size <= LATHE_META_NAME_MAX_BYTES);
    add_bytes(&key, name, size);
    return key;
}

struct lathe_key lathe_key_log(uint64_t sequence)
{
    struct lathe_key key = {0};

    add_u64(&key, sequence);
    return key;
}

/* ---- Parsers -------------------------------------------------------------------------------- */

/* "DATA_LOSS: points key 0001ab... is malformed". */
static enum lathe_status malformed(const char *family, struct lathe_bytes key,
                                   struct lathe_error *err)
{
    char text[2 * LATHE_KEY_MAX_BYTES + 1] = "";
    size_t shown = key.size < LATHE_KEY_MAX_BYTES ? key.size : LATHE_KEY_MAX_BYTES;

    for (size_t i = 0; i < shown; i++)
        (void)snprintf(text + 2 * i, 3, "%02x", key.data[i]);
    return lathe_fail(err, LATHE_DATA_LOSS, "stored key of family %s is malformed: %zu bytes, %s",
                      family, key.size, text);
}

static uint16_t read_u16be(struct lathe_reader *reader)
{
    uint16_t high = lathe_read_u8(reader);

    return (uint16_t)(high << 8 | lathe_read_u8(reader));
}

/* The reader's rest, if all before it went well and it is an id key. */
static bool rest_is_idkey(struct lathe_reader *reader, struct lathe_bytes *idkey_out)
{
    *idkey_out = lathe_read_bytes(reader, lathe_reader_left(reader));
    return !reader->failed && lathe_idkey_valid(*idkey_out);
}

static bool reader_is_done(const struct lathe_reader *reader)
{
    return !reader->failed && lathe_reader_left(reader) == 0;
}

enum lathe_status lathe_key_point_parse(struct lathe_bytes key, struct lathe_point_key *out,
                                        struct lathe_error *err)
{
    struct lathe_reader reader = lathe_reader_of(key);

    out->collection = lathe_read_u32be(&reader);
    out->slot = read_u16be(&reader);
    if (!rest_is_idkey(&reader, &out->idkey) || out->slot >= LATHE_SLOTS ||
        out->collection == UINT32_MAX)
        return malformed("points", key, err);
    return LATHE_OK;
}

enum lathe_status lathe_key_order_parse(struct lathe_bytes key, struct lathe_order_key *out,
                                        struct lathe_error *err)
{
    struct lathe_reader reader = lathe_reader_of(key);

    out->collection = lathe_read_u32be(&reader);
    if (!rest_is_idkey(&reader, &out->idkey) || out->collection == UINT32_MAX)
        return malformed("order", key, err);
    return LATHE_OK;
}

enum lathe_status lathe_key_original_parse(struct lathe_bytes key, struct lathe_original_key *out,
                                           struct lathe_error *err)
{
    struct lathe_reader reader = lathe_reader_of(key);

    out->collection = lathe_read_u32be(&reader);
    out->field = read_u16be(&reader);
    out->row = lathe_read_u64be(&reader);
    if (!reader_is_done(&reader) || out->collection == UINT32_MAX)
        return malformed("originals", key, err);
    return LATHE_OK;
}

enum lathe_status lathe_key_payload_parse(struct lathe_bytes key, struct lathe_payload_key *out,
                                          struct lathe_error *err)
{
    struct lathe_reader reader = lathe_reader_of(key);

    out->collection = lathe_read_u32be(&reader);
    out->point = lathe_read_u64be(&reader);
    if (!reader_is_done(&reader) || out->collection == UINT32_MAX)
        return malformed("payload", key, err);
    return LATHE_OK;
}

/* What follows the kind byte. False for an unknown kind. */
static bool read_meta_rest(struct lathe_reader *reader, struct lathe_meta_key *out)
{
    switch (out->kind) {
    case LATHE_META_COLLECTION:
        out->collection = lathe_read_u32be(reader);
        return out->collection != UINT32_MAX;
    case LATHE_META_CLIENT:
        out->client_id = lathe_read_bytes(reader, LATHE_CLIENT_ID_BYTES).data;
        return true;
    case LATHE_META_RESULT:
        out->client_id = lathe_read_bytes(reader, LATHE_CLIENT_ID_BYTES).data;
        out->request_number = lathe_read_u64be(reader);
        return true;
    case LATHE_META_NAMED:
        out->name = lathe_read_bytes(reader, lathe_reader_left(reader));
        return out->name.size > 0 && out->name.size <= LATHE_META_NAME_MAX_BYTES;
    }
    return false;
}

enum lathe_status lathe_key_meta_parse(struct lathe_bytes key, struct lathe_meta_key *out,
                                       struct lathe_error *err)
{
    struct lathe_reader reader = lathe_reader_of(key);

    *out = (struct lathe_meta_key){0};
    out->kind = (enum lathe_meta_kind)lathe_read_u8(&reader);
    if (!read_meta_rest(&reader, out) || !reader_is_done(&reader))
        return malformed("meta", key, err);
    return LATHE_OK;
}

enum lathe_status lathe_key_log_parse(struct lathe_bytes key, uint64_t *sequence_out,
                                      struct lathe_error *err)
{
    struct lathe_reader reader = lathe_reader_of(key);

    *sequence_out = lathe_read_u64be(&reader);
    if (!reader_is_done(&reader))
        return malformed("log", key, err);
    return LATHE_OK;
}

/* ---- Ranges --------------------------------------------------------------------------------- */

struct lathe_key_range lathe_key_range_collection(uint32_t collection)
{
    struct lathe_key_range range = {key_of_collection(collection), {0}};

    add_u32(&range.upper, collection + 1);
    return range;
}

struct lathe_key_range lathe_key_range_slots(uint32_t collection, uint32_t first_slot,
                                             uint32_t end_slot)
{
    struct lathe_key_range range = {key_of_collection(collection), key_of_collection(collection)};

    LATHE_REQUIRE(first_slot <= end_slot);
    LATHE_REQUIRE(end_slot <= LATHE_SLOTS);
    add_u16(&range.lower, (uint16_t)first_slot);
    add_u16(&range.upper, (uint16_t)end_slot);
    return range;
}

struct lathe_key_range lathe_key_range_rows(uint32_t collection, uint16_t field, uint64_t first_row,
                                            uint64_t end_row)
{
    LATHE_REQUIRE(first_row <= end_row);
    return (struct lathe_key_range){lathe_key_original(collection, field, first_row),
                                    lathe_key_original(collection, field, end_row)};
}

struct lathe_key_range lathe_key_range_field(uint32_t collection, uint16_t field)
{
    struct lathe_key_range range = {key_of_collection(collection), key_of_collection(collection)};

    add_u16(&range.lower, field);
    if (field == UINT16_MAX)
        return (struct lathe_key_range){range.lower, lathe_key_range_collection(collection).upper};
    add_u16(&range.upper, (uint16_t)(field + 1));
    return range;
}

struct lathe_key_range lathe_key_range_meta(enum lathe_meta_kind kind)
{
    return (struct lathe_key_range){key_of_kind(kind), key_of_kind(kind + 1)};
}

struct lathe_key_range lathe_key_range_results(const uint8_t client_id[LATHE_CLIENT_ID_BYTES],
                                               uint64_t first_number, uint64_t end_number)
{
    LATHE_REQUIRE(first_number <= end_number);
    return (struct lathe_key_range){lathe_key_meta_result(client_id, first_number),
                                    lathe_key_meta_result(client_id, end_number)};
}

struct lathe_key_range lathe_key_range_log(uint64_t first_sequence, uint64_t end_sequence)
{
    LATHE_REQUIRE(first_sequence <= end_sequence);
    return (struct lathe_key_range){lathe_key_log(first_sequence), lathe_key_log(end_sequence)};
}
