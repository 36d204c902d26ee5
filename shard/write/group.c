/* group.c - see group.h. */
#include "shard/write/group.h"

#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/base/table.h"
#include "common/store/keys.h"

/* The points of a group by collection and id. */
struct entry {
    struct lathe_pending_point point; /* first: a pointer to it is a pointer to the entry */
    uint8_t key[4 + LATHE_IDKEY_MAX_BYTES];
    UT_hash_handle hh;
};

enum row_change_kind { ROW_APPEND, ROW_KILL };

struct row_change {
    enum row_change_kind kind;
    struct lathe_table *table;
    uint32_t field;
    uint64_t row;
    uint64_t point;
    struct lathe_bytes vector; /* APPEND */
    struct lathe_idkey idkey;  /* APPEND */
};

struct lathe_group {
    struct lathe_store *store;
    struct lathe_store_batch *batch;
    struct entry *points;
    struct row_change *changes; /* in order */
    size_t change_count;
    size_t change_capacity;
    struct lathe_buf scratch;
};

struct lathe_group *lathe_group_create(struct lathe_store *store)
{
    struct lathe_group *group = lathe_zalloc(sizeof(*group));

    if (group == NULL)
        return NULL;
    group->store = store;
    group->batch = lathe_store_batch_create(store);
    if (group->batch == NULL) {
        lathe_free(group);
        return NULL;
    }
    return group;
}

static void points_free(struct lathe_group *group)
{
    struct entry *entry, *next;

    HASH_ITER(hh, group->points, entry, next)
    {
        HASH_DEL(group->points, entry);
        lathe_buf_fini(&entry->point.payload);
        lathe_free(entry);
    }
}

void lathe_group_destroy(struct lathe_group *group)
{
    if (group == NULL)
        return;
    points_free(group);
    lathe_store_batch_destroy(group->batch);
    lathe_buf_fini(&group->scratch);
    lathe_free(group->changes);
    lathe_free(group);
}

struct lathe_store_batch *lathe_group_batch(struct lathe_group *group)
{
    return group->batch;
}

/* Fills the point from the store. */
static enum lathe_status point_load(struct lathe_group *group, struct lathe_pending_point *point,
                                    struct lathe_error *err)
{
    struct lathe_key key = lathe_key_point(point->table->collection->id, (uint16_t)point->slot,
                                           lathe_idkey_view(&point->idkey));
    struct lathe_store_value value;
    enum lathe_status rc = lathe_store_get(group->store, NULL, LATHE_FAMILY_POINTS,
                                           lathe_key_view(&key), &value, err);

    if (rc != LATHE_OK)
        return rc;
    if (value.found)
        rc = lathe_point_record_decode(value.bytes, &point->record, err);
    point->exists = point->existed = value.found;
    lathe_store_value_release(&value);
    return rc;
}

enum lathe_status lathe_group_find(struct lathe_group *group, struct lathe_table *table,
                                   struct lathe_bytes idkey, struct lathe_pending_point **point_out,
                                   struct lathe_error *err)
{
    uint8_t key[4 + LATHE_IDKEY_MAX_BYTES];
    struct entry *entry = NULL;
    enum lathe_status rc;

    LATHE_REQUIRE(idkey.size <= LATHE_IDKEY_MAX_BYTES);
    lathe_put_u32be(key, table->collection->id);
    memcpy(key + 4, idkey.data, idkey.size);
    HASH_FIND(hh, group->points, key, 4 + idkey.size, entry);
    if (entry == NULL) {
        entry = lathe_zalloc(sizeof(*entry));
        if (entry == NULL)
            return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a write");
        memcpy(entry->key, key, 4 + idkey.size);
        memcpy(entry->point.idkey.bytes, idkey.data, idkey.size);
        entry->point.idkey.size = (uint8_t)idkey.size;
        entry->point.table = table;
        entry->point.slot = lathe_slot_of(table->collection->slot_key, idkey);
        rc = point_load(group, &entry->point, err);
        if (rc == LATHE_OK) {
            HASH_ADD(hh, group->points, key, 4 + idkey.size, entry);
            if (!lathe_table_holds(&entry->hh))
                rc = lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a write");
        }
        if (rc != LATHE_OK) {
            lathe_free(entry);
            return rc;
        }
    }
    *point_out = &entry->point;
    return LATHE_OK;
}

enum lathe_status lathe_group_load_payload(struct lathe_group *group,
                                           struct lathe_pending_point *point,
                                           struct lathe_error *err)
{
    struct lathe_store_value value;
    struct lathe_key key;
    enum lathe_status rc;

    if (point->payload_known || !point->exists || point->record.payload_bytes == 0) {
        point->payload_known = true;
        return LATHE_OK;
    }
    key = lathe_key_payload(point->table->collection->id, point->record.point);
    rc = lathe_store_get(group->store, NULL, LATHE_FAMILY_PAYLOAD, lathe_key_view(&key), &value,
                         err);
    if (rc != LATHE_OK)
        return rc;
    if (!value.found || value.bytes.size != point->record.payload_bytes)
        rc = lathe_fail(
            err, LATHE_DATA_LOSS, "payload of point %llu: %zu bytes stored, %u expected",
            (unsigned long long)point->record.point, value.bytes.size, point->record.payload_bytes);
    else
        lathe_buf_append(&point->payload, value.bytes.data, value.bytes.size);
    lathe_store_value_release(&value);
    if (point->payload.failed)
        rc = lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a payload");
    point->payload_known = rc == LATHE_OK;
    return rc;
}

static bool change_add(struct lathe_group *group, const struct row_change *change)
{
    if (!lathe_grow(&group->changes, &group->change_capacity, group->change_count + 1,
                    sizeof(*group->changes)))
        return false;
    group->changes[group->change_count++] = *change;
    return true;
}

/* The row of a field is gone: its original too, and it is dead to the scan. */
static bool row_kill(struct lathe_group *group, struct lathe_pending_point *point, uint32_t field)
{
    uint64_t row = point->record.rows[field];
    struct lathe_key key = lathe_key_original(point->table->collection->id, (uint16_t)field, row);
    struct row_change change = {ROW_KILL, point->table, field, row, 0, {NULL, 0}, {0}};

    lathe_store_batch_delete(group->batch, LATHE_FAMILY_ORIGINALS, lathe_key_view(&key));
    point->table->pending.rows[field]--;
    return change_add(group, &change);
}

static bool row_append(struct lathe_group *group, struct lathe_pending_point *point, uint32_t field,
                       uint64_t row, struct lathe_bytes vector)
{
    struct lathe_key key = lathe_key_original(point->table->collection->id, (uint16_t)field, row);
    struct row_change change = {ROW_APPEND,          point->table, field,       row,
                                point->record.point, vector,       point->idkey};
    struct lathe_counters_record *counters = &point->table->pending;

    lathe_store_batch_put(group->batch, LATHE_FAMILY_ORIGINALS, lathe_key_view(&key), vector);
    counters->rows[field]++;
    if (counters->next_row[field] <= row)
        counters->next_row[field] = row + 1;
    return change_add(group, &change);
}

static const struct lathe_new_row *new_row_of(const struct lathe_new_row *rows, size_t row_count,
                                              uint32_t field)
{
    for (size_t i = 0; i < row_count; i++)
        if (rows[i].field == field)
            return &rows[i];
    return NULL;
}

/* Brings the rows of the point from what they are to what the effect says. */
static bool rows_apply(struct lathe_group *group, struct lathe_pending_point *point,
                       const struct lathe_effect *effect, const struct lathe_new_row *rows,
                       size_t row_count)
{
    uint32_t fields = point->table->collection->field_count;

    for (uint32_t f = 0; f < fields; f++) {
        uint64_t before = point->exists ? point->record.rows[f] : LATHE_NO_ROW;
        uint64_t after = effect->exists ? effect->rows[f] : LATHE_NO_ROW;
        const struct lathe_new_row *fresh;

        if (before == after)
            continue;
        if (before != LATHE_NO_ROW && !row_kill(group, point, f))
            return false;
        fresh = new_row_of(rows, row_count, f);
        if (after != LATHE_NO_ROW && fresh != NULL) {
            point->record.point = effect->point;
            if (!row_append(group, point, f, after, fresh->vector))
                return false;
        }
    }
    return true;
}

enum lathe_status lathe_group_apply(struct lathe_group *group, struct lathe_pending_point *point,
                                    const struct lathe_effect *effect, uint64_t seq,
                                    const struct lathe_new_row *rows, size_t row_count)
{
    struct lathe_counters_record *counters = &point->table->pending;
    bool existed = point->exists;

    /* The payload goes with its point, also one that is stored while the group has emptied it
     * already. A point that is deleted and made again in one group gets another number. */
    if (existed && !effect->exists && (point->record.payload_bytes > 0 || point->payload_changed)) {
        struct lathe_key key = lathe_key_payload(point->table->collection->id, point->record.point);

        lathe_store_batch_delete(group->batch, LATHE_FAMILY_PAYLOAD, lathe_key_view(&key));
    }
    if (!rows_apply(group, point, effect, rows, row_count))
        return LATHE_RESOURCE_EXHAUSTED;
    counters->points += effect->exists && !existed;
    counters->points -= !effect->exists && existed;
    point->touched = true;
    point->exists = effect->exists;
    if (!effect->exists) {
        point->record.payload_bytes = 0;
        lathe_buf_clear(&point->payload);
        point->payload_known = true;
        point->payload_changed = false;
        return LATHE_OK;
    }
    if (counters->next_point <= effect->point)
        counters->next_point = effect->point + 1;
    point->record.point = effect->point;
    point->record.version = seq;
    point->record.row_count = point->table->collection->field_count;
    memcpy(point->record.rows, effect->rows, sizeof(point->record.rows));
    if (effect->payload_changed) {
        /* The effect's payload may be a view into this very buffer: assemble, then take over. */
        struct lathe_buf fresh = {0};

        lathe_buf_append(&fresh, effect->payload.data, effect->payload.size);
        lathe_buf_fini(&point->payload);
        point->payload = fresh;
        point->payload_known = true;
        point->payload_changed = true;
        point->record.payload_bytes = (uint32_t)effect->payload.size;
    }
    return point->payload.failed ? LATHE_RESOURCE_EXHAUSTED : LATHE_OK;
}

void lathe_group_create_collection(struct lathe_group *group,
                                   const struct lathe_shard_collection *collection)
{
    struct lathe_key key = lathe_key_meta_collection(collection->id);

    lathe_store_batch_put(group->batch, LATHE_FAMILY_META, lathe_key_view(&key), collection->spec);
}

void lathe_group_drop_collection(struct lathe_group *group, uint32_t collection_id)
{
    static const enum lathe_family families[] = {LATHE_FAMILY_POINTS,    LATHE_FAMILY_ORDER,
                                                 LATHE_FAMILY_ORIGINALS, LATHE_FAMILY_PAYLOAD,
                                                 LATHE_FAMILY_SEGMENTS,  LATHE_FAMILY_IDS};
    struct lathe_key_range range = lathe_key_range_collection(collection_id);
    struct lathe_key record = lathe_key_meta_collection(collection_id);
    struct lathe_key counters = lathe_counters_key(collection_id);

    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
        lathe_store_batch_delete_range(group->batch, families[i], lathe_key_view(&range.lower),
                                       lathe_key_view(&range.upper));
    lathe_store_batch_delete(group->batch, LATHE_FAMILY_META, lathe_key_view(&record));
    lathe_store_batch_delete(group->batch, LATHE_FAMILY_META, lathe_key_view(&counters));
}

/* The final state of one point, into the batch. False: no memory. */
static bool point_finish(struct lathe_group *group, const struct lathe_pending_point *point)
{
    uint32_t collection = point->table->collection->id;
    struct lathe_bytes idkey = lathe_idkey_view(&point->idkey);
    struct lathe_key point_key = lathe_key_point(collection, (uint16_t)point->slot, idkey);
    struct lathe_key order_key = lathe_key_order(collection, idkey);
    struct lathe_key payload_key = lathe_key_payload(collection, point->record.point);
    uint8_t slot[2] = {(uint8_t)point->slot, (uint8_t)(point->slot >> 8)};

    if (!point->exists) {
        if (point->existed) {
            lathe_store_batch_delete(group->batch, LATHE_FAMILY_POINTS, lathe_key_view(&point_key));
            lathe_store_batch_delete(group->batch, LATHE_FAMILY_ORDER, lathe_key_view(&order_key));
        }
        return true;
    }
    lathe_buf_clear(&group->scratch);
    lathe_point_record_encode(&point->record, &group->scratch);
    if (group->scratch.failed)
        return false;
    lathe_store_batch_put(group->batch, LATHE_FAMILY_POINTS, lathe_key_view(&point_key),
                          lathe_buf_view(&group->scratch));
    if (!point->existed)
        lathe_store_batch_put(group->batch, LATHE_FAMILY_ORDER, lathe_key_view(&order_key),
                              lathe_bytes_of(slot, sizeof(slot)));
    if (point->payload_changed && point->record.payload_bytes > 0)
        lathe_store_batch_put(group->batch, LATHE_FAMILY_PAYLOAD, lathe_key_view(&payload_key),
                              lathe_buf_view(&point->payload));
    else if (point->payload_changed && point->existed)
        lathe_store_batch_delete(group->batch, LATHE_FAMILY_PAYLOAD, lathe_key_view(&payload_key));
    return true;
}

enum lathe_status lathe_group_finish(struct lathe_group *group, struct lathe_tables *tables)
{
    struct entry *entry, *next;

    HASH_ITER(hh, group->points, entry, next)
    if (entry->point.touched && !point_finish(group, &entry->point))
        return LATHE_RESOURCE_EXHAUSTED;
    for (size_t i = 0; i < tables->count; i++) {
        struct lathe_table *table = tables->list[i];
        struct lathe_key key = lathe_counters_key(table->collection->id);

        if (memcmp(&table->pending, &table->counters, sizeof(table->pending)) == 0)
            continue;
        lathe_buf_clear(&group->scratch);
        lathe_counters_record_encode(&table->pending, &group->scratch);
        if (group->scratch.failed)
            return LATHE_RESOURCE_EXHAUSTED;
        lathe_store_batch_put(group->batch, LATHE_FAMILY_META, lathe_key_view(&key),
                              lathe_buf_view(&group->scratch));
    }
    return LATHE_OK;
}

enum lathe_status lathe_group_install(struct lathe_group *group, struct lathe_tables *tables)
{
    for (size_t i = 0; i < group->change_count; i++) {
        const struct row_change *change = &group->changes[i];
        struct lathe_rows *rows = &change->table->rows[change->field];
        bool done;

        change->table->changed = true;
        if (change->kind == ROW_APPEND)
            done = lathe_rows_append(rows, change->vector.data, change->row, change->point,
                                     lathe_idkey_view(&change->idkey)) == LATHE_OK;
        else
            done = lathe_rows_kill(rows, change->row);
        if (!done)
            return LATHE_RESOURCE_EXHAUSTED;
    }
    for (size_t i = 0; i < tables->count; i++) {
        struct lathe_table *table = tables->list[i];

        if (memcmp(&table->pending, &table->counters, sizeof(table->pending)) != 0) {
            table->counters = table->pending;
            table->changed = true;
        }
    }
    return LATHE_OK;
}

void lathe_group_clear(struct lathe_group *group, struct lathe_tables *tables)
{
    points_free(group);
    group->change_count = 0;
    lathe_store_batch_clear(group->batch);
    for (size_t i = 0; i < tables->count; i++)
        tables->list[i]->pending = tables->list[i]->counters;
}
