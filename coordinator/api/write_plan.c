/* write_plan.c - the second half of write_plan.h: frames for shards, results from their answers. */
#include "coordinator/api/write_plan.h"

#include "common/base/check.h"
#include "common/base/hash.h"
#include "coordinator/api/check.h"
#include "coordinator/api/convert.h"

/* ---- Frames ---------------------------------------------------------------------------------- */

/* An operation as it goes to a shard, with room for what it points at. */
struct outgoing {
    Lathe__Shard__Operation message;
    Lathe__Shard__VectorRef refs[LATHE_MAX_FIELDS];
    Lathe__Shard__VectorRef *ref_list[LATHE_MAX_FIELDS];
    uint32_t fields[LATHE_MAX_FIELDS];
    ProtobufCBinaryData *keys; /* of DeletePayloadKeys; `keys_buf` holds them */
    struct lathe_buf keys_buf;
    struct lathe_buf payload;
};

/* Vectors were checked, so that looking them up again cannot fail. */
static void add_vectors(struct outgoing *out, const struct lathe_collection *collection,
                        size_t count, Lathe__V1__NamedVector *const *vectors,
                        struct lathe_buf *block)
{
    for (size_t i = 0; i < count; i++) {
        const struct lathe_field *field = lathe_collection_field(collection, vectors[i]->field);
        const Lathe__V1__Vector *dense = vectors[i]->dense;
        struct lathe_bytes elements = dense->data.len > 0
                                          ? lathe_bytes_of(dense->data.data, dense->data.len)
                                          : lathe_bytes_of(dense->values,
                                                           dense->n_values * sizeof(float));

        LATHE_REQUIRE(field != NULL);
        lathe__shard__vector_ref__init(&out->refs[i]);
        out->refs[i].field = lathe_collection_field_number(collection, field);
        out->refs[i].offset = block->size;
        out->refs[i].size = (uint32_t)elements.size;
        out->ref_list[i] = &out->refs[i];
        lathe_buf_append(block, elements.data, elements.size);
    }
    out->message.n_vectors = count;
    out->message.vectors = out->ref_list;
}

static void add_payload(struct outgoing *out, const Lathe__V1__Object *payload)
{
    if (payload == NULL)
        return;
    lathe_message_encode(&payload->base, &out->payload);
    out->message.payload.data = out->payload.data;
    out->message.payload.len = out->payload.size;
}

static void add_keys(struct outgoing *out, const Lathe__V1__DeletePayloadKeys *operation)
{
    uint8_t *room = lathe_buf_extend(&out->keys_buf, operation->n_keys * sizeof(*out->keys));

    if (room == NULL)
        return;
    out->keys = (ProtobufCBinaryData *)(void *)room;
    for (size_t i = 0; i < operation->n_keys; i++) {
        out->keys[i].data = (uint8_t *)operation->keys[i];
        out->keys[i].len = strlen(operation->keys[i]);
    }
    out->message.n_keys = operation->n_keys;
    out->message.keys = out->keys;
}

static void add_fields(struct outgoing *out, const struct lathe_collection *collection,
                       const Lathe__V1__DeleteVectors *operation)
{
    for (size_t i = 0; i < operation->n_fields; i++) {
        const struct lathe_field *field = lathe_collection_field(collection, operation->fields[i]);

        LATHE_REQUIRE(field != NULL);
        out->fields[i] = lathe_collection_field_number(collection, field);
    }
    out->message.n_fields = operation->n_fields;
    out->message.fields = out->fields;
}

static void outgoing_fill(struct outgoing *out, const struct lathe_collection *collection,
                          const Lathe__V1__WriteOperation *operation, struct lathe_buf *block)
{
    Lathe__Shard__Operation *message = &out->message;

    switch (operation->operation_case) {
    case LATHE__V1__WRITE_OPERATION__OPERATION_UPSERT:
        message->kind = LATHE__SHARD__OPERATION_KIND__UPSERT;
        add_vectors(out, collection, operation->upsert->n_vectors, operation->upsert->vectors,
                    block);
        add_payload(out, operation->upsert->payload);
        return;
    case LATHE__V1__WRITE_OPERATION__OPERATION_DELETE:
        message->kind = LATHE__SHARD__OPERATION_KIND__DELETE;
        return;
    case LATHE__V1__WRITE_OPERATION__OPERATION_SET_PAYLOAD:
        message->kind = LATHE__SHARD__OPERATION_KIND__SET_PAYLOAD;
        add_payload(out, operation->set_payload->payload);
        return;
    case LATHE__V1__WRITE_OPERATION__OPERATION_OVERWRITE_PAYLOAD:
        message->kind = LATHE__SHARD__OPERATION_KIND__OVERWRITE_PAYLOAD;
        add_payload(out, operation->overwrite_payload->payload);
        return;
    case LATHE__V1__WRITE_OPERATION__OPERATION_DELETE_PAYLOAD_KEYS:
        message->kind = LATHE__SHARD__OPERATION_KIND__DELETE_PAYLOAD_KEYS;
        add_keys(out, operation->delete_payload_keys);
        return;
    case LATHE__V1__WRITE_OPERATION__OPERATION_CLEAR_PAYLOAD:
        message->kind = LATHE__SHARD__OPERATION_KIND__CLEAR_PAYLOAD;
        return;
    case LATHE__V1__WRITE_OPERATION__OPERATION_SET_VECTORS:
        message->kind = LATHE__SHARD__OPERATION_KIND__SET_VECTORS;
        add_vectors(out, collection, operation->set_vectors->n_vectors,
                    operation->set_vectors->vectors, block);
        return;
    case LATHE__V1__WRITE_OPERATION__OPERATION_DELETE_VECTORS:
        message->kind = LATHE__SHARD__OPERATION_KIND__DELETE_VECTORS;
        add_fields(out, collection, operation->delete_vectors);
        return;
    default:
        LATHE_UNREACHABLE(); /* lathe_write_check() let nothing else through */
    }
}

/* Appends one operation; repeated fields of messages written one after another add up. */
static void operation_append(const struct lathe_write_plan *plan, size_t index,
                             struct outgoing *out, struct lathe_buf *body, struct lathe_buf *block)
{
    const Lathe__V1__WriteOperation *operation = plan->request->operations[index];
    const struct lathe_write_op *op = &plan->ops[index];
    Lathe__Shard__Operation *list[1] = {&out->message};
    Lathe__Shard__Write write = LATHE__SHARD__WRITE__INIT;

    lathe__shard__operation__init(&out->message);
    lathe_buf_clear(&out->payload);
    lathe_buf_clear(&out->keys_buf);
    out->message.mode = (uint32_t)operation->mode;
    out->message.if_version = operation->if_version;
    out->message.idkey.data = (uint8_t *)(uintptr_t)op->id.bytes;
    out->message.idkey.len = op->id.size;
    outgoing_fill(out, plan->collection, operation, block);
    write.n_operations = 1;
    write.operations = list;
    lathe_message_encode(&write.base, body);
    body->failed = body->failed || out->payload.failed || out->keys_buf.failed;
}

/* Who asks and when, after the operations whose digest it carries. */
static void header_append(const struct lathe_write_plan *plan, uint64_t wall_ms,
                          struct lathe_buf *body, const struct lathe_buf *block)
{
    uint8_t digest[LATHE_DIGEST_BYTES];
    uint8_t collection[4];
    Lathe__Shard__Write write = LATHE__SHARD__WRITE__INIT;

    lathe_put_u32be(collection, plan->collection->id);
    lathe_digest((struct lathe_bytes[]){lathe_bytes_of(collection, sizeof(collection)),
                                        lathe_buf_view(body), lathe_buf_view(block)},
                 3, digest);
    write.client_id = plan->request->client_id;
    write.request_number = plan->request->request_number;
    write.digest.data = digest;
    write.digest.len = sizeof(digest);
    write.time_ms = wall_ms;
    lathe_message_encode(&write.base, body);
}

void lathe_write_build(const struct lathe_write_plan *plan, size_t share, uint64_t wall_ms,
                       struct lathe_buf *body, struct lathe_buf *block)
{
    struct outgoing out = {0};

    /* Room at once: a block that grows step by step would be copied over and over. */
    (void)lathe_buf_extend(block, plan->shares[share].vector_bytes);
    lathe_buf_clear(block);
    for (size_t i = 0; i < plan->op_count && !body->failed && !block->failed; i++) {
        if (plan->ops[i].share == share)
            operation_append(plan, i, &out, body, block);
    }
    lathe_buf_fini(&out.payload);
    lathe_buf_fini(&out.keys_buf);
    if (!body->failed && !block->failed)
        header_append(plan, wall_ms, body, block);
}

/* ---- Results --------------------------------------------------------------------------------- */

enum lathe_status lathe_write_reply_check(const struct lathe_write_share *share,
                                          const Lathe__Shard__WriteReply *reply,
                                          struct lathe_error *err)
{
    if (reply->n_outcomes != share->op_count || reply->n_versions != share->op_count)
        return lathe_fail(err, LATHE_INTERNAL,
                          "shard %u answered %u operations with %zu outcomes and %zu versions",
                          share->shard, share->op_count, reply->n_outcomes, reply->n_versions);
    for (size_t i = 0; i < reply->n_outcomes; i++) {
        if (reply->outcomes[i] < LATHE__V1__OUTCOME__OUTCOME_APPLIED ||
            reply->outcomes[i] > LATHE__V1__OUTCOME__OUTCOME_UNKNOWN)
            return lathe_fail(err, LATHE_INTERNAL, "shard %u sent an outcome numbered %u",
                              share->shard, reply->outcomes[i]);
    }
    return LATHE_OK;
}

bool lathe_write_may_be_applied(enum lathe_status status)
{
    switch (status) {
    case LATHE_CANCELLED:
    case LATHE_UNKNOWN:
    case LATHE_DEADLINE_EXCEEDED:
    case LATHE_UNAVAILABLE:
    case LATHE_INTERNAL:
    case LATHE_DATA_LOSS:
        return true; /* no answer, or none that says what was done */
    default:
        return false; /* the shard's own refusal */
    }
}

bool lathe_write_failed(const struct lathe_write_plan *plan,
                        const struct lathe_write_answer *answers, struct lathe_error *err_out)
{
    bool same = true;

    *err_out = (struct lathe_error){0};
    for (size_t i = 0; i < plan->share_count; i++) {
        if (err_out->status == LATHE_OK)
            *err_out = answers[i].error;
        same = same && answers[i].error.status == answers[0].error.status;
    }
    return same && err_out->status != LATHE_OK;
}

enum {
    RESPONSE_REQUEST_NUMBER = 1,
    RESPONSE_RESULTS = 2,
    RESPONSE_STATUS = 3,
    RESPONSE_MESSAGE = 4,
    RESPONSE_FIELD = 5,
    RESPONSE_RETRY_AFTER = 6,
    RESPONSE_REPEATED = 7,
    RESULT_OUTCOME = 1,
    RESULT_VERSION = 2,
    RESULT_ID = 3
};

struct result {
    uint32_t outcome;
    uint64_t version;
    const struct lathe_idkey *made_id; /* NULL: the client knows it */
};

static void wire_result(struct lathe_wire *wire, const void *source)
{
    const struct result *result = source;

    lathe_wire_uint_set(wire, RESULT_OUTCOME, result->outcome);
    lathe_wire_uint_set(wire, RESULT_VERSION, result->version);
    if (result->made_id != NULL) {
        struct lathe_bytes idkey = lathe_idkey_view(result->made_id);

        lathe_wire_message(wire, RESULT_ID, lathe_wire_id, &idkey);
    }
}

static struct result result_of(const struct lathe_write_answer *answer, uint32_t index)
{
    if (answer->error.status == LATHE_OK)
        return (struct result){answer->reply->outcomes[index], answer->reply->versions[index],
                               NULL};
    if (lathe_write_may_be_applied(answer->error.status))
        return (struct result){LATHE__V1__OUTCOME__OUTCOME_UNKNOWN, 0, NULL};
    return (struct result){LATHE__V1__OUTCOME__OUTCOME_REJECTED, 0, NULL};
}

static void wire_failure(struct lathe_wire *wire, const struct lathe_error *err)
{
    lathe_wire_uint_set(wire, RESPONSE_STATUS, (uint64_t)err->status);
    if (err->status == LATHE_OK)
        return;
    lathe_wire_string_set(wire, RESPONSE_MESSAGE, err->message);
    lathe_wire_string_set(wire, RESPONSE_FIELD, err->field);
    lathe_wire_uint_set(wire, RESPONSE_RETRY_AFTER, err->retry_after_ms);
}

void lathe_write_respond(const struct lathe_write_plan *plan,
                         const struct lathe_write_answer *answers, const struct lathe_error *err,
                         struct lathe_buf *reply)
{
    struct lathe_wire wire = {reply, 0};
    uint32_t next[LATHE_MAX_SHARDS] = {0}; /* within each share */
    bool repeated = true;

    lathe_wire_uint_set(&wire, RESPONSE_REQUEST_NUMBER, plan->request->request_number);
    for (size_t i = 0; i < plan->op_count; i++) {
        const struct lathe_write_op *op = &plan->ops[i];
        struct result result = result_of(&answers[op->share], next[op->share]++);

        result.made_id = op->id_is_made ? &op->id : NULL;
        lathe_wire_message(&wire, RESPONSE_RESULTS, wire_result, &result);
    }
    wire_failure(&wire, err);
    for (size_t i = 0; i < plan->share_count; i++)
        repeated = repeated && answers[i].error.status == LATHE_OK &&
                   answers[i].reply->repeated_request;
    lathe_wire_uint_set(&wire, RESPONSE_REPEATED, repeated);
}

void lathe_write_respond_failure(uint64_t request_number, const struct lathe_error *err,
                                 struct lathe_buf *reply)
{
    struct lathe_wire wire = {reply, 0};

    lathe_wire_uint_set(&wire, RESPONSE_REQUEST_NUMBER, request_number);
    wire_failure(&wire, err);
}
