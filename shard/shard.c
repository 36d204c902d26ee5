/* shard.c - see shard.h. Start order: store, load, writer, front, upkeep; stopped the other way
 * round. */
#include "shard/shard.h"

#include <pthread.h>
#include <stdio.h>

#include "common/base/log.h"
#include "common/store/keys.h"
#include "common/store/reserve.h"
#include "shard/data/load.h"
#include "shard/front.h"

struct lathe_shard {
    struct lathe_shard_config config;
    struct lathe_store *store;
    struct lathe_publication publication;
    struct lathe_writer *writer;
    struct lathe_front *front;
    pthread_t upkeep;
    bool upkeep_runs;
    struct lathe_queue *stop;    /* closed to end upkeep */
    struct lathe_queue *dropped; /* ids of collections whose space upkeep gives back */
};

enum {
    UPKEEP_US = 1000 * 1000,
    QUIET_US = 3 * 1000 * 1000,
    BUSY_RECLAIM_US = 60 * 1000 * 1000,
    DROPPED_QUEUE = 4096,
    REOPEN_SLACK_BYTES = 16 * 1024 * 1024,    /* beside what the write-ahead log turns into */
    RESERVE_LEAVES_BYTES = 1024 * 1024 * 1024 /* no reserve on a disk that is nearly full anyway */
};

static enum lathe_status writer_start(struct lathe_shard *shard, struct lathe_error *err)
{
    const struct lathe_shard_config *config = &shard->config;
    struct lathe_writer_config writer = {.clock = config->clock,
                                         .store = shard->store,
                                         .budget = config->budget,
                                         .publication = &shard->publication,
                                         .directory = config->directory,
                                         .shard = config->shard,
                                         .max_payload_bytes = config->max_payload_bytes,
                                         .queue_capacity = config->in_flight,
                                         .dropped = shard->dropped};
    struct lathe_tables tables = {0};
    struct lathe_clients *clients = NULL;
    struct lathe_log_state_record log;
    enum lathe_status rc = lathe_load(shard->store, config->budget, &tables, &log, err);

    if (rc == LATHE_OK)
        rc = lathe_clients_open(shard->store, &clients, err);
    if (rc == LATHE_OK)
        rc = lathe_writer_start(&writer, &tables, &clients, &log, &shard->writer, err);
    lathe_tables_fini(&tables);
    lathe_clients_close(clients);
    return rc;
}

/* After the front: nothing else refers to the store then. */
static void store_stop(struct lathe_shard *shard)
{
    lathe_writer_stop(&shard->writer);
    lathe_publication_fini(&shard->publication);
    lathe_publication_init(&shard->publication);
    lathe_store_close(shard->store);
    shard->store = NULL;
}

/* The store, what it holds, and the writer. On failure whatever was opened is closed again. */
static enum lathe_status store_start(struct lathe_shard *shard, enum lathe_store_mode mode,
                                     struct lathe_error *err)
{
    struct lathe_store_config store = {.mode = mode,
                                       .families = LATHE_FAMILIES_ALL,
                                       .cache = shard->config.cache,
                                       .write_buffer_bytes = shard->config.write_buffer_bytes};
    enum lathe_status rc = lathe_store_open(shard->config.directory, &store, &shard->store, err);

    if (rc == LATHE_OK)
        rc = writer_start(shard, err);
    if (rc != LATHE_OK)
        store_stop(shard);
    return rc;
}

/* ---- Upkeep ---- */

/* Keeps the budget's share of this shard's memtables up to date. Returns what is charged now. */
static int64_t memtables_charge(struct lathe_shard *shard, int64_t charged)
{
    struct lathe_store_figures figures;
    int64_t now;

    lathe_store_figures(shard->store, &figures);
    now = (int64_t)(figures.total.memtable_bytes + figures.total.table_reader_bytes);
    lathe_budget_charge(shard->config.budget, LATHE_MEM_MEMTABLES, now - charged);
    return now;
}

/* What upkeep remembers between its rounds. */
struct upkeep {
    int64_t memtables_charged;
    uint64_t reclaimed_commits; /* commits whose dead space was given back */
    uint64_t reclaimed_us;
    bool reserve_failed; /* and it was said */
};

/* Opening a store turns its write-ahead log into files before the log can go, and the log has at
 * most about as many bytes as the write buffers. */
static void reserve_make(struct lathe_shard *shard, struct upkeep *upkeep)
{
    struct lathe_error err;
    bool made = lathe_reserve_make(shard->config.directory,
                                   shard->config.write_buffer_bytes + REOPEN_SLACK_BYTES,
                                   RESERVE_LEAVES_BYTES, &err) == LATHE_OK;

    if (!made && !upkeep->reserve_failed)
        lathe_log(LATHE_LOG_WARN, "no-reserve", "shard=%u text=\"%s\"", shard->config.shard,
                  err.message);
    upkeep->reserve_failed = !made;
}

static bool interrupted(struct lathe_shard *shard, uint64_t commits)
{
    return lathe_writer_commits(shard->writer) != commits || lathe_queue_closed(shard->stop);
}

/* Gives dead disk space back: all of it when nobody has written for some seconds, and a step now
 * and then while writing never stops. */
static void reclaim(struct lathe_shard *shard, struct upkeep *upkeep)
{
    uint64_t commits = lathe_writer_commits(shard->writer);
    uint64_t last_commit_us = lathe_writer_last_commit_us(shard->writer);
    uint64_t now_us = lathe_now_us(
        shard->config.clock); /* read last, so that it is not before it */
    bool quiet = now_us - last_commit_us >= QUIET_US;
    struct lathe_error err;
    bool more = true;

    if (commits == upkeep->reclaimed_commits ||
        (!quiet && now_us - upkeep->reclaimed_us < BUSY_RECLAIM_US))
        return;
    do {
        if (lathe_store_reclaim(shard->store, &more, &err) != LATHE_OK) {
            lathe_log(LATHE_LOG_WARN, "reclaim-failed", "shard=%u text=\"%s\"", shard->config.shard,
                      err.message);
            break;
        }
    } while (more && quiet && !interrupted(shard, commits));
    upkeep->reclaimed_us = lathe_now_us(shard->config.clock);
    if (!more)
        upkeep->reclaimed_commits = commits;
}

/* Gives back the space of collections that were dropped: their keys are deleted as ranges, which
 * only a compaction of just these ranges turns into free space soon. */
static void purge_dropped(struct lathe_shard *shard)
{
    static const enum lathe_family families[] = {LATHE_FAMILY_POINTS, LATHE_FAMILY_ORDER,
                                                 LATHE_FAMILY_ORIGINALS, LATHE_FAMILY_PAYLOAD};
    struct lathe_error err = {0};
    void *item;

    while (!lathe_queue_closed(shard->stop) && lathe_queue_pop(shard->dropped, &item, 1, 0) == 1) {
        struct lathe_key_range range = lathe_key_range_collection((uint32_t)(uintptr_t)item);
        enum lathe_status rc = lathe_store_flush(shard->store, &err);

        for (size_t i = 0; i < sizeof(families) / sizeof(families[0]) && rc == LATHE_OK; i++)
            rc = lathe_store_compact(shard->store, families[i], lathe_key_view(&range.lower),
                                     lathe_key_view(&range.upper), &err);
        if (rc != LATHE_OK)
            lathe_log(LATHE_LOG_WARN, "purge-failed", "shard=%u collection=%u text=\"%s\"",
                      shard->config.shard, (uint32_t)(uintptr_t)item, err.message);
    }
}

/* ---- After a full disk ---- */

/* Whether there is room for what opening the store writes; the reserve is given back first. */
static bool room_to_reopen(struct lathe_shard *shard)
{
    struct lathe_store_figures figures;

    if (lathe_reserve_free(shard->config.directory))
        lathe_log(LATHE_LOG_INFO, "reserve-freed", "shard=%u", shard->config.shard);
    if (shard->store == NULL)
        return true; /* it was closed already: there is nothing to lose by trying */
    lathe_store_figures(shard->store, &figures);
    return figures.disk_free_bytes >= figures.wal_bytes + REOPEN_SLACK_BYTES;
}

/* Whether the failed batch is stored is only known to a store that was opened anew: RocksDB takes
 * no more writes, and what is in memory may not be what is on disk. Readers wait for it; without
 * room they go on with the old store, and the next round looks again. */
static void reopen(struct lathe_shard *shard, struct upkeep *upkeep)
{
    struct lathe_error err;

    if (!room_to_reopen(shard))
        return;
    if (shard->store != NULL) {
        lathe_log(LATHE_LOG_INFO, "reopening", "shard=%u", shard->config.shard);
        lathe_front_pause(shard->front);
        lathe_budget_charge(shard->config.budget, LATHE_MEM_MEMTABLES, -upkeep->memtables_charged);
        upkeep->memtables_charged = 0;
        store_stop(shard);
    }
    if (store_start(shard, LATHE_STORE_OPEN, &err) != LATHE_OK) {
        lathe_log(LATHE_LOG_ERROR, "reopen-failed", "shard=%u text=\"%s\"", shard->config.shard,
                  err.message);
        return;
    }
    upkeep->reclaimed_commits = 0;
    lathe_front_resume(shard->front, shard->writer);
    lathe_log(LATHE_LOG_INFO, "reopened", "shard=%u", shard->config.shard);
}

static void *upkeep_run(void *context)
{
    struct lathe_shard *shard = context;
    struct upkeep upkeep = {.reclaimed_commits = lathe_writer_commits(shard->writer),
                            .reclaimed_us = lathe_now_us(shard->config.clock)};
    void *item;

    reserve_make(shard, &upkeep);
    while (!lathe_queue_closed(shard->stop)) {
        (void)lathe_queue_pop(shard->stop, &item, 1, UPKEEP_US);
        if (shard->store == NULL || lathe_writer_disk_was_full(shard->writer)) {
            reopen(shard, &upkeep);
            continue;
        }
        reserve_make(shard, &upkeep);
        upkeep.memtables_charged = memtables_charge(shard, upkeep.memtables_charged);
        purge_dropped(shard);
        reclaim(shard, &upkeep);
    }
    lathe_budget_charge(shard->config.budget, LATHE_MEM_MEMTABLES, -upkeep.memtables_charged);
    return NULL;
}

static enum lathe_status front_start(struct lathe_shard *shard, struct lathe_error *err)
{
    const struct lathe_shard_config *config = &shard->config;
    struct lathe_front_config front = {.clock = config->clock,
                                       .net = config->net,
                                       .endpoint = config->endpoint,
                                       .shard = config->shard,
                                       .shard_count = config->shard_count,
                                       .publication = &shard->publication,
                                       .writer = shard->writer,
                                       .search = {config->kernel, config->clock, config->pool},
                                       .in_flight = config->in_flight,
                                       .budget = config->budget};

    memcpy(front.cluster_id, config->cluster_id, sizeof(front.cluster_id));
    return lathe_front_start(&front, &shard->front, err);
}

enum lathe_status lathe_shard_start(const struct lathe_shard_config *config,
                                    struct lathe_shard **shard_out, struct lathe_error *err)
{
    struct lathe_shard *shard = lathe_zalloc(sizeof(*shard));
    uint64_t started_us = lathe_now_us(config->clock);
    enum lathe_status rc;

    *shard_out = NULL;
    if (shard == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a shard");
    shard->config = *config;
    lathe_publication_init(&shard->publication);
    shard->stop = lathe_queue_create(1, false);
    shard->dropped = lathe_queue_create(DROPPED_QUEUE, false);
    rc = shard->stop != NULL && shard->dropped != NULL
             ? store_start(shard, LATHE_STORE_OPEN_OR_CREATE, err)
             : lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a shard");
    if (rc == LATHE_OK)
        rc = front_start(shard, err);
    if (rc == LATHE_OK && pthread_create(&shard->upkeep, NULL, upkeep_run, shard) != 0)
        rc = lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no thread for upkeep");
    shard->upkeep_runs = rc == LATHE_OK;
    if (rc != LATHE_OK) {
        lathe_shard_stop(&shard);
        return rc;
    }
    lathe_log(LATHE_LOG_INFO, "shard-ready", "shard=%u load_ms=%llu", config->shard,
              (unsigned long long)((lathe_now_us(config->clock) - started_us) / 1000));
    *shard_out = shard;
    return LATHE_OK;
}

/* What is still in it is left to ordinary compaction. */
static void dropped_destroy(struct lathe_queue *dropped)
{
    void *item;

    while (dropped != NULL && lathe_queue_pop(dropped, &item, 1, 0) == 1)
        continue;
    lathe_queue_destroy(dropped);
}

void lathe_shard_stop(struct lathe_shard **shard_p)
{
    struct lathe_shard *shard = *shard_p;

    if (shard == NULL)
        return;
    if (shard->stop != NULL)
        lathe_queue_close(shard->stop);
    if (shard->upkeep_runs)
        (void)pthread_join(shard->upkeep, NULL);
    lathe_front_stop(&shard->front);
    store_stop(shard);
    lathe_publication_fini(&shard->publication);
    lathe_queue_destroy(shard->stop);
    dropped_destroy(shard->dropped);
    lathe_free(shard);
    *shard_p = NULL;
}
