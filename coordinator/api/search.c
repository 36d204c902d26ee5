/* search.c - Search and SearchBatch: the phases of search_plan.h carried out.
 *
 *   [like] GET --> SEARCH --> [payload or vectors] FETCH --> reply
 *
 * Where the caller allows a partial answer, the SEARCH gives up silent shards some time before the
 * deadline; the others hold what they searched until the deadline, so they are not asked twice.
 *
 * With a FETCH to come, shards hold the snapshot they searched on. Every shard that may hold one is
 * then fetched from, or released, whatever happens. */
#include "common/base/check.h"
#include "coordinator/api/request.h"
#include "coordinator/api/search_plan.h"

/* The time kept back for a partial answer to be made and sent: a quarter of what is left, and at
 * most a second. */
enum { PARTIAL_SPARE_SHARE = 4, PARTIAL_SPARE_MAX_US = 1000 * 1000 };

struct search_request {
    struct lathe_request base;
    struct lathe_search_plan plan;
    struct lathe_group likes;
    uint64_t held_id;            /* request id under which shards hold snapshots */
    bool held[LATHE_MAX_SHARDS]; /* by shard */
    uint32_t shard_count;
};

/* ---- Holding and releasing ---------------------------------------------------------------------
 */

static void release_held(struct search_request *search)
{
    for (uint32_t shard = 0; shard < search->shard_count; shard++) {
        struct lathe_frame_header header = lathe_request_header(&search->base, LATHE_FRAME_RELEASE);
        struct lathe_frame frame = {0};
        struct lathe_buf none[2] = {{0}, {0}};

        if (!search->held[shard])
            continue;
        search->held[shard] = false;
        header.request_id = search->held_id;
        /* Without memory for the frame the shard lets go when the request's time is over. */
        if (lathe_frame_make(&frame, &header, &none[0], &none[1]))
            lathe_engine_tell(search->base.api->engine, shard, &frame);
    }
}

static void search_fail(struct search_request *search, const struct lathe_error *err)
{
    release_held(search);
    lathe_request_fail(&search->base, err);
}

/* ---- Phase: FETCH ------------------------------------------------------------------------------
 */

static void reply_send(struct search_request *search)
{
    struct lathe_request *request = &search->base;
    struct lathe_buf reply = {0};

    release_held(search);
    lathe_search_encode(&search->plan, request->api->kernel,
                        lathe_now_us(request->api->clock) - request->started_us, &reply);
    lathe_request_reply(request, &reply);
}

/* Decodes and checks the answers to the ids of `group`, one part a share. */
static enum lathe_status points_read(struct search_request *search, const struct lathe_group *group,
                                     const Lathe__Shard__Points ***points_out,
                                     struct lathe_bytes **blocks_out, struct lathe_error *err)
{
    struct lathe_request *request = &search->base;
    size_t count = request->scatter.part_count;
    enum lathe_status status = LATHE_OK;

    *points_out = lathe_request_alloc(request, count, sizeof(**points_out));
    *blocks_out = lathe_request_alloc(request, count, sizeof(**blocks_out));
    if (*points_out == NULL || *blocks_out == NULL)
        return lathe_request_no_memory(err);
    for (size_t i = 0; status == LATHE_OK && i < count; i++) {
        const struct lathe_part *part = &request->scatter.parts[i];
        ProtobufCMessage *message = NULL;

        if (part->error.status != LATHE_OK) {
            lathe_part_explain(part, err);
            return part->error.status;
        }
        status = lathe_part_decode(request, part, &lathe__shard__points__descriptor, &message, err);
        if (status != LATHE_OK)
            return status;
        (*points_out)[i] = (const Lathe__Shard__Points *)message;
        (*blocks_out)[i] = part->reply.block;
        status = lathe_points_check((*points_out)[i], part->reply.block, request->collection, err);
        if (status == LATHE_OK)
            status = lathe_group_check(group, i, (*points_out)[i], err);
    }
    return status;
}

/* One part a share, asking for its ids. */
static enum lathe_status points_ask(struct search_request *search, const struct lathe_group *group,
                                    const struct lathe_selection *selection,
                                    enum lathe_frame_kind kind, struct lathe_error *err)
{
    struct lathe_request *request = &search->base;
    Lathe__Shard__Fetch fetch = LATHE__SHARD__FETCH__INIT;
    Lathe__Shard__Get get = LATHE__SHARD__GET__INIT;
    const ProtobufCMessage *body = kind == LATHE_FRAME_GET ? &get.base : &fetch.base;
    enum lathe_status status = LATHE_OK;

    if (!lathe_scatter_reset(&request->scatter, group->share_count))
        return lathe_request_no_memory(err);
    lathe_fetch_select(&fetch, selection);
    get.fetch = &fetch;
    for (size_t i = 0; status == LATHE_OK && i < group->share_count; i++) {
        struct lathe_buf idkeys = {0};

        lathe_group_idkeys(group, i, &idkeys);
        fetch.idkeys.data = idkeys.data;
        fetch.idkeys.len = idkeys.size;
        if (idkeys.failed)
            status = lathe_request_no_memory(err);
        else
            status = lathe_request_ask(request, &request->scatter.parts[i], group->shares[i].shard,
                                       kind, body, NULL, err);
        lathe_buf_fini(&idkeys);
    }
    return status;
}

static enum lathe_status no_missing(const struct lathe_search_plan *plan, struct lathe_error *err)
{
    for (size_t i = 0; i < plan->points.share_count; i++) {
        for (size_t j = 0; j < plan->shares[i]->n_data; j++) {
            if (plan->shares[i]->data[j]->missing)
                return lathe_fail(err, LATHE_INTERNAL,
                                  "shard %u no longer has a point that it found",
                                  plan->points.shares[i].shard);
        }
    }
    return LATHE_OK;
}

static void fetch_settled(struct lathe_request *request)
{
    struct search_request *search = (struct search_request *)request;
    struct lathe_error err = {0};
    enum lathe_status status;

    for (size_t i = 0; i < request->scatter.part_count; i++) {
        const struct lathe_part *part = &request->scatter.parts[i];

        if (part->error.status == LATHE_OK)
            search->held[part->shard] = false; /* an answered FETCH ends the hold */
    }
    status = points_read(search, &search->plan.points, &search->plan.shares, &search->plan.blocks,
                         &err);
    if (status == LATHE_OK)
        status = no_missing(&search->plan, &err);
    if (status == LATHE_OK)
        reply_send(search);
    else
        search_fail(search, &err);
}

static void fetch_start(struct search_request *search)
{
    struct lathe_request *request = &search->base;
    struct lathe_search_plan *plan = &search->plan;
    struct lathe_error err = {0};
    enum lathe_status status = lathe_search_collect(plan, &err);

    if (status == LATHE_OK && plan->points.count == 0) {
        reply_send(search);
        return;
    }
    if (status == LATHE_OK)
        status = points_ask(search, &plan->points, &plan->selection, LATHE_FRAME_FETCH, &err);
    request->scatter.hold_request_id = search->held_id;
    if (status == LATHE_OK)
        status = lathe_request_submit(request, fetch_settled, &err);
    if (status != LATHE_OK)
        search_fail(search, &err);
}

/* ---- Phase: SEARCH -----------------------------------------------------------------------------
 */

/* Decodes one answer, or leaves its shard out where that is allowed. */
static enum lathe_status answer_read(struct search_request *search, const struct lathe_part *part,
                                     struct lathe_error *err)
{
    struct lathe_search_plan *plan = &search->plan;
    struct lathe_search_answer *answer = &plan->answers[part->shard];
    ProtobufCMessage *message;
    enum lathe_status status;

    *answer = (struct lathe_search_answer){.shard = part->shard};
    if (part->error.status != LATHE_OK) {
        lathe_part_explain(part, err);
        return plan->allow_partial && part->error.status == LATHE_UNAVAILABLE ? LATHE_OK
                                                                              : part->error.status;
    }
    status = lathe_part_decode(&search->base, part, &lathe__shard__search_reply__descriptor,
                               &message, err);
    if (status == LATHE_OK)
        status = lathe_search_reply_check(plan, part->shard,
                                          (const Lathe__Shard__SearchReply *)message, err);
    if (status == LATHE_OK)
        answer->reply = (const Lathe__Shard__SearchReply *)message;
    return status;
}

static enum lathe_status answers_read(struct search_request *search, struct lathe_error *err)
{
    struct lathe_request *request = &search->base;
    enum lathe_status status = LATHE_OK;
    bool answered = false;

    for (size_t i = 0; status == LATHE_OK && i < request->scatter.part_count; i++) {
        status = answer_read(search, &request->scatter.parts[i], err);
        answered = answered || request->scatter.parts[i].error.status == LATHE_OK;
    }
    /* No shard at all: the last one's failure. */
    return status == LATHE_OK && !answered ? err->status : status;
}

static void search_settled(struct lathe_request *request)
{
    struct search_request *search = (struct search_request *)request;
    struct lathe_search_plan *plan = &search->plan;
    struct lathe_error err = {0};
    enum lathe_status status;

    search->held_id = request->scatter.request_id;
    for (size_t i = 0; i < request->scatter.part_count; i++) {
        const struct lathe_part *part = &request->scatter.parts[i];

        search->held[part->shard] = plan->selects && part->error.status == LATHE_OK;
    }
    status = answers_read(search, &err);
    if (status == LATHE_OK)
        status = lathe_search_merge(plan, &err);
    if (status == LATHE_OK)
        status = lathe_search_size_check(plan, &err);
    if (status != LATHE_OK)
        search_fail(search, &err);
    else if (plan->selects)
        fetch_start(search);
    else
        reply_send(search);
}

/* When a partial answer is made of what is there, so that it still reaches the caller in time; 0:
 * never. */
static uint64_t give_up_time(const struct search_request *search)
{
    uint64_t deadline_us = search->base.scatter.deadline_us;
    uint64_t now_us = lathe_now_us(search->base.api->clock);
    uint64_t spare_us;

    if (!search->plan.allow_partial || deadline_us == UINT64_MAX || deadline_us <= now_us)
        return 0;
    spare_us = (deadline_us - now_us) / PARTIAL_SPARE_SHARE;
    return deadline_us - (spare_us < PARTIAL_SPARE_MAX_US ? spare_us : PARTIAL_SPARE_MAX_US);
}

/* One part for each shard, all with copies of the same bytes. */
static bool search_parts(struct search_request *search, const struct lathe_buf *body,
                         const struct lathe_buf *block)
{
    struct lathe_request *request = &search->base;
    const struct lathe_frame_header header = lathe_request_header(request, LATHE_FRAME_SEARCH);
    bool made = !body->failed && !block->failed &&
                lathe_scatter_reset(&request->scatter, search->shard_count);

    for (uint32_t shard = 0; made && shard < search->shard_count; shard++) {
        struct lathe_part *part = &request->scatter.parts[shard];
        struct lathe_buf copies[2] = {{0}, {0}};

        lathe_buf_append(&copies[0], body->data, body->size);
        lathe_buf_append(&copies[1], block->data, block->size);
        part->shard = shard;
        made = lathe_frame_make(&part->request, &header, &copies[0], &copies[1]);
    }
    return made;
}

static enum lathe_status search_ask(struct search_request *search, struct lathe_error *err)
{
    struct lathe_request *request = &search->base;
    struct lathe_buf body = {0};
    struct lathe_buf block = {0};
    bool made;

    lathe_search_body(&search->plan, &body, &block);
    made = search_parts(search, &body, &block);
    lathe_buf_fini(&body);
    lathe_buf_fini(&block);
    if (!made)
        return lathe_request_no_memory(err);
    request->scatter.give_up_us = give_up_time(search);
    return lathe_request_submit(request, search_settled, err);
}

/* ---- Phase: GET of the points that searches are like --------------------------------------------
 */

static void likes_settled(struct lathe_request *request)
{
    struct search_request *search = (struct search_request *)request;
    const Lathe__Shard__Points **points;
    struct lathe_bytes *blocks;
    struct lathe_error err = {0};
    enum lathe_status status = points_read(search, &search->likes, &points, &blocks, &err);

    if (status == LATHE_OK)
        status = lathe_search_resolve(&search->plan, &search->likes, points, blocks, &err);
    if (status == LATHE_OK)
        status = search_ask(search, &err);
    if (status != LATHE_OK)
        search_fail(search, &err);
}

/* ---- Arrival -----------------------------------------------------------------------------------
 */

static enum lathe_status search_start(struct search_request *search,
                                      Lathe__V1__SearchRequest *const *searches, size_t count,
                                      bool batch, struct lathe_error *err)
{
    struct lathe_request *request = &search->base;
    struct lathe_selection selection;
    enum lathe_status status;

    search->shard_count = lathe_engine_shard_count(request->api->engine);
    status = lathe_request_collection(request, batch ? "searches[0].collection" : "collection",
                                      searches[0]->collection, err);
    if (status == LATHE_OK)
        status = lathe_search_check(searches, count, batch, request->collection, &request->arena,
                                    &search->plan, err);
    if (status == LATHE_OK)
        status = lathe_search_likes(&search->plan, &search->likes, &selection, err);
    if (status != LATHE_OK)
        return status;
    search->plan.answer_count = search->shard_count;
    search->plan.answers = lathe_request_alloc(request, search->shard_count,
                                               sizeof(*search->plan.answers));
    if (search->plan.answers == NULL)
        return lathe_request_no_memory(err);
    if (search->likes.count == 0)
        return search_ask(search, err);
    status = points_ask(search, &search->likes, &selection, LATHE_FRAME_GET, err);
    return status == LATHE_OK ? lathe_request_submit(request, likes_settled, err) : status;
}

void lathe_api_search(void *context, struct lathe_call *call, struct lathe_bytes message)
{
    struct search_request *search = lathe_request_open(context, call, sizeof(*search),
                                                       message.size);
    struct lathe_error err = {0};
    ProtobufCMessage *in;
    enum lathe_status status;

    if (search == NULL)
        return;
    lathe_request_watch(&search->base);
    status = lathe_request_decode(&search->base, &lathe__v1__search_request__descriptor, message,
                                  &in, &err);
    if (status == LATHE_OK) {
        Lathe__V1__SearchRequest *one = (Lathe__V1__SearchRequest *)in;

        status = search_start(search, &one, 1, false, &err);
    }
    if (status != LATHE_OK)
        lathe_request_fail(&search->base, &err);
}

static enum lathe_status batch_check(const Lathe__V1__SearchBatchRequest *in,
                                     struct lathe_error *err)
{
    if (in->n_searches < 1 || in->n_searches > LATHE_MAX_BATCH_SEARCHES)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "searches",
                                "%zu searches are outside the limits of 1 to %u", in->n_searches,
                                LATHE_MAX_BATCH_SEARCHES);
    for (size_t i = 1; i < in->n_searches; i++) {
        if (strcmp(in->searches[i]->collection, in->searches[0]->collection) != 0) {
            enum lathe_status status = lathe_fail_field(
                err, LATHE_INVALID_ARGUMENT, "collection",
                "all searches of a batch have the collection of the first");

            lathe_error_in(err, "searches[%zu]", i);
            return status;
        }
    }
    return LATHE_OK;
}

void lathe_api_search_batch(void *context, struct lathe_call *call, struct lathe_bytes message)
{
    struct search_request *search = lathe_request_open(context, call, sizeof(*search),
                                                       message.size);
    struct lathe_error err = {0};
    const Lathe__V1__SearchBatchRequest *in;
    ProtobufCMessage *decoded;
    enum lathe_status status;

    if (search == NULL)
        return;
    lathe_request_watch(&search->base);
    status = lathe_request_decode(&search->base, &lathe__v1__search_batch_request__descriptor,
                                  message, &decoded, &err);
    in = (const Lathe__V1__SearchBatchRequest *)decoded;
    if (status == LATHE_OK)
        status = batch_check(in, &err);
    if (status == LATHE_OK)
        status = search_start(search, in->searches, in->n_searches, true, &err);
    if (status != LATHE_OK)
        lathe_request_fail(&search->base, &err);
}
