/* trim.h - keeps the log to LATHE_LOG_KEEP_BYTES or LATHE_LOG_KEEP_MS, whichever comes first. */
#ifndef LATHE_SHARD_TRIM_H
#define LATHE_SHARD_TRIM_H
#include "common/store/store.h"
#include "shard/data/record.h"

#define LATHE_LOG_KEEP_BYTES (1024ull * 1024ull * 1024ull)
#define LATHE_LOG_KEEP_MS    (30ull * 60ull * 1000ull)

/* Starts zeroed. Owner: the writer thread. */
struct lathe_trim {
    uint64_t checked_us;
};

/* Every few seconds: deletes the oldest entries that are past a limit, some thousands at a time,
 * and brings `log` (first_seq, bytes) up to date. A failure is logged and the log stays longer. */
void lathe_trim_step(struct lathe_trim *trim, struct lathe_store *store, uint64_t now_us,
                     uint64_t wall_ms, struct lathe_log_state_record *log);
#endif
