/* collections_api.c - the requests of CollectionService. */
#include <stdio.h>

#include "coordinator/api/check.h"
#include "coordinator/api/stats.h"
#include "lathe/v1/collections.pb-c.h"

/* ---- Create and delete: jobs of the admin thread ----------------------------------------------
 */

struct change_request {
    struct lathe_request base;
    struct lathe_collections_job job;
};

static struct change_request *change_of(struct lathe_collections_job *job)
{
    return (struct change_request *)(void *)((char *)job - offsetof(struct change_request, job));
}

static void change_fail(struct change_request *change, const struct lathe_error *err)
{
    struct lathe_request *request = &change->base;

    /* The call's answer ends on_cancel, which uses the job: only then may the job go. */
    lathe_call_fail(request->call, err);
    lathe_collection_release(&change->job.collection);
    lathe_request_close(request);
}

static void change_reply(struct change_request *change, struct lathe_buf *reply)
{
    struct lathe_request *request = &change->base;

    lathe_call_reply(request->call, reply);
    lathe_collection_release(&change->job.collection);
    lathe_request_close(request);
}

static void created(struct lathe_collections_job *job, const struct lathe_error *err)
{
    struct change_request *change = change_of(job);
    struct lathe_buf reply = {0};
    struct lathe_wire wire = {&reply, 0};

    if (err->status != LATHE_OK) {
        change_fail(change, err);
        return;
    }
    lathe_collection_to_wire(&wire, &(struct lathe_collection_source){job->collection, true});
    change_reply(change, &reply);
}

static void dropped(struct lathe_collections_job *job, const struct lathe_error *err)
{
    struct change_request *change = change_of(job);
    struct lathe_buf reply = {0}; /* DeleteCollectionResponse has no fields */

    if (err->status != LATHE_OK)
        change_fail(change, err);
    else
        change_reply(change, &reply);
}

static void change_cancel(void *context)
{
    struct change_request *change = context;

    lathe_collections_cancel(change->base.api->collections, &change->job);
}

/* Hands the job over. From a success on, the admin thread answers. */
static void change_submit(struct change_request *change, lathe_collections_done_fn *done)
{
    struct lathe_error err = {0};

    change->job.done = done;
    change->job.deadline_us = change->base.scatter.deadline_us;
    lathe_call_on_cancel(change->base.call, change_cancel, change);
    if (lathe_collections_submit(change->base.api->collections, &change->job, &err) != LATHE_OK)
        change_fail(change, &err);
}

void lathe_api_create_collection(void *context, struct lathe_call *call, struct lathe_bytes message)
{
    struct change_request *change = lathe_request_open(context, call, sizeof(*change),
                                                       message.size);
    struct lathe_error err = {0};
    ProtobufCMessage *in;
    enum lathe_status status;

    if (change == NULL)
        return;
    status = lathe_request_decode(&change->base, &lathe__v1__create_collection_request__descriptor,
                                  message, &in, &err);
    if (status == LATHE_OK)
        status = lathe_check_create((const Lathe__V1__CreateCollectionRequest *)in,
                                    &change->job.collection, &err);
    if (status == LATHE_OK)
        change_submit(change, created);
    else
        change_fail(change, &err);
}

void lathe_api_delete_collection(void *context, struct lathe_call *call, struct lathe_bytes message)
{
    struct change_request *change = lathe_request_open(context, call, sizeof(*change),
                                                       message.size);
    struct lathe_error err = {0};
    const char *name = "";
    ProtobufCMessage *in;
    enum lathe_status status;

    if (change == NULL)
        return;
    status = lathe_request_decode(&change->base, &lathe__v1__delete_collection_request__descriptor,
                                  message, &in, &err);
    if (status == LATHE_OK) {
        name = ((const Lathe__V1__DeleteCollectionRequest *)in)->name;
        status = lathe_check_collection_name(name, &err);
    }
    if (status != LATHE_OK) {
        change_fail(change, &err);
        return;
    }
    (void)snprintf(change->job.name, sizeof(change->job.name), "%s", name);
    change_submit(change, dropped);
}

/* ---- Get and list -----------------------------------------------------------------------------
 */

struct stats_source {
    const struct lathe_collection *collection;
    const struct lathe_stats *stats;
    uint32_t field; /* the one being written */
};

static void wire_field_stats(struct lathe_wire *wire, const void *source)
{
    const struct stats_source *from = source;
    const struct lathe_field_stats *field = &from->stats->fields[from->field];

    lathe_wire_string_set(wire, 1, from->collection->fields[from->field].name);
    lathe_wire_uint_set(wire, 2, field->rows);
    lathe_wire_uint_set(wire, 3, field->dead_rows);
    lathe_wire_uint_set(wire, 4, field->memory_bytes);
}

static void wire_stats(struct lathe_wire *wire, const void *source)
{
    struct stats_source from = *(const struct stats_source *)source;
    struct lathe_coverage_source coverage = {from.stats->answers, from.stats->answer_count};

    lathe_wire_uint_set(wire, 1, from.stats->points);
    for (from.field = 0; from.field < from.collection->field_count; from.field++)
        lathe_wire_message(wire, 2, wire_field_stats, &from);
    lathe_wire_message(wire, 3, lathe_wire_coverage, &coverage);
}

enum { COLLECTION_STATS = 7 };

static enum lathe_status get_finish(struct lathe_request *request, struct lathe_buf *reply,
                                    struct lathe_error *err)
{
    struct lathe_wire wire = {reply, 0};
    struct lathe_stats stats;
    struct stats_source source = {request->collection, &stats, 0};
    enum lathe_status status = lathe_stats_read(request, &stats, err);

    if (status != LATHE_OK)
        return status;
    lathe_collection_to_wire(&wire, &(struct lathe_collection_source){request->collection, true});
    lathe_wire_message(&wire, COLLECTION_STATS, wire_stats, &source);
    return LATHE_OK;
}

static void get_settled(struct lathe_request *request)
{
    lathe_request_finish(request, get_finish);
}

void lathe_api_get_collection(void *context, struct lathe_call *call, struct lathe_bytes message)
{
    struct lathe_request *request = lathe_request_open(context, call, sizeof(*request),
                                                       message.size);
    struct lathe_error err = {0};
    ProtobufCMessage *in;
    enum lathe_status status;

    if (request == NULL)
        return;
    lathe_request_watch(request);
    status = lathe_request_decode(request, &lathe__v1__get_collection_request__descriptor, message,
                                  &in, &err);
    if (status == LATHE_OK)
        status = lathe_request_collection(
            request, "name", ((const Lathe__V1__GetCollectionRequest *)in)->name, &err);
    if (status == LATHE_OK)
        status = lathe_stats_ask(request, &err);
    if (status == LATHE_OK)
        status = lathe_request_submit(request, get_settled, &err);
    if (status != LATHE_OK)
        lathe_request_fail(request, &err);
}

enum { LIST_COLLECTIONS = 1 };

static void wire_list(struct lathe_wire *wire, struct lathe_collection *const *list, size_t count,
                      bool metadata)
{
    for (size_t i = 0; i < count; i++) {
        struct lathe_collection_source source = {list[i], metadata};

        lathe_wire_message(wire, LIST_COLLECTIONS, lathe_collection_to_wire, &source);
    }
}

/* Without metadata when all of it together would not fit a reply: then GetCollection gives it. */
static enum lathe_status list_encode(struct lathe_api *api, struct lathe_buf *reply,
                                     struct lathe_error *err)
{
    struct lathe_wire measured = {NULL, 0};
    struct lathe_wire wire = {reply, 0};
    struct lathe_collection **list;
    size_t count;

    if (!lathe_collections_list(api->collections, &list, &count))
        return lathe_request_no_memory(err);
    wire_list(&measured, list, count, true);
    wire_list(&wire, list, count, measured.size <= LATHE_MAX_MESSAGE_BYTES);
    for (size_t i = 0; i < count; i++)
        lathe_collection_release(&list[i]);
    lathe_free(list);
    return LATHE_OK;
}

void lathe_api_list_collections(void *context, struct lathe_call *call, struct lathe_bytes message)
{
    struct lathe_request *request = lathe_request_open(context, call, sizeof(*request),
                                                       message.size);
    struct lathe_buf reply = {0};
    struct lathe_error err = {0};
    ProtobufCMessage *in;
    enum lathe_status status;

    if (request == NULL)
        return;
    status = lathe_request_decode(request, &lathe__v1__list_collections_request__descriptor,
                                  message, &in, &err);
    if (status == LATHE_OK)
        status = list_encode(request->api, &reply, &err);
    if (status == LATHE_OK)
        lathe_request_reply(request, &reply);
    else
        lathe_request_fail(request, &err);
}
