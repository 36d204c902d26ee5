/* load.c - see load.h.
 *
 * Points are read in key order and give, for each field, (row, point, id); sorted by row these meet
 * the originals, which lie in row order: one pass over each, both sequential. */
#include "shard/data/load.h"

#include <inttypes.h>
#include <stdlib.h>

#include "common/base/mem.h"
#include "common/store/keys.h"

/* A row as its point names it. */
struct named_row {
    uint64_t row;
    uint64_t point;
    size_t id_at; /* in the ids buffer: one length byte, then the id key */
};

struct row_list {
    struct named_row *rows;
    size_t count;
    size_t capacity;
};

struct loading {
    struct lathe_store *store;
    struct lathe_table *table;
    struct row_list fields[LATHE_MAX_FIELDS];
    struct lathe_buf ids;
    uint64_t points;
};

static enum lathe_status no_memory(struct lathe_error *err)
{
    return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory to load the shard");
}

static int by_row(const void *a, const void *b)
{
    const struct named_row *x = a, *y = b;

    return (x->row > y->row) - (x->row < y->row);
}

/* What a record must fulfil so that nothing behind it goes wrong. */
static bool point_fits(const struct loading *loading, const struct lathe_point_key *key,
                       const struct lathe_point_record *record)
{
    const struct lathe_shard_collection *collection = loading->table->collection;

    if (record->row_count > collection->field_count ||
        record->point >= loading->table->counters.next_point ||
        key->slot != lathe_slot_of(collection->slot_key, key->idkey))
        return false;
    for (uint32_t f = 0; f < record->row_count; f++)
        if (record->rows[f] != LATHE_NO_ROW &&
            record->rows[f] >= loading->table->counters.next_row[f])
            return false;
    return true;
}

static enum lathe_status point_load(struct loading *loading, struct lathe_bytes key_bytes,
                                    struct lathe_bytes value, struct lathe_error *err)
{
    struct lathe_point_key key;
    struct lathe_point_record record;
    size_t id_at = loading->ids.size;
    enum lathe_status rc = lathe_key_point_parse(key_bytes, &key, err);

    if (rc == LATHE_OK)
        rc = lathe_point_record_decode(value, &record, err);
    if (rc != LATHE_OK)
        return rc;
    if (!point_fits(loading, &key, &record))
        return lathe_fail(err, LATHE_DATA_LOSS,
                          "point %" PRIu64 " does not fit its id, fields or counters",
                          record.point);
    lathe_buf_u8(&loading->ids, (uint8_t)key.idkey.size);
    lathe_buf_append(&loading->ids, key.idkey.data, key.idkey.size);
    if (loading->ids.failed)
        return no_memory(err);
    loading->points++;
    for (uint32_t f = 0; f < loading->table->collection->field_count; f++) {
        struct row_list *list = &loading->fields[f];

        if (record.rows[f] == LATHE_NO_ROW)
            continue;
        if (!lathe_grow(&list->rows, &list->capacity, list->count + 1, sizeof(*list->rows)))
            return no_memory(err);
        list->rows[list->count++] = (struct named_row){record.rows[f], record.point, id_at};
    }
    return LATHE_OK;
}

static enum lathe_status points_load(struct loading *loading, struct lathe_error *err)
{
    struct lathe_key_range range = lathe_key_range_collection(loading->table->collection->id);
    struct lathe_store_scan scan = {.lower = lathe_key_view(&range.lower),
                                    .upper = lathe_key_view(&range.upper),
                                    .large = true};
    struct lathe_store_iter *iter = NULL;
    enum lathe_status rc = lathe_store_iter_create(loading->store, LATHE_FAMILY_POINTS, &scan,
                                                   &iter, err);

    if (rc != LATHE_OK)
        return rc;
    for (lathe_store_iter_seek_first(iter); rc == LATHE_OK && lathe_store_iter_valid(iter);
         lathe_store_iter_next(iter))
        rc = point_load(loading, lathe_store_iter_key(iter), lathe_store_iter_value(iter), err);
    if (rc == LATHE_OK)
        rc = lathe_store_iter_status(iter, err);
    lathe_store_iter_destroy(iter);
    return rc;
}

static enum lathe_status row_missing(uint32_t f, uint64_t row, struct lathe_error *err)
{
    return lathe_fail(err, LATHE_DATA_LOSS, "field %u: row %" PRIu64 " is missing", f, row);
}

static enum lathe_status row_add(struct loading *loading, uint32_t f, const struct named_row *named,
                                 struct lathe_bytes vector, struct lathe_error *err)
{
    const uint8_t *id = loading->ids.data + named->id_at;

    if (vector.size != loading->table->collection->fields[f].vector_bytes)
        return lathe_fail(err, LATHE_DATA_LOSS, "field %u: row %" PRIu64 " has %zu bytes, not %zu",
                          f, named->row, vector.size,
                          loading->table->collection->fields[f].vector_bytes);
    return lathe_rows_append(&loading->table->rows[f], vector.data, named->row, named->point,
                             lathe_bytes_of(id + 1, id[0])) == LATHE_OK
               ? LATHE_OK
               : no_memory(err);
}

/* Merges the named rows of a field with its originals. */
static enum lathe_status rows_load(struct loading *loading, uint32_t f, struct lathe_error *err)
{
    const struct row_list *list = &loading->fields[f];
    struct lathe_key_range range = lathe_key_range_field(loading->table->collection->id,
                                                         (uint16_t)f);
    struct lathe_store_scan scan = {.lower = lathe_key_view(&range.lower),
                                    .upper = lathe_key_view(&range.upper),
                                    .large = true};
    struct lathe_store_iter *iter = NULL;
    size_t next = 0;
    enum lathe_status rc = lathe_store_iter_create(loading->store, LATHE_FAMILY_ORIGINALS, &scan,
                                                   &iter, err);

    if (rc != LATHE_OK)
        return rc;
    if (list->count > 0)
        qsort(list->rows, list->count, sizeof(*list->rows), by_row);
    for (lathe_store_iter_seek_first(iter);
         rc == LATHE_OK && next < list->count && lathe_store_iter_valid(iter);
         lathe_store_iter_next(iter)) {
        struct lathe_original_key key;

        rc = lathe_key_original_parse(lathe_store_iter_key(iter), &key, err);
        if (rc != LATHE_OK || key.row < list->rows[next].row)
            continue; /* an original that no point names is rubbish of no consequence */
        if (key.row > list->rows[next].row)
            rc = row_missing(f, list->rows[next].row, err);
        else
            rc = row_add(loading, f, &list->rows[next++], lathe_store_iter_value(iter), err);
    }
    if (rc == LATHE_OK)
        rc = lathe_store_iter_status(iter, err);
    lathe_store_iter_destroy(iter);
    if (rc == LATHE_OK && next < list->count)
        rc = row_missing(f, list->rows[next].row, err);
    return rc;
}

static enum lathe_status counters_load(struct loading *loading, struct lathe_error *err)
{
    struct lathe_table *table = loading->table;
    struct lathe_key key = lathe_counters_key(table->collection->id);
    struct lathe_store_value value;
    enum lathe_status rc = lathe_store_get(loading->store, NULL, LATHE_FAMILY_META,
                                           lathe_key_view(&key), &value, err);

    if (rc != LATHE_OK)
        return rc;
    if (value.found)
        rc = lathe_counters_record_decode(value.bytes, &table->counters, err);
    lathe_store_value_release(&value);
    table->counters.field_count = table->collection->field_count;
    table->pending = table->counters;
    return rc;
}

/* The counters must agree with what was found: a lost key is damage, not a smaller answer. */
static enum lathe_status counters_check(const struct loading *loading, struct lathe_error *err)
{
    const struct lathe_table *table = loading->table;

    if (loading->points != table->counters.points)
        return lathe_fail(err, LATHE_DATA_LOSS,
                          "%" PRIu64 " points are stored, %" PRIu64 " were counted",
                          loading->points, table->counters.points);
    for (uint32_t f = 0; f < table->collection->field_count; f++)
        if (table->rows[f].row_count != table->counters.rows[f])
            return lathe_fail(err, LATHE_DATA_LOSS,
                              "field %u: %" PRIu64 " rows are stored, %" PRIu64 " were counted", f,
                              table->rows[f].row_count, table->counters.rows[f]);
    return LATHE_OK;
}

static enum lathe_status table_load(struct lathe_store *store, struct lathe_table *table,
                                    struct lathe_error *err)
{
    struct loading loading = {.store = store, .table = table};
    enum lathe_status rc = counters_load(&loading, err);

    if (rc == LATHE_OK)
        rc = points_load(&loading, err);
    for (uint32_t f = 0; f < table->collection->field_count && rc == LATHE_OK; f++)
        rc = rows_load(&loading, f, err);
    if (rc == LATHE_OK)
        rc = counters_check(&loading, err);
    for (uint32_t f = 0; f < LATHE_MAX_FIELDS; f++)
        lathe_free(loading.fields[f].rows);
    lathe_buf_fini(&loading.ids);
    return rc;
}

/* Rows of a damaged collection would only take memory: nobody is shown them. */
static void rows_drop(struct lathe_table *table, struct lathe_budget *budget)
{
    for (uint32_t f = 0; f < table->collection->field_count; f++) {
        const struct lathe_field *field = &table->collection->fields[f];

        lathe_rows_fini(&table->rows[f]);
        lathe_rows_init(&table->rows[f], field->dims, field->metric, budget);
    }
}

/* A collection record made a table, with its rows. */
static enum lathe_status collection_load(struct lathe_store *store, struct lathe_budget *budget,
                                         struct lathe_tables *tables, struct lathe_bytes key_bytes,
                                         struct lathe_bytes spec, struct lathe_error *err)
{
    struct lathe_meta_key key;
    struct lathe_shard_collection *collection = NULL;
    struct lathe_table *table;
    enum lathe_status rc = lathe_key_meta_parse(key_bytes, &key, err);

    if (rc != LATHE_OK)
        return rc;
    rc = lathe_shard_collection_create(spec, &collection, err);
    if (rc != LATHE_OK) {
        err->status = rc == LATHE_RESOURCE_EXHAUSTED ? rc : LATHE_DATA_LOSS;
        return err->status;
    }
    if (collection->id != key.collection) {
        lathe_shard_collection_release(collection);
        return lathe_fail(err, LATHE_DATA_LOSS, "the record of collection %u is that of another",
                          key.collection);
    }
    table = lathe_table_create(collection, budget);
    if (table == NULL || !lathe_tables_insert(tables, table)) {
        lathe_table_destroy(table);
        return no_memory(err);
    }
    rc = table_load(store, table, err);
    if (rc == LATHE_DATA_LOSS) {
        rows_drop(table, budget);
        lathe_table_damage(table, err);
        rc = LATHE_OK;
    }
    return rc;
}

static enum lathe_status collections_load(struct lathe_store *store, struct lathe_budget *budget,
                                          struct lathe_tables *tables, struct lathe_error *err)
{
    struct lathe_key_range range = lathe_key_range_meta(LATHE_META_COLLECTION);
    struct lathe_store_scan scan = {.lower = lathe_key_view(&range.lower),
                                    .upper = lathe_key_view(&range.upper)};
    struct lathe_store_iter *iter = NULL;
    enum lathe_status rc = lathe_store_iter_create(store, LATHE_FAMILY_META, &scan, &iter, err);

    if (rc != LATHE_OK)
        return rc;
    for (lathe_store_iter_seek_first(iter); rc == LATHE_OK && lathe_store_iter_valid(iter);
         lathe_store_iter_next(iter))
        rc = collection_load(store, budget, tables, lathe_store_iter_key(iter),
                             lathe_store_iter_value(iter), err);
    if (rc == LATHE_OK)
        rc = lathe_store_iter_status(iter, err);
    lathe_store_iter_destroy(iter);
    return rc;
}

static enum lathe_status log_state_load(struct lathe_store *store,
                                        struct lathe_log_state_record *log_out,
                                        struct lathe_error *err)
{
    struct lathe_key key = lathe_log_state_key();
    struct lathe_store_value value;
    enum lathe_status rc = lathe_store_get(store, NULL, LATHE_FAMILY_META, lathe_key_view(&key),
                                           &value, err);

    *log_out = (struct lathe_log_state_record){0};
    if (rc != LATHE_OK)
        return rc;
    if (value.found)
        rc = lathe_log_state_record_decode(value.bytes, log_out, err);
    lathe_store_value_release(&value);
    return rc;
}

enum lathe_status lathe_load(struct lathe_store *store, struct lathe_budget *budget,
                             struct lathe_tables *tables, struct lathe_log_state_record *log_out,
                             struct lathe_error *err)
{
    enum lathe_status rc = log_state_load(store, log_out, err);

    if (rc == LATHE_OK)
        rc = collections_load(store, budget, tables, err);
    if (rc != LATHE_OK)
        lathe_tables_fini(tables);
    return rc;
}
