/* id.c - see id.h. */
#include "common/base/id.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/check.h"
#include "common/base/hash.h"

struct lathe_idkey lathe_idkey_number(uint64_t number)
{
    struct lathe_idkey key = {.size = 9};

    key.bytes[0] = LATHE_ID_NUMBER;
    lathe_put_u64be(key.bytes + 1, number);
    return key;
}

struct lathe_idkey lathe_idkey_uuid(const uint8_t uuid[16])
{
    struct lathe_idkey key = {.size = 17};

    key.bytes[0] = LATHE_ID_UUID;
    memcpy(key.bytes + 1, uuid, 16);
    return key;
}

enum lathe_status lathe_idkey_string(struct lathe_bytes text, struct lathe_idkey *key_out,
                                     struct lathe_error *err)
{
    key_out->size = 0;
    if (text.size == 0)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "id", "a string id must not be empty");
    if (text.size > LATHE_MAX_ID_BYTES)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "id",
                                "a string id of %zu bytes is longer than the limit of %u bytes",
                                text.size, LATHE_MAX_ID_BYTES);
    if (!lathe_utf8_valid(text))
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "id",
                                "a string id must be valid UTF-8");
    key_out->bytes[0] = LATHE_ID_STRING;
    memcpy(key_out->bytes + 1, text.data, text.size);
    key_out->size = (uint8_t)(1 + text.size);
    return LATHE_OK;
}

bool lathe_idkey_valid(struct lathe_bytes bytes)
{
    if (bytes.size == 0)
        return false;
    switch (bytes.data[0]) {
    case LATHE_ID_NUMBER:
        return bytes.size == 9;
    case LATHE_ID_UUID:
        return bytes.size == 17;
    case LATHE_ID_STRING:
        return bytes.size >= 2 && bytes.size <= LATHE_IDKEY_MAX_BYTES &&
               lathe_utf8_valid(lathe_bytes_of(bytes.data + 1, bytes.size - 1));
    default:
        return false;
    }
}

enum lathe_status lathe_idkey_decode(struct lathe_bytes bytes, struct lathe_idkey *key_out,
                                     struct lathe_error *err)
{
    key_out->size = 0;
    if (!lathe_idkey_valid(bytes))
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "id", "not an id key (%zu bytes)",
                                bytes.size);
    memcpy(key_out->bytes, bytes.data, bytes.size);
    key_out->size = (uint8_t)bytes.size;
    return LATHE_OK;
}

enum lathe_id_kind lathe_idkey_kind(struct lathe_bytes key)
{
    LATHE_REQUIRE(key.size > 0);
    return (enum lathe_id_kind)key.data[0];
}

uint64_t lathe_idkey_as_number(struct lathe_bytes key)
{
    LATHE_REQUIRE(key.size == 9);
    return lathe_get_u64be(key.data + 1);
}

/* True if the text is a decimal number that fits 64 bits. */
static bool number_parse(const char *text, uint64_t *number_out)
{
    uint64_t number = 0;

    if (text[0] == '\0')
        return false;
    for (const char *p = text; *p != '\0'; p++) {
        if (*p < '0' || *p > '9' || __builtin_mul_overflow(number, 10u, &number) ||
            __builtin_add_overflow(number, (uint64_t)(*p - '0'), &number))
            return false;
    }
    *number_out = number;
    return true;
}

enum lathe_status lathe_idkey_parse(const char *text, struct lathe_idkey *key_out,
                                    struct lathe_error *err)
{
    uint8_t uuid[16];
    uint64_t number;

    if (strncmp(text, "str:", 4) == 0)
        return lathe_idkey_string(lathe_bytes_str(text + 4), key_out, err);
    if (number_parse(text, &number)) {
        *key_out = lathe_idkey_number(number);
        return LATHE_OK;
    }
    if (lathe_uuid_parse(lathe_bytes_str(text), uuid)) {
        *key_out = lathe_idkey_uuid(uuid);
        return LATHE_OK;
    }
    return lathe_idkey_string(lathe_bytes_str(text), key_out, err);
}

void lathe_idkey_format(struct lathe_bytes key, char text_out[LATHE_ID_TEXT_BYTES])
{
    LATHE_REQUIRE(lathe_idkey_valid(key));
    switch (lathe_idkey_kind(key)) {
    case LATHE_ID_NUMBER:
        (void)snprintf(text_out, LATHE_ID_TEXT_BYTES, "%" PRIu64, lathe_idkey_as_number(key));
        return;
    case LATHE_ID_UUID:
        lathe_uuid_format(key.data + 1, text_out);
        return;
    case LATHE_ID_STRING:
        memcpy(text_out, key.data + 1, key.size - 1);
        text_out[key.size - 1] = '\0';
        return;
    }
    LATHE_UNREACHABLE();
}

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (uint8_t)tolower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Takes "urn:uuid:" and a pair of braces off. */
static struct lathe_bytes uuid_core(struct lathe_bytes text)
{
    static const char urn[] = "urn:uuid:";

    if (text.size > sizeof(urn) - 1 &&
        strncasecmp((const char *)text.data, urn, sizeof(urn) - 1) == 0)
        return lathe_bytes_of(text.data + sizeof(urn) - 1, text.size - (sizeof(urn) - 1));
    if (text.size >= 2 && text.data[0] == '{' && text.data[text.size - 1] == '}')
        return lathe_bytes_of(text.data + 1, text.size - 2);
    return text;
}

bool lathe_uuid_parse(struct lathe_bytes text, uint8_t uuid_out[16])
{
    struct lathe_bytes core = uuid_core(text);
    size_t digits = 0;

    if (core.size != 32 && core.size != 36)
        return false;
    for (size_t i = 0; i < core.size; i++) {
        int value = hex_value(core.data[i]);

        if (core.size == 36 && (i == 8 || i == 13 || i == 18 || i == 23)) {
            if (core.data[i] != '-')
                return false;
            continue;
        }
        if (value < 0)
            return false;
        if (digits % 2 == 0)
            uuid_out[digits / 2] = (uint8_t)(value << 4);
        else
            uuid_out[digits / 2] = (uint8_t)(uuid_out[digits / 2] | value);
        digits++;
    }
    return digits == 32;
}

void lathe_uuid_format(const uint8_t uuid[16], char text_out[37])
{
    static const char hex[] = "0123456789abcdef";
    char *p = text_out;

    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *p++ = '-';
        *p++ = hex[uuid[i] >> 4];
        *p++ = hex[uuid[i] & 15];
    }
    *p = '\0';
}

/* Sets the version and the RFC 9562 variant. */
static void uuid_stamp(uint8_t uuid[16], unsigned version)
{
    uuid[6] = (uint8_t)((uuid[6] & 0x0F) | version << 4);
    uuid[8] = (uint8_t)((uuid[8] & 0x3F) | 0x80);
}

void lathe_uuid_new(uint64_t wall_ms, uint8_t uuid_out[16])
{
    lathe_random(uuid_out, 16);
    for (int i = 0; i < 6; i++)
        uuid_out[i] = (uint8_t)(wall_ms >> (40 - 8 * i));
    uuid_stamp(uuid_out, 7);
}

uint64_t lathe_uuid_time_ms(const uint8_t uuid[16])
{
    uint64_t time_ms = 0;

    for (int i = 0; i < 6; i++)
        time_ms = time_ms << 8 | uuid[i];
    return time_ms;
}

void lathe_uuid_derive(const uint8_t client_id[16], uint64_t request_number, uint32_t operation,
                       uint8_t uuid_out[16])
{
    uint8_t who[28] = {0};
    struct lathe_bytes part = lathe_bytes_of(who, sizeof(who));

    memcpy(who, client_id, 16);
    lathe_put_u64le(who + 16, request_number);
    lathe_put_u32le(who + 24, operation);
    lathe_digest(&part, 1, uuid_out);
    uuid_stamp(uuid_out, 8);
}
