/* data_dir.c - see data_dir.h. */
#include "common/store/data_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/base/hash.h"

enum { FORMAT_NOW = 1, TEXT_BYTES = 512 };

static enum lathe_status refuse(struct lathe_error *err, const char *path, const char *why,
                                const char *what_to_do)
{
    return lathe_fail_field(err, LATHE_FAILED_PRECONDITION, "data", "data directory %s %s: %s",
                            path, why, what_to_do);
}

static enum lathe_status io_failed(struct lathe_error *err, const char *path, const char *doing)
{
    return lathe_fail_field(err,
                            errno == ENOSPC ? LATHE_RESOURCE_EXHAUSTED : LATHE_FAILED_PRECONDITION,
                            "data", "cannot %s %s: %s", doing, path, strerror(errno));
}

/* Joins two names. Directories given from outside leave room for every name used here. */
static void join(const char *directory, const char *name, char path_out[LATHE_DATA_PATH_BYTES])
{
    size_t directory_size = strlen(directory), name_size = strlen(name);

    LATHE_REQUIRE(directory_size + 1 + name_size < LATHE_DATA_PATH_BYTES);
    memcpy(path_out, directory, directory_size);
    path_out[directory_size] = '/';
    memcpy(path_out + directory_size + 1, name, name_size + 1);
}

static bool exists(const char *directory, const char *name)
{
    char path[LATHE_DATA_PATH_BYTES];

    join(directory, name, path);
    return access(path, F_OK) == 0;
}

/* ---- Text files ---- */

static enum lathe_status directory_sync(const char *path, struct lathe_error *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool synced = fd >= 0 && fsync(fd) == 0;

    if (fd >= 0)
        (void)close(fd);
    return synced ? LATHE_OK : io_failed(err, path, "sync");
}

/* Whole or not at all: written beside, synced, renamed, and the directory synced. */
static enum lathe_status text_write(const char *directory, const char *name, const char *text,
                                    struct lathe_error *err)
{
    char path[LATHE_DATA_PATH_BYTES], beside[LATHE_DATA_PATH_BYTES];
    char temporary[64];
    size_t size = strlen(text);
    bool done;
    int fd;

    (void)snprintf(temporary, sizeof(temporary), "%s.tmp", name);
    join(directory, name, path);
    join(directory, temporary, beside);
    fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return io_failed(err, beside, "create");
    done = write(fd, text, size) == (ssize_t)size && fsync(fd) == 0;
    done = close(fd) == 0 && done;
    if (!done || rename(beside, path) != 0)
        return io_failed(err, path, "write");
    return directory_sync(directory, err);
}

static enum lathe_status text_read(const char *directory, const char *name,
                                   char text_out[TEXT_BYTES], struct lathe_error *err)
{
    char path[LATHE_DATA_PATH_BYTES];
    ssize_t size;
    int fd;

    join(directory, name, path);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    size = fd >= 0 ? read(fd, text_out, TEXT_BYTES - 1) : -1;
    if (fd >= 0)
        (void)close(fd);
    if (size < 0)
        return io_failed(err, path, "read");
    text_out[size] = '\0';
    return LATHE_OK;
}

/* ---- Identity ---- */

static void id_format(const uint8_t id[16], char text_out[33])
{
    for (int i = 0; i < 16; i++)
        (void)snprintf(text_out + 2 * i, 3, "%02x", id[i]);
}

static bool id_parse(const char *text, uint8_t id_out[16])
{
    for (int i = 0; i < 16; i++) {
        unsigned value;

        if (sscanf(text + 2 * i, "%2x", &value) != 1)
            return false;
        id_out[i] = (uint8_t)value;
    }
    return true;
}

static void shard_directory(const struct lathe_data_dir *dir, uint32_t shard,
                            char path_out[LATHE_DATA_PATH_BYTES])
{
    char name[32];

    (void)snprintf(name, sizeof(name), "shard-%03u", shard);
    join(dir->path, name, path_out);
}

static void identity_text(const struct lathe_data_dir *dir, uint32_t shard,
                          char text_out[TEXT_BYTES])
{
    char id[33];

    id_format(dir->cluster_id, id);
    (void)snprintf(text_out, TEXT_BYTES, "cluster %s\nshard %u\nshards %u\n", id, shard,
                   dir->shard_count);
}

/* ---- Making ---- */

/* True for what an interrupted making may have left; nothing was ever stored then. */
static bool ours_unfinished(const char *path, const char *name)
{
    char ready[LATHE_DATA_PATH_BYTES];
    char inner[300];

    if (strcmp(name, "LOCK") == 0 || strcmp(name, "cluster") == 0 ||
        strcmp(name, "cluster.tmp") == 0 || strcmp(name, "FORMAT.tmp") == 0 ||
        strcmp(name, "catalog") == 0 || strcmp(name, "lost+found") == 0)
        return true;
    if (strncmp(name, "shard-", 6) != 0)
        return false;
    (void)snprintf(inner, sizeof(inner), "%s/ready", name);
    join(path, inner, ready);
    return access(ready, F_OK) != 0;
}

/* Refuses a directory without FORMAT in which something lies that is not ours. */
static enum lathe_status foreign_check(const char *path, struct lathe_error *err)
{
    DIR *directory = opendir(path);
    const struct dirent *entry;
    enum lathe_status rc = LATHE_OK;

    if (directory == NULL)
        return io_failed(err, path, "open");
    while (rc == LATHE_OK && (entry = readdir(directory)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            ours_unfinished(path, entry->d_name))
            continue;
        rc = lathe_fail_field(
            err, LATHE_FAILED_PRECONDITION, "data",
            "data directory %s is not Lathe's: it holds \"%.100s\" and no FORMAT file. "
            "Give an empty or new directory",
            path, entry->d_name);
    }
    (void)closedir(directory);
    return rc;
}

static enum lathe_status make_directory(const char *path, struct lathe_error *err)
{
    return mkdir(path, 0755) == 0 || errno == EEXIST ? LATHE_OK : io_failed(err, path, "create");
}

/* A new directory is there after a power cut only once the one around it is synced. One that we may
 * not read was made by somebody else, whose business that is. */
static enum lathe_status parent_sync(const char *path, struct lathe_error *err)
{
    char copy[LATHE_DATA_PATH_BYTES];
    const char *parent;

    (void)snprintf(copy, sizeof(copy), "%s", path);
    parent = dirname(copy);
    return access(parent, R_OK) == 0 ? directory_sync(parent, err) : LATHE_OK;
}

/* Shards first, FORMAT last: a directory with FORMAT is complete. */
static enum lathe_status make(struct lathe_data_dir *dir, uint32_t shards, struct lathe_error *err)
{
    char text[TEXT_BYTES], path[LATHE_DATA_PATH_BYTES], id[33];
    enum lathe_status rc = foreign_check(dir->path, err);

    if (rc == LATHE_OK)
        rc = parent_sync(dir->path, err);
    if (rc != LATHE_OK)
        return rc;
    lathe_random(dir->cluster_id, sizeof(dir->cluster_id));
    dir->shard_count = shards;
    for (uint32_t i = 0; i < shards && rc == LATHE_OK; i++) {
        shard_directory(dir, i, path);
        rc = make_directory(path, err);
        identity_text(dir, i, text);
        if (rc == LATHE_OK)
            rc = text_write(path, "identity", text, err);
    }
    id_format(dir->cluster_id, id);
    (void)snprintf(text, sizeof(text), "cluster %s\nshards %u\n", id, shards);
    if (rc == LATHE_OK)
        rc = text_write(dir->path, "cluster", text, err);
    (void)snprintf(text, sizeof(text),
                   "lathe data directory\nformat %d\noldest-reader %d\nfeatures\n", FORMAT_NOW,
                   FORMAT_NOW);
    if (rc == LATHE_OK)
        rc = text_write(dir->path, "FORMAT", text, err);
    dir->created = rc == LATHE_OK;
    return rc;
}

/* ---- Opening ---- */

static enum lathe_status format_check(const struct lathe_data_dir *dir, struct lathe_error *err)
{
    char text[TEXT_BYTES];
    int format = 0, oldest_reader = 0;
    enum lathe_status rc = text_read(dir->path, "FORMAT", text, err);

    if (rc != LATHE_OK)
        return rc;
    if (sscanf(text, "lathe data directory\nformat %d\noldest-reader %d\n", &format,
               &oldest_reader) != 2)
        return refuse(err, dir->path, "has a FORMAT file that is not Lathe's",
                      "give another directory");
    if (oldest_reader > FORMAT_NOW)
        return lathe_fail_field(
            err, LATHE_FAILED_PRECONDITION, "data",
            "data directory %s has format %d, which needs a Lathe that reads format %d; "
            "this one reads up to %d: use the newer Lathe",
            dir->path, format, oldest_reader, FORMAT_NOW);
    return LATHE_OK;
}

static enum lathe_status shard_check(const struct lathe_data_dir *dir, uint32_t shard,
                                     struct lathe_error *err)
{
    char path[LATHE_DATA_PATH_BYTES], text[TEXT_BYTES], wanted[TEXT_BYTES];
    enum lathe_status rc;

    shard_directory(dir, shard, path);
    rc = text_read(path, "identity", text, err);
    if (rc != LATHE_OK)
        return refuse(err, path, "is missing or has no identity file",
                      "put the shard's directory back, or restore a backup");
    identity_text(dir, shard, wanted);
    if (strcmp(text, wanted) != 0)
        return refuse(err, path, "belongs to another cluster or place",
                      "put the right directory here");
    if (exists(path, "ready") && !exists(path, "store/CURRENT"))
        return refuse(err, path, "is unexpectedly empty: its store was made and is gone",
                      "put the shard's directory back, or restore a backup");
    return LATHE_OK;
}

static enum lathe_status open_made(struct lathe_data_dir *dir, uint32_t shards,
                                   struct lathe_error *err)
{
    char text[TEXT_BYTES], id[33];
    enum lathe_status rc = format_check(dir, err);

    if (rc == LATHE_OK && !exists(dir->path, "cluster"))
        rc = refuse(err, dir->path, "has lost its cluster file",
                    "put it back, or restore a backup");
    if (rc == LATHE_OK)
        rc = text_read(dir->path, "cluster", text, err);
    if (rc != LATHE_OK)
        return rc;
    if (sscanf(text, "cluster %32s\nshards %u\n", id, &dir->shard_count) != 2 || strlen(id) != 32 ||
        !id_parse(id, dir->cluster_id) || dir->shard_count == 0 ||
        dir->shard_count > LATHE_MAX_SHARDS)
        return refuse(err, dir->path, "has a damaged cluster file", "restore it from a backup");
    if (shards != 0 && shards != dir->shard_count)
        return lathe_fail_field(
            err, LATHE_FAILED_PRECONDITION, "shards",
            "data directory %s was made with %u shards, not %u: the number is fixed "
            "when the directory is made. Leave --shards out, or give %u",
            dir->path, dir->shard_count, shards, dir->shard_count);
    for (uint32_t i = 0; i < dir->shard_count && rc == LATHE_OK; i++)
        rc = shard_check(dir, i, err);
    /* With a new catalog, ids of collections that the shards still have would be given again. */
    if (rc == LATHE_OK && exists(dir->path, "catalog-ready") &&
        !exists(dir->path, "catalog/CURRENT"))
        rc = refuse(err, dir->path, "has lost its catalog directory",
                    "put it back, or restore a backup");
    return rc;
}

static enum lathe_status lock(struct lathe_data_dir *dir, struct lathe_error *err)
{
    char path[LATHE_DATA_PATH_BYTES];

    join(dir->path, "LOCK", path);
    dir->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (dir->lock_fd < 0)
        return io_failed(err, path, "create");
    if (flock(dir->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return refuse(err, dir->path, "is in use by another process",
                      "stop that one first, or give another directory");
    return LATHE_OK;
}

enum lathe_status lathe_data_dir_open(const char *path, uint32_t shards, uint32_t default_shards,
                                      struct lathe_data_dir *dir_out, struct lathe_error *err)
{
    enum lathe_status rc;

    *dir_out = (struct lathe_data_dir){.lock_fd = -1};
    if (strlen(path) == 0 || strlen(path) >= sizeof(dir_out->path))
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "data",
                                "a path of %zu bytes, 1 to %zu are allowed", strlen(path),
                                sizeof(dir_out->path) - 1);
    (void)snprintf(dir_out->path, sizeof(dir_out->path), "%s", path);
    rc = make_directory(path, err);
    if (rc == LATHE_OK && !exists(path, "FORMAT"))
        rc = foreign_check(path,
                           err); /* before a LOCK file is put into somebody else's directory */
    if (rc == LATHE_OK)
        rc = lock(dir_out, err);
    if (rc == LATHE_OK)
        rc = exists(path, "FORMAT") ? open_made(dir_out, shards, err)
                                    : make(dir_out, shards != 0 ? shards : default_shards, err);
    if (rc != LATHE_OK)
        lathe_data_dir_close(dir_out);
    return rc;
}

void lathe_data_dir_close(struct lathe_data_dir *dir)
{
    if (dir->lock_fd >= 0)
        (void)close(dir->lock_fd);
    dir->lock_fd = -1;
}

void lathe_data_dir_catalog_path(const struct lathe_data_dir *dir,
                                 char path_out[LATHE_DATA_PATH_BYTES])
{
    join(dir->path, "catalog", path_out);
}

void lathe_data_dir_shard_path(const struct lathe_data_dir *dir, uint32_t shard,
                               char path_out[LATHE_DATA_PATH_BYTES])
{
    char path[LATHE_DATA_PATH_BYTES];

    shard_directory(dir, shard, path);
    join(path, "store", path_out);
}

enum lathe_status lathe_data_dir_shard_ready(const struct lathe_data_dir *dir, uint32_t shard,
                                             struct lathe_error *err)
{
    char path[LATHE_DATA_PATH_BYTES];

    shard_directory(dir, shard, path);
    return exists(path, "ready")
               ? LATHE_OK
               : text_write(path, "ready", "this shard's store has been made\n", err);
}

enum lathe_status lathe_data_dir_catalog_ready(const struct lathe_data_dir *dir,
                                               struct lathe_error *err)
{
    return exists(dir->path, "catalog-ready")
               ? LATHE_OK
               : text_write(dir->path, "catalog-ready", "the catalog's store has been made\n", err);
}
