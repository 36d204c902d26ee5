/* writer.c - see writer.h. */
#include "shard/write/writer.h"

#include <inttypes.h>
#include <pthread.h>

#include "common/base/check.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "shard.pb-c.h"
#include "shard/write/commit.h"
#include "shard/write/operation.h"
#include "shard/write/sync.h"
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
    struct lathe_commit commit;
    struct lathe_trim trim;
    uint64_t disk_checked_us;
    uint64_t disk_free_bytes;
    uint64_t forget_checked_us;
    struct lathe_buf body;        /* of the log entry in the making */
    struct lathe_result *results; /* of the request in the making */
    size_t result_capacity;
    struct lathe_result *repeated;
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
        /* Not a refusal: the write is committed all the same. */
        (void)lathe_fail(&err, LATHE_UNAVAILABLE, "no memory for a reply");
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

/* One step of rewriting for each field that is worth it. */
static bool tidy(struct lathe_writer *writer, unsigned percent)
{
    bool any = false;

    for (size_t i = 0; i < writer->commit.tables.count; i++) {
        struct lathe_table *table = writer->commit.tables.list[i];

        for (uint32_t f = 0; f < table->collection->field_count; f++) {
            if (!lathe_rows_tidy(&table->rows[f], percent))
                continue;
            table->changed = true;
            any = true;
        }
    }
    return any;
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
    struct lathe_table *table = lathe_tables_find(&writer->commit.tables,
                                                  task->request.header.collection);

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
    if (writer->commit.read_only.status != LATHE_OK) {
        *err = writer->commit.read_only;
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
    rc = lathe_clients_check(writer->commit.clients, &key, &record, &writer->repeated, &err);
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
    struct lathe_result_record record = {.seq = writer->commit.log.applied_seq + 1,
                                         .result_count = (uint32_t)write->n_operations};
    struct lathe_buf effects = {0};
    size_t size_at, begin;
    enum lathe_status rc;

    if (!lathe_grow(&writer->results, &writer->result_capacity, write->n_operations,
                    sizeof(*writer->results)))
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for the results of a write");
    rc = lathe_operations_apply(writer->commit.group, table, write, task->block, record.seq,
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
             : lathe_commit_log(&writer->commit, &entry, err);
    if (rc == LATHE_OK && write->client_id.len != 0) {
        struct lathe_request_key key = {write->client_id.data, write->request_number,
                                        write->digest.data, write->time_ms};

        rc = lathe_clients_remember(writer->commit.clients, lathe_group_batch(writer->commit.group),
                                    &key, &record, err);
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
    lathe_commit_undo(&writer->commit);
    waiting_fail(waiting, err);
}

static void group_end(struct lathe_writer *writer, struct waiting *waiting)
{
    struct lathe_error err;

    if (waiting->count == 0)
        return;
    if (lathe_commit_run(&writer->commit, &err) != LATHE_OK) {
        group_abort(writer, waiting, &err);
        return;
    }
    lathe_commit_install(&writer->commit);
    (void)tidy(writer, TIDY_BUSY_PERCENT);
    lathe_commit_publish(&writer->commit);
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
        lathe_commit_publish(&writer->commit); /* before the answer: whoever has it meets no reader
                                                  who does not know */
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

    if (wall_ms < LATHE_CLIENT_FORGET_MS || /* a clock that was never set */
        now_us - writer->forget_checked_us < FORGET_CHECK_US ||
        writer->commit.read_only.status != LATHE_OK)
        return;
    writer->forget_checked_us = now_us;
    if (!lathe_clients_any_before(writer->commit.clients, before_ms))
        return;
    lathe_put_u64le(body, before_ms);
    (void)lathe_clients_forget(writer->commit.clients, lathe_group_batch(writer->commit.group),
                               before_ms);
    if (lathe_commit_log(&writer->commit, &entry, &err) != LATHE_OK ||
        lathe_commit_run(&writer->commit, &err) != LATHE_OK) {
        lathe_commit_undo(&writer->commit);
        return;
    }
    lathe_group_clear(writer->commit.group, &writer->commit.tables);
    lathe_commit_publish(&writer->commit);
}

static void trim_log(struct lathe_writer *writer)
{
    if (writer->commit.read_only.status != LATHE_OK)
        return;
    lathe_trim_step(&writer->trim, writer->config.store, lathe_now_us(writer->config.clock),
                    lathe_wall_ms(writer->config.clock), &writer->commit.log);
    writer->commit.log_committed = writer->commit.log;
}

/* What is due now and then, however busy the shard is. */
static void upkeep(struct lathe_writer *writer)
{
    forget_clients(writer);
    trim_log(writer);
}

static void idle(struct lathe_writer *writer)
{
    lathe_commit_seal(&writer->commit);
    if (tidy(writer, TIDY_IDLE_PERCENT)) {
        /* Not a commit: the rows are the same, only laid out anew. */
        if (lathe_tables_publish(&writer->commit.tables, writer->config.store,
                                 writer->commit.log.applied_seq,
                                 writer->config.publication) != LATHE_OK)
            lathe_log(LATHE_LOG_WARN, "memory-short", "shard=%u while=tidying",
                      writer->config.shard);
    }
}

/* ---- The thread ---- */

static void handle(struct lathe_writer *writer, struct lathe_task *task, struct waiting *waiting)
{
    if (task->request.header.kind != LATHE_FRAME_SYNC) {
        handle_write(writer, task, waiting);
        return;
    }
    group_end(writer, waiting);
    lathe_sync_run(&writer->commit, task, writer->config.dropped);
    lathe_task_finish(task);
}

static void *run(void *context)
{
    struct lathe_writer *writer = context;
    struct waiting waiting = {.count = 0};

    for (;;) {
        struct lathe_task *task;
        size_t group_bytes = 0;

        if (lathe_queue_pop(writer->queue, (void **)&task, 1, IDLE_US) == 0) {
            if (lathe_queue_closed(writer->queue) && lathe_queue_size(writer->queue) == 0) {
                lathe_commit_seal(&writer->commit);
                return NULL;
            }
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
    lathe_commit_fini(&writer->commit);
    lathe_queue_destroy(writer->queue);
    lathe_buf_fini(&writer->body);
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
    enum lathe_status rc;

    *writer_out = NULL;
    if (writer == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for the writer");
    writer->config = *config;
    writer->commit.clock = config->clock;
    writer->commit.store = config->store;
    writer->commit.publication = config->publication;
    writer->commit.budget = config->budget;
    writer->commit.shard = config->shard;
    writer->queue = lathe_queue_create(config->queue_capacity, false);
    rc = lathe_commit_init(&writer->commit, tables, clients_p, log, err);
    if (rc == LATHE_OK &&
        (writer->queue == NULL || pthread_create(&writer->thread, NULL, run, writer) != 0))
        rc = lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory or thread for the writer");
    if (rc != LATHE_OK) {
        writer_free(writer);
        return rc;
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
    return atomic_load_explicit(&writer->commit.count, memory_order_relaxed);
}

uint64_t lathe_writer_last_commit_us(const struct lathe_writer *writer)
{
    return atomic_load_explicit(&writer->commit.last_us, memory_order_relaxed);
}

bool lathe_writer_disk_was_full(const struct lathe_writer *writer)
{
    return atomic_load_explicit(&writer->commit.disk_was_full, memory_order_acquire);
}
