/* server_api.c - ServerService.GetInfo. Answered also when shards are not there, then without the
 * disk. */
#include "common/base/limits.h"
#include "coordinator/api/stats.h"
#include "lathe/v1/server.pb-c.h"

static Lathe__V1__Limits limits_of(const struct lathe_api *api)
{
    Lathe__V1__Limits limits = LATHE__V1__LIMITS__INIT;

    limits.collections = LATHE_MAX_COLLECTIONS;
    limits.fields = LATHE_MAX_FIELDS;
    limits.dims = LATHE_MAX_DIMS;
    limits.results = LATHE_MAX_RESULTS;
    limits.batch_searches = LATHE_MAX_BATCH_SEARCHES;
    limits.operations = LATHE_MAX_OPERATIONS;
    limits.get_ids = LATHE_MAX_GET_IDS;
    limits.page_points = LATHE_MAX_PAGE_POINTS;
    limits.name_bytes = LATHE_MAX_NAME_BYTES;
    limits.metadata_bytes = LATHE_MAX_METADATA_BYTES;
    limits.id_bytes = LATHE_MAX_ID_BYTES;
    limits.payload_bytes = api->max_payload_bytes;
    limits.message_bytes = LATHE_MAX_MESSAGE_BYTES;
    limits.value_depth = LATHE_MAX_VALUE_DEPTH;
    limits.filter_depth = LATHE_MAX_FILTER_DEPTH;
    limits.batch_results = LATHE_MAX_BATCH_RESULTS;
    limits.ladder = LATHE_MAX_LADDER;
    limits.message_depth = LATHE_MAX_MESSAGE_DEPTH;
    limits.in_flight_calls = api->in_flight_calls;
    limits.in_flight_bytes = api->in_flight_bytes;
    return limits;
}

/* The memory message with its parts, which must live as long. */
struct memory {
    Lathe__V1__Memory message;
    Lathe__V1__MemoryPart parts[LATHE_MEM_PARTS];
    Lathe__V1__MemoryPart *part_list[LATHE_MEM_PARTS];
};

static void memory_fill(struct memory *memory, struct lathe_budget *budget)
{
    lathe__v1__memory__init(&memory->message);
    memory->message.limit_bytes = budget->limit_bytes;
    memory->message.used_bytes = lathe_budget_used(budget);
    for (int i = 0; i < LATHE_MEM_PARTS; i++) {
        int64_t used = atomic_load_explicit(&budget->used_bytes[i], memory_order_relaxed);

        lathe__v1__memory_part__init(&memory->parts[i]);
        memory->parts[i].name = (char *)(uintptr_t)lathe_mem_part_name((enum lathe_mem_part)i);
        memory->parts[i].used_bytes = used > 0 ? (uint64_t)used : 0;
        memory->part_list[i] = &memory->parts[i];
    }
    memory->message.n_parts = LATHE_MEM_PARTS;
    memory->message.parts = memory->part_list;
}

static enum lathe_status info_finish(struct lathe_request *request, struct lathe_buf *reply,
                                     struct lathe_error *err)
{
    const struct lathe_api *api = request->api;
    Lathe__V1__GetInfoResponse info = LATHE__V1__GET_INFO_RESPONSE__INIT;
    Lathe__V1__Limits limits = limits_of(api);
    Lathe__V1__Disk disk = LATHE__V1__DISK__INIT;
    struct lathe_stats stats;
    struct memory memory;

    info.version = (char *)(uintptr_t)LATHE_VERSION;
    info.shards = lathe_engine_shard_count(api->engine);
    info.kernel = (char *)(uintptr_t)api->kernel;
    info.uptime_ms = (lathe_now_us(api->clock) - api->started_us) / 1000;
    info.limits = &limits;
    if (api->budget != NULL) {
        memory_fill(&memory, api->budget);
        info.memory = &memory.message;
    }
    if (lathe_stats_read(request, &stats, err) == LATHE_OK) {
        disk.used_bytes = stats.disk_bytes;
        disk.free_bytes = stats.disk_free_bytes;
        info.disk = &disk;
    }
    lathe_message_encode(&info.base, reply);
    return LATHE_OK;
}

static void info_settled(struct lathe_request *request)
{
    lathe_request_finish(request, info_finish);
}

void lathe_api_get_info(void *context, struct lathe_call *call, struct lathe_bytes message)
{
    struct lathe_request *request = lathe_request_open(context, call, sizeof(*request),
                                                       message.size);
    struct lathe_error err = {0};
    ProtobufCMessage *in;
    enum lathe_status status;

    if (request == NULL)
        return;
    lathe_request_watch(request);
    status = lathe_request_decode(request, &lathe__v1__get_info_request__descriptor, message, &in,
                                  &err);
    if (status == LATHE_OK)
        status = lathe_stats_ask(request, &err);
    if (status == LATHE_OK)
        status = lathe_request_submit(request, info_settled, &err);
    if (status != LATHE_OK)
        lathe_request_fail(request, &err);
}
