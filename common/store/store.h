/* store.h - the one door to RocksDB: one ordered, crash-safe key space a shard, in families.
 *
 * Only the files store*.c of this folder know RocksDB. Keys are compared bytewise; their
 * layout is keys.h's business.
 *
 * Threads: every function may be called from any thread at any time, except that a batch and an
 * iterator belong to one thread at a time, and close() comes after everything else.
 * Errors: RocksDB's texts become statuses here and nowhere else; `err` (may be NULL) keeps the
 * text. DATA_LOSS            stored bytes do not match their checksum, or a file is missing
 *   RESOURCE_EXHAUSTED   the disk (or quota) is full
 *   INTERNAL             any other failure to read, write or sync a file
 *   FAILED_PRECONDITION  the directory is in use by another process, or not one we can open
 *   UNAVAILABLE          the store is closing or asks for another try
 * After a commit that failed nothing is known about its batch: it may or may not be there after a
 * restart. RocksDB then refuses further writes; a sync is never tried again. */
#ifndef LATHE_COMMON_STORE_STORE_H
#define LATHE_COMMON_STORE_STORE_H
#include "common/base/bytes.h"
#include "common/base/status.h"

/* The column families: name in C, name on disk (never changes). RocksDB's own family "default"
 * exists beside them and stays empty. */
#define LATHE_FAMILY_TABLE(X)                                                     \
    X(POINTS, "points")       /* collection, slot, id -> point number, rows */    \
    X(ORDER, "order")         /* collection, id -> slot: listing in id order */   \
    X(ORIGINALS, "originals") /* collection, field, row -> vector as given */     \
    X(PAYLOAD, "payload")     /* collection, point number -> payload */           \
    X(SEGMENTS, "segments")   /* sealed sections */                               \
    X(IDS, "ids")             /* created and left empty: see keys.h */            \
    X(META, "meta")           /* records of collections, clients, and counters */ \
    X(LOG, "log")             /* sequence number -> log entry */

enum lathe_family {
#define LATHE_FAMILY_ENUM(name, text) LATHE_FAMILY_##name,
    LATHE_FAMILY_TABLE(LATHE_FAMILY_ENUM)
#undef LATHE_FAMILY_ENUM
        LATHE_FAMILIES
};

#define LATHE_FAMILY_BIT(family) (1u << (family))
#define LATHE_FAMILIES_ALL       ((1u << LATHE_FAMILIES) - 1u)

enum { LATHE_STORE_MAX_PARTS = 8 };

const char *lathe_family_name(enum lathe_family family);

struct lathe_store;          /* an open store */
struct lathe_store_cache;    /* the block cache of a process */
struct lathe_store_batch;    /* changes that are committed together */
struct lathe_store_snapshot; /* the store as it was at one commit */
struct lathe_store_iter;     /* a walk over one family */

/* ---- The block cache -------------------------------------------------------------------------
 * One LRU cache of uncompressed blocks (and of payload blobs), shared by every store of a process.
 * Owner: the caller; destroyed after every store that uses it is closed. NULL when memory is short.
 */
struct lathe_store_cache *lathe_store_cache_create(uint64_t capacity_bytes);
void lathe_store_cache_destroy(struct lathe_store_cache *cache);
uint64_t lathe_store_cache_used_bytes(const struct lathe_store_cache *cache);

/* ---- Open and close ------------------------------------------------------------------------- */

enum lathe_store_mode {
    LATHE_STORE_OPEN,          /* NOT_FOUND if there is no store: never makes one by accident */
    LATHE_STORE_CREATE,        /* ALREADY_EXISTS if there is one; the parent directory exists */
    LATHE_STORE_OPEN_OR_CREATE /* for a directory whose making may have been interrupted */
};

/* Zeroes mean the default, except for `families`. */
struct lathe_store_config {
    enum lathe_store_mode mode;
    uint32_t families; /* LATHE_FAMILY_BIT()s; always the same for one directory, or more later */
    struct lathe_store_cache *cache; /* borrowed until close; NULL: 8 MiB of its own */
    uint64_t write_buffer_bytes;     /* all memtables of this store together; default 256 MiB */
    uint32_t background_jobs;        /* flushes and compactions at once; default 2 */
};

/* Opens the store in directory `path` and replays what was synced. Exactly one process, once, may
 * have it open.
 * Owner:  on LATHE_OK *store_out is the caller's, given up with lathe_store_close(); else NULL.
 * Errors: as above; a torn end of the write-ahead log (never acknowledged) is cut off with a line
 * in the log, a wrong byte before it is DATA_LOSS, as is a missing write-ahead log, and the store
 * stays closed. Commits without `sync` may be taken for damage after a power cut. */
LATHE_MUST_CHECK enum lathe_status lathe_store_open(const char *path,
                                                    const struct lathe_store_config *config,
                                                    struct lathe_store **store_out,
                                                    struct lathe_error *err);

/* Stops background work, waits for it and closes. NULL is accepted. Every value must be released
 * before; a batch, snapshot or iterator that is left aborts. Memtables are not flushed: the next
 * open replays them from the write-ahead log. */
void lathe_store_close(struct lathe_store *store);

/* ---- Writing -------------------------------------------------------------------------------- */

/* Owner: the caller. NULL when memory is short. `store` must outlive it. */
struct lathe_store_batch *lathe_store_batch_create(struct lathe_store *store);
void lathe_store_batch_destroy(struct lathe_store_batch *batch); /* NULL is accepted */
void lathe_store_batch_clear(struct lathe_store_batch *batch);   /* for the next use */

/* Key and value are copied. Operations apply in order; the last one on a key wins. */
void lathe_store_batch_put(struct lathe_store_batch *batch, enum lathe_family family,
                           struct lathe_bytes key, struct lathe_bytes value);
/* The value is the `count` parts (at most LATHE_STORE_MAX_PARTS) one after another, copied once: a
 * header and a vector need not be put together first. */
void lathe_store_batch_put_parts(struct lathe_store_batch *batch, enum lathe_family family,
                                 struct lathe_bytes key, const struct lathe_bytes *parts,
                                 size_t count);
void lathe_store_batch_delete(struct lathe_store_batch *batch, enum lathe_family family,
                              struct lathe_bytes key);
/* Deletes every key in [lower, upper). One record, whatever the number of keys; reading through
 * many of them is slow, so they are for dropping collections and trimming the log. */
void lathe_store_batch_delete_range(struct lathe_store_batch *batch, enum lathe_family family,
                                    struct lathe_bytes lower, struct lathe_bytes upper);

size_t lathe_store_batch_size_bytes(const struct lathe_store_batch *batch); /* encoded */
size_t lathe_store_batch_count(const struct lathe_store_batch *batch);      /* operations */

/* Writes the batch to the write-ahead log and makes it visible, all of it or nothing. With `sync`
 * it is on disk when this returns LATHE_OK. Without, it may be lost with the machine (not with the
 * process) until the next synced commit, which makes it durable too. The batch is left as it was:
 * clear it before its next use. */
LATHE_MUST_CHECK enum lathe_status lathe_store_commit(struct lathe_store *store,
                                                      struct lathe_store_batch *batch, bool sync,
                                                      struct lathe_error *err);

/* As lathe_store_commit() with `sync`, for state that others rely on: a failure other than a full
 * disk does not return but ends the process (exit code LATHE_EXIT_COMMIT_FAILED), for nothing is
 * known about the disk then, a failed sync must never be tried again, and the next start replays
 * what was synced. `doing` goes to the log with it. */
enum { LATHE_EXIT_COMMIT_FAILED = 70 };
LATHE_MUST_CHECK enum lathe_status lathe_store_commit_durably(struct lathe_store *store,
                                                              struct lathe_store_batch *batch,
                                                              const char *doing,
                                                              struct lathe_error *err);

/* Writes a record without content behind the last commit, synced; nothing if nothing was committed
 * since the last seal. A wrong byte in the last commit of a write-ahead log cannot be told from a
 * commit that a power cut interrupted, and is dropped as such; behind a seal it is DATA_LOSS. So
 * call it when no further commit follows soon. Errors: as lathe_store_commit_durably(); nothing
 * that was committed is in doubt. Threads: any. */
LATHE_MUST_CHECK enum lathe_status lathe_store_seal(struct lathe_store *store,
                                                    struct lathe_error *err);

/* ---- Reading -------------------------------------------------------------------------------- */

/* The store as it is now; reads through it see nothing later. Owner: the caller, who counts its own
 * users. Old versions stay on disk while it lives. NULL when memory is short. */
const struct lathe_store_snapshot *lathe_store_snapshot_acquire(struct lathe_store *store);
void lathe_store_snapshot_release(struct lathe_store *store,
                                  const struct lathe_store_snapshot *snapshot); /* NULL accepted */

/* A stored value, read in place (no copy where RocksDB has it in memory). Zeroed: not there. */
struct lathe_store_value {
    struct lathe_bytes bytes; /* valid until release */
    bool found;
    void *pin; /* store.c's */
};

/* Gives back and zeroes; a zeroed value is accepted. Before the store is closed. */
void lathe_store_value_release(struct lathe_store_value *value);

/* LATHE_OK with value_out->found false when the key is not there: absence is an answer, not an
 * error. `snapshot` NULL reads the latest commit. Owner: the caller releases *value_out. */
LATHE_MUST_CHECK enum lathe_status lathe_store_get(struct lathe_store *store,
                                                   const struct lathe_store_snapshot *snapshot,
                                                   enum lathe_family family, struct lathe_bytes key,
                                                   struct lathe_store_value *value_out,
                                                   struct lathe_error *err);

/* `count` keys of one family into values_out[0..count-1], as lathe_store_get(). `sorted`: the keys
 * ascend strictly, which saves sorting them. On failure all values are released. */
LATHE_MUST_CHECK enum lathe_status
lathe_store_multi_get(struct lathe_store *store, const struct lathe_store_snapshot *snapshot,
                      enum lathe_family family, const struct lathe_bytes *keys, size_t count,
                      bool sorted, struct lathe_store_value *values_out, struct lathe_error *err);

/* What an iterator walks over. Zeroes: the whole family as of now, through the cache. */
struct lathe_store_scan {
    const struct lathe_store_snapshot *snapshot; /* NULL: as of creation */
    struct lathe_bytes lower;                    /* first key; empty = from the start; copied */
    struct lathe_bytes upper; /* key after the last; empty = to the end; copied */
    bool large; /* a long sequential read: reads ahead and leaves the cache to others */
};

/* Starts without a position: seek first. Owner: the caller destroys it. */
LATHE_MUST_CHECK enum lathe_status lathe_store_iter_create(struct lathe_store *store,
                                                           enum lathe_family family,
                                                           const struct lathe_store_scan *scan,
                                                           struct lathe_store_iter **iter_out,
                                                           struct lathe_error *err);
void lathe_store_iter_destroy(struct lathe_store_iter *iter); /* NULL is accepted */
void lathe_store_iter_seek_first(struct lathe_store_iter *iter);
void lathe_store_iter_seek_last(struct lathe_store_iter *iter);
void lathe_store_iter_seek(struct lathe_store_iter *iter,
                           struct lathe_bytes key); /* first >= key */
void lathe_store_iter_seek_before(struct lathe_store_iter *iter,
                                  struct lathe_bytes key); /* <= key */
/* False at the end, before the start AND after an error: ask lathe_store_iter_status() then. */
bool lathe_store_iter_valid(const struct lathe_store_iter *iter);
void lathe_store_iter_next(struct lathe_store_iter *iter);
void lathe_store_iter_prev(struct lathe_store_iter *iter);
/* While valid; the bytes live until the iterator moves. */
struct lathe_bytes lathe_store_iter_key(const struct lathe_store_iter *iter);
struct lathe_bytes lathe_store_iter_value(const struct lathe_store_iter *iter);
/* LATHE_OK after a walk that ended because there was nothing more. A walk is complete only then. */
LATHE_MUST_CHECK enum lathe_status lathe_store_iter_status(const struct lathe_store_iter *iter,
                                                           struct lathe_error *err);

/* ---- Upkeep --------------------------------------------------------------------------------- */

/* Makes a copy of the store as of now in the new directory `path` (its parent exists), by hard
 * links where the file system is the same. It opens as any store. */
LATHE_MUST_CHECK enum lathe_status
lathe_store_checkpoint(struct lathe_store *store, const char *path, struct lathe_error *err);

/* Writes every memtable out, so that the write-ahead log is short. Waits for it. */
LATHE_MUST_CHECK enum lathe_status lathe_store_flush(struct lathe_store *store,
                                                     struct lathe_error *err);

/* Rewrites every file that holds keys in [lower, upper) without what is deleted and seen by no
 * snapshot. Empty bounds: from the start, to the end. Waits for it. Does not move vectors together:
 * see lathe_store_reclaim(). */
LATHE_MUST_CHECK enum lathe_status
lathe_store_compact(struct lathe_store *store, enum lathe_family family, struct lathe_bytes lower,
                    struct lathe_bytes upper, struct lathe_error *err);

/* Removes whole files that hold only keys in [lower, upper), at once and without reading them.
 * Snapshots do not hold them back, so it is for keys that nobody reads any more: a trimmed log, a
 * dropped collection. Files at the edges stay: commit a delete_range over the same keys AFTER it.
 */
LATHE_MUST_CHECK enum lathe_status lathe_store_delete_files(struct lathe_store *store,
                                                            enum lathe_family family,
                                                            struct lathe_bytes lower,
                                                            struct lathe_bytes upper,
                                                            struct lathe_error *err);

/* Gives back the disk of what was deleted or overwritten: one bounded step. Cheap when little is
 * dead. Call it when the store has been idle for some seconds (under load that never ends, every
 * few minutes), again and again while *more_out is true; then blob files hold at most 1.33 times
 * what lives in them. Takes the caller's time (seconds for a step over a gigabyte); other threads
 * go on reading and writing. What a snapshot still sees stays. A deleted range counts as one
 * deletion here: after dropping much by ranges, flush and compact them. */
LATHE_MUST_CHECK enum lathe_status lathe_store_reclaim(struct lathe_store *store, bool *more_out,
                                                       struct lathe_error *err);

/* ---- Figures -------------------------------------------------------------------------------- */

struct lathe_store_family_figures {
    uint64_t memtable_bytes;     /* memory of write buffers */
    uint64_t table_reader_bytes; /* memory of indexes and filters outside the cache */
    uint64_t sst_bytes;          /* on disk, live */
    uint64_t blob_bytes;         /* on disk, live: values kept apart, garbage included */
    uint64_t blob_garbage_bytes; /* of these, dead and not yet reclaimed */
    uint64_t keys;               /* an estimate */
};

struct lathe_store_figures {
    struct lathe_store_family_figures families[LATHE_FAMILIES]; /* zeroes where not opened */
    struct lathe_store_family_figures total;
    uint64_t cache_used_bytes;  /* of the whole shared cache */
    uint64_t disk_bytes;        /* allocated to the directory's files, write-ahead log included */
    uint64_t wal_bytes;         /* of these, the write-ahead log */
    uint64_t disk_free_bytes;   /* left on its file system for this user */
    uint64_t background_errors; /* flushes and compactions that failed since open */
    bool write_stopped;         /* RocksDB holds writers back until compaction catches up */
};

void lathe_store_figures(struct lathe_store *store, struct lathe_store_figures *figures_out);

/* LATHE_OK, or that a flush or compaction failed since open (writes will fail or already do). */
LATHE_MUST_CHECK enum lathe_status lathe_store_background_error(struct lathe_store *store,
                                                                struct lathe_error *err);

/* Bytes free for this user on the file system of `path`; one system call. */
LATHE_MUST_CHECK enum lathe_status lathe_disk_free(const char *path, uint64_t *free_bytes_out,
                                                   struct lathe_error *err);
#endif
