/* data_dir.h - the data directory: what it is, whose it is, and that only one process has it.
 *
 *   FORMAT           text: format, the oldest format whose readers can still read it, features
 *   cluster          text: cluster id, shard count; fixed when the directory is made
 *   LOCK             held (flock) by the process that has the directory open
 *   catalog/         the coordinator's store
 *   catalog-ready    that store was made once
 *   shard-000/       identity: cluster id, shard number and count; ready: the store was made once
 *   shard-000/store/ the shard's store
 * Every text file is written under another name, synced and renamed, so it is whole or not there.
 */
#ifndef LATHE_STORE_DATA_DIR_H
#define LATHE_STORE_DATA_DIR_H
#include "common/base/limits.h"
#include "common/base/status.h"

enum { LATHE_DATA_PATH_BYTES = 4096 };

struct lathe_data_dir {
    char path[LATHE_DATA_PATH_BYTES - 64];
    uint8_t cluster_id[16];
    uint32_t shard_count;
    bool created; /* by this open */
    int lock_fd;
};

/* Opens `path`, making it if it is missing or empty, with `shards` shards (0: as the directory has
 * it; in a new one `default_shards`). FAILED_PRECONDITION, saying what to do: in use by another
 * process, another shard count, not a Lathe directory, of a newer format, or a part of it is
 * missing. Owner: the caller closes it after every store in it. */
LATHE_MUST_CHECK enum lathe_status lathe_data_dir_open(const char *path, uint32_t shards,
                                                       uint32_t default_shards,
                                                       struct lathe_data_dir *dir_out,
                                                       struct lathe_error *err);
void lathe_data_dir_close(struct lathe_data_dir *dir);

void lathe_data_dir_catalog_path(const struct lathe_data_dir *dir,
                                 char path_out[LATHE_DATA_PATH_BYTES]);
void lathe_data_dir_shard_path(const struct lathe_data_dir *dir, uint32_t shard,
                               char path_out[LATHE_DATA_PATH_BYTES]);
/* Marks a shard's store as made: from now on its absence is an error. Idempotent. */
LATHE_MUST_CHECK enum lathe_status lathe_data_dir_shard_ready(const struct lathe_data_dir *dir,
                                                              uint32_t shard,
                                                              struct lathe_error *err);
/* The same for the catalog's store. */
LATHE_MUST_CHECK enum lathe_status lathe_data_dir_catalog_ready(const struct lathe_data_dir *dir,
                                                                struct lathe_error *err);
#endif
