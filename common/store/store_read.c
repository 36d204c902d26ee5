/* store_read.c - snapshots, values and iterators: see store.h. Any thread. */
#include <string.h>

#include "common/base/mem.h"
#include "common/store/store_internal.h"

/* RocksDB works through 32 keys at a time; a multiple of it bounds what lies on the stack here. */
enum { MULTI_GET_KEYS = 128, READAHEAD_BYTES = 2 * 1024 * 1024 };

const struct lathe_store_snapshot *lathe_store_snapshot_acquire(struct lathe_store *store)
{
    struct lathe_store_snapshot *snapshot = lathe_zalloc(sizeof(*snapshot));

    if (snapshot == NULL)
        return NULL;
    snapshot->snapshot = rocksdb_create_snapshot(store->db);
    snapshot->read = rocksdb_readoptions_create();
    rocksdb_readoptions_set_snapshot(snapshot->read, snapshot->snapshot);
    (void)atomic_fetch_add(&store->borrowed, 1);
    return snapshot;
}

void lathe_store_snapshot_release(struct lathe_store *store,
                                  const struct lathe_store_snapshot *snapshot)
{
    if (snapshot == NULL)
        return;
    rocksdb_readoptions_destroy(snapshot->read);
    rocksdb_release_snapshot(store->db, snapshot->snapshot);
    (void)atomic_fetch_sub(&store->borrowed, 1);
    lathe_free((void *)(uintptr_t)snapshot);
}

static const rocksdb_readoptions_t *read_options(const struct lathe_store *store,
                                                 const struct lathe_store_snapshot *snapshot)
{
    return snapshot != NULL ? snapshot->read : store->read_latest;
}

void lathe_store_value_release(struct lathe_store_value *value)
{
    if (value->pin != NULL)
        rocksdb_pinnableslice_destroy(value->pin);
    *value = (struct lathe_store_value){0};
}

static struct lathe_store_value value_of(rocksdb_pinnableslice_t *pin)
{
    struct lathe_store_value value = {0};

    if (pin == NULL)
        return value;
    value.pin = pin;
    value.found = true;
    value.bytes.data = (const uint8_t *)rocksdb_pinnableslice_value(pin, &value.bytes.size);
    return value;
}

enum lathe_status lathe_store_get(struct lathe_store *store,
                                  const struct lathe_store_snapshot *snapshot,
                                  enum lathe_family family, struct lathe_bytes key,
                                  struct lathe_store_value *value_out, struct lathe_error *err)
{
    char *failure = NULL;

    *value_out = value_of(rocksdb_get_pinned_cf(store->db, read_options(store, snapshot),
                                                lathe_store_handle(store, family), lathe_chars(key),
                                                key.size, &failure));
    return lathe_store_result(&failure, "read", err);
}

/* At most MULTI_GET_KEYS keys. Fills every value, also on failure. */
static enum lathe_status get_some(struct lathe_store *store, const rocksdb_readoptions_t *options,
                                  rocksdb_column_family_handle_t *handle,
                                  const struct lathe_bytes *keys, size_t count, bool sorted,
                                  struct lathe_store_value *values_out, struct lathe_error *err)
{
    const char *data[MULTI_GET_KEYS];
    size_t sizes[MULTI_GET_KEYS];
    rocksdb_pinnableslice_t *pins[MULTI_GET_KEYS] = {NULL};
    char *failures[MULTI_GET_KEYS] = {NULL};
    enum lathe_status status = LATHE_OK;

    for (size_t i = 0; i < count; i++) {
        data[i] = lathe_chars(keys[i]);
        sizes[i] = keys[i].size;
    }
    rocksdb_batched_multi_get_cf(store->db, options, handle, count, data, sizes, pins, failures,
                                 sorted);
    for (size_t i = 0; i < count; i++) {
        enum lathe_status one;

        values_out[i] = value_of(pins[i]);
        /* Only the first failure is told. */
        one = lathe_store_result(&failures[i], "read", status == LATHE_OK ? err : NULL);
        status = status == LATHE_OK ? one : status;
    }
    return status;
}

enum lathe_status
lathe_store_multi_get(struct lathe_store *store, const struct lathe_store_snapshot *snapshot,
                      enum lathe_family family, const struct lathe_bytes *keys, size_t count,
                      bool sorted, struct lathe_store_value *values_out, struct lathe_error *err)
{
    rocksdb_column_family_handle_t *handle = lathe_store_handle(store, family);
    const rocksdb_readoptions_t *options = read_options(store, snapshot);
    enum lathe_status status = LATHE_OK;
    size_t done = 0;

    while (done < count && status == LATHE_OK) {
        size_t some = count - done < MULTI_GET_KEYS ? count - done : MULTI_GET_KEYS;

        status = get_some(store, options, handle, keys + done, some, sorted, values_out + done,
                          err);
        done += some;
    }
    if (status != LATHE_OK) {
        for (size_t i = 0; i < done; i++)
            lathe_store_value_release(&values_out[i]);
        for (size_t i = done; i < count; i++)
            values_out[i] = (struct lathe_store_value){0};
    }
    return status;
}

/* ---- Iterators ------------------------------------------------------------------------------ */

struct lathe_store_iter {
    struct lathe_store *store;
    rocksdb_iterator_t *iter;
    rocksdb_readoptions_t *options; /* RocksDB keeps pointers to these and to the bounds below */
    uint8_t bounds[];               /* lower, then upper */
};

static void set_scan(struct lathe_store_iter *iter, const struct lathe_store_scan *scan)
{
    uint8_t *upper = iter->bounds + scan->lower.size;

    if (scan->snapshot != NULL)
        rocksdb_readoptions_set_snapshot(iter->options, scan->snapshot->snapshot);
    if (scan->lower.size > 0) {
        memcpy(iter->bounds, scan->lower.data, scan->lower.size);
        rocksdb_readoptions_set_iterate_lower_bound(iter->options, (const char *)iter->bounds,
                                                    scan->lower.size);
    }
    if (scan->upper.size > 0) {
        memcpy(upper, scan->upper.data, scan->upper.size);
        rocksdb_readoptions_set_iterate_upper_bound(iter->options, (const char *)upper,
                                                    scan->upper.size);
    }
    if (scan->large) {
        rocksdb_readoptions_set_fill_cache(iter->options, 0);
        rocksdb_readoptions_set_readahead_size(iter->options, READAHEAD_BYTES);
    }
}

enum lathe_status lathe_store_iter_create(struct lathe_store *store, enum lathe_family family,
                                          const struct lathe_store_scan *scan,
                                          struct lathe_store_iter **iter_out,
                                          struct lathe_error *err)
{
    rocksdb_column_family_handle_t *handle = lathe_store_handle(store, family);
    struct lathe_store_iter *iter = lathe_zalloc(sizeof(*iter) + scan->lower.size +
                                                 scan->upper.size);

    *iter_out = iter;
    if (iter == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "iterate %s: no memory",
                          lathe_family_name(family));
    iter->store = store;
    iter->options = rocksdb_readoptions_create();
    set_scan(iter, scan);
    iter->iter = rocksdb_create_iterator_cf(store->db, iter->options, handle);
    (void)atomic_fetch_add(&store->borrowed, 1);
    return LATHE_OK;
}

void lathe_store_iter_destroy(struct lathe_store_iter *iter)
{
    if (iter == NULL)
        return;
    rocksdb_iter_destroy(iter->iter);
    rocksdb_readoptions_destroy(iter->options);
    (void)atomic_fetch_sub(&iter->store->borrowed, 1);
    lathe_free(iter);
}

void lathe_store_iter_seek_first(struct lathe_store_iter *iter)
{
    rocksdb_iter_seek_to_first(iter->iter);
}

void lathe_store_iter_seek_last(struct lathe_store_iter *iter)
{
    rocksdb_iter_seek_to_last(iter->iter);
}

void lathe_store_iter_seek(struct lathe_store_iter *iter, struct lathe_bytes key)
{
    rocksdb_iter_seek(iter->iter, lathe_chars(key), key.size);
}

void lathe_store_iter_seek_before(struct lathe_store_iter *iter, struct lathe_bytes key)
{
    rocksdb_iter_seek_for_prev(iter->iter, lathe_chars(key), key.size);
}

bool lathe_store_iter_valid(const struct lathe_store_iter *iter)
{
    return rocksdb_iter_valid(iter->iter) != 0;
}

void lathe_store_iter_next(struct lathe_store_iter *iter)
{
    rocksdb_iter_next(iter->iter);
}

void lathe_store_iter_prev(struct lathe_store_iter *iter)
{
    rocksdb_iter_prev(iter->iter);
}

struct lathe_bytes lathe_store_iter_key(const struct lathe_store_iter *iter)
{
    size_t size = 0;
    const char *data = rocksdb_iter_key(iter->iter, &size);

    return lathe_bytes_of(data, size);
}

struct lathe_bytes lathe_store_iter_value(const struct lathe_store_iter *iter)
{
    size_t size = 0;
    const char *data = rocksdb_iter_value(iter->iter, &size);

    return lathe_bytes_of(data, size);
}

enum lathe_status lathe_store_iter_status(const struct lathe_store_iter *iter,
                                          struct lathe_error *err)
{
    char *failure = NULL;

    rocksdb_iter_get_error(iter->iter, &failure);
    return lathe_store_result(&failure, "iterate", err);
}
