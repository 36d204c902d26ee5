/* store_internal.h - what the files of this folder share. Nobody else includes it. */
#ifndef LATHE_COMMON_STORE_STORE_INTERNAL_H
#define LATHE_COMMON_STORE_STORE_INTERNAL_H
#include <pthread.h>
#include <rocksdb/c.h>
#include <stdatomic.h>

#include "common/base/check.h"
#include "common/store/store.h"

struct lathe_store_cache {
    rocksdb_cache_t *cache;
};

struct lathe_store {
    rocksdb_t *db;
    rocksdb_column_family_handle_t *unnamed;                 /* RocksDB's "default" */
    rocksdb_column_family_handle_t *handles[LATHE_FAMILIES]; /* NULL: not opened */
    rocksdb_readoptions_t *read_latest;
    rocksdb_writeoptions_t *write_synced;
    rocksdb_writeoptions_t *write_plain;
    const struct lathe_store_cache *cache; /* the caller's or own_cache */
    struct lathe_store_cache *own_cache;
    char *path;
    pthread_mutex_t reclaim_lock; /* one reclaim at a time; nothing is locked inside it */
    unsigned fruitless_steps;     /* of reclaiming in a row; under reclaim_lock */
    _Atomic int64_t borrowed;     /* batches, snapshots and iterators that are not given back */
    _Atomic bool unsealed;        /* committed since the last seal */
};

struct lathe_store_snapshot {
    const rocksdb_snapshot_t *snapshot;
    rocksdb_readoptions_t *read; /* made once, so that a read makes none; never changed */
};

static inline const char *lathe_chars(struct lathe_bytes bytes)
{
    return (const char *)bytes.data;
}

static inline rocksdb_column_family_handle_t *lathe_store_handle(const struct lathe_store *store,
                                                                 enum lathe_family family)
{
    LATHE_REQUIRE((unsigned)family < LATHE_FAMILIES);
    LATHE_REQUIRE(store->handles[family] != NULL);
    return store->handles[family];
}

/* Turns RocksDB's text into a status. Frees *text_p and sets it to NULL; NULL text is LATHE_OK. */
enum lathe_status lathe_store_result(char **text_p, const char *doing, struct lathe_error *err);

/* Options of the whole store; destroyed by the caller. NULL with *err filled on failure. */
rocksdb_options_t *lathe_store_options(const struct lathe_store_config *config,
                                       const struct lathe_store_cache *cache,
                                       struct lathe_error *err);
/* Options of one family, from those of the store; destroyed by the caller. */
rocksdb_options_t *lathe_store_family_options(const rocksdb_options_t *store_options,
                                              const struct lathe_store_config *config,
                                              const struct lathe_store_cache *cache,
                                              enum lathe_family family);

bool lathe_ends_with(const char *text, const char *end);

/* DATA_LOSS if the manifest is damaged in a way that RocksDB does not notice. Its end is never cut:
 * an edit that is missing may name tables whose log is gone already. */
enum lathe_status lathe_store_check_manifest(const char *path, struct lathe_error *err);
/* DATA_LOSS if a write-ahead log is damaged, with file and byte. The end of the newest one that is
 * not empty may be a commit that was interrupted, and is cut off then, with a line in the log; the
 * others were synced before the next was made. FAILED_PRECONDITION if it were to be cut and another
 * process has the store open. */
enum lathe_status lathe_store_check_wal(const char *directory, const char *path, bool newest,
                                        struct lathe_error *err);

/* An integer property of an open family; 0 where it does not apply. */
uint64_t lathe_store_family_number(const struct lathe_store *store, unsigned family,
                                   const char *property);
void lathe_store_fill_family(const struct lathe_store *store, unsigned family,
                             struct lathe_store_family_figures *out);
/* Brings everything down to the last level; leaves files there alone that nothing comes down to. */
enum lathe_status lathe_store_compact_upper(struct lathe_store *store, enum lathe_family family,
                                            struct lathe_error *err);
#endif
