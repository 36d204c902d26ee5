/* coordinator.c - see coordinator.h. */
#include "coordinator/coordinator.h"

#include <pthread.h>

#include "coordinator/api/api.h"
#include "coordinator/catalog_local.h"

enum { ENGINE_QUEUE_FLOOR = 1024 };

struct lathe_coordinator {
    struct lathe_engine *engine;
    struct lathe_catalog *catalog;
    struct lathe_collections *collections;
    struct lathe_grpc_server *server;
    struct lathe_api api;
    pthread_mutex_t mutex;            /* guards `synced`; held while on_stale() uses it */
    struct lathe_collections *synced; /* `collections` from its start to its stop */
};

static void on_stale(void *context, uint32_t shard)
{
    struct lathe_coordinator *coordinator = context;

    (void)shard;
    (void)pthread_mutex_lock(&coordinator->mutex);
    if (coordinator->synced != NULL) /* before that, the start itself repeats the SYNC */
        lathe_collections_resync(coordinator->synced);
    (void)pthread_mutex_unlock(&coordinator->mutex);
}

static void set_synced(struct lathe_coordinator *coordinator, struct lathe_collections *collections)
{
    (void)pthread_mutex_lock(&coordinator->mutex);
    coordinator->synced = collections;
    (void)pthread_mutex_unlock(&coordinator->mutex);
}

static enum lathe_status engine_start(struct lathe_coordinator *coordinator,
                                      const struct lathe_coordinator_config *config,
                                      struct lathe_error *err)
{
    struct lathe_engine_config engine = {
        .clock = config->clock,
        .net = config->net,
        .endpoints = config->endpoints,
        .shard_count = config->shard_count,
        .on_stale = on_stale,
        .context = coordinator,
    };

    /* Every admitted call has at most one scatter under way, every stream a few. */
    engine.queue_capacity = (size_t)config->in_flight_calls * 8;
    if (engine.queue_capacity < ENGINE_QUEUE_FLOOR)
        engine.queue_capacity = ENGINE_QUEUE_FLOOR;
    memcpy(engine.cluster_id, config->cluster_id, sizeof(engine.cluster_id));
    return lathe_engine_start(&engine, &coordinator->engine, err);
}

static enum lathe_status collections_start(struct lathe_coordinator *coordinator,
                                           const struct lathe_coordinator_config *config,
                                           struct lathe_error *err)
{
    const struct lathe_collections_config collections = {
        .catalog = coordinator->catalog,
        .engine = coordinator->engine,
        .clock = config->clock,
        .start_timeout_ms = config->start_timeout_ms,
    };
    enum lathe_status status = lathe_collections_start(&collections, &coordinator->collections,
                                                       err);

    if (status == LATHE_OK)
        set_synced(coordinator, coordinator->collections);
    return status;
}

static enum lathe_status server_start(struct lathe_coordinator *coordinator,
                                      const struct lathe_coordinator_config *config,
                                      struct lathe_error *err)
{
    struct lathe_api *api = &coordinator->api;
    struct lathe_grpc_config grpc = {
        .listen = config->listen,
        .context = api,
        .thread_count = config->cq_threads,
        .in_flight_calls = config->in_flight_calls,
        .in_flight_bytes = config->in_flight_bytes,
        .budget = config->budget,
    };

    *api = (struct lathe_api){
        .engine = coordinator->engine,
        .collections = coordinator->collections,
        .clock = config->clock,
        .budget = config->budget,
        .kernel = config->kernel,
        .started_us = lathe_now_us(config->clock),
        .max_payload_bytes = config->max_payload_bytes > 0 ? config->max_payload_bytes
                                                           : LATHE_DEFAULT_PAYLOAD_BYTES,
        .in_flight_calls = config->in_flight_calls,
        .in_flight_bytes = config->in_flight_bytes,
    };
    grpc.methods = lathe_api_methods(&grpc.method_count);
    return lathe_grpc_server_start(&grpc, &coordinator->server, err);
}

enum lathe_status lathe_coordinator_start(const struct lathe_coordinator_config *config,
                                          struct lathe_coordinator **coordinator_out,
                                          struct lathe_error *err)
{
    struct lathe_coordinator *coordinator = lathe_zalloc(sizeof(*coordinator));
    enum lathe_status status;

    *coordinator_out = NULL;
    if (coordinator == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for the coordinator");
    (void)pthread_mutex_init(&coordinator->mutex, NULL);
    status = engine_start(coordinator, config, err);
    if (status == LATHE_OK)
        status = lathe_catalog_local_open(config->catalog_dir, &coordinator->catalog, err);
    if (status == LATHE_OK)
        status = collections_start(coordinator, config, err);
    if (status == LATHE_OK)
        status = server_start(coordinator, config, err);
    if (status != LATHE_OK) {
        lathe_coordinator_stop(&coordinator, 0);
        return status;
    }
    lathe_grpc_server_set_serving(coordinator->server, true);
    *coordinator_out = coordinator;
    return LATHE_OK;
}

int lathe_coordinator_port(const struct lathe_coordinator *coordinator)
{
    return lathe_grpc_server_port(coordinator->server);
}

void lathe_coordinator_stop(struct lathe_coordinator **coordinator_p, uint64_t drain_ms)
{
    struct lathe_coordinator *coordinator = *coordinator_p;

    *coordinator_p = NULL;
    if (coordinator == NULL)
        return;
    if (coordinator->server != NULL) {
        lathe_grpc_server_set_serving(coordinator->server, false);
        lathe_grpc_server_stop(&coordinator->server, drain_ms);
    }
    set_synced(coordinator, NULL);
    lathe_collections_stop(&coordinator->collections);
    lathe_engine_stop(&coordinator->engine);
    if (coordinator->catalog != NULL)
        coordinator->catalog->ops->close(coordinator->catalog);
    (void)pthread_mutex_destroy(&coordinator->mutex);
    lathe_free(coordinator);
}
