/* store_space.c - disk: flush, compaction, reclaiming, checkpoints, figures: see store.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "common/store/store_internal.h"

enum { BOTTOMMOST_IF_FILTERED = 1, BOTTOMMOST_FORCE = 2 };

enum lathe_status lathe_store_checkpoint(struct lathe_store *store, const char *path,
                                         struct lathe_error *err)
{
    char *failure = NULL;
    rocksdb_checkpoint_t *checkpoint = rocksdb_checkpoint_object_create(store->db, &failure);
    enum lathe_status status = lathe_store_result(&failure, "checkpoint", err);

    if (status != LATHE_OK)
        return status;
    rocksdb_checkpoint_create(checkpoint, path, 0, &failure);
    rocksdb_checkpoint_object_destroy(checkpoint);
    return lathe_store_result(&failure, "checkpoint", err);
}

static enum lathe_status flush_family(struct lathe_store *store, enum lathe_family family,
                                      struct lathe_error *err)
{
    rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
    char *failure = NULL;

    rocksdb_flushoptions_set_wait(options, 1);
    rocksdb_flush_cf(store->db, options, store->handles[family], &failure);
    rocksdb_flushoptions_destroy(options);
    return lathe_store_result(&failure, "flush", err);
}

enum lathe_status lathe_store_flush(struct lathe_store *store, struct lathe_error *err)
{
    enum lathe_status status = LATHE_OK;

    for (unsigned f = 0; f < LATHE_FAMILIES && status == LATHE_OK; f++) {
        if (store->handles[f] != NULL)
            status = flush_family(store, (enum lathe_family)f, err);
    }
    return status;
}

/* RocksDB's compaction call reports nothing; a failure shows as a background error. */
static enum lathe_status compact(struct lathe_store *store, enum lathe_family family,
                                 struct lathe_bytes lower, struct lathe_bytes upper, int bottommost,
                                 struct lathe_error *err)
{
    rocksdb_compactoptions_t *options = rocksdb_compactoptions_create();

    /* Other compactions go on meanwhile: waiting for a long one would hold writers back. */
    rocksdb_compactoptions_set_exclusive_manual_compaction(options, 0);
    rocksdb_compactoptions_set_bottommost_level_compaction(options, (unsigned char)bottommost);
    rocksdb_compact_range_cf_opt(store->db, lathe_store_handle(store, family), options,
                                 lower.size > 0 ? lathe_chars(lower) : NULL, lower.size,
                                 upper.size > 0 ? lathe_chars(upper) : NULL, upper.size);
    rocksdb_compactoptions_destroy(options);
    return lathe_store_background_error(store, err);
}

enum lathe_status lathe_store_compact(struct lathe_store *store, enum lathe_family family,
                                      struct lathe_bytes lower, struct lathe_bytes upper,
                                      struct lathe_error *err)
{
    return compact(store, family, lower, upper, BOTTOMMOST_FORCE, err);
}

enum lathe_status lathe_store_compact_upper(struct lathe_store *store, enum lathe_family family,
                                            struct lathe_error *err)
{
    return compact(store, family, lathe_bytes_of(NULL, 0), lathe_bytes_of(NULL, 0),
                   BOTTOMMOST_IF_FILTERED, err);
}

enum lathe_status lathe_store_delete_files(struct lathe_store *store, enum lathe_family family,
                                           struct lathe_bytes lower, struct lathe_bytes upper,
                                           struct lathe_error *err)
{
    char *failure = NULL;

    rocksdb_delete_file_in_range_cf(store->db, lathe_store_handle(store, family),
                                    lathe_chars(lower), lower.size, lathe_chars(upper), upper.size,
                                    &failure);
    return lathe_store_result(&failure, "delete files", err);
}

/* ---- Figures -------------------------------------------------------------------------------- */

uint64_t lathe_store_family_number(const struct lathe_store *store, unsigned family,
                                   const char *property)
{
    uint64_t number = 0;

    /* A property that does not apply (no blobs in this family) counts as 0. */
    if (rocksdb_property_int_cf(store->db, store->handles[family], property, &number) != 0)
        return 0;
    return number;
}

static uint64_t store_number(const struct lathe_store *store, const char *property)
{
    uint64_t number = 0;

    return rocksdb_property_int(store->db, property, &number) == 0 ? number : 0;
}

void lathe_store_fill_family(const struct lathe_store *store, unsigned family,
                             struct lathe_store_family_figures *out)
{
    out->memtable_bytes = lathe_store_family_number(store, family, "rocksdb.size-all-mem-tables");
    out->table_reader_bytes = lathe_store_family_number(store, family,
                                                        "rocksdb.estimate-table-readers-mem");
    out->sst_bytes = lathe_store_family_number(store, family, "rocksdb.live-sst-files-size");
    out->blob_bytes = lathe_store_family_number(store, family, "rocksdb.live-blob-file-size");
    out->blob_garbage_bytes = lathe_store_family_number(store, family,
                                                        "rocksdb.live-blob-file-garbage-size");
    out->keys = lathe_store_family_number(store, family, "rocksdb.estimate-num-keys");
}

static void add_family(struct lathe_store_family_figures *total,
                       const struct lathe_store_family_figures *one)
{
    total->memtable_bytes += one->memtable_bytes;
    total->table_reader_bytes += one->table_reader_bytes;
    total->sst_bytes += one->sst_bytes;
    total->blob_bytes += one->blob_bytes;
    total->blob_garbage_bytes += one->blob_garbage_bytes;
    total->keys += one->keys;
}

/* What the files of the directory take, whether RocksDB still knows them or not. */
static void count_directory(const char *path, struct lathe_store_figures *figures)
{
    DIR *directory = opendir(path);
    struct dirent *entry;
    struct stat info;

    if (directory == NULL)
        return;
    while ((entry = readdir(directory)) != NULL) {
        /* A file may vanish in between; it then takes nothing. */
        if (fstatat(dirfd(directory), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(info.st_mode))
            continue;
        figures->disk_bytes += (uint64_t)info.st_blocks * 512u;
        if (lathe_ends_with(entry->d_name, ".log"))
            figures->wal_bytes += (uint64_t)info.st_blocks * 512u;
    }
    (void)closedir(directory);
}

enum lathe_status lathe_disk_free(const char *path, uint64_t *free_bytes_out,
                                  struct lathe_error *err)
{
    struct statvfs info;

    *free_bytes_out = 0;
    if (statvfs(path, &info) != 0)
        return lathe_fail(err, LATHE_INTERNAL, "free disk of %s: %s", path, strerror(errno));
    *free_bytes_out = (uint64_t)info.f_bavail * info.f_frsize;
    return LATHE_OK;
}

void lathe_store_figures(struct lathe_store *store, struct lathe_store_figures *figures_out)
{
    *figures_out = (struct lathe_store_figures){0};
    for (unsigned f = 0; f < LATHE_FAMILIES; f++) {
        if (store->handles[f] == NULL)
            continue;
        lathe_store_fill_family(store, f, &figures_out->families[f]);
        add_family(&figures_out->total, &figures_out->families[f]);
    }
    figures_out->cache_used_bytes = lathe_store_cache_used_bytes(store->cache);
    count_directory(store->path, figures_out);
    if (lathe_disk_free(store->path, &figures_out->disk_free_bytes, NULL) != LATHE_OK)
        figures_out->disk_free_bytes = 0;
    figures_out->background_errors = store_number(store, "rocksdb.background-errors");
    figures_out->write_stopped = store_number(store, "rocksdb.is-write-stopped") != 0;
}

enum lathe_status lathe_store_background_error(struct lathe_store *store, struct lathe_error *err)
{
    uint64_t count = store_number(store, "rocksdb.background-errors");

    if (count == 0)
        return LATHE_OK;
    return lathe_fail(err, LATHE_INTERNAL,
                      "%llu flushes or compactions of the store failed since it was opened",
                      (unsigned long long)count);
}
