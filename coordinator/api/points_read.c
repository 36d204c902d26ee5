/* points_read.c - GetPoints, ListPoints and CountPoints. */
#include "common/base/check.h"
#include "coordinator/api/group.h"
#include "coordinator/api/page.h"
#include "coordinator/api/request.h"
#include "coordinator/api/stats.h"
#include "lathe/v1/points.pb-c.h"

/* The parts of the answers that the three services number alike or not: see points.proto. */
enum {
    GET_POINTS = 1,
    GET_MISSING = 2,
    GET_COVERAGE = 3,
    LIST_POINTS = 1,
    LIST_NEXT_PAGE_TOKEN = 2,
    LIST_COVERAGE = 3,
    COUNT_COUNT = 1,
    COUNT_COVERAGE = 2
};

static enum lathe_status no_filter(const Lathe__V1__Filter *filter, struct lathe_error *err)
{
    return filter == NULL ? LATHE_OK
                          : lathe_fail_field(err, LATHE_UNIMPLEMENTED, "filter",
                                             "filters are not served by this version");
}

/* ---- What the answers have in common --------------------------------------------------------- */

/* Decodes and checks the Points of every part. The first failure is the call's. */
static enum lathe_status points_read(struct lathe_request *request,
                                     const Lathe__Shard__Points **points_out,
                                     struct lathe_shard_answer *answers, struct lathe_error *err)
{
    for (size_t i = 0; i < request->scatter.part_count; i++) {
        const struct lathe_part *part = &request->scatter.parts[i];
        ProtobufCMessage *message;
        enum lathe_status status;

        if (part->error.status != LATHE_OK) {
            lathe_part_explain(part, err);
            return part->error.status;
        }
        status = lathe_part_decode(request, part, &lathe__shard__points__descriptor, &message, err);
        if (status != LATHE_OK)
            return status;
        points_out[i] = (const Lathe__Shard__Points *)message;
        status = lathe_points_check(points_out[i], part->reply.block, request->collection, err);
        if (status != LATHE_OK)
            return status;
        answers[i] = (struct lathe_shard_answer){part->shard, true, points_out[i]->applied_seq,
                                                 points_out[i]->points};
    }
    return LATHE_OK;
}

static void wire_coverage(struct lathe_buf *reply, uint32_t number,
                          const struct lathe_shard_answer *answers, size_t count)
{
    struct lathe_wire wire = {reply, 0};
    struct lathe_coverage_source coverage = {answers, count};

    lathe_wire_message(&wire, number, lathe_wire_coverage, &coverage);
}

/* ---- GetPoints ------------------------------------------------------------------------------- */

struct get_request {
    struct lathe_request base;
    struct lathe_idkey *ids;
    struct lathe_group group;
    struct lathe_selection selection;
};

static enum lathe_status get_size_check(const struct get_request *get, struct lathe_error *err)
{
    struct lathe_selection vectors = get->selection;
    uint64_t each;

    /* Payloads are not known yet: the reply is measured once more when it is there. */
    vectors.payload = false;
    each = lathe_point_size_bound(get->base.collection, &vectors, 0);
    if (get->selection.vectors && get->group.count * each > LATHE_MAX_MESSAGE_BYTES)
        return lathe_fail_field(
            err, LATHE_RESOURCE_EXHAUSTED, "ids",
            "%zu points with these vectors do not fit a reply of %u bytes; %llu "
            "ids do, or leave out selection.vectors",
            get->group.count, LATHE_MAX_MESSAGE_BYTES,
            (unsigned long long)(LATHE_MAX_MESSAGE_BYTES / each));
    return LATHE_OK;
}

static enum lathe_status get_check(struct get_request *get, const Lathe__V1__GetPointsRequest *in,
                                   struct lathe_error *err)
{
    struct lathe_request *request = &get->base;
    enum lathe_status status = lathe_request_collection(request, "collection", in->collection, err);

    if (status != LATHE_OK)
        return status;
    if (in->n_ids < 1 || in->n_ids > LATHE_MAX_GET_IDS)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "ids",
                                "%zu ids are outside the limits of 1 to %u", in->n_ids,
                                LATHE_MAX_GET_IDS);
    status = lathe_check_selection(in->selection, request->collection, &get->selection, err);
    if (status != LATHE_OK)
        return status;
    get->ids = lathe_request_alloc(request, in->n_ids, sizeof(*get->ids));
    if (get->ids == NULL || !lathe_group_init(&get->group, in->n_ids, &request->arena))
        return lathe_request_no_memory(err);
    for (size_t i = 0; i < in->n_ids; i++) {
        struct lathe_bytes idkey;

        status = lathe_check_id(in->ids[i], &get->ids[i], err);
        if (status != LATHE_OK) {
            lathe_error_in(err, "ids[%zu]", i);
            return status;
        }
        idkey = lathe_idkey_view(&get->ids[i]);
        lathe_group_add(&get->group, idkey, lathe_collection_shard_of(request->collection, idkey));
    }
    return get_size_check(get, err);
}

static enum lathe_status get_ask(struct get_request *get, struct lathe_error *err)
{
    struct lathe_request *request = &get->base;
    Lathe__Shard__Fetch fetch = LATHE__SHARD__FETCH__INIT;
    Lathe__Shard__Get body = LATHE__SHARD__GET__INIT;
    enum lathe_status status = LATHE_OK;

    if (!lathe_scatter_reset(&request->scatter, get->group.share_count))
        return lathe_request_no_memory(err);
    lathe_fetch_select(&fetch, &get->selection);
    body.fetch = &fetch;
    for (size_t i = 0; status == LATHE_OK && i < get->group.share_count; i++) {
        struct lathe_buf idkeys = {0};

        lathe_group_idkeys(&get->group, i, &idkeys);
        fetch.idkeys.data = idkeys.data;
        fetch.idkeys.len = idkeys.size;
        if (idkeys.failed)
            status = lathe_request_no_memory(err);
        else
            status = lathe_request_ask(request, &request->scatter.parts[i],
                                       get->group.shares[i].shard, LATHE_FRAME_GET, &body.base,
                                       NULL, err);
        lathe_buf_fini(&idkeys);
    }
    return status;
}

/* A point of the reply: the answer to item `i`. */
static struct lathe_point_source get_point(const struct get_request *get,
                                           const Lathe__Shard__Points *const *points, size_t i)
{
    const struct lathe_group_item *item = &get->group.items[i];

    return (struct lathe_point_source){get->base.collection, &get->selection,
                                       points[item->share]->data[item->index],
                                       get->base.scatter.parts[item->share].reply.block};
}

static enum lathe_status get_fits(const struct get_request *get,
                                  const Lathe__Shard__Points *const *points,
                                  struct lathe_error *err)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < get->group.count; i++) {
        struct lathe_point_source point = get_point(get, points, i);

        bytes += lathe_point_size_bound(point.collection, point.selection, point.data->payload.len);
        if (bytes > LATHE_MAX_MESSAGE_BYTES)
            return lathe_fail_field(err, LATHE_RESOURCE_EXHAUSTED, "ids",
                                    "%zu points do not fit a reply of %u bytes; the first %zu do",
                                    get->group.count, LATHE_MAX_MESSAGE_BYTES, i);
    }
    return LATHE_OK;
}

static void get_encode(const struct get_request *get, const Lathe__Shard__Points *const *points,
                       struct lathe_buf *reply)
{
    struct lathe_wire wire = {reply, 0};

    for (size_t i = 0; i < get->group.count; i++) {
        struct lathe_point_source point = get_point(get, points, i);

        if (!point.data->missing)
            lathe_wire_message(&wire, GET_POINTS, lathe_wire_point, &point);
    }
    for (size_t i = 0; i < get->group.count; i++) {
        if (get_point(get, points, i).data->missing)
            lathe_wire_message(&wire, GET_MISSING, lathe_wire_id, &get->group.items[i].idkey);
    }
}

static enum lathe_status get_finish(struct lathe_request *request, struct lathe_buf *reply,
                                    struct lathe_error *err)
{
    struct get_request *get = (struct get_request *)request;
    size_t shares = request->scatter.part_count;
    const Lathe__Shard__Points **points = lathe_request_alloc(request, shares, sizeof(*points));
    struct lathe_shard_answer *answers = lathe_request_alloc(request, shares, sizeof(*answers));
    enum lathe_status status;

    if (points == NULL || answers == NULL)
        return lathe_request_no_memory(err);
    status = points_read(request, points, answers, err);
    for (size_t i = 0; status == LATHE_OK && i < shares; i++)
        status = lathe_group_check(&get->group, i, points[i], err);
    if (status == LATHE_OK)
        status = get_fits(get, points, err);
    if (status != LATHE_OK)
        return status;
    get_encode(get, points, reply);
    wire_coverage(reply, GET_COVERAGE, answers, shares);
    return LATHE_OK;
}

static void get_settled(struct lathe_request *request)
{
    lathe_request_finish(request, get_finish);
}

void lathe_api_get_points(void *context, struct lathe_call *call, struct lathe_bytes message)
{
    struct get_request *get = lathe_request_open(context, call, sizeof(*get), message.size);
    struct lathe_error err = {0};
    ProtobufCMessage *in;
    enum lathe_status status;

    if (get == NULL)
        return;
    lathe_request_watch(&get->base);
    status = lathe_request_decode(&get->base, &lathe__v1__get_points_request__descriptor, message,
                                  &in, &err);
    if (status == LATHE_OK)
        status = get_check(get, (const Lathe__V1__GetPointsRequest *)in, &err);
    if (status == LATHE_OK)
        status = get_ask(get, &err);
    if (status == LATHE_OK)
        status = lathe_request_submit(&get->base, get_settled, &err);
    if (status != LATHE_OK)
        lathe_request_fail(&get->base, &err);
}

/* ---- ListPoints ------------------------------------------------------------------------------ */

struct list_request {
    struct lathe_request base;
    struct lathe_selection selection;
    struct lathe_idkey after;
    uint32_t page_size;
};

static enum lathe_status list_check(struct list_request *list,
                                    const Lathe__V1__ListPointsRequest *in, struct lathe_error *err)
{
    struct lathe_request *request = &list->base;
    enum lathe_status status = lathe_request_collection(request, "collection", in->collection, err);

    if (status == LATHE_OK)
        status = lathe_check_selection(in->selection, request->collection, &list->selection, err);
    if (status == LATHE_OK && in->page_size > LATHE_MAX_PAGE_POINTS)
        status = lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "page_size",
                                  "%u points are more than the limit of %u", in->page_size,
                                  LATHE_MAX_PAGE_POINTS);
    if (status == LATHE_OK)
        status = lathe_page_token_read(request->collection, in->page_token, &list->after, err);
    if (status == LATHE_OK)
        status = no_filter(in->filter, err);
    list->page_size = in->page_size > 0 ? in->page_size : LATHE_PAGE_DEFAULT_POINTS;
    return status;
}

static enum lathe_status list_ask(struct list_request *list, struct lathe_error *err)
{
    Lathe__Shard__Fetch fetch = LATHE__SHARD__FETCH__INIT;
    Lathe__Shard__List body = LATHE__SHARD__LIST__INIT;

    lathe_fetch_select(&fetch, &list->selection);
    body.fetch = &fetch;
    body.after_idkey.data = list->after.bytes;
    body.after_idkey.len = list->after.size;
    body.limit = list->page_size;
    body.limit_bytes = lathe_page_share_bytes(lathe_engine_shard_count(list->base.api->engine));
    return lathe_request_ask_all(&list->base, LATHE_FRAME_LIST, &body.base, err);
}

static void list_encode(const struct list_request *list, const struct lathe_page_source *sources,
                        const struct lathe_page_item *items, size_t count, bool more,
                        struct lathe_buf *reply)
{
    struct lathe_wire wire = {reply, 0};
    char token[LATHE_PAGE_TOKEN_BYTES];
    struct lathe_point_source point = {.collection = list->base.collection,
                                       .selection = &list->selection};

    for (size_t i = 0; i < count; i++) {
        point.data = sources[items[i].source].points->data[items[i].index];
        point.block = sources[items[i].source].block;
        lathe_wire_message(&wire, LIST_POINTS, lathe_wire_point, &point);
    }
    if (more) {
        lathe_page_token_make(list->base.collection,
                              lathe_bytes_of(point.data->idkey.data, point.data->idkey.len), token);
        lathe_wire_string_set(&wire, LIST_NEXT_PAGE_TOKEN, token);
    }
}

static enum lathe_status list_finish(struct lathe_request *request, struct lathe_buf *reply,
                                     struct lathe_error *err)
{
    struct list_request *list = (struct list_request *)request;
    size_t shards = request->scatter.part_count;
    const Lathe__Shard__Points **points = lathe_request_alloc(request, shards, sizeof(*points));
    struct lathe_shard_answer *answers = lathe_request_alloc(request, shards, sizeof(*answers));
    struct lathe_page_source *sources = lathe_request_alloc(request, shards, sizeof(*sources));
    struct lathe_page_item *items = lathe_request_alloc(request, list->page_size, sizeof(*items));
    enum lathe_status status;
    size_t count;
    bool more;

    if (points == NULL || answers == NULL || sources == NULL || items == NULL)
        return lathe_request_no_memory(err);
    status = points_read(request, points, answers, err);
    for (size_t i = 0; status == LATHE_OK && i < shards; i++) {
        sources[i] = (struct lathe_page_source){points[i], request->scatter.parts[i].reply.block};
        status = lathe_page_source_check(&sources[i], lathe_idkey_view(&list->after), err);
    }
    if (status != LATHE_OK)
        return status;
    count = lathe_page_merge(sources, shards, list->page_size, request->collection,
                             &list->selection, items, &more);
    LATHE_REQUIRE(!more || count > 0);
    list_encode(list, sources, items, count, more, reply);
    wire_coverage(reply, LIST_COVERAGE, answers, shards);
    return LATHE_OK;
}

static void list_settled(struct lathe_request *request)
{
    lathe_request_finish(request, list_finish);
}

void lathe_api_list_points(void *context, struct lathe_call *call, struct lathe_bytes message)
{
    struct list_request *list = lathe_request_open(context, call, sizeof(*list), message.size);
    struct lathe_error err = {0};
    ProtobufCMessage *in;
    enum lathe_status status;

    if (list == NULL)
        return;
    lathe_request_watch(&list->base);
    status = lathe_request_decode(&list->base, &lathe__v1__list_points_request__descriptor, message,
                                  &in, &err);
    if (status == LATHE_OK)
        status = list_check(list, (const Lathe__V1__ListPointsRequest *)in, &err);
    if (status == LATHE_OK)
        status = list_ask(list, &err);
    if (status == LATHE_OK)
        status = lathe_request_submit(&list->base, list_settled, &err);
    if (status != LATHE_OK)
        lathe_request_fail(&list->base, &err);
}

/* ---- CountPoints ----------------------------------------------------------------------------- */

static enum lathe_status count_finish(struct lathe_request *request, struct lathe_buf *reply,
                                      struct lathe_error *err)
{
    struct lathe_wire wire = {reply, 0};
    struct lathe_stats stats;
    enum lathe_status status = lathe_stats_read(request, &stats, err);

    if (status != LATHE_OK)
        return status;
    lathe_wire_uint_set(&wire, COUNT_COUNT, stats.points);
    wire_coverage(reply, COUNT_COVERAGE, stats.answers, stats.answer_count);
    return LATHE_OK;
}

static void count_settled(struct lathe_request *request)
{
    lathe_request_finish(request, count_finish);
}

void lathe_api_count_points(void *context, struct lathe_call *call, struct lathe_bytes message)
{
    struct lathe_request *request = lathe_request_open(context, call, sizeof(*request),
                                                       message.size);
    struct lathe_error err = {0};
    const Lathe__V1__CountPointsRequest *in;
    ProtobufCMessage *decoded;
    enum lathe_status status;

    if (request == NULL)
        return;
    lathe_request_watch(request);
    status = lathe_request_decode(request, &lathe__v1__count_points_request__descriptor, message,
                                  &decoded, &err);
    in = (const Lathe__V1__CountPointsRequest *)decoded;
    if (status == LATHE_OK)
        status = lathe_request_collection(request, "collection", in->collection, &err);
    if (status == LATHE_OK)
        status = no_filter(in->filter, &err);
    if (status == LATHE_OK)
        status = lathe_stats_ask(request, &err);
    if (status == LATHE_OK)
        status = lathe_request_submit(request, count_settled, &err);
    if (status != LATHE_OK)
        lathe_request_fail(request, &err);
}
