/* request.c - see request.h. */
#include "coordinator/api/request.h"

#include "common/base/check.h"

enum { DECODE_FLOOR_BYTES = 64 * 1024 * 1024, DECODE_FACTOR = 4, RETRY_AFTER_MS = 50 };

/* What a request may hold besides what it decoded: answers of shards and the results made of them.
 */
static const size_t work_limit_bytes = (size_t)1 << 30;

void *lathe_request_open(struct lathe_api *api, struct lathe_call *call, size_t size,
                         size_t message_bytes)
{
    struct lathe_request *request = lathe_zalloc(size);

    LATHE_REQUIRE(size >= sizeof(*request));
    if (request == NULL) {
        struct lathe_error err;

        (void)lathe_request_no_memory(&err);
        if (call != NULL)
            lathe_call_fail(call, &err);
        return NULL;
    }
    request->api = api;
    request->call = call;
    request->started_us = lathe_now_us(api->clock);
    request->scatter.deadline_us = call != NULL ? lathe_call_deadline_us(call) : UINT64_MAX;
    request->scatter.context = request;
    /* Many small values take several times their encoded size; more than this is an attack. */
    lathe_arena_init(&request->arena, DECODE_FLOOR_BYTES + DECODE_FACTOR * message_bytes);
    (void)pthread_mutex_init(&request->mutex, NULL);
    return request;
}

void lathe_request_close(struct lathe_request *request)
{
    lathe_budget_charge(request->api->budget, LATHE_MEM_REQUESTS, -(int64_t)request->charged_bytes);
    lathe_scatter_fini(&request->scatter);
    lathe_collection_release(&request->collection);
    lathe_arena_fini(&request->arena);
    (void)pthread_mutex_destroy(&request->mutex);
    lathe_free(request);
}

void lathe_request_fail(struct lathe_request *request, const struct lathe_error *err)
{
    LATHE_REQUIRE(err->status != LATHE_OK);
    lathe_call_fail(request->call, err);
    lathe_request_close(request);
}

void lathe_request_reply(struct lathe_request *request, struct lathe_buf *reply)
{
    struct lathe_error err;

    if (reply->failed) {
        lathe_buf_fini(reply);
        (void)lathe_request_no_memory(&err);
        lathe_call_fail(request->call, &err);
    } else {
        lathe_call_reply(request->call, reply);
    }
    lathe_request_close(request);
}

void lathe_request_finish(struct lathe_request *request, lathe_request_finish_fn *finish)
{
    struct lathe_buf reply = {0};
    struct lathe_error err = {0};

    if (finish(request, &reply, &err) == LATHE_OK) {
        lathe_request_reply(request, &reply);
        return;
    }
    lathe_buf_fini(&reply);
    lathe_request_fail(request, &err);
}

void *lathe_request_alloc(struct lathe_request *request, size_t count, size_t size)
{
    size_t total;
    void *memory;

    if (__builtin_mul_overflow(count, size, &total))
        return NULL;
    memory = lathe_arena_alloc(&request->arena, total);
    return memory != NULL ? memset(memory, 0, total) : NULL;
}

enum lathe_status lathe_request_no_memory(struct lathe_error *err)
{
    (void)lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "the server has no memory for this request");
    if (err != NULL)
        err->retry_after_ms = RETRY_AFTER_MS;
    return LATHE_RESOURCE_EXHAUSTED;
}

enum lathe_status lathe_request_decode(struct lathe_request *request,
                                       const ProtobufCMessageDescriptor *descriptor,
                                       struct lathe_bytes bytes, ProtobufCMessage **message_out,
                                       struct lathe_error *err)
{
    enum lathe_status status = lathe_message_decode_known(descriptor, bytes, &request->arena,
                                                          message_out, err);

    request->arena.limit_bytes = work_limit_bytes;
    request->charged_bytes = request->arena.used_bytes;
    lathe_budget_charge(request->api->budget, LATHE_MEM_REQUESTS, (int64_t)request->charged_bytes);
    return status;
}

enum lathe_status lathe_request_collection(struct lathe_request *request, const char *field,
                                           const char *name, struct lathe_error *err)
{
    if (name[0] == '\0')
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, field, "a collection must be named");
    if (strlen(name) > LATHE_MAX_NAME_BYTES)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, field,
                                "a name of %zu bytes is longer than the limit of %u bytes",
                                strlen(name), LATHE_MAX_NAME_BYTES);
    request->collection = lathe_collections_acquire(request->api->collections, name);
    if (request->collection == NULL)
        return lathe_fail_field(err, LATHE_NOT_FOUND, field, "there is no collection \"%s\"", name);
    return LATHE_OK;
}

/* ---- Submit, cancel -------------------------------------------------------------------------- */

static void scatter_done(struct lathe_scatter *scatter)
{
    struct lathe_request *request = scatter->context;

    (void)pthread_mutex_lock(&request->mutex);
    request->in_flight = false;
    (void)pthread_mutex_unlock(&request->mutex);
    request->phase(request);
}

static void on_cancel(void *context)
{
    lathe_request_cancel(context);
}

void lathe_request_cancel(struct lathe_request *request)
{
    (void)pthread_mutex_lock(&request->mutex);
    request->cancelled = true;
    if (request->in_flight)
        lathe_engine_cancel(request->api->engine, &request->scatter);
    (void)pthread_mutex_unlock(&request->mutex);
}

void lathe_request_watch(struct lathe_request *request)
{
    lathe_call_on_cancel(request->call, on_cancel, request);
}

enum lathe_status lathe_request_submit(struct lathe_request *request, lathe_request_phase_fn *phase,
                                       struct lathe_error *err)
{
    enum lathe_status status;

    request->phase = phase;
    request->scatter.done = scatter_done;
    (void)pthread_mutex_lock(&request->mutex);
    if (request->cancelled) {
        status = lathe_fail(err, LATHE_CANCELLED, "the call was cancelled");
    } else {
        /* `done` may run on the engine thread at once, but its first step waits for this mutex. */
        request->in_flight = true;
        status = lathe_engine_submit(request->api->engine, &request->scatter);
        if (status != LATHE_OK) {
            request->in_flight = false;
            (void)lathe_fail(err, status, "too many requests are in flight");
            if (err != NULL)
                err->retry_after_ms = RETRY_AFTER_MS;
        }
    }
    (void)pthread_mutex_unlock(&request->mutex);
    return status;
}

/* ---- Frames ---------------------------------------------------------------------------------- */

struct lathe_frame_header lathe_request_header(const struct lathe_request *request,
                                               enum lathe_frame_kind kind)
{
    struct lathe_frame_header header = {.kind = (uint16_t)kind};

    if (request->collection != NULL) {
        header.collection = request->collection->id;
        header.schema_version = request->collection->schema_version;
        header.slot_map_version = request->collection->slots.version;
    }
    return header;
}

enum lathe_status lathe_request_ask(struct lathe_request *request, struct lathe_part *part,
                                    uint32_t shard, enum lathe_frame_kind kind,
                                    const ProtobufCMessage *body, struct lathe_buf *block,
                                    struct lathe_error *err)
{
    const struct lathe_frame_header header = lathe_request_header(request, kind);
    struct lathe_buf bytes = {0};
    struct lathe_buf none = {0};
    bool made;

    part->shard = shard;
    lathe_message_encode(body, &bytes);
    made = !bytes.failed && (block == NULL || !block->failed) &&
           lathe_frame_make(&part->request, &header, &bytes, block != NULL ? block : &none);
    lathe_buf_fini(&bytes);
    return made ? LATHE_OK : lathe_request_no_memory(err);
}

enum lathe_status lathe_request_ask_all(struct lathe_request *request, enum lathe_frame_kind kind,
                                        const ProtobufCMessage *body, struct lathe_error *err)
{
    uint32_t shards = lathe_engine_shard_count(request->api->engine);
    enum lathe_status status = LATHE_OK;

    if (!lathe_scatter_reset(&request->scatter, shards))
        return lathe_request_no_memory(err);
    for (uint32_t i = 0; status == LATHE_OK && i < shards; i++)
        status = lathe_request_ask(request, &request->scatter.parts[i], i, kind, body, NULL, err);
    return status;
}

void lathe_part_explain(const struct lathe_part *part, struct lathe_error *err)
{
    struct lathe_error shown = part->error;

    (void)lathe_fail_field(err, shown.status, shown.field, "shard %u: %s", part->shard,
                           shown.message);
    if (err != NULL)
        err->retry_after_ms = shown.retry_after_ms;
}

enum lathe_status lathe_part_decode(struct lathe_request *request, const struct lathe_part *part,
                                    const ProtobufCMessageDescriptor *descriptor,
                                    ProtobufCMessage **message_out, struct lathe_error *err)
{
    struct lathe_error cause = {0};
    enum lathe_status status = lathe_message_decode(descriptor, part->reply.body, &request->arena,
                                                    message_out, &cause);

    if (status == LATHE_OK)
        return LATHE_OK;
    if (status == LATHE_RESOURCE_EXHAUSTED)
        return lathe_request_no_memory(err);
    return lathe_fail(err, LATHE_INTERNAL, "shard %u sent an answer that cannot be decoded: %s",
                      part->shard, cause.message);
}
