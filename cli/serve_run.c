/* serve_run.c - the body of `lathe serve`: the coordinator and every shard in one process, over
 * inproc.
 *
 * Start order: data directory, budget, scan pool, shards (side by side, since each loads its rows),
 * then the coordinator. SIGTERM and SIGINT end it in the opposite order, after the calls in flight.
 */
#include "cli/serve.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/base/hash.h"
#include "common/base/limits.h"
#include "common/store/data_dir.h"
#include "coordinator/coordinator.h"
#include "shard/kernel/cpu.h"
#include "shard/shard.h"

enum {
    DRAIN_MS = 8000,
    CACHE_BYTES = 64 * 1024 * 1024,         /* or a 16th of the memory limit, if that is less */
    WRITE_BUFFER_BYTES = 128 * 1024 * 1024, /* of all shards together, or an 8th of the limit */
    WRITE_BUFFER_MIN_BYTES = 4 * 1024 * 1024,
    SHARD_IN_FLIGHT = 512,
    ENDPOINT_BYTES = 64,
    MAX_CALLS = 1024
};

/* One shard and the thread that starts it. */
struct shard_slot {
    char directory[LATHE_DATA_PATH_BYTES];
    char endpoint[ENDPOINT_BYTES];
    struct lathe_shard_config config;
    struct lathe_shard *shard;
    pthread_t starter;
    bool started;
    enum lathe_status status;
    struct lathe_error error;
};

struct process {
    struct lathe_data_dir data;
    struct lathe_budget budget;
    struct lathe_store_cache *cache;
    struct lathe_pool *pool;
    struct lathe_net *net;
    const struct lathe_kernel_set *kernel;
    struct shard_slot *shards;
    const char *endpoints[LATHE_MAX_SHARDS];
    struct lathe_coordinator *coordinator;
};

static unsigned core_count(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    return cores > 0 ? (unsigned)cores : 1;
}

static uint64_t at_most(uint64_t bytes, uint64_t limit)
{
    return bytes < limit ? bytes : limit;
}

/* Each shard and connection needs files; the soft limit of 1,024 is not enough for many of them. */
static void raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void *shard_starter(void *context)
{
    struct shard_slot *slot = context;

    slot->status = lathe_shard_start(&slot->config, &slot->shard, &slot->error);
    return NULL;
}

static void slot_fill(struct process *process, const struct lathe_serve_config *config, uint32_t i)
{
    struct shard_slot *slot = &process->shards[i];
    uint64_t buffer = at_most(WRITE_BUFFER_BYTES, process->budget.limit_bytes / 8) /
                      process->data.shard_count;

    lathe_data_dir_shard_path(&process->data, i, slot->directory);
    (void)snprintf(slot->endpoint, sizeof(slot->endpoint), "inproc://shard-%u", i);
    process->endpoints[i] = slot->endpoint;
    slot->config = (struct lathe_shard_config){
        .directory = slot->directory,
        .endpoint = slot->endpoint,
        .shard = i,
        .shard_count = process->data.shard_count,
        .net = process->net,
        .pool = process->pool,
        .cache = process->cache,
        .budget = &process->budget,
        .kernel = process->kernel,
        .clock = &lathe_system_clock,
        .max_payload_bytes = config->max_payload_bytes,
        .write_buffer_bytes = buffer > WRITE_BUFFER_MIN_BYTES ? buffer : WRITE_BUFFER_MIN_BYTES,
        .in_flight = SHARD_IN_FLIGHT};
    memcpy(slot->config.cluster_id, process->data.cluster_id, sizeof(slot->config.cluster_id));
}

/* Starts every shard in a thread of its own and waits for all. */
static enum lathe_status shards_start(struct process *process,
                                      const struct lathe_serve_config *config,
                                      struct lathe_error *err)
{
    enum lathe_status rc = LATHE_OK;

    process->shards = lathe_zalloc_array(process->data.shard_count, sizeof(*process->shards));
    if (process->shards == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for %u shards",
                          process->data.shard_count);
    for (uint32_t i = 0; i < process->data.shard_count; i++) {
        slot_fill(process, config, i);
        process->shards[i].started = pthread_create(&process->shards[i].starter, NULL,
                                                    shard_starter, &process->shards[i]) == 0;
    }
    for (uint32_t i = 0; i < process->data.shard_count; i++) {
        struct shard_slot *slot = &process->shards[i];

        if (!slot->started)
            slot->status = lathe_fail(&slot->error, LATHE_RESOURCE_EXHAUSTED,
                                      "no thread for shard %u", i);
        else
            (void)pthread_join(slot->starter, NULL);
        if (slot->status == LATHE_OK)
            slot->status = lathe_data_dir_shard_ready(&process->data, i, &slot->error);
        if (slot->status != LATHE_OK && rc == LATHE_OK) {
            rc = slot->status;
            *err = slot->error;
        }
    }
    return rc;
}

static enum lathe_status coordinator_start(struct process *process,
                                           const struct lathe_serve_config *config,
                                           struct lathe_error *err)
{
    char catalog[LATHE_DATA_PATH_BYTES];
    struct lathe_coordinator_config coordinator = {
        .listen = config->listen,
        .net = process->net,
        .endpoints = process->endpoints,
        .shard_count = process->data.shard_count,
        .catalog_dir = catalog,
        .cq_threads = core_count() < 2 ? 2 : core_count(),
        .in_flight_calls = MAX_CALLS,
        .in_flight_bytes = process->budget.limit_bytes / 8,
        .max_payload_bytes = config->max_payload_bytes,
        .budget = &process->budget,
        .clock = &lathe_system_clock,
        .kernel = process->kernel->name};

    lathe_data_dir_catalog_path(&process->data, catalog);
    memcpy(coordinator.cluster_id, process->data.cluster_id, sizeof(coordinator.cluster_id));
    return lathe_coordinator_start(&coordinator, &process->coordinator, err);
}

/* The port as text, whole or not there: scripts wait for the file. */
static enum lathe_status port_file_write(const char *path, int port, struct lathe_error *err)
{
    char beside[LATHE_DATA_PATH_BYTES];
    FILE *file;
    bool written;

    if (path == NULL)
        return LATHE_OK;
    if ((size_t)snprintf(beside, sizeof(beside), "%s.tmp", path) >= sizeof(beside))
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "port-file", "the path is too long");
    file = fopen(beside, "we");
    if (file == NULL)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "port-file", "cannot write %s: %s",
                                beside, strerror(errno));
    written = fprintf(file, "%d\n", port) > 0;
    written = fclose(file) == 0 && written && rename(beside, path) == 0;
    return written ? LATHE_OK
                   : lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "port-file",
                                      "cannot write %s: %s", path, strerror(errno));
}

static enum lathe_status process_start(struct process *process,
                                       const struct lathe_serve_config *config,
                                       struct lathe_error *err)
{
    unsigned cores = core_count();
    uint64_t cache_bytes;
    enum lathe_status rc;

    process->budget.limit_bytes = config->memory_limit_bytes != 0 ? config->memory_limit_bytes
                                                                  : lathe_memory_default_limit();
    rc = lathe_kernel_select(config->kernel, lathe_cpu_detect(), &process->kernel, err);
    if (rc == LATHE_OK)
        rc = lathe_data_dir_open(config->data, config->shards, (cores + 1) / 2, &process->data,
                                 err);
    if (rc != LATHE_OK)
        return rc;
    cache_bytes = at_most(CACHE_BYTES, process->budget.limit_bytes / 16);
    process->cache = lathe_store_cache_create(cache_bytes);
    /* Counted in full from the start: it fills up sooner or later. */
    lathe_budget_charge(&process->budget, LATHE_MEM_CACHE, (int64_t)cache_bytes);
    process->pool = lathe_pool_create(config->scan_threads != 0 ? config->scan_threads : cores);
    process->net = lathe_net_create();
    if (process->cache == NULL || process->pool == NULL || process->net == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory or threads to start");
    rc = shards_start(process, config, err);
    if (rc == LATHE_OK)
        rc = coordinator_start(process, config, err);
    if (rc == LATHE_OK)
        rc = lathe_data_dir_catalog_ready(&process->data, err);
    if (rc == LATHE_OK)
        rc = port_file_write(config->port_file, lathe_coordinator_port(process->coordinator), err);
    return rc;
}

static void process_stop(struct process *process)
{
    lathe_coordinator_stop(&process->coordinator, DRAIN_MS);
    for (uint32_t i = 0; process->shards != NULL && i < process->data.shard_count; i++)
        lathe_shard_stop(&process->shards[i].shard);
    lathe_free(process->shards);
    lathe_net_destroy(process->net);
    lathe_pool_destroy(process->pool);
    lathe_store_cache_destroy(process->cache);
    lathe_data_dir_close(&process->data);
}

enum lathe_status lathe_serve_run(const struct lathe_serve_config *config, struct lathe_error *err)
{
    struct process process = {.data = {.lock_fd = -1}};
    sigset_t signals;
    int signal = 0;
    enum lathe_status rc;

    /* Every thread made from here on leaves these signals to this one, which waits for them. */
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    (void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
    raise_file_limit();
    rc = lathe_hash_init() ? LATHE_OK
                           : lathe_fail(err, LATHE_INTERNAL, "no source of random bytes");
    if (rc == LATHE_OK)
        rc = process_start(&process, config, err);
    if (rc == LATHE_OK) {
        lathe_log(LATHE_LOG_INFO, "serving",
                  "port=%d shards=%u kernel=%s memory_limit_bytes=%llu insecure=%d",
                  lathe_coordinator_port(process.coordinator), process.data.shard_count,
                  process.kernel->name, (unsigned long long)process.budget.limit_bytes,
                  config->insecure);
        (void)sigwait(&signals, &signal);
        lathe_log(LATHE_LOG_INFO, "stopping", "signal=%d", signal);
    }
    process_stop(&process);
    if (rc == LATHE_OK)
        lathe_log(LATHE_LOG_INFO, "stopped", "clean=1");
    return rc;
}
