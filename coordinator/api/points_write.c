/* points_write.c - WritePoints, and what it shares with StreamWrites. */
#include "coordinator/api/points_write.h"

static void write_settled(struct lathe_request *request);

/* Builds one frame a share. */
static enum lathe_status frames_build(struct lathe_write *write, uint64_t wall_ms,
                                      struct lathe_error *err)
{
    struct lathe_request *request = &write->base;
    const struct lathe_write_plan *plan = &write->plan;
    const struct lathe_frame_header header = lathe_request_header(request, LATHE_FRAME_WRITE);

    write->answers = lathe_request_alloc(request, plan->share_count, sizeof(*write->answers));
    if (write->answers == NULL || !lathe_scatter_reset(&request->scatter, plan->share_count))
        return lathe_request_no_memory(err);
    for (size_t i = 0; i < plan->share_count; i++) {
        struct lathe_part *part = &request->scatter.parts[i];
        struct lathe_buf body = {0};
        struct lathe_buf block = {0};
        bool made;

        part->shard = plan->shares[i].shard;
        lathe_write_build(plan, i, wall_ms, &body, &block);
        made = !body.failed && !block.failed &&
               lathe_frame_make(&part->request, &header, &body, &block);
        lathe_buf_fini(&body);
        lathe_buf_fini(&block);
        if (!made)
            return lathe_request_no_memory(err);
    }
    return LATHE_OK;
}

enum lathe_status lathe_write_start(struct lathe_write *write, struct lathe_bytes message,
                                    struct lathe_error *err)
{
    struct lathe_request *request = &write->base;
    uint64_t wall_ms = lathe_wall_ms(request->api->clock);
    Lathe__V1__WritePointsRequest *in;
    ProtobufCMessage *decoded;
    enum lathe_status status;

    status = lathe_request_decode(request, &lathe__v1__write_points_request__descriptor, message,
                                  &decoded, err);
    if (status != LATHE_OK)
        return status;
    in = (Lathe__V1__WritePointsRequest *)decoded;
    write->request_number = in->request_number;
    status = lathe_request_collection(request, "collection", in->collection, err);
    if (status == LATHE_OK)
        status = lathe_write_check_header(in, err);
    if (status == LATHE_OK)
        status = lathe_write_check(in, request->collection, request->api->max_payload_bytes,
                                   wall_ms, &request->arena, &write->plan, err);
    if (status == LATHE_OK)
        status = frames_build(write, wall_ms, err);
    if (status == LATHE_OK)
        status = lathe_request_submit(request, write_settled, err);
    return status;
}

static void answer_read(struct lathe_write *write, size_t share)
{
    struct lathe_write_answer *answer = &write->answers[share];
    const struct lathe_part *part = &write->base.scatter.parts[share];
    ProtobufCMessage *reply;
    enum lathe_status status;

    if (part->error.status != LATHE_OK) {
        lathe_part_explain(part, &answer->error);
        return;
    }
    status = lathe_part_decode(&write->base, part, &lathe__shard__write_reply__descriptor, &reply,
                               &answer->error);
    if (status == LATHE_OK)
        status = lathe_write_reply_check(&write->plan.shares[share],
                                         (const Lathe__Shard__WriteReply *)reply, &answer->error);
    if (status == LATHE_OK)
        answer->reply = (const Lathe__Shard__WriteReply *)reply;
    else if (answer->error.status == LATHE_RESOURCE_EXHAUSTED)
        answer->error.status = LATHE_UNKNOWN; /* the shard did it; only its answer was lost here */
}

static void write_settled(struct lathe_request *request)
{
    struct lathe_write *write = (struct lathe_write *)request;
    struct lathe_buf reply = {0};
    struct lathe_error err;
    bool failed;

    for (size_t i = 0; i < write->plan.share_count; i++)
        answer_read(write, i);
    failed = lathe_write_failed(&write->plan, write->answers, &err);
    lathe_write_respond(&write->plan, write->answers, &err, &reply);
    if (!failed)
        err = (struct lathe_error){0};
    write->end(write, &err, &reply);
    lathe_buf_fini(&reply);
}

static void unary_end(struct lathe_write *write, const struct lathe_error *err,
                      struct lathe_buf *reply)
{
    if (err->status == LATHE_OK)
        lathe_request_reply(&write->base, reply);
    else
        lathe_request_fail(&write->base, err);
}

void lathe_api_write_points(void *context, struct lathe_call *call, struct lathe_bytes message)
{
    struct lathe_error err = {0};
    struct lathe_write *write = lathe_request_open(context, call, sizeof(struct lathe_write),
                                                   message.size);

    if (write == NULL)
        return;
    write->end = unary_end;
    lathe_request_watch(&write->base);
    if (lathe_write_start(write, message, &err) != LATHE_OK)
        lathe_request_fail(&write->base, &err);
}
