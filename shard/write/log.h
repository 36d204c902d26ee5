/* log.h - the bytes of a log entry: what a shard did, in one order, chained by hashes.
 *
 * One entry a committed request, under the key be64(sequence). It holds resolved effects (ids,
 * resulting payloads, rows), so replaying entries needs no conditions and no clock; vectors are
 * named by row and lie in family originals. docs/storage.md draws the bytes. The hash of an entry
 * is the 16-byte BLAKE2b of all its bytes; the first entry's predecessor is zeros. */
#ifndef LATHE_SHARD_LOG_H
#define LATHE_SHARD_LOG_H
#include "common/base/hash.h"
#include "common/base/id.h"
#include "shard/data/record.h"

enum lathe_log_kind {
    LATHE_LOG_WRITE = 1,             /* body: result record bytes (u32 size first), then effects */
    LATHE_LOG_CREATE_COLLECTION = 2, /* body: encoded lathe.shard.CollectionSpec */
    LATHE_LOG_DROP_COLLECTION = 3,   /* no body */
    LATHE_LOG_FORGET_CLIENTS = 4     /* body: u64 ms; clients silent since before then */
};

enum { LATHE_LOG_HEADER_BYTES = 80 };

struct lathe_log_entry {
    enum lathe_log_kind kind;
    uint32_t collection;
    uint64_t seq;
    uint64_t epoch;
    uint64_t time_ms;
    uint8_t previous_hash[LATHE_DIGEST_BYTES];
    uint8_t client_id[16]; /* zeros: none */
    uint64_t request_number;
    struct lathe_bytes body; /* decode: inside the decoded bytes */
};

/* Appends the entry's bytes and gives their hash. */
void lathe_log_entry_encode(const struct lathe_log_entry *entry, struct lathe_buf *buf,
                            uint8_t hash_out[LATHE_DIGEST_BYTES]);
/* Checks format, lengths and crc: DATA_LOSS. hash_out may be NULL. Whether previous_hash fits is
 * the caller's to compare. */
LATHE_MUST_CHECK enum lathe_status lathe_log_entry_decode(struct lathe_bytes bytes,
                                                          struct lathe_log_entry *entry_out,
                                                          uint8_t hash_out[LATHE_DIGEST_BYTES],
                                                          struct lathe_error *err);

/* What one operation did to one point. */
struct lathe_effect {
    bool exists; /* false: the point was deleted, and only idkey counts */
    bool payload_changed;
    struct lathe_bytes idkey;
    uint64_t point;
    struct lathe_bytes payload; /* when changed; empty: an empty object */
    uint32_t row_count;
    uint64_t rows[LATHE_MAX_FIELDS];
};

void lathe_effect_encode(const struct lathe_effect *effect, struct lathe_buf *buf);
/* Reads one effect; views point into the reader's bytes. DATA_LOSS if malformed. */
LATHE_MUST_CHECK enum lathe_status lathe_effect_decode(struct lathe_reader *reader,
                                                       struct lathe_effect *effect_out,
                                                       struct lathe_error *err);
#endif
