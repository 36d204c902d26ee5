/* sync.c - see sync.h. */
#include "shard/write/sync.h"

#include "common/base/limits.h"
#include "shard.pb-c.h"

static bool wanted(const Lathe__Shard__Sync *sync, uint32_t id)
{
    for (size_t i = 0; i < sync->n_collections; i++)
        if (sync->collections[i]->id == id)
            return true;
    return false;
}

static enum lathe_status drop_stage(struct lathe_commit *commit, const struct lathe_table *table,
                                    uint64_t time_ms, struct lathe_error *err)
{
    struct lathe_log_entry entry = {
        .kind = LATHE_LOG_DROP_COLLECTION, .collection = table->collection->id, .time_ms = time_ms};

    lathe_group_drop_collection(commit->group, table->collection->id);
    return lathe_commit_log(commit, &entry, err);
}

static enum lathe_status create_stage(struct lathe_commit *commit,
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
        lathe_group_create_collection(commit->group, collection);
        entry.body = collection->spec;
        rc = lathe_commit_log(commit, &entry, err);
    }
    if (rc == LATHE_OK) {
        *table_out = lathe_table_create(collection, commit->budget);
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

/* Ids are never used again, so two collections of one id mean that catalog and shard were put
 * together from different copies. The slot key is random and tells them apart. */
static enum lathe_status same_check(const struct lathe_shard_collection *held,
                                    const Lathe__Shard__CollectionSpec *spec,
                                    struct lathe_error *err)
{
    if (spec->slot_key.len == sizeof(held->slot_key) &&
        memcmp(spec->slot_key.data, held->slot_key, sizeof(held->slot_key)) == 0)
        return LATHE_OK;
    return lathe_fail(err, LATHE_FAILED_PRECONDITION,
                      "collection %u (\"%s\") is another one here (\"%s\"): catalog and shard are "
                      "not of the same copy; restore the data directory as a whole",
                      held->id, spec->name, held->name);
}

static enum lathe_status sync_stage(struct lathe_commit *commit, const Lathe__Shard__Sync *sync,
                                    struct made *made, Lathe__Shard__SyncReply *reply,
                                    struct lathe_error *err)
{
    enum lathe_status rc = LATHE_OK;

    for (size_t i = 0; i < sync->n_collections && rc == LATHE_OK; i++) {
        const struct lathe_table *held = lathe_tables_find(&commit->tables,
                                                           sync->collections[i]->id);

        if (held != NULL) {
            rc = same_check(held->collection, sync->collections[i], err);
            continue;
        }
        rc = create_stage(commit, sync->collections[i], sync->time_ms, &made->list[made->count],
                          err);
        made->count += rc == LATHE_OK;
    }
    for (size_t i = 0; i < commit->tables.count && rc == LATHE_OK; i++) {
        const struct lathe_table *table = commit->tables.list[i];

        if (table->collection->id >= sync->next_id || wanted(sync, table->collection->id))
            continue;
        rc = drop_stage(commit, table, sync->time_ms, err);
        reply->dropped++;
    }
    reply->created = (uint32_t)made->count;
    return rc;
}

/* After the commit: the tables themselves. */
static void sync_install(struct lathe_commit *commit, const Lathe__Shard__Sync *sync,
                         const struct made *made, struct lathe_queue *dropped)
{
    for (size_t i = commit->tables.count; i > 0; i--) {
        struct lathe_table *table = commit->tables.list[i - 1];

        if (table->collection->id >= sync->next_id || wanted(sync, table->collection->id))
            continue;
        /* A full queue only means that the space comes back later, with ordinary compaction. */
        if (dropped != NULL)
            (void)lathe_queue_push(dropped, (void *)(uintptr_t)table->collection->id);
        lathe_tables_remove(&commit->tables, table);
    }
    for (size_t i = 0; i < made->count; i++)
        if (!lathe_tables_insert(&commit->tables, made->list[i]))
            lathe_commit_out_of_memory(commit, "sync");
}

static enum lathe_status sync_commit(struct lathe_commit *commit, const Lathe__Shard__Sync *sync,
                                     struct made *made, Lathe__Shard__SyncReply *reply,
                                     struct lathe_error *err)
{
    enum lathe_status rc;

    if (commit->read_only.status != LATHE_OK) {
        *err = commit->read_only;
        return err->status;
    }
    if (made->list == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for collections");
    rc = sync_check(sync, err);
    if (rc == LATHE_OK)
        rc = sync_stage(commit, sync, made, reply, err);
    if (rc == LATHE_OK && (reply->created > 0 || reply->dropped > 0))
        rc = lathe_commit_run(commit, err);
    return rc;
}

void lathe_sync_run(struct lathe_commit *commit, struct lathe_task *task,
                    struct lathe_queue *dropped)
{
    const Lathe__Shard__Sync *sync = (const Lathe__Shard__Sync *)task->message;
    Lathe__Shard__SyncReply reply = LATHE__SHARD__SYNC_REPLY__INIT;
    struct made made = {lathe_arena_alloc(&task->arena, (sync->n_collections + 1) * sizeof(void *)),
                        0};
    struct lathe_error err;

    if (sync_commit(commit, sync, &made, &reply, &err) == LATHE_OK) {
        sync_install(commit, sync, &made, dropped);
        lathe_group_clear(commit->group, &commit->tables);
        lathe_commit_publish(commit);
        lathe_task_answer(task, LATHE_FRAME_SYNC, &reply.base);
        return;
    }
    for (size_t i = 0; i < made.count; i++)
        lathe_table_destroy(made.list[i]);
    lathe_commit_undo(commit);
    lathe_task_fail(task, &err, false);
}
