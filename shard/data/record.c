/* record.c - see record.h. All integers little-endian. */
#include "shard/data/record.h"

#include <stdio.h>

#include "common/base/mem.h"

enum {
    POINT_FORMAT = 1,
    COUNTERS_FORMAT = 1,
    LOG_STATE_FORMAT = 1,
    CLIENT_FORMAT = 1,
    RESULT_FORMAT = 1
};

/* Checks the format byte; leaves the reader after it. */
static enum lathe_status format_check(struct lathe_reader *reader, uint8_t wanted, const char *what,
                                      struct lathe_error *err)
{
    uint8_t format = lathe_read_u8(reader);

    if (reader->failed)
        return lathe_fail(err, LATHE_DATA_LOSS, "%s record: empty", what);
    if (format != wanted)
        return lathe_fail(err, LATHE_DATA_LOSS, "%s record: format %u, this build reads %u", what,
                          format, wanted);
    return LATHE_OK;
}

/* A decoder's last line: everything was there, and nothing more. */
static enum lathe_status end_check(const struct lathe_reader *reader, const char *what,
                                   struct lathe_error *err)
{
    if (reader->failed)
        return lathe_fail(err, LATHE_DATA_LOSS, "%s record: cut short", what);
    if (lathe_reader_left(reader) != 0)
        return lathe_fail(err, LATHE_DATA_LOSS, "%s record: %zu bytes too many", what,
                          lathe_reader_left(reader));
    return LATHE_OK;
}

void lathe_point_record_encode(const struct lathe_point_record *record, struct lathe_buf *buf)
{
    lathe_buf_u8(buf, POINT_FORMAT);
    lathe_buf_u64le(buf, record->point);
    lathe_buf_u64le(buf, record->version);
    lathe_buf_u32le(buf, record->payload_bytes);
    lathe_buf_u8(buf, (uint8_t)record->row_count);
    for (uint32_t i = 0; i < record->row_count; i++)
        lathe_buf_u64le(buf, record->rows[i]);
}

enum lathe_status lathe_point_record_decode(struct lathe_bytes bytes,
                                            struct lathe_point_record *record_out,
                                            struct lathe_error *err)
{
    struct lathe_reader reader = lathe_reader_of(bytes);
    enum lathe_status rc = format_check(&reader, POINT_FORMAT, "point", err);

    if (rc != LATHE_OK)
        return rc;
    record_out->point = lathe_read_u64le(&reader);
    record_out->version = lathe_read_u64le(&reader);
    record_out->payload_bytes = lathe_read_u32le(&reader);
    record_out->row_count = lathe_read_u8(&reader);
    if (record_out->row_count > LATHE_MAX_FIELDS)
        return lathe_fail(err, LATHE_DATA_LOSS, "point record: %u fields, the limit is %u",
                          record_out->row_count, LATHE_MAX_FIELDS);
    for (uint32_t i = 0; i < LATHE_MAX_FIELDS; i++)
        record_out->rows[i] = i < record_out->row_count ? lathe_read_u64le(&reader) : LATHE_NO_ROW;
    return end_check(&reader, "point", err);
}

struct lathe_key lathe_counters_key(uint32_t collection)
{
    char name[32];

    (void)snprintf(name, sizeof(name), "counters/%08x", collection);
    return lathe_key_meta_named(name);
}

struct lathe_key lathe_log_state_key(void)
{
    return lathe_key_meta_named("log");
}

void lathe_counters_record_encode(const struct lathe_counters_record *record, struct lathe_buf *buf)
{
    lathe_buf_u8(buf, COUNTERS_FORMAT);
    lathe_buf_u64le(buf, record->points);
    lathe_buf_u64le(buf, record->next_point);
    lathe_buf_u8(buf, (uint8_t)record->field_count);
    for (uint32_t i = 0; i < record->field_count; i++) {
        lathe_buf_u64le(buf, record->next_row[i]);
        lathe_buf_u64le(buf, record->rows[i]);
    }
}

enum lathe_status lathe_counters_record_decode(struct lathe_bytes bytes,
                                               struct lathe_counters_record *record_out,
                                               struct lathe_error *err)
{
    struct lathe_reader reader = lathe_reader_of(bytes);
    enum lathe_status rc = format_check(&reader, COUNTERS_FORMAT, "counters", err);

    *record_out = (struct lathe_counters_record){0};
    if (rc != LATHE_OK)
        return rc;
    record_out->points = lathe_read_u64le(&reader);
    record_out->next_point = lathe_read_u64le(&reader);
    record_out->field_count = lathe_read_u8(&reader);
    if (record_out->field_count > LATHE_MAX_FIELDS)
        return lathe_fail(err, LATHE_DATA_LOSS, "counters record: %u fields, the limit is %u",
                          record_out->field_count, LATHE_MAX_FIELDS);
    for (uint32_t i = 0; i < record_out->field_count; i++) {
        record_out->next_row[i] = lathe_read_u64le(&reader);
        record_out->rows[i] = lathe_read_u64le(&reader);
    }
    return end_check(&reader, "counters", err);
}

void lathe_log_state_record_encode(const struct lathe_log_state_record *record,
                                   struct lathe_buf *buf)
{
    lathe_buf_u8(buf, LOG_STATE_FORMAT);
    lathe_buf_u64le(buf, record->applied_seq);
    lathe_buf_u64le(buf, record->first_seq);
    lathe_buf_u64le(buf, record->bytes);
    lathe_buf_append(buf, record->hash, sizeof(record->hash));
}

enum lathe_status lathe_log_state_record_decode(struct lathe_bytes bytes,
                                                struct lathe_log_state_record *record_out,
                                                struct lathe_error *err)
{
    struct lathe_reader reader = lathe_reader_of(bytes);
    enum lathe_status rc = format_check(&reader, LOG_STATE_FORMAT, "log state", err);
    struct lathe_bytes hash;

    *record_out = (struct lathe_log_state_record){0};
    if (rc != LATHE_OK)
        return rc;
    record_out->applied_seq = lathe_read_u64le(&reader);
    record_out->first_seq = lathe_read_u64le(&reader);
    record_out->bytes = lathe_read_u64le(&reader);
    hash = lathe_read_bytes(&reader, sizeof(record_out->hash));
    if (hash.data != NULL)
        memcpy(record_out->hash, hash.data, hash.size);
    return end_check(&reader, "log state", err);
}

void lathe_client_record_encode(const struct lathe_client_record *record, struct lathe_buf *buf)
{
    lathe_buf_u8(buf, CLIENT_FORMAT);
    lathe_buf_u64le(buf, record->last_ms);
    lathe_buf_u64le(buf, record->max_number);
    lathe_buf_u64le(buf, record->floor);
}

enum lathe_status lathe_client_record_decode(struct lathe_bytes bytes,
                                             struct lathe_client_record *record_out,
                                             struct lathe_error *err)
{
    struct lathe_reader reader = lathe_reader_of(bytes);
    enum lathe_status rc = format_check(&reader, CLIENT_FORMAT, "client", err);

    *record_out = (struct lathe_client_record){0};
    if (rc != LATHE_OK)
        return rc;
    record_out->last_ms = lathe_read_u64le(&reader);
    record_out->max_number = lathe_read_u64le(&reader);
    record_out->floor = lathe_read_u64le(&reader);
    return end_check(&reader, "client", err);
}

static bool result_equal(const struct lathe_result *a, const struct lathe_result *b)
{
    return a->outcome == b->outcome && a->version == b->version;
}

void lathe_result_record_encode(const struct lathe_result_record *record, struct lathe_buf *buf)
{
    lathe_buf_u8(buf, RESULT_FORMAT);
    lathe_buf_append(buf, record->digest, sizeof(record->digest));
    lathe_buf_u64le(buf, record->seq);
    lathe_buf_u32le(buf, record->result_count);
    for (uint32_t i = 0; i < record->result_count;) {
        uint32_t run = 1;

        while (i + run < record->result_count &&
               result_equal(&record->results[i], &record->results[i + run]))
            run++;
        lathe_buf_u32le(buf, run);
        lathe_buf_u8(buf, (uint8_t)record->results[i].outcome);
        lathe_buf_u64le(buf, record->results[i].version);
        i += run;
    }
}

/* Reads the runs into results[0..count-1]. */
static bool runs_decode(struct lathe_reader *reader, struct lathe_result *results, uint32_t count)
{
    uint32_t filled = 0;

    while (filled < count && !reader->failed) {
        uint32_t run = lathe_read_u32le(reader);
        struct lathe_result result;

        result.outcome = lathe_read_u8(reader);
        result.version = lathe_read_u64le(reader);
        if (run == 0 || run > count - filled)
            return false;
        for (uint32_t i = 0; i < run; i++)
            results[filled++] = result;
    }
    return !reader->failed;
}

enum lathe_status lathe_result_record_decode(struct lathe_bytes bytes,
                                             struct lathe_result_record *record_out,
                                             struct lathe_result **results_out,
                                             struct lathe_error *err)
{
    struct lathe_reader reader = lathe_reader_of(bytes);
    enum lathe_status rc = format_check(&reader, RESULT_FORMAT, "result", err);
    struct lathe_bytes digest;
    struct lathe_result *results;

    *record_out = (struct lathe_result_record){0};
    if (rc != LATHE_OK)
        return rc;
    digest = lathe_read_bytes(&reader, LATHE_DIGEST_BYTES);
    if (digest.data != NULL)
        memcpy(record_out->digest, digest.data, digest.size);
    record_out->seq = lathe_read_u64le(&reader);
    record_out->result_count = lathe_read_u32le(&reader);
    if (reader.failed || record_out->result_count > LATHE_MAX_OPERATIONS)
        return lathe_fail(err, LATHE_DATA_LOSS, "result record: not %u results at most",
                          LATHE_MAX_OPERATIONS);
    results = lathe_realloc_array(*results_out, record_out->result_count, sizeof(*results));
    if (results == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "result record: no memory");
    *results_out = results;
    record_out->results = results;
    if (!runs_decode(&reader, results, record_out->result_count))
        return lathe_fail(err, LATHE_DATA_LOSS, "result record: bad run");
    return end_check(&reader, "result", err);
}
