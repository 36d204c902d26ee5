/* replay.c - see replay.h. The same group that the writer fills, filled from log entries; the rows
 * in memory, which serve readers, are left alone. */
#include "shard/write/replay.h"

#include <inttypes.h>

#include "common/base/mem.h"
#include "shard/data/load.h"
#include "shard/write/group.h"
#include "shard/write/repeat.h"

enum { GROUP_BYTES = 8 * 1024 * 1024 };

struct replay {
    struct lathe_store *from;
    const struct lathe_store_snapshot *snapshot; /* of `from`: log and vectors that fit together */
    struct lathe_store_iter *entries;            /* its log; keeps trimmed files readable */
    struct lathe_log_state_record end;           /* of `from` */
    struct lathe_store *into;
    struct lathe_log_state_record log; /* of `into`, with the group in the making */
    struct lathe_tables tables;
    struct lathe_clients *clients;
    struct lathe_group *group;
    struct lathe_result *results;
    struct lathe_store_value *held; /* vectors that the group looks at */
    size_t held_count;
    size_t held_capacity;
};

static enum lathe_status no_memory(struct lathe_error *err)
{
    return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory to replay the log");
}

/* ---- The group ---- */

static void held_release(struct replay *replay)
{
    for (size_t i = 0; i < replay->held_count; i++)
        lathe_store_value_release(&replay->held[i]);
    replay->held_count = 0;
}

/* Commits what has come together. Only the last commit is synced: an unfinished replay is begun
 * again. */
static enum lathe_status group_commit(struct replay *replay, bool sync, struct lathe_error *err)
{
    struct lathe_store_batch *batch = lathe_group_batch(replay->group);
    struct lathe_key key = lathe_log_state_key();
    struct lathe_buf state = {0};
    enum lathe_status rc = lathe_group_finish(replay->group, &replay->tables);

    lathe_log_state_record_encode(&replay->log, &state);
    if (rc != LATHE_OK || state.failed) {
        lathe_buf_fini(&state);
        return no_memory(err);
    }
    lathe_store_batch_put(batch, LATHE_FAMILY_META, lathe_key_view(&key), lathe_buf_view(&state));
    lathe_buf_fini(&state);
    rc = lathe_store_commit(replay->into, batch, sync, err);
    if (rc != LATHE_OK)
        return rc;
    lathe_clients_settle(replay->clients, true);
    for (size_t i = 0; i < replay->tables.count; i++)
        replay->tables.list[i]->counters = replay->tables.list[i]->pending;
    lathe_group_clear(replay->group, &replay->tables);
    held_release(replay);
    return LATHE_OK;
}

/* ---- Effects ---- */

/* The vector of a row in `from`; empty: the row was superseded before the log's end. */
static enum lathe_status vector_read(struct replay *replay, const struct lathe_table *table,
                                     uint32_t field, uint64_t row, struct lathe_bytes *vector_out,
                                     struct lathe_error *err)
{
    struct lathe_key key = lathe_key_original(table->collection->id, (uint16_t)field, row);
    struct lathe_store_value *value;
    enum lathe_status rc;

    if (!lathe_grow(&replay->held, &replay->held_capacity, replay->held_count + 1,
                    sizeof(*replay->held)))
        return no_memory(err);
    value = &replay->held[replay->held_count];
    rc = lathe_store_get(replay->from, replay->snapshot, LATHE_FAMILY_ORIGINALS,
                         lathe_key_view(&key), value, err);
    if (rc != LATHE_OK)
        return rc;
    replay->held_count++;
    *vector_out = value->bytes;
    if (value->found && value->bytes.size != table->collection->fields[field].vector_bytes)
        return lathe_fail(err, LATHE_DATA_LOSS,
                          "row %" PRIu64 " of field %u has %zu bytes, not %zu", row, field,
                          value->bytes.size, table->collection->fields[field].vector_bytes);
    return LATHE_OK;
}

/* Finds the vectors of the rows that the point does not have yet, and takes rows that are gone out
 * of the effect. */
static enum lathe_status rows_resolve(struct replay *replay,
                                      const struct lathe_pending_point *point,
                                      struct lathe_effect *effect, struct lathe_new_row *rows_out,
                                      size_t *row_count_out, struct lathe_error *err)
{
    struct lathe_counters_record *counters = &point->table->pending;

    *row_count_out = 0;
    for (uint32_t f = 0; f < effect->row_count; f++) {
        uint64_t row = effect->rows[f];
        struct lathe_bytes vector;
        enum lathe_status rc;

        if (row == LATHE_NO_ROW)
            continue;
        if (counters->next_row[f] <= row)
            counters->next_row[f] = row + 1;
        if (point->exists && point->record.rows[f] == row)
            continue;
        rc = vector_read(replay, point->table, f, row, &vector, err);
        if (rc != LATHE_OK)
            return rc;
        if (vector.size == 0)
            effect->rows[f] = LATHE_NO_ROW;
        else
            rows_out[(*row_count_out)++] = (struct lathe_new_row){f, vector};
    }
    return LATHE_OK;
}

static enum lathe_status effect_apply(struct replay *replay, struct lathe_table *table,
                                      struct lathe_reader *reader, uint64_t seq,
                                      struct lathe_error *err)
{
    struct lathe_effect effect;
    struct lathe_pending_point *point = NULL;
    struct lathe_new_row rows[LATHE_MAX_FIELDS];
    size_t row_count = 0;
    enum lathe_status rc = lathe_effect_decode(reader, &effect, err);

    if (rc == LATHE_OK)
        rc = lathe_group_find(replay->group, table, effect.idkey, &point, err);
    if (rc != LATHE_OK)
        return rc;
    if (effect.row_count > table->collection->field_count || (!effect.exists && !point->exists) ||
        (effect.exists && point->exists && effect.point != point->record.point))
        return lathe_fail(err, LATHE_DATA_LOSS, "an effect does not fit the point it is about");
    if (effect.exists)
        rc = rows_resolve(replay, point, &effect, rows, &row_count, err);
    if (rc == LATHE_OK &&
        lathe_group_apply(replay->group, point, &effect, seq, rows, row_count) != LATHE_OK)
        rc = no_memory(err);
    return rc;
}

/* ---- Entries ---- */

static bool has_client(const struct lathe_log_entry *entry)
{
    static const uint8_t none[sizeof(entry->client_id)];

    return memcmp(entry->client_id, none, sizeof(none)) != 0;
}

static enum lathe_status write_apply(struct replay *replay, const struct lathe_log_entry *entry,
                                     struct lathe_error *err)
{
    struct lathe_table *table = lathe_tables_find(&replay->tables, entry->collection);
    struct lathe_reader reader = lathe_reader_of(entry->body);
    struct lathe_bytes results = lathe_read_bytes(&reader, lathe_read_u32le(&reader));
    struct lathe_result_record record;
    struct lathe_request_key key = {entry->client_id, entry->request_number, record.digest,
                                    entry->time_ms};
    enum lathe_status rc;

    if (table == NULL || reader.failed)
        return lathe_fail(err, LATHE_DATA_LOSS,
                          "collection %u is not there, or the results are not", entry->collection);
    rc = lathe_result_record_decode(results, &record, &replay->results, err);
    while (rc == LATHE_OK && lathe_reader_left(&reader) > 0)
        rc = effect_apply(replay, table, &reader, entry->seq, err);
    if (rc == LATHE_OK && has_client(entry))
        rc = lathe_clients_remember(replay->clients, lathe_group_batch(replay->group), &key,
                                    &record, err);
    return rc;
}

static enum lathe_status create_apply(struct replay *replay, const struct lathe_log_entry *entry,
                                      struct lathe_error *err)
{
    struct lathe_shard_collection *collection = NULL;
    struct lathe_table *table;

    if (lathe_shard_collection_create(entry->body, &collection, err) != LATHE_OK)
        return err->status == LATHE_RESOURCE_EXHAUSTED ? err->status
                                                       : (err->status = LATHE_DATA_LOSS);
    if (collection->id != entry->collection ||
        lathe_tables_find(&replay->tables, collection->id) != NULL) {
        lathe_shard_collection_release(collection);
        return lathe_fail(err, LATHE_DATA_LOSS, "collection %u is there already, or another",
                          entry->collection);
    }
    lathe_group_create_collection(replay->group, collection);
    table = lathe_table_create(collection, NULL);
    if (table == NULL || !lathe_tables_insert(&replay->tables, table)) {
        lathe_table_destroy(table);
        return no_memory(err);
    }
    return LATHE_OK;
}

static enum lathe_status drop_apply(struct replay *replay, const struct lathe_log_entry *entry,
                                    struct lathe_error *err)
{
    struct lathe_table *table = lathe_tables_find(&replay->tables, entry->collection);

    if (table == NULL)
        return lathe_fail(err, LATHE_DATA_LOSS, "collection %u is not there", entry->collection);
    lathe_group_drop_collection(replay->group, entry->collection);
    lathe_tables_remove(&replay->tables, table);
    return LATHE_OK;
}

static enum lathe_status forget_apply(struct replay *replay, const struct lathe_log_entry *entry,
                                      struct lathe_error *err)
{
    if (entry->body.size != sizeof(uint64_t))
        return lathe_fail(err, LATHE_DATA_LOSS, "a time of %zu bytes", entry->body.size);
    (void)lathe_clients_forget(replay->clients, lathe_group_batch(replay->group),
                               lathe_get_u64le(entry->body.data));
    return LATHE_OK;
}

/* Puts what the entry did into the group. Anything but a write stands alone in its group. */
static enum lathe_status effects_apply(struct replay *replay, const struct lathe_log_entry *entry,
                                       struct lathe_error *err)
{
    enum lathe_status rc;

    if (entry->kind == LATHE_LOG_WRITE)
        return write_apply(replay, entry, err);
    rc = group_commit(replay, false, err);
    if (rc != LATHE_OK)
        return rc;
    switch (entry->kind) {
    case LATHE_LOG_CREATE_COLLECTION:
        return create_apply(replay, entry, err);
    case LATHE_LOG_DROP_COLLECTION:
        return drop_apply(replay, entry, err);
    default:
        return forget_apply(replay, entry, err);
    }
}

static enum lathe_status entry_apply(struct replay *replay, uint64_t seq, struct lathe_bytes bytes,
                                     struct lathe_error *err)
{
    struct lathe_key key = lathe_key_log(seq);
    struct lathe_log_entry entry;
    uint8_t hash[LATHE_DIGEST_BYTES];
    enum lathe_status rc = lathe_log_entry_decode(bytes, &entry, hash, err);

    if (rc != LATHE_OK)
        return rc;
    if (entry.seq != seq ||
        memcmp(entry.previous_hash, replay->log.hash, sizeof(entry.previous_hash)) != 0)
        return lathe_fail(err, LATHE_DATA_LOSS, "it does not follow the entry before it");
    rc = effects_apply(replay, &entry, err);
    if (rc != LATHE_OK)
        return rc;
    lathe_store_batch_put(lathe_group_batch(replay->group), LATHE_FAMILY_LOG, lathe_key_view(&key),
                          bytes);
    replay->log.applied_seq = seq;
    replay->log.bytes += bytes.size;
    if (replay->log.first_seq == 0)
        replay->log.first_seq = seq;
    memcpy(replay->log.hash, hash, sizeof(hash));
    if (entry.kind != LATHE_LOG_WRITE ||
        lathe_store_batch_size_bytes(lathe_group_batch(replay->group)) >= GROUP_BYTES)
        rc = group_commit(replay, false, err);
    return rc;
}

/* Says in *err which entry the failure is about. */
static enum lathe_status name_entry(uint64_t seq, struct lathe_error *err)
{
    struct lathe_error inner = *err;

    return lathe_fail(err, inner.status, "log entry %" PRIu64 ": %.400s", seq, inner.message);
}

static enum lathe_status entries_apply(struct replay *replay, struct lathe_error *err)
{
    struct lathe_key first = lathe_key_log(replay->log.applied_seq + 1);
    struct lathe_store_iter *iter = replay->entries;
    enum lathe_status rc = LATHE_OK;

    lathe_store_iter_seek(iter, lathe_key_view(&first));
    while (rc == LATHE_OK && replay->log.applied_seq < replay->end.applied_seq) {
        uint64_t expected = replay->log.applied_seq + 1, seq = 0;

        if (!lathe_store_iter_valid(iter)) {
            rc = lathe_store_iter_status(iter, err);
            if (rc == LATHE_OK)
                rc = lathe_fail(err, LATHE_DATA_LOSS, "it is missing");
        } else {
            rc = lathe_key_log_parse(lathe_store_iter_key(iter), &seq, err);
        }
        if (rc == LATHE_OK && seq != expected)
            rc = lathe_fail(err, LATHE_DATA_LOSS, "it is missing");
        if (rc == LATHE_OK)
            rc = entry_apply(replay, seq, lathe_store_iter_value(iter), err);
        if (rc != LATHE_OK)
            rc = name_entry(expected, err);
        else
            lathe_store_iter_next(iter);
    }
    return rc;
}

/* ---- Beginning and end ---- */

/* What is read of `from`, as it is now. */
static enum lathe_status source_open(struct replay *replay, struct lathe_error *err)
{
    struct lathe_store_scan scan = {.snapshot = replay->snapshot, .large = true};
    struct lathe_key key = lathe_log_state_key();
    struct lathe_store_value value;
    enum lathe_status rc = lathe_store_iter_create(replay->from, LATHE_FAMILY_LOG, &scan,
                                                   &replay->entries, err);

    if (rc != LATHE_OK)
        return rc;
    rc = lathe_store_get(replay->from, replay->snapshot, LATHE_FAMILY_META, lathe_key_view(&key),
                         &value, err);

    if (rc != LATHE_OK)
        return rc;
    if (value.found)
        rc = lathe_log_state_record_decode(value.bytes, &replay->end, err);
    lathe_store_value_release(&value);
    return rc;
}

static enum lathe_status begin(struct replay *replay, struct lathe_error *err)
{
    enum lathe_status rc = source_open(replay, err);

    if (rc == LATHE_OK)
        rc = lathe_load(replay->into, NULL, &replay->tables, &replay->log, err);
    if (rc == LATHE_OK)
        rc = lathe_clients_open(replay->into, &replay->clients, err);
    if (rc != LATHE_OK)
        return rc;
    for (size_t i = 0; i < replay->tables.count; i++)
        if (replay->tables.list[i]->damage.status != LATHE_OK) {
            *err = replay->tables.list[i]->damage;
            return err->status;
        }
    if (replay->log.applied_seq > replay->end.applied_seq)
        return lathe_fail(err, LATHE_FAILED_PRECONDITION,
                          "the copy stands at sequence number %" PRIu64
                          ", its source only at %" PRIu64,
                          replay->log.applied_seq, replay->end.applied_seq);
    if (replay->end.first_seq > replay->log.applied_seq + 1)
        return lathe_fail(err, LATHE_OUT_OF_RANGE,
                          "the log begins at entry %" PRIu64 ", entry %" PRIu64
                          " is needed: begin with a later checkpoint",
                          replay->end.first_seq, replay->log.applied_seq + 1);
    return LATHE_OK;
}

/* A row or point that got lost on either side shows in the counters. */
static enum lathe_status counters_compare(const struct replay *replay,
                                          const struct lathe_table *table, struct lathe_error *err)
{
    struct lathe_key key = lathe_counters_key(table->collection->id);
    struct lathe_counters_record wanted = {.field_count = table->collection->field_count};
    const struct lathe_counters_record *have = &table->counters;
    struct lathe_store_value value;
    enum lathe_status rc = lathe_store_get(replay->from, replay->snapshot, LATHE_FAMILY_META,
                                           lathe_key_view(&key), &value, err);

    if (rc != LATHE_OK)
        return rc;
    if (value.found)
        rc = lathe_counters_record_decode(value.bytes, &wanted, err);
    lathe_store_value_release(&value);
    if (rc != LATHE_OK)
        return rc;
    if (wanted.points == have->points && wanted.next_point == have->next_point &&
        memcmp(wanted.rows, have->rows, sizeof(wanted.rows)) == 0 &&
        memcmp(wanted.next_row, have->next_row, sizeof(wanted.next_row)) == 0)
        return LATHE_OK;
    return lathe_fail(err, LATHE_DATA_LOSS,
                      "after log entry %" PRIu64 " collection %u has %" PRIu64
                      " points and other rows; its source has %" PRIu64 " points",
                      replay->end.applied_seq, table->collection->id, have->points, wanted.points);
}

static enum lathe_status end_check(const struct replay *replay, struct lathe_error *err)
{
    enum lathe_status rc = LATHE_OK;

    if (memcmp(replay->log.hash, replay->end.hash, sizeof(replay->log.hash)) != 0)
        return lathe_fail(err, LATHE_DATA_LOSS,
                          "log entry %" PRIu64 ": it is not the last one that its shard wrote",
                          replay->end.applied_seq);
    for (size_t i = 0; i < replay->tables.count && rc == LATHE_OK; i++)
        rc = counters_compare(replay, replay->tables.list[i], err);
    return rc;
}

enum lathe_status lathe_replay(struct lathe_store *from, struct lathe_store *into,
                               struct lathe_error *err)
{
    struct replay replay = {.from = from, .into = into};
    struct lathe_error own;
    enum lathe_status rc;

    if (err == NULL)
        err = &own;
    replay.group = lathe_group_create(into);
    replay.snapshot = lathe_store_snapshot_acquire(from);
    rc = replay.group != NULL && replay.snapshot != NULL ? begin(&replay, err) : no_memory(err);
    if (rc == LATHE_OK)
        rc = entries_apply(&replay, err);
    if (rc == LATHE_OK)
        rc = group_commit(&replay, true, err);
    if (rc == LATHE_OK)
        rc = end_check(&replay, err);
    if (replay.group != NULL)
        lathe_group_clear(replay.group, &replay.tables);
    held_release(&replay);
    lathe_store_iter_destroy(replay.entries);
    lathe_store_snapshot_release(from, replay.snapshot);
    lathe_group_destroy(replay.group);
    lathe_clients_close(replay.clients);
    lathe_tables_fini(&replay.tables);
    lathe_free(replay.results);
    lathe_free(replay.held);
    return rc;
}
