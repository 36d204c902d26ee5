/* shard.c - see shard.h. Start order: store, load, writer, front, upkeep; stopped the other way
 * round. */
#include "shard/shard.h"

#include <pthread.h>
#include <stdio.h>

#include "common/base/log.h"
#include "common/store/keys.h"
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
    DROPPED_QUEUE = 4096
};

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
};

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

static void *upkeep_run(void *context)
{
    struct lathe_shard *shard = context;
    struct upkeep upkeep = {.reclaimed_commits = lathe_writer_commits(shard->writer),
                            .reclaimed_us = lathe_now_us(shard->config.clock)};
    void *item;

    while (!lathe_queue_closed(shard->stop)) {
        (void)lathe_queue_pop(shard->stop, &item, 1, UPKEEP_US);
        upkeep.memtables_charged = memtables_charge(shard, upkeep.memtables_charged);
        purge_dropped(shard);
        reclaim(shard, &upkeep);
    }
    lathe_budget_charge(shard->config.budget, LATHE_MEM_MEMTABLES, -upkeep.memtables_charged);
    return NULL;
}

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
    struct lathe_store_config store = {.mode = LATHE_STORE_OPEN_OR_CREATE,
                                       .families = LATHE_FAMILIES_ALL,
                                       .cache = config->cache,
                                       .write_buffer_bytes = config->write_buffer_bytes};
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
             ? lathe_store_open(config->directory, &store, &shard->store, err)
             : lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a shard");
    if (rc == LATHE_OK)
        rc = writer_start(shard, err);
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
    lathe_writer_stop(&shard->writer);
    lathe_publication_fini(&shard->publication);
    lathe_store_close(shard->store);
    lathe_queue_destroy(shard->stop);
    dropped_destroy(shard->dropped);
    lathe_free(shard);
    *shard_p = NULL;
}
