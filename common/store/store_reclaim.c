/* store_reclaim.c - giving back the disk of dead data, one bounded step a call: see store.h.
 *
 * Dead data hides in three places, and each is looked at only where it can matter:
 *   1. in memtables and the write-ahead log, until they are flushed;
 *   2. in tables, below newer versions and deletions that lie in upper levels;
 *   3. in blob files that hold dead and live values side by side. A blob file that is dead as a
 *      whole goes by itself once 2 is done; row ids only grow, so this is the common end. What is
 *      mixed is moved: the live values of the oldest files are written again. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/store/store_internal.h"

enum {
    FLUSH_PART = 16,            /* flush above 1/16 of the live bytes in the log ... */
    FLUSH_MIN_BYTES = 1 << 20,  /* ... but not for less */
    UPPER_PART = 4,             /* compact above 1/4 of the entries over the last level, */
    UPPER_PART_WITH_BLOBS = 16, /* above 1/16 where an entry stands for a big value */
    GARBAGE_PART = 4            /* move blobs above 1/4 dead: 1.33 times one copy is left */
};

/* A step moves the oldest quarter of the blob files, or about 1 GiB of them if that is less. */
static const double step_share = 0.25;
static const double step_bytes = 1024.0 * 1024.0 * 1024.0;

/* Where the entries of a family lie. */
struct family_shape {
    uint64_t files;
    uint64_t entries;
    uint64_t deletions;
    uint64_t bottom_entries; /* of these, in the last level that has any */
    int bottom_level;
};

static int family_of(const struct lathe_store *store, const char *name)
{
    for (unsigned f = 0; f < LATHE_FAMILIES; f++) {
        if (store->handles[f] != NULL && strcmp(name, lathe_family_name((enum lathe_family)f)) == 0)
            return (int)f;
    }
    return -1;
}

static void add_file(struct family_shape *shape, int level, uint64_t entries, uint64_t deletions)
{
    if (shape->files == 0 || level > shape->bottom_level) {
        shape->bottom_level = level;
        shape->bottom_entries = 0;
    }
    if (level == shape->bottom_level)
        shape->bottom_entries += entries;
    shape->files++;
    shape->entries += entries;
    shape->deletions += deletions;
}

static void look_at_shapes(struct lathe_store *store, struct family_shape shapes[LATHE_FAMILIES])
{
    const rocksdb_livefiles_t *files = rocksdb_livefiles(store->db);
    int count = rocksdb_livefiles_count(files);

    memset(shapes, 0, LATHE_FAMILIES * sizeof(shapes[0]));
    for (int i = 0; i < count; i++) {
        int family = family_of(store, rocksdb_livefiles_column_family_name(files, i));

        if (family >= 0)
            add_file(&shapes[family], rocksdb_livefiles_level(files, i),
                     rocksdb_livefiles_entries(files, i), rocksdb_livefiles_deletions(files, i));
    }
    rocksdb_livefiles_destroy(files);
}

static bool flush_is_due(struct lathe_store *store, const struct family_shape *shapes)
{
    struct lathe_store_figures figures;
    uint64_t live;

    lathe_store_figures(store, &figures);
    live = figures.total.sst_bytes + figures.total.blob_bytes;
    if (figures.wal_bytes > live / FLUSH_PART + FLUSH_MIN_BYTES)
        return true;
    for (unsigned f = 0; f < LATHE_FAMILIES; f++) {
        uint64_t deletes;

        if (store->handles[f] == NULL)
            continue;
        deletes = lathe_store_family_number(store, f, "rocksdb.num-deletes-active-mem-table") +
                  lathe_store_family_number(store, f, "rocksdb.num-deletes-imm-mem-tables");
        if (deletes * FLUSH_PART > shapes[f].entries)
            return true;
    }
    return false;
}

static bool compaction_is_due(const struct family_shape *shape, bool has_blobs)
{
    uint64_t part = has_blobs ? UPPER_PART_WITH_BLOBS : UPPER_PART;

    if (shape->files == 0)
        return false;
    /* Everything in level 0: nothing was ever brought together. */
    if (shape->bottom_level == 0)
        return shape->files > 1 || shape->deletions > 0;
    return (shape->entries - shape->bottom_entries) * part > shape->bottom_entries;
}

static enum lathe_status set_moving(struct lathe_store *store, enum lathe_family family, bool on,
                                    double share, struct lathe_error *err)
{
    char text[32];
    const char *const keys[] = {"enable_blob_garbage_collection",
                                "blob_garbage_collection_age_cutoff"};
    const char *const values[] = {on ? "true" : "false", text};
    char *failure = NULL;

    (void)snprintf(text, sizeof(text), "%.6f", share);
    rocksdb_set_options_cf(store->db, lathe_store_handle(store, family), 2, keys, values, &failure);
    return lathe_store_result(&failure, "move blobs", err);
}

/* Share of the family's blob files that one step moves: at least one file. */
static double moved_share(uint64_t blob_bytes, uint64_t blob_files)
{
    double share = fmin(step_share, step_bytes / (double)blob_bytes);

    /* RocksDB rounds share * files down. */
    share = fmax(share, 1.01 / (double)blob_files);
    return fmin(share, 1.0);
}

static bool garbage_is_high(const struct lathe_store_family_figures *figures)
{
    return figures->blob_garbage_bytes * GARBAGE_PART > figures->blob_bytes;
}

/* Moves the live values out of the oldest blob files of a family. *more_out: more is worth moving
 * and moving still gains. */
static enum lathe_status move_blobs(struct lathe_store *store, enum lathe_family family,
                                    bool *more_out, struct lathe_error *err)
{
    struct lathe_store_family_figures before = {0};
    struct lathe_store_family_figures after = {0};
    uint64_t files;
    double share;
    enum lathe_status status;
    enum lathe_status off;

    lathe_store_fill_family(store, family, &before);
    if (!garbage_is_high(&before))
        return LATHE_OK;
    files = lathe_store_family_number(store, family, "rocksdb.num-blob-files");
    share = moved_share(before.blob_bytes, files > 0 ? files : 1);
    status = set_moving(store, family, true, share, err);
    if (status != LATHE_OK)
        return status;
    status = lathe_store_compact(store, family, lathe_bytes_of(NULL, 0), lathe_bytes_of(NULL, 0),
                                 err);
    off = set_moving(store, family, false, share, status == LATHE_OK ? err : NULL);
    lathe_store_fill_family(store, family, &after);
    /* The oldest files may hold no garbage; then the next ones do. But once round is enough. */
    store->fruitless_steps = after.blob_garbage_bytes < before.blob_garbage_bytes
                                 ? 0
                                 : store->fruitless_steps + 1;
    if (garbage_is_high(&after) && store->fruitless_steps * share < 1.5)
        *more_out = true;
    return status != LATHE_OK ? status : off;
}

static enum lathe_status reclaim_family(struct lathe_store *store, enum lathe_family family,
                                        const struct family_shape *shape, bool *more_out,
                                        struct lathe_error *err)
{
    struct lathe_store_family_figures figures = {0};
    enum lathe_status status = LATHE_OK;

    lathe_store_fill_family(store, family, &figures);
    if (compaction_is_due(shape, figures.blob_bytes > figures.sst_bytes))
        status = lathe_store_compact_upper(store, family, err);
    if (status == LATHE_OK && figures.blob_bytes > 0)
        status = move_blobs(store, family, more_out, err);
    return status;
}

enum lathe_status lathe_store_reclaim(struct lathe_store *store, bool *more_out,
                                      struct lathe_error *err)
{
    struct family_shape shapes[LATHE_FAMILIES];
    enum lathe_status status = LATHE_OK;

    *more_out = false;
    (void)pthread_mutex_lock(&store->reclaim_lock);
    look_at_shapes(store, shapes);
    if (flush_is_due(store, shapes)) {
        status = lathe_store_flush(store, err);
        look_at_shapes(store, shapes);
    }
    for (unsigned f = 0; f < LATHE_FAMILIES && status == LATHE_OK; f++) {
        if (store->handles[f] != NULL)
            status = reclaim_family(store, (enum lathe_family)f, &shapes[f], more_out, err);
    }
    (void)pthread_mutex_unlock(&store->reclaim_lock);
    return status;
}
