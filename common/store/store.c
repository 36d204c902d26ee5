/* store.c - opening, closing and writing: see store.h. Any thread. */
#include "common/store/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/store/store_internal.h"

enum { OWN_CACHE_BYTES = 8 * 1024 * 1024, OPENED_MAX = LATHE_FAMILIES + 1 };

const char *lathe_family_name(enum lathe_family family)
{
    static const char *const names[] = {
#define FAMILY_TEXT(name, text) [LATHE_FAMILY_##name] = (text),
        LATHE_FAMILY_TABLE(FAMILY_TEXT)
#undef FAMILY_TEXT
    };

    LATHE_REQUIRE((unsigned)family < LATHE_FAMILIES);
    return names[family];
}

/* ---- Errors --------------------------------------------------------------------------------- */

/* RocksDB's C interface gives only text. Rows are tried in order; the first that occurs decides. */
static const struct {
    const char *text;
    enum lathe_status status;
} text_statuses[] = {
    {"NotFound", LATHE_NOT_FOUND},
    {"No space left", LATHE_RESOURCE_EXHAUSTED},
    {"Disk quota exceeded", LATHE_RESOURCE_EXHAUSTED},
    {"NoSpace", LATHE_RESOURCE_EXHAUSTED},
    {"Max allowed space", LATHE_RESOURCE_EXHAUSTED},
    {"Corruption", LATHE_DATA_LOSS},
    /* A file that the manifest names is gone. */
    {"No such file", LATHE_DATA_LOSS},
    {"While lock file", LATHE_FAILED_PRECONDITION},
    {"lock hold by", LATHE_FAILED_PRECONDITION},
    {"Shutdown in progress", LATHE_UNAVAILABLE},
    {"Resource busy", LATHE_UNAVAILABLE},
    {"Operation failed. Try again", LATHE_UNAVAILABLE},
    {"Not implemented", LATHE_FAILED_PRECONDITION},
};

/* A text is "code: reason: While ... /path...: text of errno", and only what stands before the
 * first and behind the last path says what happened: a directory may have any name. */
static enum lathe_status status_of_text(const char *text)
{
    size_t head_size = strcspn(text, "/");
    const char *tail = text + head_size;

    for (const char *at = tail; (at = strstr(at, ": ")) != NULL; at++)
        tail = at;
    if (strchr(tail, '/') != NULL)
        tail = "";
    for (size_t i = 0; i < sizeof(text_statuses) / sizeof(text_statuses[0]); i++) {
        const char *known = text_statuses[i].text;

        if (memmem(text, head_size, known, strlen(known)) != NULL || strstr(tail, known) != NULL)
            return text_statuses[i].status;
    }
    return LATHE_INTERNAL;
}

enum lathe_status lathe_store_result(char **text_p, const char *doing, struct lathe_error *err)
{
    char *text = *text_p;
    enum lathe_status status;

    if (text == NULL)
        return LATHE_OK;
    *text_p = NULL;
    status = status_of_text(text);
    if (strstr(text, "While lock file") != NULL || strstr(text, "lock hold by") != NULL)
        (void)lathe_fail(err, status, "%s: another process uses the directory; stop it first (%s)",
                         doing, text);
    else
        (void)lathe_fail(err, status, "%s: %s", doing, text);
    rocksdb_free(text);
    return status;
}

/* ---- Cache ---------------------------------------------------------------------------------- */

struct lathe_store_cache *lathe_store_cache_create(uint64_t capacity_bytes)
{
    struct lathe_store_cache *cache = lathe_zalloc(sizeof(*cache));

    if (cache == NULL)
        return NULL;
    cache->cache = rocksdb_cache_create_lru((size_t)capacity_bytes);
    return cache;
}

void lathe_store_cache_destroy(struct lathe_store_cache *cache)
{
    if (cache == NULL)
        return;
    rocksdb_cache_destroy(cache->cache);
    lathe_free(cache);
}

uint64_t lathe_store_cache_used_bytes(const struct lathe_store_cache *cache)
{
    return rocksdb_cache_get_usage(cache->cache);
}

/* ---- Open ----------------------------------------------------------------------------------- */

struct directory_content {
    bool current;        /* the file that makes a directory a store */
    bool data;           /* files of a store */
    bool log;            /* a write-ahead log, even an empty one */
    bool opened;         /* OPENED_NAME */
    uint64_t newest_log; /* number of the newest one that is not empty; 0 = none */
};

/* Made when a store was opened, and not copied into checkpoints. From then on RocksDB always keeps
 * a write-ahead log, even an empty one; a checkpoint has none. */
#define OPENED_NAME "opened"

bool lathe_ends_with(const char *text, const char *end)
{
    size_t text_size = strlen(text);
    size_t end_size = strlen(end);

    return text_size > end_size && strcmp(text + text_size - end_size, end) == 0;
}

static void look_at_name(int directory, const char *name, struct directory_content *content)
{
    uint64_t number = strtoull(name, NULL, 10);
    struct stat info;

    content->current |= strcmp(name, "CURRENT") == 0;
    content->opened |= strcmp(name, OPENED_NAME) == 0;
    content->data |= lathe_ends_with(name, ".sst") || lathe_ends_with(name, ".blob");
    if (!lathe_ends_with(name, ".log"))
        return;
    content->data = content->log = true;
    if (number > content->newest_log && fstatat(directory, name, &info, 0) == 0 && info.st_size > 0)
        content->newest_log = number;
}

static enum lathe_status look_into(const char *path, struct directory_content *content_out,
                                   struct lathe_error *err)
{
    DIR *directory = opendir(path);
    struct dirent *entry;

    *content_out = (struct directory_content){.current = false};
    if (directory == NULL) {
        if (errno == ENOENT)
            return LATHE_OK;
        return lathe_fail(err, LATHE_INTERNAL, "open store %s: %s", path, strerror(errno));
    }
    while ((entry = readdir(directory)) != NULL)
        look_at_name(dirfd(directory), entry->d_name, content_out);
    (void)closedir(directory);
    return LATHE_OK;
}

static enum lathe_status check_file(const char *path, const char *name, uint64_t newest_log,
                                    struct lathe_error *err)
{
    char file[PATH_MAX];
    bool log = lathe_ends_with(name, ".log");

    if (!log && strncmp(name, "MANIFEST-", strlen("MANIFEST-")) != 0)
        return LATHE_OK;
    if (snprintf(file, sizeof(file), "%s/%s", path, name) >= (int)sizeof(file))
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "open store %s: the path is too long", path);
    return log ? lathe_store_check_wal(path, file, strtoull(name, NULL, 10) == newest_log, err)
               : lathe_store_check_manifest(file, err);
}

static enum lathe_status check_files(const char *path, uint64_t newest_log, struct lathe_error *err)
{
    DIR *directory = opendir(path);
    enum lathe_status status = LATHE_OK;
    struct dirent *entry;

    if (directory == NULL)
        return lathe_fail(err, LATHE_INTERNAL, "open store %s: %s", path, strerror(errno));
    while (status == LATHE_OK && (entry = readdir(directory)) != NULL)
        status = check_file(path, entry->d_name, newest_log, err);
    (void)closedir(directory);
    return status;
}

/* RocksDB makes a new store where CURRENT is missing, and deletes the old one's files as garbage.
 */
static enum lathe_status check_directory(const char *path, enum lathe_store_mode mode,
                                         bool *exists_out, struct lathe_error *err)
{
    struct directory_content content;
    enum lathe_status status = look_into(path, &content, err);

    if (status != LATHE_OK)
        return status;
    if (!content.current && content.data)
        return lathe_fail(
            err, LATHE_DATA_LOSS,
            "open store %s: the file CURRENT is missing beside data files; restore it "
            "from a backup",
            path);
    if (!content.current && mode == LATHE_STORE_OPEN)
        return lathe_fail(err, LATHE_NOT_FOUND, "open store %s: there is no store", path);
    if (content.current && mode == LATHE_STORE_CREATE)
        return lathe_fail(err, LATHE_ALREADY_EXISTS, "create store %s: there is one already", path);
    *exists_out = content.current;
    if (!content.current)
        return LATHE_OK;
    if (content.opened && !content.log)
        return lathe_fail(err, LATHE_DATA_LOSS,
                          "open store %s: every write-ahead log (*.log) is missing; copy the "
                          "directory with all its files, or restore a backup",
                          path);
    return check_files(path, content.newest_log, err);
}

static enum lathe_status check_family(const char *path, const char *name, uint32_t wanted,
                                      struct lathe_error *err)
{
    if (strcmp(name, "default") == 0)
        return LATHE_OK;
    for (unsigned f = 0; f < LATHE_FAMILIES; f++) {
        if (strcmp(name, lathe_family_name((enum lathe_family)f)) != 0)
            continue;
        if ((wanted & LATHE_FAMILY_BIT(f)) != 0)
            return LATHE_OK;
        return lathe_fail(err, LATHE_FAILED_PRECONDITION,
                          "open store %s: it has the family \"%s\", so it is another kind of store",
                          path, name);
    }
    return lathe_fail(err, LATHE_FAILED_PRECONDITION,
                      "open store %s: unknown family \"%s\"; it was written by a newer version or "
                      "another program",
                      path, name);
}

static enum lathe_status check_families(const char *path, const rocksdb_options_t *options,
                                        uint32_t wanted, struct lathe_error *err)
{
    char *failure = NULL;
    size_t count = 0;
    char **names = rocksdb_list_column_families(options, path, &count, &failure);
    enum lathe_status status = lathe_store_result(&failure, "read families of store", err);

    for (size_t i = 0; i < count && status == LATHE_OK; i++)
        status = check_family(path, names[i], wanted, err);
    /* There is an empty list even after a failure. */
    rocksdb_list_column_families_destroy(names, count);
    return status;
}

/* Opens RocksDB with "default" and the wanted families, and keeps their handles. */
static enum lathe_status open_families(struct lathe_store *store,
                                       const rocksdb_options_t *store_options,
                                       const struct lathe_store_config *config,
                                       struct lathe_error *err)
{
    const char *names[OPENED_MAX] = {"default"};
    const rocksdb_options_t *options[OPENED_MAX] = {store_options};
    rocksdb_options_t *made[OPENED_MAX] = {NULL};
    rocksdb_column_family_handle_t *handles[OPENED_MAX] = {NULL};
    enum lathe_family families[OPENED_MAX] = {0};
    int count = 1;
    char *failure = NULL;

    for (unsigned f = 0; f < LATHE_FAMILIES; f++) {
        if ((config->families & LATHE_FAMILY_BIT(f)) == 0)
            continue;
        families[count] = (enum lathe_family)f;
        names[count] = lathe_family_name(families[count]);
        made[count] = lathe_store_family_options(store_options, config, store->cache,
                                                 families[count]);
        options[count] = made[count];
        count++;
    }
    store->db = rocksdb_open_column_families(store_options, store->path, count, names, options,
                                             handles, &failure);
    for (int i = 1; i < count; i++) {
        rocksdb_options_destroy(made[i]);
        store->handles[families[i]] = handles[i];
    }
    store->unnamed = handles[0];
    return lathe_store_result(&failure, "open store", err);
}

/* Everything but the database itself. */
static enum lathe_status prepare(struct lathe_store *store, const char *path,
                                 const struct lathe_store_config *config, struct lathe_error *err)
{
    store->path = lathe_strdup(path);
    if (store->path != NULL && config->cache == NULL)
        store->own_cache = lathe_store_cache_create(OWN_CACHE_BYTES);
    if (store->path == NULL || (config->cache == NULL && store->own_cache == NULL))
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "open store %s: no memory", path);
    store->cache = config->cache != NULL ? config->cache : store->own_cache;
    store->read_latest = rocksdb_readoptions_create();
    store->write_synced = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(store->write_synced, 1);
    store->write_plain = rocksdb_writeoptions_create();
    return LATHE_OK;
}

/* RocksDB syncs what lies in its directory, not the directory's own name in its parent: a new store
 * would be gone after a power cut, acknowledged writes and all. */
static enum lathe_status sync_parent(const char *path, struct lathe_error *err)
{
    char parent[PATH_MAX];
    enum lathe_status status = LATHE_OK;
    int fd;

    if (snprintf(parent, sizeof(parent), "%s/..", path) >= (int)sizeof(parent))
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "open store %s: the path is too long", path);
    fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        status = lathe_fail(err, LATHE_INTERNAL, "sync %s: %s", parent, strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    return status;
}

/* Without it a missing log is not noticed; that must not keep a store closed on a full disk. The
 * next open tries again. */
static void mark_opened(const char *path)
{
    char mark[PATH_MAX];
    int fd;

    if (snprintf(mark, sizeof(mark), "%s/" OPENED_NAME, path) >= (int)sizeof(mark))
        return;
    fd = open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd >= 0)
        (void)close(fd);
    else
        lathe_log(LATHE_LOG_WARN, "not-marked-opened", "file=%s text=\"%s\"", mark,
                  strerror(errno));
}

static enum lathe_status open_checked(struct lathe_store *store,
                                      const struct lathe_store_config *config,
                                      struct lathe_error *err)
{
    rocksdb_options_t *options = NULL;
    bool exists = false;
    enum lathe_status status = check_directory(store->path, config->mode, &exists, err);

    if (status != LATHE_OK)
        return status;
    options = lathe_store_options(config, store->cache, err);
    if (options == NULL)
        return LATHE_INTERNAL;
    if (exists)
        status = check_families(store->path, options, config->families, err);
    if (status == LATHE_OK)
        status = open_families(store, options, config, err);
    rocksdb_options_destroy(options);
    if (status == LATHE_OK)
        mark_opened(store->path);
    /* Also where an earlier making was interrupted before this point. */
    if (status == LATHE_OK && config->mode != LATHE_STORE_OPEN)
        status = sync_parent(store->path, err);
    return status;
}

enum lathe_status lathe_store_open(const char *path, const struct lathe_store_config *config,
                                   struct lathe_store **store_out, struct lathe_error *err)
{
    struct lathe_store *store;
    enum lathe_status status;

    LATHE_REQUIRE(path != NULL);
    LATHE_REQUIRE(config->families != 0);
    LATHE_REQUIRE((config->families & ~LATHE_FAMILIES_ALL) == 0);
    *store_out = NULL;
    store = lathe_zalloc(sizeof(*store));
    if (store == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "open store %s: no memory", path);
    (void)pthread_mutex_init(&store->reclaim_lock, NULL);
    status = prepare(store, path, config, err);
    if (status == LATHE_OK)
        status = open_checked(store, config, err);
    if (status == LATHE_OK) {
        *store_out = store;
        store = NULL;
    }
    lathe_store_close(store);
    return status;
}

/* RocksDB's order: background work, handles, database. A handle that outlives the database aborts
 * in Debian's build. */
static void close_database(struct lathe_store *store)
{
    if (store->db == NULL)
        return;
    rocksdb_cancel_all_background_work(store->db, 1);
    for (unsigned f = 0; f < LATHE_FAMILIES; f++) {
        if (store->handles[f] != NULL)
            rocksdb_column_family_handle_destroy(store->handles[f]);
    }
    rocksdb_column_family_handle_destroy(store->unnamed);
    rocksdb_close(store->db);
}

void lathe_store_close(struct lathe_store *store)
{
    if (store == NULL)
        return;
    LATHE_REQUIRE(atomic_load(&store->borrowed) == 0);
    close_database(store);
    if (store->read_latest != NULL)
        rocksdb_readoptions_destroy(store->read_latest);
    if (store->write_synced != NULL)
        rocksdb_writeoptions_destroy(store->write_synced);
    if (store->write_plain != NULL)
        rocksdb_writeoptions_destroy(store->write_plain);
    lathe_store_cache_destroy(store->own_cache);
    (void)pthread_mutex_destroy(&store->reclaim_lock);
    lathe_free(store->path);
    lathe_free(store);
}

/* ---- Writing -------------------------------------------------------------------------------- */

struct lathe_store_batch {
    struct lathe_store *store;
    rocksdb_writebatch_t *batch;
};

struct lathe_store_batch *lathe_store_batch_create(struct lathe_store *store)
{
    struct lathe_store_batch *batch = lathe_zalloc(sizeof(*batch));

    if (batch == NULL)
        return NULL;
    batch->store = store;
    batch->batch = rocksdb_writebatch_create();
    (void)atomic_fetch_add(&store->borrowed, 1);
    return batch;
}

void lathe_store_batch_destroy(struct lathe_store_batch *batch)
{
    if (batch == NULL)
        return;
    rocksdb_writebatch_destroy(batch->batch);
    (void)atomic_fetch_sub(&batch->store->borrowed, 1);
    lathe_free(batch);
}

void lathe_store_batch_clear(struct lathe_store_batch *batch)
{
    rocksdb_writebatch_clear(batch->batch);
}

void lathe_store_batch_put(struct lathe_store_batch *batch, enum lathe_family family,
                           struct lathe_bytes key, struct lathe_bytes value)
{
    rocksdb_writebatch_put_cf(batch->batch, lathe_store_handle(batch->store, family),
                              lathe_chars(key), key.size, lathe_chars(value), value.size);
}

void lathe_store_batch_put_parts(struct lathe_store_batch *batch, enum lathe_family family,
                                 struct lathe_bytes key, const struct lathe_bytes *parts,
                                 size_t count)
{
    const char *data[LATHE_STORE_MAX_PARTS];
    size_t sizes[LATHE_STORE_MAX_PARTS];
    const char *key_data = lathe_chars(key);

    LATHE_REQUIRE(count <= LATHE_STORE_MAX_PARTS);
    for (size_t i = 0; i < count; i++) {
        data[i] = lathe_chars(parts[i]);
        sizes[i] = parts[i].size;
    }
    rocksdb_writebatch_putv_cf(batch->batch, lathe_store_handle(batch->store, family), 1, &key_data,
                               &key.size, (int)count, data, sizes);
}

void lathe_store_batch_delete(struct lathe_store_batch *batch, enum lathe_family family,
                              struct lathe_bytes key)
{
    rocksdb_writebatch_delete_cf(batch->batch, lathe_store_handle(batch->store, family),
                                 lathe_chars(key), key.size);
}

void lathe_store_batch_delete_range(struct lathe_store_batch *batch, enum lathe_family family,
                                    struct lathe_bytes lower, struct lathe_bytes upper)
{
    rocksdb_writebatch_delete_range_cf(batch->batch, lathe_store_handle(batch->store, family),
                                       lathe_chars(lower), lower.size, lathe_chars(upper),
                                       upper.size);
}

size_t lathe_store_batch_size_bytes(const struct lathe_store_batch *batch)
{
    size_t size = 0;

    (void)rocksdb_writebatch_data(batch->batch, &size);
    return size;
}

size_t lathe_store_batch_count(const struct lathe_store_batch *batch)
{
    return (size_t)rocksdb_writebatch_count(batch->batch);
}

enum lathe_status lathe_store_commit(struct lathe_store *store, struct lathe_store_batch *batch,
                                     bool sync, struct lathe_error *err)
{
    char *failure = NULL;

    LATHE_REQUIRE(batch->store == store);
    atomic_store(&store->unsealed, true);
    rocksdb_write(store->db, sync ? store->write_synced : store->write_plain, batch->batch,
                  &failure);
    return lathe_store_result(&failure, "commit", err);
}

/* Says that a synced write failed; ends the process unless the disk is full. */
static void synced_write_failed(const struct lathe_store *store, const char *doing,
                                const struct lathe_error *failure)
{
    lathe_log(LATHE_LOG_ERROR, "commit-failed", "store=%s while=%s status=%s text=\"%s\"",
              store->path, doing, lathe_status_name(failure->status), failure->message);
    if (failure->status != LATHE_RESOURCE_EXHAUSTED)
        _exit(LATHE_EXIT_COMMIT_FAILED);
}

enum lathe_status lathe_store_commit_durably(struct lathe_store *store,
                                             struct lathe_store_batch *batch, const char *doing,
                                             struct lathe_error *err)
{
    struct lathe_error failure;

    if (lathe_store_commit(store, batch, true, &failure) == LATHE_OK)
        return LATHE_OK;
    synced_write_failed(store, doing, &failure);
    if (err != NULL)
        *err = failure;
    return failure.status;
}

enum lathe_status lathe_store_seal(struct lathe_store *store, struct lathe_error *err)
{
    rocksdb_writebatch_t *batch;
    struct lathe_error why;
    char *failure = NULL;

    if (!atomic_exchange(&store->unsealed, false))
        return LATHE_OK;
    batch = rocksdb_writebatch_create();
    /* Goes to the write-ahead log alone; a replay passes over it. */
    rocksdb_writebatch_put_log_data(batch, "seal", strlen("seal"));
    rocksdb_write(store->db, store->write_synced, batch, &failure);
    rocksdb_writebatch_destroy(batch);
    if (lathe_store_result(&failure, "seal", &why) == LATHE_OK)
        return LATHE_OK;
    synced_write_failed(store, "seal", &why);
    if (err != NULL)
        *err = why;
    return why.status;
}
