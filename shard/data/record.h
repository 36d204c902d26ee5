/* record.h - the bytes of every stored value. docs/storage.md draws them; golden tests fix them.
 *
 * Each value begins with a format byte. Decoders take bytes from disk: whatever is not exactly such
 * a value is DATA_LOSS. Threads: all pure. */
#ifndef LATHE_SHARD_RECORD_H
#define LATHE_SHARD_RECORD_H
#include "common/base/bytes.h"
#include "common/base/hash.h"
#include "common/base/limits.h"
#include "common/store/keys.h"

/* ---- points: what a point is now ---- */

#define LATHE_NO_ROW UINT64_MAX /* the point has no vector in this field */

struct lathe_point_record {
    uint64_t point;         /* number, local to the shard and collection, never used again */
    uint64_t version;       /* sequence number of the last write */
    uint32_t payload_bytes; /* 0: no payload is stored (an empty object) */
    uint32_t row_count; /* entries of rows[]: the fields of the collection when it was written */
    uint64_t rows[LATHE_MAX_FIELDS]; /* row of each field, or LATHE_NO_ROW */
};

void lathe_point_record_encode(const struct lathe_point_record *record, struct lathe_buf *buf);
LATHE_MUST_CHECK enum lathe_status lathe_point_record_decode(struct lathe_bytes bytes,
                                                             struct lathe_point_record *record_out,
                                                             struct lathe_error *err);

/* ---- meta: counters of a collection ---- */

struct lathe_counters_record {
    uint64_t points;     /* live */
    uint64_t next_point; /* the first number not given out */
    uint32_t field_count;
    uint64_t next_row[LATHE_MAX_FIELDS];
    uint64_t rows[LATHE_MAX_FIELDS]; /* live */
};

struct lathe_key lathe_counters_key(uint32_t collection);
void lathe_counters_record_encode(const struct lathe_counters_record *record,
                                  struct lathe_buf *buf);
LATHE_MUST_CHECK enum lathe_status
lathe_counters_record_decode(struct lathe_bytes bytes, struct lathe_counters_record *record_out,
                             struct lathe_error *err);

/* ---- meta: where the log stands ---- */

struct lathe_log_state_record {
    uint64_t applied_seq;             /* of the last entry; 0 = none yet */
    uint64_t first_seq;               /* the oldest entry still kept */
    uint64_t bytes;                   /* of the entries kept */
    uint8_t hash[LATHE_DIGEST_BYTES]; /* of the last entry */
};

struct lathe_key lathe_log_state_key(void);
void lathe_log_state_record_encode(const struct lathe_log_state_record *record,
                                   struct lathe_buf *buf);
LATHE_MUST_CHECK enum lathe_status
lathe_log_state_record_decode(struct lathe_bytes bytes, struct lathe_log_state_record *record_out,
                              struct lathe_error *err);

/* ---- meta: a client that writes, and the results it may ask for again ---- */

struct lathe_client_record {
    uint64_t last_ms;    /* time of its last write, as the coordinator said */
    uint64_t max_number; /* the highest request number seen */
    uint64_t floor;      /* numbers below are refused as too old */
};

void lathe_client_record_encode(const struct lathe_client_record *record, struct lathe_buf *buf);
LATHE_MUST_CHECK enum lathe_status
lathe_client_record_decode(struct lathe_bytes bytes, struct lathe_client_record *record_out,
                           struct lathe_error *err);

/* One operation's result. `version` is the point's version afterwards, 0 when it does not exist. */
struct lathe_result {
    uint32_t outcome; /* lathe.v1.Outcome */
    uint64_t version;
};

struct lathe_result_record {
    uint8_t digest[LATHE_DIGEST_BYTES]; /* of the request */
    uint64_t seq;                       /* it was applied at */
    uint32_t result_count;
    const struct lathe_result *results; /* encode: borrowed */
};

/* Equal neighbours share one entry, so that a large request of like operations stays small. */
void lathe_result_record_encode(const struct lathe_result_record *record, struct lathe_buf *buf);
/* `results_out` grows; record_out->results points into it. */
LATHE_MUST_CHECK enum lathe_status
lathe_result_record_decode(struct lathe_bytes bytes, struct lathe_result_record *record_out,
                           struct lathe_result **results_out, struct lathe_error *err);
#endif
