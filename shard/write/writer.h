/* writer.h - the thread that orders and commits a shard's writes and publishes what is searchable.
 *
 * Requests that wait are committed as one group: applied in order, logged, synced once, published,
 * and only then answered. Between groups the same thread keeps rows and log tidy. */
#ifndef LATHE_SHARD_WRITER_H
#define LATHE_SHARD_WRITER_H
#include "common/base/clock.h"
#include "shard/data/table.h"
#include "shard/task.h"
#include "shard/write/repeat.h"

struct lathe_writer;

struct lathe_writer_config {
    const struct lathe_clock *clock;
    struct lathe_store *store;
    struct lathe_budget *budget;
    struct lathe_publication *publication;
    const char *directory; /* for statvfs */
    uint32_t shard;        /* for messages */
    uint64_t max_payload_bytes;
    size_t queue_capacity;       /* tasks that may wait */
    struct lathe_queue *dropped; /* gets each dropped collection's id, as a pointer; may be NULL */
};

enum {
    LATHE_DISK_RESERVE_BYTES = 256 * 1024 * 1024, /* inserts stop while less is free */
    LATHE_MEMORY_INSERT_PERCENT = 95
};

/* Takes over tables, clients and log state as they were loaded, publishes them and starts the
 * thread. RESOURCE_EXHAUSTED: memory is short. */
LATHE_MUST_CHECK enum lathe_status
lathe_writer_start(const struct lathe_writer_config *config, struct lathe_tables *tables,
                   struct lathe_clients **clients_p, const struct lathe_log_state_record *log,
                   struct lathe_writer **writer_out, struct lathe_error *err);
/* Commits what waits, then ends the thread and frees everything. */
void lathe_writer_stop(struct lathe_writer **writer_p);

/* Hands over a WRITE or SYNC task. False when the queue is full; the task stays the caller's. */
LATHE_MUST_CHECK bool lathe_writer_submit(struct lathe_writer *writer, struct lathe_task *task);

/* Commits so far, and time of the last one (monotonic us, 0 = none): upkeep waits for quiet.
 * Threads: any. */
uint64_t lathe_writer_commits(const struct lathe_writer *writer);
uint64_t lathe_writer_last_commit_us(const struct lathe_writer *writer);
/* Whether a commit found the disk full. No write is taken any more; reads go on, and the shard's
 * upkeep is to open the store anew. Threads: any. */
bool lathe_writer_disk_was_full(const struct lathe_writer *writer);
#endif
