/* catalog_local.c - see catalog_local.h. */
#include "coordinator/catalog_local.h"

#include <inttypes.h>
#include <pthread.h>

#include "common/base/check.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/store/store.h"

enum { PREFIX_REVISION = 1, PREFIX_ENTRY = 2, PREFIX_AFTER = 3, REVISION_BYTES = 8 };

struct local {
    struct lathe_catalog base;
    struct lathe_store *store;
    pthread_mutex_t mutex; /* over comparing and committing; guards `revision` */
    uint64_t revision;     /* of the last transaction */
};

static struct local *local_of(struct lathe_catalog *catalog)
{
    return (struct local *)(void *)catalog;
}

static struct lathe_bytes revision_key(void)
{
    static const uint8_t key[] = {PREFIX_REVISION};

    return lathe_bytes_of(key, sizeof(key));
}

/* The stored key of an entry, appended to an empty buffer. */
static void entry_key(struct lathe_buf *buf, struct lathe_bytes key)
{
    lathe_buf_u8(buf, PREFIX_ENTRY);
    lathe_buf_append(buf, key.data, key.size);
}

static enum lathe_status no_memory(struct lathe_error *err)
{
    return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "catalog: no memory");
}

/* Fills *entry from stored bytes. */
static enum lathe_status entry_read(struct lathe_bytes key, struct lathe_bytes stored,
                                    struct lathe_catalog_entry *entry, struct lathe_error *err)
{
    *entry = (struct lathe_catalog_entry){0};
    if (stored.size < REVISION_BYTES)
        return lathe_fail(err, LATHE_DATA_LOSS,
                          "catalog: an entry of %zu bytes; it has at least %d", stored.size,
                          REVISION_BYTES);
    entry->revision = lathe_get_u64le(stored.data);
    lathe_buf_append(&entry->key, key.data, key.size);
    lathe_buf_append(&entry->value, stored.data + REVISION_BYTES, stored.size - REVISION_BYTES);
    if (entry->key.failed || entry->value.failed) {
        lathe_catalog_entry_fini(entry);
        return no_memory(err);
    }
    return LATHE_OK;
}

/* Reads what is stored under a key; release *value_out. */
static enum lathe_status stored_get(struct local *local, struct lathe_bytes key,
                                    struct lathe_store_value *value_out, struct lathe_error *err)
{
    struct lathe_buf stored = {0};
    enum lathe_status status;

    *value_out = (struct lathe_store_value){0};
    entry_key(&stored, key);
    if (stored.failed)
        return no_memory(err);
    status = lathe_store_get(local->store, NULL, LATHE_FAMILY_META, lathe_buf_view(&stored),
                             value_out, err);
    lathe_buf_fini(&stored);
    return status;
}

static enum lathe_status local_get(struct lathe_catalog *catalog, struct lathe_bytes key,
                                   struct lathe_catalog_entry *entry_out, struct lathe_error *err)
{
    struct lathe_store_value value;
    enum lathe_status status = stored_get(local_of(catalog), key, &value, err);

    *entry_out = (struct lathe_catalog_entry){0};
    if (status == LATHE_OK && !value.found)
        status = lathe_fail(err, LATHE_NOT_FOUND, "catalog: no such key");
    else if (status == LATHE_OK)
        status = entry_read(key, value.bytes, entry_out, err);
    lathe_store_value_release(&value);
    return status;
}

/* Shows the visitor every entry that the iterator finds from here on. */
static enum lathe_status entries_visit(struct lathe_store_iter *iter, struct lathe_bytes prefix,
                                       lathe_catalog_visit_fn *visit, void *context,
                                       struct lathe_error *err)
{
    for (; lathe_store_iter_valid(iter); lathe_store_iter_next(iter)) {
        struct lathe_bytes key = lathe_store_iter_key(iter);
        struct lathe_catalog_entry entry;
        enum lathe_status status;

        key = lathe_bytes_of(key.data + 1, key.size - 1);
        if (key.size < prefix.size ||
            (prefix.size > 0 && memcmp(key.data, prefix.data, prefix.size) != 0))
            return LATHE_OK; /* what begins with the prefix stands together */
        status = entry_read(key, lathe_store_iter_value(iter), &entry, err);
        if (status == LATHE_OK) {
            status = visit(context, &entry);
            lathe_catalog_entry_fini(&entry);
        }
        if (status != LATHE_OK)
            return status;
    }
    return lathe_store_iter_status(iter, err);
}

static enum lathe_status local_list(struct lathe_catalog *catalog, struct lathe_bytes prefix,
                                    lathe_catalog_visit_fn *visit, void *context,
                                    struct lathe_error *err)
{
    static const uint8_t after[] = {PREFIX_AFTER};
    struct lathe_store_iter *iter = NULL;
    struct lathe_buf lower = {0};
    enum lathe_status status;

    entry_key(&lower, prefix);
    if (lower.failed)
        return no_memory(err);
    status = lathe_store_iter_create(local_of(catalog)->store, LATHE_FAMILY_META,
                                     &(struct lathe_store_scan){
                                         .lower = lathe_buf_view(&lower),
                                         .upper = lathe_bytes_of(after, sizeof(after)),
                                     },
                                     &iter, err);
    if (status == LATHE_OK) {
        lathe_store_iter_seek_first(iter);
        status = entries_visit(iter, prefix, visit, context, err);
    }
    lathe_store_iter_destroy(iter);
    lathe_buf_fini(&lower);
    return status;
}

/* ABORTED unless the key still has the revision. Under the mutex. */
static enum lathe_status compare(struct local *local, const struct lathe_catalog_compare *wanted,
                                 struct lathe_error *err)
{
    struct lathe_store_value value;
    enum lathe_status status = stored_get(local, wanted->key, &value, err);
    uint64_t revision = 0;

    if (status == LATHE_OK && value.found) {
        if (value.bytes.size < REVISION_BYTES)
            status = lathe_fail(err, LATHE_DATA_LOSS,
                                "catalog: an entry of %zu bytes; it has at least %d",
                                value.bytes.size, REVISION_BYTES);
        else
            revision = lathe_get_u64le(value.bytes.data);
    }
    lathe_store_value_release(&value);
    if (status == LATHE_OK && revision != wanted->revision)
        status = lathe_fail(err, LATHE_ABORTED,
                            "catalog: the entry has revision %" PRIu64 ", not %" PRIu64
                            ": it was changed by another request",
                            revision, wanted->revision);
    return status;
}

static bool change_add(struct lathe_store_batch *batch, const struct lathe_catalog_change *change,
                       const uint8_t revision[REVISION_BYTES])
{
    struct lathe_bytes parts[] = {lathe_bytes_of(revision, REVISION_BYTES), change->value};
    struct lathe_buf stored = {0};
    bool ok;

    entry_key(&stored, change->key);
    ok = !stored.failed;
    if (ok && change->remove)
        lathe_store_batch_delete(batch, LATHE_FAMILY_META, lathe_buf_view(&stored));
    else if (ok)
        lathe_store_batch_put_parts(batch, LATHE_FAMILY_META, lathe_buf_view(&stored), parts, 2);
    lathe_buf_fini(&stored);
    return ok;
}

/* Commits the changes under the next revision. Under the mutex. */
static enum lathe_status commit(struct local *local, const struct lathe_catalog_change *changes,
                                size_t change_count, struct lathe_error *err)
{
    struct lathe_store_batch *batch = lathe_store_batch_create(local->store);
    uint8_t revision[REVISION_BYTES];
    struct lathe_error seal_err;
    enum lathe_status status;
    bool ok = batch != NULL;

    lathe_put_u64le(revision, local->revision + 1);
    for (size_t i = 0; ok && i < change_count; i++)
        ok = change_add(batch, &changes[i], revision);
    if (ok) {
        lathe_store_batch_put(batch, LATHE_FAMILY_META, revision_key(),
                              lathe_bytes_of(revision, sizeof(revision)));
        status = lathe_store_commit_durably(local->store, batch, "catalog", err);
    } else {
        status = no_memory(err);
    }
    lathe_store_batch_destroy(batch);
    if (status != LATHE_OK)
        return status;
    local->revision++;
    /* Changes are rare, so each is sealed at once. It is committed whatever becomes of the seal. */
    if (lathe_store_seal(local->store, &seal_err) != LATHE_OK)
        lathe_log(LATHE_LOG_WARN, "seal-failed", "store=catalog text=\"%s\"", seal_err.message);
    return LATHE_OK;
}

static enum lathe_status local_transact(struct lathe_catalog *catalog,
                                        const struct lathe_catalog_compare *compares,
                                        size_t compare_count,
                                        const struct lathe_catalog_change *changes,
                                        size_t change_count, struct lathe_error *err)
{
    struct local *local = local_of(catalog);
    enum lathe_status status = LATHE_OK;

    (void)pthread_mutex_lock(&local->mutex);
    for (size_t i = 0; status == LATHE_OK && i < compare_count; i++)
        status = compare(local, &compares[i], err);
    if (status == LATHE_OK && change_count > 0)
        status = commit(local, changes, change_count, err);
    (void)pthread_mutex_unlock(&local->mutex);
    return status;
}

static void local_close(struct lathe_catalog *catalog)
{
    struct local *local = local_of(catalog);

    if (local == NULL)
        return;
    lathe_store_close(local->store);
    (void)pthread_mutex_destroy(&local->mutex);
    lathe_free(local);
}

static const struct lathe_catalog_ops local_ops = {
    .get = local_get,
    .list = local_list,
    .transact = local_transact,
    .close = local_close,
};

static enum lathe_status revision_load(struct local *local, struct lathe_error *err)
{
    struct lathe_store_value value = {0};
    enum lathe_status status = lathe_store_get(local->store, NULL, LATHE_FAMILY_META,
                                               revision_key(), &value, err);

    if (status == LATHE_OK && value.found) {
        if (value.bytes.size == REVISION_BYTES)
            local->revision = lathe_get_u64le(value.bytes.data);
        else
            status = lathe_fail(err, LATHE_DATA_LOSS, "catalog: the revision has %zu bytes, not %d",
                                value.bytes.size, REVISION_BYTES);
    }
    lathe_store_value_release(&value);
    return status;
}

enum lathe_status lathe_catalog_local_open(const char *path, struct lathe_catalog **catalog_out,
                                           struct lathe_error *err)
{
    const struct lathe_store_config config = {
        .mode = LATHE_STORE_OPEN_OR_CREATE,
        .families = LATHE_FAMILY_BIT(LATHE_FAMILY_META),
        .write_buffer_bytes = 4u << 20, /* a catalog is small */
    };
    struct local *local = lathe_zalloc(sizeof(*local));
    enum lathe_status status;

    *catalog_out = NULL;
    if (local == NULL)
        return no_memory(err);
    local->base.ops = &local_ops;
    LATHE_REQUIRE(pthread_mutex_init(&local->mutex, NULL) == 0);
    status = lathe_store_open(path, &config, &local->store, err);
    if (status == LATHE_OK)
        status = revision_load(local, err);
    if (status != LATHE_OK) {
        local_close(&local->base);
        return status;
    }
    *catalog_out = &local->base;
    return LATHE_OK;
}
