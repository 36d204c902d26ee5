/* trim.c - see trim.h. */
#include "shard/write/trim.h"

#include "common/base/log.h"
#include "common/store/keys.h"
#include "shard/write/log.h"

enum { CHECK_US = 2 * 1000 * 1000, STEP_ENTRIES = 20000 };

/* Walks from the oldest entry while it is past a limit. Returns the first sequence number to keep.
 */
static enum lathe_status find_end(struct lathe_store *store, uint64_t wall_ms,
                                  const struct lathe_log_state_record *log, uint64_t *end_out,
                                  uint64_t *bytes_out, struct lathe_error *err)
{
    struct lathe_key_range range = lathe_key_range_log(log->first_seq, log->applied_seq);
    struct lathe_store_scan scan = {.lower = lathe_key_view(&range.lower),
                                    .upper = lathe_key_view(&range.upper),
                                    .large = true};
    struct lathe_store_iter *iter = NULL;
    uint64_t left = log->bytes;
    enum lathe_status rc = lathe_store_iter_create(store, LATHE_FAMILY_LOG, &scan, &iter, err);

    *end_out = log->first_seq;
    if (rc != LATHE_OK)
        return rc;
    lathe_store_iter_seek_first(iter);
    for (int i = 0; i < STEP_ENTRIES && lathe_store_iter_valid(iter); i++) {
        struct lathe_bytes value = lathe_store_iter_value(iter);
        struct lathe_log_entry entry;

        rc = lathe_log_entry_decode(value, &entry, NULL, err);
        if (rc != LATHE_OK)
            break;
        if (left <= LATHE_LOG_KEEP_BYTES && entry.time_ms + LATHE_LOG_KEEP_MS >= wall_ms)
            break;
        left -= value.size < left ? value.size : left;
        *end_out = entry.seq + 1;
        lathe_store_iter_next(iter);
    }
    if (rc == LATHE_OK)
        rc = lathe_store_iter_status(iter, err);
    lathe_store_iter_destroy(iter);
    *bytes_out = left;
    return rc;
}

void lathe_trim_step(struct lathe_trim *trim, struct lathe_store *store, uint64_t now_us,
                     uint64_t wall_ms, struct lathe_log_state_record *log)
{
    struct lathe_key key = lathe_log_state_key();
    struct lathe_log_state_record after = *log;
    struct lathe_key_range range;
    struct lathe_store_batch *batch;
    struct lathe_buf state = {0};
    struct lathe_error err;
    uint64_t end = 0, bytes = 0;
    enum lathe_status rc;

    if (now_us - trim->checked_us < CHECK_US || log->first_seq == 0)
        return;
    trim->checked_us = now_us;
    if (find_end(store, wall_ms, log, &end, &bytes, &err) != LATHE_OK)
        goto failed;
    if (end == log->first_seq)
        return;
    range = lathe_key_range_log(log->first_seq, end);
    batch = lathe_store_batch_create(store);
    if (batch == NULL)
        return;
    lathe_store_batch_delete_range(batch, LATHE_FAMILY_LOG, lathe_key_view(&range.lower),
                                   lathe_key_view(&range.upper));
    after.first_seq = end;
    after.bytes = bytes;
    lathe_log_state_record_encode(&after, &state);
    lathe_store_batch_put(batch, LATHE_FAMILY_META, lathe_key_view(&key), lathe_buf_view(&state));
    rc = state.failed ? lathe_fail(&err, LATHE_RESOURCE_EXHAUSTED, "no memory")
                      : lathe_store_commit_durably(store, batch, "trim", &err);
    lathe_store_batch_destroy(batch);
    lathe_buf_fini(&state);
    if (rc == LATHE_OK) {
        *log = after;
        /* Nobody reads entries this old, so files that hold nothing else go at once. */
        rc = lathe_store_delete_files(store, LATHE_FAMILY_LOG, lathe_key_view(&range.lower),
                                      lathe_key_view(&range.upper), &err);
    }
    if (rc == LATHE_OK)
        return;
failed:
    lathe_log(LATHE_LOG_WARN, "log-trim-failed", "status=%s text=\"%s\"",
              lathe_status_name(err.status), err.message);
}
