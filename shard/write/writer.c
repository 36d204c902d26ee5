/* writer.c - see writer.h. */
#include "shard/write/writer.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/store/keys.h"
#include "shard.pb-c.h"
#include "shard/write/operation.h"
#include "shard/write/trim.h"

enum {
    GROUP_TASKS = 128,
    GROUP_BYTES = 8 * 1024 * 1024,
    IDLE_US = 500 * 1000,
    DISK_CHECK_US = 200 * 1000,
    FORGET_CHECK_US = 3600u * 1000u * 1000u / 4,
    TIDY_BUSY_PERCENT = 25, /* of rows dead, before writers pay for rewriting */
    TIDY_IDLE_PERCENT = 10
};

struct lathe_writer {
    struct lathe_writer_config config;
    pthread_t thread;
    struct lathe_queue *queue;
    struct lathe_tables tables;
    struct lathe_clients *clients;
    struct lathe_group *group;
    struct lathe_log_state_record log; /* with the group in the making */
    struct lathe_log_state_record log_committed;
    struct lathe_trim trim;
    struct lathe_error read_only; /* status OK, or why writes are refused for good */
    uint64_t disk_checked_us;
    uint64_t disk_free_bytes;
    uint64_t forget_checked_us;
    struct lathe_buf body; /* of the log entry in the making */
    struct lathe_buf entry;
    struct lathe_result *results; /* of the request in the making */
    size_t result_capacity;
    struct lathe_result *repeated;
    _Atomic uint64_t commits;
    _Atomic uint64_t last_commit_us;
};

static const Lathe__Shard__Write *write_of(const struct lathe_task *task)
{
    return (const Lathe__Shard__Write *)task->message;
}

/* ---- Answers ---- */

static void answer_write(struct lathe_task *task, uint64_t seq, const struct lathe_result *results,
                         size_t count, bool repeated)
{
    Lathe__Shard__WriteReply reply = LATHE__SHARD__WRITE_REPLY__INIT;
    struct lathe_error err;

    reply.applied_seq = seq;
    reply.repeated_request = repeated;
    reply.outcomes = lathe_arena_alloc(&task->arena, count * sizeof(*reply.outcomes));
    reply.versions = lathe_arena_alloc(&task->arena, count * sizeof(*reply.versions));
    if (reply.outcomes == NULL || reply.versions == NULL) {
        (void)lathe_fail(&err, LATHE_RESOURCE_EXHAUSTED, "no memory for a reply");
        lathe_task_fail(task, &err, false);
        return;
    }
    reply.n_outcomes = reply.n_versions = count;
    for (size_t i = 0; i < count; i++) {
        reply.outcomes[i] = results[i].outcome;
        reply.versions[i] = results[i].version;
    }
    lathe_task_answer(task, LATHE_FRAME_WRITE, &reply.base);
}

/* ---- Log ---- */

/* Puts the next log entry into the group's batch. */
static enum lathe_status log_append(struct lathe_writer *writer, struct lathe_log_entry *entry,
                                    struct lathe_error *err)
{
    struct lathe_key key;

    entry->seq = ++writer->log.applied_seq;
    memcpy(entry->previous_hash, writer->log.hash, sizeof(entry->previous_hash));
    lathe_buf_clear(&writer->entry);
    lathe_log_entry_encode(entry, &writer->entry, writer->log.hash);
    if (writer->entry.failed)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a log entry");
    if (writer->log.first_seq == 0)
        writer->log.first_seq = entry->seq;
    writer->log.bytes += writer->entry.size;
    key = lathe_key_log(entry->seq);
    lathe_store_batch_put(lathe_group_batch(writer->group), LATHE_FAMILY_LOG, lathe_key_view(&key),
                          lathe_buf_view(&writer->entry));
    return LATHE_OK;
}

/* ---- Commit ---- */

/* After a failed commit nothing is known about what reached the disk. A full disk leaves the shard
 * readable; anything else (a failed sync above all) must not be tried again: the process stops, and
 * the next start replays what was synced. */
static void commit_failed(struct lathe_writer *writer, const struct lathe_error *err)
{
    lathe_log(LATHE_LOG_ERROR, "commit-failed", "shard=%u status=%s text=\"%s\"",
              writer->config.shard, lathe_status_name(err->status), err->message);
    if (err->status != LATHE_RESOURCE_EXHAUSTED)
        _exit(70);
    writer->read_only = *err;
    (void)lathe_fail(&writer->read_only, LATHE_UNAVAILABLE,
                     "shard %u is read-only: a commit failed (%s); free space and restart Lathe",
                     writer->config.shard, err->message);
}

/* Synced, then published. */
static enum lathe_status group_commit(struct lathe_writer *writer, struct lathe_error *err)
{
    struct lathe_store_batch *batch = lathe_group_batch(writer->group);
    struct lathe_key key = lathe_log_state_key();
    enum lathe_status rc = lathe_group_finish(writer->group, &writer->tables);

    lathe_buf_clear(&writer->entry);
    lathe_log_state_record_encode(&writer->log, &writer->entry);
    if (rc != LATHE_OK || writer->entry.failed)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory to commit");
    lathe_store_batch_put(batch, LATHE_FAMILY_META, lathe_key_view(&key),
                          lathe_buf_view(&writer->entry));
    rc = lathe_store_commit(writer->config.store, batch, true, err);
    if (rc != LATHE_OK) {
        commit_failed(writer, err);
        return rc;
    }
    writer->log_committed = writer->log;
    lathe_clients_settle(writer->clients, true);
    return LATHE_OK;
}

/* Gives up what the group in the making did: nothing of it was stored. */
static void group_undo(struct lathe_writer *writer)
{
    lathe_group_clear(writer->group, &writer->tables);
    lathe_clients_settle(writer->clients, false);
    writer->log = writer->log_committed;
}

/* Shows readers what is committed. Without memory for that the shard cannot go on: what is stored
 * and what is shown would part ways, so the process stops and the next start loads what is stored.
 */
static void publish(struct lathe_writer *writer)
{
    if (lathe_tables_publish(&writer->tables, writer->config.store, writer->log.applied_seq,
                             writer->config.publication) != LATHE_OK) {
        lathe_log(LATHE_LOG_ERROR, "out-of-memory", "shard=%u while=publishing",
                  writer->config.shard);
        _exit(71);
    }
    atomic_store_explicit(&writer->last_commit_us, lathe_now_us(writer->config.clock),
                          memory_order_relaxed);
    atomic_fetch_add_explicit(&writer->commits, 1, memory_order_relaxed);
}

/* One step of rewriting for each field that is worth it. */
static bool tidy(struct lathe_writer *writer, unsigned percent)
{
    bool any = false;

    for (size_t i = 0; i < writer->tables.count; i++) {
        struct lathe_table *table = writer->tables.list[i];

        for (uint32_t f = 0; f < table->collection->field_count; f++) {
            if (!lathe_rows_tidy(&table->rows[f], percent))
                continue;
            table->changed = true;
            any = true;
        }
    }
    return any;
}

static void install_and_publish(struct lathe_writer *writer)
{
    if (lathe_group_install(writer->group, &writer->tables) != LATHE_OK) {
        lathe_log(LATHE_LOG_ERROR, "out-of-memory", "shard=%u while=installing",
                  writer->config.shard);
        _exit(71);
    }
    lathe_group_clear(writer->group, &writer->tables);
    (void)tidy(writer, TIDY_BUSY_PERCENT);
    publish(writer);
}

/* ---- Writes ---- */

/* Why inserts are refused at the moment, if they are. */
static enum lathe_status room_check(struct lathe_writer *writer, uint64_t bytes,
                                    struct lathe_error *err)
{
    uint64_t now_us = lathe_now_us(writer->config.clock);

    if (!lathe_budget_has_room(writer->config.budget, bytes, LATHE_MEMORY_INSERT_PERCENT)) {
        (void)lathe_fail(err, LATHE_RESOURCE_EXHAUSTED,
                         "memory: %" PRIu64 " of %" PRIu64
                         " bytes are used, inserts stop at %d %%; deletes and reads go on "
                         "(--memory-limit)",
                         lathe_budget_used(writer->config.budget),
                         writer->config.budget->limit_bytes, LATHE_MEMORY_INSERT_PERCENT);
        err->retry_after_ms = 1000;
        return err->status;
    }
    if (now_us - writer->disk_checked_us >= DISK_CHECK_US) {
        if (lathe_disk_free(writer->config.directory, &writer->disk_free_bytes, err) != LATHE_OK)
            writer->disk_free_bytes = 0;
        writer->disk_checked_us = now_us;
    }
    if (writer->disk_free_bytes >= LATHE_DISK_RESERVE_BYTES + bytes)
        return LATHE_OK;
    (void)lathe_fail(err, LATHE_RESOURCE_EXHAUSTED,
                     "disk: %" PRIu64
                     " bytes are free, inserts stop below %d; deletes and reads go on",
                     writer->disk_free_bytes, LATHE_DISK_RESERVE_BYTES);
    err->retry_after_ms = 5000;
    return err->status;
}

/* Everything that may refuse a request before it touches the group. */
static enum lathe_status admit(struct lathe_writer *writer, struct lathe_task *task,
                               struct lathe_table **table_out, bool *stale_out,
                               struct lathe_error *err)
{
    struct lathe_table *table = lathe_tables_find(&writer->tables, task->request.header.collection);

    *table_out = table;
    *stale_out = table == NULL;
    if (lathe_task_expired(task, lathe_now_us(writer->config.clock), err))
        return err->status;
    if (table == NULL)
        return lathe_fail(err, LATHE_UNAVAILABLE, "shard %u does not hold collection %u (yet)",
                          writer->config.shard, task->request.header.collection);
    if (table->damage.status != LATHE_OK) {
        *err = table->damage;
        return err->status;
    }
    if (writer->read_only.status != LATHE_OK) {
        *err = writer->read_only;
        return err->status;
    }
    return lathe_operations_check(table->collection, write_of(task), task->block, err);
}

/* True if the task was answered from memory, or refused. */
static bool answered_before(struct lathe_writer *writer, struct lathe_task *task)
{
    const Lathe__Shard__Write *write = write_of(task);
    struct lathe_request_key key = {write->client_id.data, write->request_number,
                                    write->digest.data, write->time_ms};
    struct lathe_result_record record;
    struct lathe_error err;
    enum lathe_status rc;

    if (write->client_id.len == 0)
        return false;
    rc = lathe_clients_check(writer->clients, &key, &record, &writer->repeated, &err);
    if (rc != LATHE_OK) {
        lathe_task_fail(task, &err, false);
        return true;
    }
    if (record.result_count == 0)
        return false;
    answer_write(task, record.seq, record.results, record.result_count, true);
    return true;
}

/* Applies the request to the group and logs it; the answer is filled but not sent. */
static enum lathe_status apply(struct lathe_writer *writer, struct lathe_task *task,
                               struct lathe_table *table, struct lathe_error *err)
{
    const Lathe__Shard__Write *write = write_of(task);
    struct lathe_log_entry entry = {.kind = LATHE_LOG_WRITE,
                                    .collection = table->collection->id,
                                    .epoch = task->request.header.epoch,
                                    .time_ms = write->time_ms,
                                    .request_number = write->request_number};
    struct lathe_result_record record = {.seq = writer->log.applied_seq + 1,
                                         .result_count = (uint32_t)write->n_operations};
    struct lathe_buf effects = {0};
    size_t size_at, begin;
    enum lathe_status rc;

    if (!lathe_grow(&writer->results, &writer->result_capacity, write->n_operations,
                    sizeof(*writer->results)))
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for the results of a write");
    rc = lathe_operations_apply(writer->group, table, write, task->block, record.seq,
                                writer->config.max_payload_bytes, writer->results, &effects, err);
    if (rc != LATHE_OK)
        goto done;
    record.results = writer->results;
    if (write->digest.len == sizeof(record.digest))
        memcpy(record.digest, write->digest.data, sizeof(record.digest));
    lathe_buf_clear(&writer->body);
    size_at = writer->body.size;
    lathe_buf_u32le(&writer->body, 0);
    begin = writer->body.size;
    lathe_result_record_encode(&record, &writer->body);
    if (!writer->body.failed)
        lathe_put_u32le(writer->body.data + size_at, (uint32_t)(writer->body.size - begin));
    lathe_buf_append(&writer->body, effects.data, effects.size);
    if (write->client_id.len != 0)
        memcpy(entry.client_id, write->client_id.data, sizeof(entry.client_id));
    entry.body = lathe_buf_view(&writer->body);
    rc = writer->body.failed
             ? lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a log entry")
             : log_append(writer, &entry, err);
    if (rc == LATHE_OK && write->client_id.len != 0) {
        struct lathe_request_key key = {write->client_id.data, write->request_number,
                                        write->digest.data, write->time_ms};

        rc = lathe_clients_remember(writer->clients, lathe_group_batch(writer->group), &key,
                                    &record, err);
    }
    if (rc == LATHE_OK)
        answer_write(task, record.seq, writer->results, write->n_operations, false);
done:
    lathe_buf_fini(&effects);
    return rc;
}

/* Tasks of the group in the making, answered but not yet sent. */
struct waiting {
    struct lathe_task *tasks[GROUP_TASKS];
    size_t count;
};

static void waiting_send(struct waiting *waiting)
{
    for (size_t i = 0; i < waiting->count; i++)
        lathe_task_finish(waiting->tasks[i]);
    waiting->count = 0;
}

static void waiting_fail(struct waiting *waiting, const struct lathe_error *err)
{
    for (size_t i = 0; i < waiting->count; i++)
        lathe_task_fail(waiting->tasks[i], err, false);
    waiting_send(waiting);
}

static void group_abort(struct lathe_writer *writer, struct waiting *waiting,
                        const struct lathe_error *err)
{
    group_undo(writer);
    waiting_fail(waiting, err);
}

static void group_end(struct lathe_writer *writer, struct waiting *waiting)
{
    struct lathe_error err;

    if (waiting->count == 0)
        return;
    if (group_commit(writer, &err) != LATHE_OK) {
        /* A full disk: whether the batch is there after a restart is not known, so say so. */
        group_abort(writer, waiting,
                    writer->read_only.status != LATHE_OK ? &writer->read_only : &err);
        return;
    }
    install_and_publish(writer);
    waiting_send(waiting);
}

/* True if the same request already waits in this group: it must be committed before its repeat is
 * answered. */
static bool in_group(const struct waiting *waiting, const Lathe__Shard__Write *write)
{
    for (size_t i = 0; i < waiting->count && write->client_id.len != 0; i++) {
        const Lathe__Shard__Write *other = write_of(waiting->tasks[i]);

        if (other->request_number == write->request_number &&
            other->client_id.len == write->client_id.len &&
            memcmp(other->client_id.data, write->client_id.data, write->client_id.len) == 0)
            return true;
    }
    return false;
}

/* The request may have changed the group halfway, so the whole group is given up. The others are as
 * good as before and may come again. */
static void apply_failed(struct lathe_writer *writer, struct lathe_task *task,
                         struct lathe_table *table, struct waiting *waiting,
                         const struct lathe_error *err)
{
    struct lathe_error others;

    (void)lathe_fail(&others, LATHE_UNAVAILABLE,
                     "shard %u gave up the commit that this request shared with another; send it "
                     "again",
                     writer->config.shard);
    group_abort(writer, waiting, &others);
    if (err->status == LATHE_DATA_LOSS) {
        lathe_table_damage(table, err);
        publish(writer); /* before the answer: whoever has it meets no reader who does not know */
        err = &table->damage;
    }
    lathe_task_fail(task, err, false);
    lathe_task_finish(task);
}

static void handle_write(struct lathe_writer *writer, struct lathe_task *task,
                         struct waiting *waiting)
{
    struct lathe_table *table;
    struct lathe_error err;
    bool stale;

    if (in_group(waiting, write_of(task)))
        group_end(writer, waiting);
    if (admit(writer, task, &table, &stale, &err) != LATHE_OK) {
        lathe_task_fail(task, &err, stale);
        lathe_task_finish(task);
        return;
    }
    if (answered_before(writer, task)) {
        lathe_task_finish(task);
        return;
    }
    if (lathe_operations_insert(write_of(task)) &&
        room_check(writer, task->block.size + task->request.body.size, &err) != LATHE_OK) {
        lathe_task_fail(task, &err, false);
        lathe_task_finish(task);
        return;
    }
    if (apply(writer, task, table, &err) == LATHE_OK)
        waiting->tasks[waiting->count++] = task;
    else
        apply_failed(writer, task, table, waiting, &err);
}

/* ---- Collections ---- */

static bool wanted(const Lathe__Shard__Sync *sync, uint32_t id)
{
    for (size_t i = 0; i < sync->n_collections; i++)
        if (sync->collections[i]->id == id)
            return true;
    return false;
}

static enum lathe_status drop_stage(struct lathe_writer *writer, const struct lathe_table *table,
                                    uint64_t time_ms, struct lathe_error *err)
{
    struct lathe_log_entry entry = {
        .kind = LATHE_LOG_DROP_COLLECTION, .collection = table->collection->id, .time_ms = time_ms};

    lathe_group_drop_collection(writer->group, table->collection->id);
    return log_append(writer, &entry, err);
}

static enum lathe_status create_stage(struct lathe_writer *writer,
                                      const Lathe__Shard__CollectionSpec *spec, uint64_t time_ms,
                                      struct lathe_table **table_out, struct lathe_error *err)
{
    struct lathe_log_entry entry = {
        .kind = LATHE_LOG_CREATE_COLLECTION, .collection = spec->id, .time_ms = time_ms};
    struct lathe_shard_collection *collection = NULL;
    struct lathe_buf encoded = {0};
    enum lathe_status rc;

    *table_out = NULL;
    lathe_message_encode(&spec->base, &encoded);
    rc = encoded.failed ? lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a collection")
                        : lathe_shard_collection_create(lathe_buf_view(&encoded), &collection, err);
    if (rc == LATHE_OK) {
        lathe_group_create_collection(writer->group, collection);
        entry.body = collection->spec;
        rc = log_append(writer, &entry, err);
    }
    if (rc == LATHE_OK) {
        *table_out = lathe_table_create(collection, writer->config.budget);
        collection = NULL;
        if (*table_out == NULL)
            rc = lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a collection");
    }
    lathe_shard_collection_release(collection);
    lathe_buf_fini(&encoded);
    return rc;
}

/* Collections made by a SYNC, not yet committed. */
struct made {
    struct lathe_table **list;
    size_t count;
};

/* Two collections of one id, or too many, are refused before anything is staged. */
static enum lathe_status sync_check(const Lathe__Shard__Sync *sync, struct lathe_error *err)
{
    if (sync->n_collections > LATHE_MAX_COLLECTIONS)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "collections",
                                "%zu collections, the limit is %u", sync->n_collections,
                                LATHE_MAX_COLLECTIONS);
    for (size_t i = 0; i < sync->n_collections; i++)
        for (size_t j = 0; j < i; j++)
            if (sync->collections[i]->id == sync->collections[j]->id)
                return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "collections",
                                        "collection %u comes twice", sync->collections[i]->id);
    return LATHE_OK;
}

static enum lathe_status sync_stage(struct lathe_writer *writer, const Lathe__Shard__Sync *sync,
                                    struct made *made, Lathe__Shard__SyncReply *reply,
                                    struct lathe_error *err)
{
    enum lathe_status rc = LATHE_OK;

    for (size_t i = 0; i < sync->n_collections && rc == LATHE_OK; i++) {
        if (lathe_tables_find(&writer->tables, sync->collections[i]->id) != NULL)
            continue;
        rc = create_stage(writer, sync->collections[i], sync->time_ms, &made->list[made->count],
                          err);
        made->count += rc == LATHE_OK;
    }
    for (size_t i = 0; i < writer->tables.count && rc == LATHE_OK; i++) {
        const struct lathe_table *table = writer->tables.list[i];

        if (table->collection->id >= sync->next_id || wanted(sync, table->collection->id))
            continue;
        rc = drop_stage(writer, table, sync->time_ms, err);
        reply->dropped++;
    }
    reply->created = (uint32_t)made->count;
    return rc;
}

/* After the commit: the tables themselves. */
static void sync_install(struct lathe_writer *writer, const Lathe__Shard__Sync *sync,
                         const struct made *made)
{
    for (size_t i = writer->tables.count; i > 0; i--) {
        struct lathe_table *table = writer->tables.list[i - 1];

        if (table->collection->id >= sync->next_id || wanted(sync, table->collection->id))
            continue;
        /* A full queue only means that the space comes back later, with ordinary compaction. */
        if (writer->config.dropped != NULL)
            (void)lathe_queue_push(writer->config.dropped,
                                   (void *)(uintptr_t)table->collection->id);
        lathe_tables_remove(&writer->tables, table);
    }
    for (size_t i = 0; i < made->count; i++)
        if (!lathe_tables_insert(&writer->tables, made->list[i])) {
            lathe_log(LATHE_LOG_ERROR, "out-of-memory", "shard=%u while=sync",
                      writer->config.shard);
            _exit(71);
        }
}

static void handle_sync(struct lathe_writer *writer, struct lathe_task *task,
                        struct waiting *waiting)
{
    const Lathe__Shard__Sync *sync = (const Lathe__Shard__Sync *)task->message;
    Lathe__Shard__SyncReply reply = LATHE__SHARD__SYNC_REPLY__INIT;
    struct made made = {lathe_arena_alloc(&task->arena, (sync->n_collections + 1) * sizeof(void *)),
                        0};
    struct lathe_error err;
    enum lathe_status rc;

    group_end(writer, waiting);
    if (writer->read_only.status != LATHE_OK) {
        err = writer->read_only;
        rc = err.status;
    } else if (made.list == NULL) {
        rc = lathe_fail(&err, LATHE_RESOURCE_EXHAUSTED, "no memory for collections");
    } else {
        rc = sync_check(sync, &err);
        if (rc == LATHE_OK)
            rc = sync_stage(writer, sync, &made, &reply, &err);
    }
    if (rc == LATHE_OK && (reply.created > 0 || reply.dropped > 0))
        rc = group_commit(writer, &err);
    if (rc == LATHE_OK) {
        sync_install(writer, sync, &made);
        lathe_group_clear(writer->group, &writer->tables);
        publish(writer);
        lathe_task_answer(task, LATHE_FRAME_SYNC, &reply.base);
    } else {
        for (size_t i = 0; i < made.count; i++)
            lathe_table_destroy(made.list[i]);
        group_undo(writer);
        lathe_task_fail(task, &err, false);
    }
    lathe_task_finish(task);
}

/* ---- Between groups ---- */

/* Deterministic, and so in the log: which clients are forgotten follows from the time in the entry.
 */
static void forget_clients(struct lathe_writer *writer)
{
    uint64_t now_us = lathe_now_us(writer->config.clock);
    uint64_t wall_ms = lathe_wall_ms(writer->config.clock);
    uint64_t before_ms = wall_ms - LATHE_CLIENT_FORGET_MS;
    uint8_t body[8];
    struct lathe_log_entry entry = {.kind = LATHE_LOG_FORGET_CLIENTS,
                                    .time_ms = wall_ms,
                                    .body = lathe_bytes_of(body, sizeof(body))};
    struct lathe_error err;

    if (now_us - writer->forget_checked_us < FORGET_CHECK_US ||
        writer->read_only.status != LATHE_OK)
        return;
    writer->forget_checked_us = now_us;
    if (!lathe_clients_any_before(writer->clients, before_ms))
        return;
    lathe_put_u64le(body, before_ms);
    (void)lathe_clients_forget(writer->clients, lathe_group_batch(writer->group), before_ms);
    if (log_append(writer, &entry, &err) != LATHE_OK || group_commit(writer, &err) != LATHE_OK) {
        group_undo(writer);
        return;
    }
    lathe_group_clear(writer->group, &writer->tables);
    publish(writer);
}

static void trim_log(struct lathe_writer *writer)
{
    if (writer->read_only.status != LATHE_OK)
        return;
    lathe_trim_step(&writer->trim, writer->config.store, lathe_now_us(writer->config.clock),
                    lathe_wall_ms(writer->config.clock), &writer->log);
    writer->log_committed = writer->log;
}

/* What is due now and then, however busy the shard is. */
static void upkeep(struct lathe_writer *writer)
{
    forget_clients(writer);
    trim_log(writer);
}

static void idle(struct lathe_writer *writer)
{
    if (tidy(writer, TIDY_IDLE_PERCENT)) {
        /* Not a commit: the rows are the same, only laid out anew. */
        if (lathe_tables_publish(&writer->tables, writer->config.store, writer->log.applied_seq,
                                 writer->config.publication) != LATHE_OK)
            lathe_log(LATHE_LOG_WARN, "memory-short", "shard=%u while=tidying",
                      writer->config.shard);
    }
}

/* ---- The thread ---- */

static void handle(struct lathe_writer *writer, struct lathe_task *task, struct waiting *waiting)
{
    if (task->request.header.kind == LATHE_FRAME_SYNC)
        handle_sync(writer, task, waiting);
    else
        handle_write(writer, task, waiting);
}

static void *run(void *context)
{
    struct lathe_writer *writer = context;
    struct waiting waiting = {.count = 0};

    for (;;) {
        struct lathe_task *task;
        size_t group_bytes = 0;

        if (lathe_queue_pop(writer->queue, (void **)&task, 1, IDLE_US) == 0) {
            if (lathe_queue_closed(writer->queue) && lathe_queue_size(writer->queue) == 0)
                return NULL;
            idle(writer);
            upkeep(writer);
            continue;
        }
        /* Whoever waits by now shares the sync: that is the group. */
        do {
            group_bytes += task->block.size + task->request.body.size;
            handle(writer, task, &waiting);
        } while (waiting.count < GROUP_TASKS && group_bytes < GROUP_BYTES &&
                 lathe_queue_pop(writer->queue, (void **)&task, 1, 0) == 1);
        group_end(writer, &waiting);
        upkeep(writer);
    }
}

static void writer_free(struct lathe_writer *writer)
{
    lathe_group_destroy(writer->group);
    lathe_clients_close(writer->clients);
    lathe_tables_fini(&writer->tables);
    lathe_queue_destroy(writer->queue);
    lathe_buf_fini(&writer->body);
    lathe_buf_fini(&writer->entry);
    lathe_free(writer->results);
    lathe_free(writer->repeated);
    lathe_free(writer);
}

enum lathe_status lathe_writer_start(const struct lathe_writer_config *config,
                                     struct lathe_tables *tables, struct lathe_clients **clients_p,
                                     const struct lathe_log_state_record *log,
                                     struct lathe_writer **writer_out, struct lathe_error *err)
{
    struct lathe_writer *writer = lathe_zalloc(sizeof(*writer));

    *writer_out = NULL;
    if (writer == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for the writer");
    writer->config = *config;
    writer->tables = *tables;
    *tables = (struct lathe_tables){0};
    writer->clients = *clients_p;
    *clients_p = NULL;
    writer->log = writer->log_committed = *log;
    writer->queue = lathe_queue_create(config->queue_capacity, false);
    writer->group = lathe_group_create(config->store);
    if (writer->queue == NULL || writer->group == NULL ||
        lathe_tables_publish(&writer->tables, config->store, log->applied_seq,
                             config->publication) != LATHE_OK ||
        pthread_create(&writer->thread, NULL, run, writer) != 0) {
        writer_free(writer);
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory or thread for the writer");
    }
    *writer_out = writer;
    return LATHE_OK;
}

void lathe_writer_stop(struct lathe_writer **writer_p)
{
    struct lathe_writer *writer = *writer_p;

    if (writer == NULL)
        return;
    lathe_queue_close(writer->queue);
    (void)pthread_join(writer->thread, NULL);
    writer_free(writer);
    *writer_p = NULL;
}

bool lathe_writer_submit(struct lathe_writer *writer, struct lathe_task *task)
{
    return lathe_queue_push(writer->queue, task);
}

uint64_t lathe_writer_commits(const struct lathe_writer *writer)
{
    return atomic_load_explicit(&writer->commits, memory_order_relaxed);
}

uint64_t lathe_writer_last_commit_us(const struct lathe_writer *writer)
{
    return atomic_load_explicit(&writer->last_commit_us, memory_order_relaxed);
}
