/* table.c - see table.h. */
#include "shard/data/table.h"

#include <stdatomic.h>

#include "common/base/log.h"
#include "common/base/mem.h"

struct lathe_table *lathe_table_create(struct lathe_shard_collection *collection,
                                       struct lathe_budget *budget)
{
    struct lathe_table *table = lathe_zalloc(sizeof(*table));

    if (table == NULL) {
        lathe_shard_collection_release(collection);
        return NULL;
    }
    table->collection = collection;
    table->changed = true;
    table->counters.field_count = collection->field_count;
    for (uint32_t i = 0; i < collection->field_count; i++)
        lathe_rows_init(&table->rows[i], collection->fields[i].dims, collection->fields[i].metric,
                        budget);
    table->pending = table->counters;
    return table;
}

void lathe_table_destroy(struct lathe_table *table)
{
    if (table == NULL)
        return;
    for (uint32_t i = 0; i < table->collection->field_count; i++)
        lathe_rows_fini(&table->rows[i]);
    lathe_collection_view_release(table->view);
    lathe_shard_collection_release(table->collection);
    lathe_free(table);
}

void lathe_table_damage(struct lathe_table *table, const struct lathe_error *why)
{
    (void)lathe_fail(&table->damage, LATHE_DATA_LOSS, "collection \"%s\" (%u) is damaged: %s",
                     table->collection->name, table->collection->id, why->message);
    table->changed = true;
    lathe_log(LATHE_LOG_ERROR, "collection-damaged", "collection=%u text=\"%s\"",
              table->collection->id, why->message);
}

/* Index of the first table whose id is not below. */
static size_t lower_bound(const struct lathe_tables *tables, uint32_t collection_id)
{
    size_t low = 0, high = tables->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (tables->list[middle]->collection->id < collection_id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct lathe_table *lathe_tables_find(const struct lathe_tables *tables, uint32_t collection_id)
{
    size_t at = lower_bound(tables, collection_id);

    return at < tables->count && tables->list[at]->collection->id == collection_id
               ? tables->list[at]
               : NULL;
}

bool lathe_tables_insert(struct lathe_tables *tables, struct lathe_table *table)
{
    size_t at = lower_bound(tables, table->collection->id);

    if (!lathe_grow(&tables->list, &tables->capacity, tables->count + 1, sizeof(*tables->list)))
        return false;
    memmove(tables->list + at + 1, tables->list + at, (tables->count - at) * sizeof(*tables->list));
    tables->list[at] = table;
    tables->count++;
    return true;
}

void lathe_tables_remove(struct lathe_tables *tables, struct lathe_table *table)
{
    size_t at = lower_bound(tables, table->collection->id);

    memmove(tables->list + at, tables->list + at + 1,
            (tables->count - at - 1) * sizeof(*tables->list));
    tables->count--;
    lathe_table_destroy(table);
}

void lathe_tables_fini(struct lathe_tables *tables)
{
    for (size_t i = 0; i < tables->count; i++)
        lathe_table_destroy(tables->list[i]);
    lathe_free(tables->list);
    *tables = (struct lathe_tables){0};
}

void lathe_publication_init(struct lathe_publication *publication)
{
    publication->snapshot = NULL;
    (void)pthread_mutex_init(&publication->mutex, NULL);
}

void lathe_publication_fini(struct lathe_publication *publication)
{
    lathe_snapshot_release(publication->snapshot);
    publication->snapshot = NULL;
    (void)pthread_mutex_destroy(&publication->mutex);
}

struct lathe_snapshot *lathe_publication_acquire(struct lathe_publication *publication)
{
    struct lathe_snapshot *snapshot;

    (void)pthread_mutex_lock(&publication->mutex);
    snapshot = lathe_snapshot_acquire(publication->snapshot);
    (void)pthread_mutex_unlock(&publication->mutex);
    return snapshot;
}

static void publication_set(struct lathe_publication *publication, struct lathe_snapshot *snapshot)
{
    struct lathe_snapshot *before;

    (void)pthread_mutex_lock(&publication->mutex);
    before = publication->snapshot;
    publication->snapshot = snapshot;
    (void)pthread_mutex_unlock(&publication->mutex);
    lathe_snapshot_release(before); /* outside the lock: it may free gigabytes */
}

/* A view of the table as it is now; NULL when memory is short. */
static struct lathe_collection_view *view_create(struct lathe_table *table)
{
    struct lathe_collection_view *view = lathe_zalloc(sizeof(*view));

    if (view == NULL)
        return NULL;
    atomic_init(&view->references, 1);
    view->collection = lathe_shard_collection_acquire(table->collection);
    view->points = table->counters.points;
    view->damage = table->damage;
    for (uint32_t i = 0; i < table->collection->field_count; i++) {
        view->fields[i] = lathe_rows_publish(&table->rows[i]);
        if (view->fields[i] == NULL) {
            lathe_collection_view_release(view);
            return NULL;
        }
    }
    return view;
}

enum lathe_status lathe_tables_publish(struct lathe_tables *tables, struct lathe_store *store,
                                       uint64_t applied_seq, struct lathe_publication *publication)
{
    struct lathe_collection_view **views = lathe_alloc_array(tables->count, sizeof(*views));
    const struct lathe_store_snapshot *stored = NULL;
    struct lathe_snapshot *snapshot = NULL;
    enum lathe_status rc = LATHE_RESOURCE_EXHAUSTED;

    if (views == NULL)
        return rc;
    for (size_t i = 0; i < tables->count; i++) {
        struct lathe_table *table = tables->list[i];
        struct lathe_collection_view *view = table->changed ? view_create(table) : table->view;

        if (view == NULL)
            goto done;
        if (table->changed) {
            lathe_collection_view_release(table->view);
            table->view = view;
            table->changed = false;
        }
    }
    stored = lathe_store_snapshot_acquire(store);
    if (stored == NULL)
        goto done;
    for (size_t i = 0; i < tables->count; i++)
        views[i] = lathe_collection_view_acquire(tables->list[i]->view);
    snapshot = lathe_snapshot_create(store, stored, applied_seq, views, tables->count);
    if (snapshot == NULL)
        goto done;
    publication_set(publication, snapshot);
    rc = LATHE_OK;
done:
    lathe_free(views);
    return rc;
}
