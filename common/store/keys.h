/* keys.h - the keys of every family, byte for byte. These bytes never change.
 *
 *   points     u32 collection | u16 slot | id key          (id key: see common/base/id.h)
 *   order      u32 collection | id key
 *   originals  u32 collection | u16 field | u64 row
 *   payload    u32 collection | u64 point number
 *   segments   u32 collection | ...                        reserved for sealed sections
 *   ids        u32 collection | ...                        reserved: the way from row to id is kept
 *                                                          with the segments, so it stays empty
 *   meta       u8 kind | by kind (enum lathe_meta_kind)
 *   log        u64 sequence number                         the one family in one order a shard
 *
 * All integers are big-endian, so that byte order is number order and the id key's order is id
 * order. A collection id is below UINT32_MAX, so that "the collection after it" exists.
 *
 * Builders cannot fail and allocate nothing. Parsers take bytes from disk: whatever is not exactly
 * such a key is DATA_LOSS, with the bytes in the message. Threads: all pure. */
#ifndef LATHE_COMMON_STORE_KEYS_H
#define LATHE_COMMON_STORE_KEYS_H
#include "common/base/id.h"

enum {
    LATHE_COLLECTION_PREFIX_BYTES = 4,
    LATHE_KEY_MAX_BYTES = 4 + 2 + LATHE_IDKEY_MAX_BYTES,
    LATHE_META_NAME_MAX_BYTES = LATHE_KEY_MAX_BYTES - 1,
    LATHE_CLIENT_ID_BYTES = 16
};

/* A key, or the bound of a range. */
struct lathe_key {
    uint8_t size;
    uint8_t bytes[LATHE_KEY_MAX_BYTES];
};

/* Keys k with lower <= k < upper. */
struct lathe_key_range {
    struct lathe_key lower;
    struct lathe_key upper;
};

static inline struct lathe_bytes lathe_key_view(const struct lathe_key *key)
{
    return lathe_bytes_of(key->bytes, key->size);
}

/* First byte of a key in family meta. */
enum lathe_meta_kind {
    LATHE_META_COLLECTION = 1, /* | u32 collection */
    LATHE_META_CLIENT = 2,     /* | 16 bytes client id */
    LATHE_META_RESULT = 3,     /* | 16 bytes client id | u64 request number */
    LATHE_META_NAMED = 4       /* | 1..134 bytes of name: counters and single records */
};

/* What the parsers give. `idkey` points into the parsed bytes and is a valid id key. */
struct lathe_point_key {
    uint32_t collection;
    uint16_t slot; /* below LATHE_SLOTS */
    struct lathe_bytes idkey;
};

struct lathe_order_key {
    uint32_t collection;
    struct lathe_bytes idkey;
};

struct lathe_original_key {
    uint32_t collection;
    uint16_t field;
    uint64_t row;
};

struct lathe_payload_key {
    uint32_t collection;
    uint64_t point;
};

struct lathe_meta_key {
    enum lathe_meta_kind kind;
    uint32_t collection;      /* COLLECTION */
    const uint8_t *client_id; /* CLIENT, RESULT: 16 bytes inside the parsed key */
    uint64_t request_number;  /* RESULT */
    struct lathe_bytes name;  /* NAMED; inside the parsed key */
};

/* ---- Builders ------------------------------------------------------------------------------- */

/* `idkey`: a valid id key. */
struct lathe_key lathe_key_point(uint32_t collection, uint16_t slot, struct lathe_bytes idkey);
struct lathe_key lathe_key_order(uint32_t collection, struct lathe_bytes idkey);
struct lathe_key lathe_key_original(uint32_t collection, uint16_t field, uint64_t row);
struct lathe_key lathe_key_payload(uint32_t collection, uint64_t point);
struct lathe_key lathe_key_meta_collection(uint32_t collection);
struct lathe_key lathe_key_meta_client(const uint8_t client_id[LATHE_CLIENT_ID_BYTES]);
struct lathe_key lathe_key_meta_result(const uint8_t client_id[LATHE_CLIENT_ID_BYTES],
                                       uint64_t request_number);
struct lathe_key lathe_key_meta_named(const char *name); /* 1..LATHE_META_NAME_MAX_BYTES bytes */
struct lathe_key lathe_key_log(uint64_t sequence);

/* ---- Parsers -------------------------------------------------------------------------------- */

LATHE_MUST_CHECK enum lathe_status
lathe_key_point_parse(struct lathe_bytes key, struct lathe_point_key *out, struct lathe_error *err);
LATHE_MUST_CHECK enum lathe_status
lathe_key_order_parse(struct lathe_bytes key, struct lathe_order_key *out, struct lathe_error *err);
LATHE_MUST_CHECK enum lathe_status lathe_key_original_parse(struct lathe_bytes key,
                                                            struct lathe_original_key *out,
                                                            struct lathe_error *err);
LATHE_MUST_CHECK enum lathe_status lathe_key_payload_parse(struct lathe_bytes key,
                                                           struct lathe_payload_key *out,
                                                           struct lathe_error *err);
LATHE_MUST_CHECK enum lathe_status
lathe_key_meta_parse(struct lathe_bytes key, struct lathe_meta_key *out, struct lathe_error *err);
LATHE_MUST_CHECK enum lathe_status
lathe_key_log_parse(struct lathe_bytes key, uint64_t *sequence_out, struct lathe_error *err);

/* ---- Ranges --------------------------------------------------------------------------------- */

/* Every key of a collection, in any family but meta and log: what a drop deletes there. */
struct lathe_key_range lathe_key_range_collection(uint32_t collection);
/* points: slots first_slot .. end_slot-1 of a collection; end_slot at most LATHE_SLOTS. */
struct lathe_key_range lathe_key_range_slots(uint32_t collection, uint32_t first_slot,
                                             uint32_t end_slot);
/* originals: rows first_row .. end_row-1 of a field. */
struct lathe_key_range lathe_key_range_rows(uint32_t collection, uint16_t field, uint64_t first_row,
                                            uint64_t end_row);
/* originals: every row of a field. */
struct lathe_key_range lathe_key_range_field(uint32_t collection, uint16_t field);
/* meta: every key of a kind. */
struct lathe_key_range lathe_key_range_meta(enum lathe_meta_kind kind);
/* meta: results of a client with first_number <= number < end_number. */
struct lathe_key_range lathe_key_range_results(const uint8_t client_id[LATHE_CLIENT_ID_BYTES],
                                               uint64_t first_number, uint64_t end_number);
/* log: first_sequence .. end_sequence-1. */
struct lathe_key_range lathe_key_range_log(uint64_t first_sequence, uint64_t end_sequence);
#endif
