/* collections.c - see collections.h. `table` is read by any thread under its lock and changed by
 * the admin thread alone; everything else but `mutex` and its fields belongs to the admin thread.
 */
#include "coordinator/collections.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "common/base/check.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/base/queue.h"
#include "coordinator/collections_catalog.h"
#include "coordinator/collections_sync.h"

enum {
    JOB_QUEUE_CAPACITY = 256,
    CATALOG_ATTEMPTS = 16,
    START_TIMEOUT_MS = 60000,
    SYNC_TIMEOUT_US = 10000000,
    START_SYNC_TIMEOUT_US = 1000000,
    START_PAUSE_US = 20000,
    RETRY_PAUSE_US = 1000000
};

/* Sorted by name; each entry holds one reference. */
struct table {
    struct lathe_collection **items;
    size_t count;
    size_t capacity;
};

struct lathe_collections {
    struct lathe_collections_config config;
    pthread_rwlock_t
        lock; /* guards `table` against readers; innermost, nothing is locked under it */
    struct table table;
    struct lathe_queue *queue; /* of struct lathe_collections_job */
    pthread_t thread;
    uint32_t next_id;
    bool behind; /* some shard has not acknowledged the newest state */
    struct lathe_collections_job
        resync; /* stands in the queue for a wanted resync; no job to run */
    atomic_bool resync_wanted;

    pthread_mutex_t
        mutex; /* guards what follows; lathe_engine_submit and _cancel are called under it */
    pthread_cond_t settled_cond;
    struct lathe_collections_job *current;
    struct lathe_scatter scatter; /* the SYNC under way */
    bool in_flight;
    bool stopping;
};

/* ---- The table ------------------------------------------------------------------------------- */

/* Where the name is, or where it would stand. */
static size_t table_find(const struct table *table, const char *name, bool *found_out)
{
    size_t low = 0;
    size_t high = table->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(table->items[middle]->name, name);

        if (order == 0) {
            *found_out = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *found_out = false;
    return low;
}

/* Room for one more, so that table_insert() cannot fail after the transaction. */
static bool table_reserve(struct lathe_collections *collections)
{
    bool room;

    (void)pthread_rwlock_wrlock(&collections->lock);
    room = lathe_grow(&collections->table.items, &collections->table.capacity,
                      collections->table.count + 1, sizeof(struct lathe_collection *));
    (void)pthread_rwlock_unlock(&collections->lock);
    return room;
}

/* Takes one more reference. */
static void table_insert(struct lathe_collections *collections, struct lathe_collection *collection)
{
    struct table *table = &collections->table;
    bool found;
    size_t at;

    lathe_collection_acquire(collection);
    (void)pthread_rwlock_wrlock(&collections->lock);
    at = table_find(table, collection->name, &found);
    LATHE_REQUIRE(!found && table->count < table->capacity);
    memmove(&table->items[at + 1], &table->items[at], (table->count - at) * sizeof(*table->items));
    table->items[at] = collection;
    table->count++;
    (void)pthread_rwlock_unlock(&collections->lock);
}

static void table_remove(struct lathe_collections *collections, const char *name)
{
    struct table *table = &collections->table;
    struct lathe_collection *removed = NULL;
    bool found;
    size_t at;

    (void)pthread_rwlock_wrlock(&collections->lock);
    at = table_find(table, name, &found);
    if (found) {
        removed = table->items[at];
        table->count--;
        memmove(&table->items[at], &table->items[at + 1],
                (table->count - at) * sizeof(*table->items));
    }
    (void)pthread_rwlock_unlock(&collections->lock);
    lathe_collection_release(&removed);
}

struct lathe_collection *lathe_collections_acquire(struct lathe_collections *collections,
                                                   const char *name)
{
    struct lathe_collection *collection = NULL;
    bool found;
    size_t at;

    (void)pthread_rwlock_rdlock(&collections->lock);
    at = table_find(&collections->table, name, &found);
    if (found) {
        collection = collections->table.items[at];
        lathe_collection_acquire(collection);
    }
    (void)pthread_rwlock_unlock(&collections->lock);
    return collection;
}

bool lathe_collections_list(struct lathe_collections *collections,
                            struct lathe_collection ***list_out, size_t *count_out)
{
    struct lathe_collection **list;

    (void)pthread_rwlock_rdlock(&collections->lock);
    list = lathe_alloc_array(collections->table.count, sizeof(*list));
    *count_out = list != NULL ? collections->table.count : 0;
    for (size_t i = 0; i < *count_out; i++) {
        list[i] = collections->table.items[i];
        lathe_collection_acquire(list[i]);
    }
    (void)pthread_rwlock_unlock(&collections->lock);
    *list_out = list;
    return list != NULL;
}

/* ---- SYNC ------------------------------------------------------------------------------------ */

static void sync_done(struct lathe_scatter *scatter)
{
    struct lathe_collections *collections = scatter->context;

    (void)pthread_mutex_lock(&collections->mutex);
    collections->in_flight = false;
    (void)pthread_cond_signal(&collections->settled_cond);
    (void)pthread_mutex_unlock(&collections->mutex);
}

/* Sends the scatter and waits for it. CANCELLED if the job was given up before. */
static enum lathe_status sync_wait(struct lathe_collections *collections,
                                   struct lathe_collections_job *job, struct lathe_error *err)
{
    enum lathe_status status = LATHE_OK;

    (void)pthread_mutex_lock(&collections->mutex);
    if (collections->stopping || (job != NULL && atomic_load(&job->cancelled)))
        status = lathe_fail(err, LATHE_CANCELLED, "the call was cancelled");
    if (status == LATHE_OK) {
        status = lathe_engine_submit(collections->config.engine, &collections->scatter);
        if (status != LATHE_OK)
            (void)lathe_fail(err, status, "too many requests are in flight");
        collections->in_flight = status == LATHE_OK;
    }
    while (collections->in_flight)
        (void)pthread_cond_wait(&collections->settled_cond, &collections->mutex);
    (void)pthread_mutex_unlock(&collections->mutex);
    return status;
}

/* Tells every shard which collections there are: the table, plus `added`. */
static enum lathe_status sync_run(struct lathe_collections *collections,
                                  struct lathe_collection *added, uint64_t deadline_us,
                                  struct lathe_collections_job *job, struct lathe_error *err)
{
    struct lathe_sync_state state = {.items = collections->table.items,
                                     .count = collections->table.count,
                                     .added = added,
                                     .next_id = collections->next_id,
                                     .time_ms = lathe_wall_ms(collections->config.clock)};
    struct lathe_scatter *scatter = &collections->scatter;
    enum lathe_status status;

    *scatter = (struct lathe_scatter){
        .done = sync_done, .context = collections, .deadline_us = deadline_us};
    if (!lathe_scatter_reset(scatter, lathe_engine_shard_count(collections->config.engine)))
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory to tell the shards");
    status = lathe_sync_build(&state, scatter->parts, scatter->part_count, err);
    if (status == LATHE_OK)
        status = sync_wait(collections, job, err);
    if (status == LATHE_OK)
        status = lathe_sync_result(scatter, err);
    lathe_scatter_fini(scatter);
    if (status != LATHE_OK && !collections->behind)
        lathe_log(LATHE_LOG_WARN, "shards-behind", "status=%s next_id=%u",
                  lathe_status_name(status), collections->next_id);
    collections->behind = status != LATHE_OK;
    return status;
}

static uint64_t sync_deadline(const struct lathe_collections *collections, uint64_t wanted_us)
{
    uint64_t latest_us = lathe_now_us(collections->config.clock) + SYNC_TIMEOUT_US;

    return wanted_us < latest_us ? wanted_us : latest_us;
}

/* ---- Create and drop ------------------------------------------------------------------------- */

static enum lathe_status create_check(struct lathe_collections *collections,
                                      const struct lathe_collection *draft, struct lathe_error *err)
{
    bool found;

    (void)table_find(&collections->table, draft->name, &found);
    if (found)
        return lathe_fail_field(err, LATHE_ALREADY_EXISTS, "name",
                                "a collection \"%s\" exists already", draft->name);
    if (collections->table.count >= LATHE_MAX_COLLECTIONS)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED,
                          "there are %zu collections; the limit is %u", collections->table.count,
                          LATHE_MAX_COLLECTIONS);
    if (!table_reserve(collections))
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for one more collection");
    return LATHE_OK;
}

static enum lathe_status job_create(struct lathe_collections *collections,
                                    struct lathe_collections_job *job, struct lathe_error *err)
{
    struct lathe_collection *draft = job->collection;
    enum lathe_status status = create_check(collections, draft, err);

    if (status != LATHE_OK)
        return status;
    lathe_random(draft->slot_key, sizeof(draft->slot_key));
    draft->schema_version = 1;
    draft->created_ms = lathe_wall_ms(collections->config.clock);
    lathe_slot_map_init(&draft->slots, lathe_engine_shard_count(collections->config.engine));
    for (int attempt = 0; attempt < CATALOG_ATTEMPTS; attempt++) {
        status = lathe_catalog_add_collection(collections->config.catalog, draft, err);
        if (status != LATHE_ABORTED)
            break;
    }
    if (status != LATHE_OK)
        return status;
    collections->next_id = draft->id + 1;
    lathe_log(LATHE_LOG_INFO, "collection-created", "collection=\"%s\" id=%u", draft->name,
              draft->id);
    /* Seen by others only when the shards know it, or when they are known to be behind. */
    status = sync_run(collections, draft, sync_deadline(collections, job->deadline_us), job, err);
    table_insert(collections, draft);
    return status;
}

static enum lathe_status job_drop(struct lathe_collections *collections,
                                  struct lathe_collections_job *job, struct lathe_error *err)
{
    enum lathe_status status = LATHE_ABORTED;

    for (int attempt = 0; attempt < CATALOG_ATTEMPTS && status == LATHE_ABORTED; attempt++)
        status = lathe_catalog_remove_collection(collections->config.catalog, job->name, err);
    if (status != LATHE_OK)
        return status;
    lathe_log(LATHE_LOG_INFO, "collection-dropped", "collection=\"%s\"", job->name);
    table_remove(collections, job->name);
    return sync_run(collections, NULL, sync_deadline(collections, job->deadline_us), job, err);
}

/* ---- The admin thread ------------------------------------------------------------------------ */

static void job_current(struct lathe_collections *collections, struct lathe_collections_job *job)
{
    (void)pthread_mutex_lock(&collections->mutex);
    collections->current = job;
    (void)pthread_mutex_unlock(&collections->mutex);
}

static void job_run(struct lathe_collections *collections, struct lathe_collections_job *job)
{
    struct lathe_error err = {0};
    enum lathe_status status;

    job_current(collections, job);
    if (lathe_queue_closed(collections->queue))
        status = lathe_fail(&err, LATHE_UNAVAILABLE, "the server is stopping");
    else if (atomic_load(&job->cancelled))
        status = lathe_fail(&err, LATHE_CANCELLED, "the call was cancelled");
    else if (job->collection != NULL)
        status = job_create(collections, job, &err);
    else
        status = job_drop(collections, job, &err);
    job_current(collections, NULL);
    if (status == LATHE_OK)
        err = (struct lathe_error){0};
    job->done(job, &err);
}

/* A shard missed the newest state: say it again, so that nobody has to restart anything. */
static void sync_repeat(struct lathe_collections *collections)
{
    struct lathe_error err = {0};
    uint64_t now_us = lathe_now_us(collections->config.clock);

    if (sync_run(collections, NULL, now_us + START_SYNC_TIMEOUT_US, NULL, &err) == LATHE_OK)
        lathe_log(LATHE_LOG_INFO, "shards-synced", "collections=%zu", collections->table.count);
}

static void *admin_main(void *argument)
{
    struct lathe_collections *collections = argument;

    for (;;) {
        uint64_t wait_us = collections->behind ? RETRY_PAUSE_US : UINT64_MAX;
        void *job;

        bool popped = lathe_queue_pop(collections->queue, &job, 1, wait_us) == 1;

        if (!popped && lathe_queue_closed(collections->queue))
            return NULL;
        if (popped && job != &collections->resync)
            job_run(collections, job);
        else if (atomic_exchange(&collections->resync_wanted, false) || collections->behind)
            sync_repeat(collections);
    }
}

void lathe_collections_resync(struct lathe_collections *collections)
{
    /* With a full queue the wish is served when a job of it ends. */
    if (!atomic_exchange(&collections->resync_wanted, true))
        (void)lathe_queue_push(collections->queue, &collections->resync);
}

enum lathe_status lathe_collections_submit(struct lathe_collections *collections,
                                           struct lathe_collections_job *job,
                                           struct lathe_error *err)
{
    LATHE_REQUIRE(job->done != NULL);
    if (lathe_queue_push(collections->queue, job))
        return LATHE_OK;
    if (lathe_queue_closed(collections->queue))
        return lathe_fail(err, LATHE_UNAVAILABLE, "the server is stopping");
    (void)lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "%d changes of collections are waiting already",
                     JOB_QUEUE_CAPACITY);
    if (err != NULL)
        err->retry_after_ms = 100;
    return LATHE_RESOURCE_EXHAUSTED;
}

void lathe_collections_cancel(struct lathe_collections *collections,
                              struct lathe_collections_job *job)
{
    (void)pthread_mutex_lock(&collections->mutex);
    atomic_store(&job->cancelled, true);
    if (collections->current == job && collections->in_flight)
        lathe_engine_cancel(collections->config.engine, &collections->scatter);
    (void)pthread_mutex_unlock(&collections->mutex);
}

/* ---- Start and stop -------------------------------------------------------------------------- */

static enum lathe_status load_one(void *context, struct lathe_collection *collection,
                                  struct lathe_error *err)
{
    struct lathe_collections *collections = context;
    uint32_t shards = lathe_engine_shard_count(collections->config.engine);

    if (collection->slots.shard_count != shards)
        return lathe_fail(err, LATHE_FAILED_PRECONDITION,
                          "collection \"%s\" lies on %u shards, but this server has %u",
                          collection->name, collection->slots.shard_count, shards);
    if (!table_reserve(collections))
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for the collections");
    table_insert(collections, collection);
    return LATHE_OK;
}

/* Shards may still be loading: ask until all have acknowledged. */
static enum lathe_status start_sync(struct lathe_collections *collections, struct lathe_error *err)
{
    const struct timespec pause = {.tv_nsec = START_PAUSE_US * 1000L};
    uint64_t timeout_ms = collections->config.start_timeout_ms;
    uint64_t now_us = lathe_now_us(collections->config.clock);
    uint64_t end_us = now_us + (timeout_ms > 0 ? timeout_ms : START_TIMEOUT_MS) * 1000;
    enum lathe_status status;

    for (;;) {
        status = sync_run(collections, NULL, now_us + START_SYNC_TIMEOUT_US, NULL, err);
        now_us = lathe_now_us(collections->config.clock);
        if (status == LATHE_OK || !lathe_status_retryable(status) || now_us >= end_us)
            return status;
        (void)nanosleep(&pause, NULL);
    }
}

static void collections_free(struct lathe_collections *collections)
{
    for (size_t i = 0; i < collections->table.count; i++)
        lathe_collection_release(&collections->table.items[i]);
    lathe_free(collections->table.items);
    lathe_queue_destroy(collections->queue);
    (void)pthread_cond_destroy(&collections->settled_cond);
    (void)pthread_mutex_destroy(&collections->mutex);
    (void)pthread_rwlock_destroy(&collections->lock);
    lathe_free(collections);
}

enum lathe_status lathe_collections_start(const struct lathe_collections_config *config,
                                          struct lathe_collections **collections_out,
                                          struct lathe_error *err)
{
    struct lathe_collections *collections = lathe_zalloc(sizeof(*collections));
    enum lathe_status status;

    *collections_out = NULL;
    if (collections == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for the collections");
    collections->config = *config;
    (void)pthread_rwlock_init(&collections->lock, NULL);
    (void)pthread_mutex_init(&collections->mutex, NULL);
    (void)pthread_cond_init(&collections->settled_cond, NULL);
    collections->queue = lathe_queue_create(JOB_QUEUE_CAPACITY, false);
    if (collections->queue == NULL)
        status = lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for the collections' queue");
    else
        status = lathe_catalog_load_collections(config->catalog, &collections->next_id, load_one,
                                                collections, err);
    if (status == LATHE_OK)
        status = start_sync(collections, err);
    if (status == LATHE_OK &&
        pthread_create(&collections->thread, NULL, admin_main, collections) != 0)
        status = lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "cannot start the admin thread");
    if (status != LATHE_OK) {
        collections_free(collections);
        return status;
    }
    lathe_log(LATHE_LOG_INFO, "collections-loaded", "collections=%zu next_id=%u",
              collections->table.count, collections->next_id);
    *collections_out = collections;
    return LATHE_OK;
}

void lathe_collections_stop(struct lathe_collections **collections_p)
{
    struct lathe_collections *collections = *collections_p;

    *collections_p = NULL;
    if (collections == NULL)
        return;
    lathe_queue_close(collections->queue);
    (void)pthread_mutex_lock(&collections->mutex);
    collections->stopping = true;
    if (collections->in_flight)
        lathe_engine_cancel(collections->config.engine, &collections->scatter);
    (void)pthread_mutex_unlock(&collections->mutex);
    (void)pthread_join(collections->thread, NULL);
    collections_free(collections);
}
