/* commit.c - see commit.h. */
#include "shard/write/commit.h"

#include <unistd.h>

#include "common/base/log.h"
#include "common/store/keys.h"

enum { EXIT_OUT_OF_MEMORY = 71 };

enum lathe_status lathe_commit_init(struct lathe_commit *commit, struct lathe_tables *tables,
                                    struct lathe_clients **clients_p,
                                    const struct lathe_log_state_record *log,
                                    struct lathe_error *err)
{
    commit->tables = *tables;
    *tables = (struct lathe_tables){0};
    commit->clients = *clients_p;
    *clients_p = NULL;
    commit->log = commit->log_committed = *log;
    commit->group = lathe_group_create(commit->store);
    if (commit->group == NULL ||
        lathe_tables_publish(&commit->tables, commit->store, log->applied_seq,
                             commit->publication) != LATHE_OK)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for the writer");
    return LATHE_OK;
}

void lathe_commit_fini(struct lathe_commit *commit)
{
    lathe_group_destroy(commit->group);
    lathe_clients_close(commit->clients);
    lathe_tables_fini(&commit->tables);
    lathe_buf_fini(&commit->entry);
}

enum lathe_status lathe_commit_log(struct lathe_commit *commit, struct lathe_log_entry *entry,
                                   struct lathe_error *err)
{
    struct lathe_key key;

    entry->seq = ++commit->log.applied_seq;
    memcpy(entry->previous_hash, commit->log.hash, sizeof(entry->previous_hash));
    lathe_buf_clear(&commit->entry);
    lathe_log_entry_encode(entry, &commit->entry, commit->log.hash);
    if (commit->entry.failed)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a log entry");
    if (commit->log.first_seq == 0)
        commit->log.first_seq = entry->seq;
    commit->log.bytes += commit->entry.size;
    key = lathe_key_log(entry->seq);
    lathe_store_batch_put(lathe_group_batch(commit->group), LATHE_FAMILY_LOG, lathe_key_view(&key),
                          lathe_buf_view(&commit->entry));
    return LATHE_OK;
}

/* After a failed commit nothing is known about what reached the disk. */
static void disk_full(struct lathe_commit *commit, const struct lathe_error *err)
{
    (void)lathe_fail(&commit->read_only, LATHE_UNAVAILABLE,
                     "shard %u is read-only: a commit failed (%s); it opens its store anew as soon "
                     "as there is space",
                     commit->shard, err->message);
    commit->read_only.retry_after_ms = 5000;
    atomic_store_explicit(&commit->disk_was_full, true, memory_order_release);
}

enum lathe_status lathe_commit_run(struct lathe_commit *commit, struct lathe_error *err)
{
    struct lathe_store_batch *batch = lathe_group_batch(commit->group);
    struct lathe_key key = lathe_log_state_key();
    enum lathe_status rc = lathe_group_finish(commit->group, &commit->tables);

    lathe_buf_clear(&commit->entry);
    lathe_log_state_record_encode(&commit->log, &commit->entry);
    if (rc != LATHE_OK || commit->entry.failed)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory to commit");
    lathe_store_batch_put(batch, LATHE_FAMILY_META, lathe_key_view(&key),
                          lathe_buf_view(&commit->entry));
    if (lathe_store_commit_durably(commit->store, batch, "write", err) != LATHE_OK) {
        disk_full(commit, err);
        /* Whether the batch is there when the store is opened anew is not known: say so. */
        *err = commit->read_only;
        return err->status;
    }
    commit->log_committed = commit->log;
    lathe_clients_settle(commit->clients, true);
    return LATHE_OK;
}

void lathe_commit_seal(struct lathe_commit *commit)
{
    struct lathe_error err;

    if (commit->read_only.status == LATHE_OK && lathe_store_seal(commit->store, &err) != LATHE_OK)
        disk_full(commit, &err);
}

void lathe_commit_undo(struct lathe_commit *commit)
{
    lathe_group_clear(commit->group, &commit->tables);
    lathe_clients_settle(commit->clients, false);
    commit->log = commit->log_committed;
}

_Noreturn void lathe_commit_out_of_memory(const struct lathe_commit *commit, const char *doing)
{
    lathe_log(LATHE_LOG_ERROR, "out-of-memory", "shard=%u while=%s", commit->shard, doing);
    _exit(EXIT_OUT_OF_MEMORY);
}

void lathe_commit_install(struct lathe_commit *commit)
{
    if (lathe_group_install(commit->group, &commit->tables) != LATHE_OK)
        lathe_commit_out_of_memory(commit, "installing");
    lathe_group_clear(commit->group, &commit->tables);
}

void lathe_commit_publish(struct lathe_commit *commit)
{
    if (lathe_tables_publish(&commit->tables, commit->store, commit->log.applied_seq,
                             commit->publication) != LATHE_OK)
        lathe_commit_out_of_memory(commit, "publishing");
    atomic_store_explicit(&commit->last_us, lathe_now_us(commit->clock), memory_order_relaxed);
    atomic_fetch_add_explicit(&commit->count, 1, memory_order_relaxed);
}
