/* write_check.c - the first half of write_plan.h: checks and grouping. */
#include "coordinator/api/check.h"
#include "coordinator/api/write_plan.h"

/* What the check of one operation needs. */
struct scope {
    const struct lathe_collection *collection;
    uint64_t max_payload_bytes;
    uint64_t vector_bytes; /* of the operation */
};

enum lathe_status lathe_write_check_header(const Lathe__V1__WritePointsRequest *request,
                                           struct lathe_error *err)
{
    const uint8_t *id = request->client_id.data;

    if (request->client_id.len != 0 && request->client_id.len != 16)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "client_id",
                                "a client id has 16 bytes, not %zu", request->client_id.len);
    if (request->client_id.len == 16 && (id[6] >> 4 != 7 || id[8] >> 6 != 2))
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "client_id",
                                "a client id is a UUID of version 7, which this is not");
    if (request->client_id.len == 16 && request->request_number == 0)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "request_number",
                                "with a client id, requests are numbered from 1; this is 0");
    if (request->n_operations < 1 || request->n_operations > LATHE_MAX_OPERATIONS)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "operations",
                                "%zu operations are outside the limits of 1 to %u",
                                request->n_operations, LATHE_MAX_OPERATIONS);
    return LATHE_OK;
}

static enum lathe_status vector_check(struct scope *scope, const Lathe__V1__NamedVector *vector,
                                      uint32_t *seen, struct lathe_error *err)
{
    const struct lathe_field *field;
    struct lathe_bytes elements;
    enum lathe_status status = lathe_check_field(scope->collection, vector->field, &field, err);
    uint32_t bit;

    if (status != LATHE_OK)
        return status;
    bit = 1u << lathe_collection_field_number(scope->collection, field);
    if ((*seen & bit) != 0)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "field",
                                "field \"%s\" has a vector already", field->name);
    *seen |= bit;
    switch (vector->kind_case) {
    case LATHE__V1__NAMED_VECTOR__KIND_DENSE:
        status = lathe_check_stored_vector(vector->dense, field, &elements, err);
        if (status != LATHE_OK)
            lathe_error_in(err, "dense");
        else
            scope->vector_bytes += elements.size;
        return status;
    case LATHE__V1__NAMED_VECTOR__KIND_SPARSE:
        return lathe_fail_field(err, LATHE_UNIMPLEMENTED, "sparse",
                                "sparse vectors are not served by this version");
    case LATHE__V1__NAMED_VECTOR__KIND_MULTI:
        return lathe_fail_field(err, LATHE_UNIMPLEMENTED, "multi",
                                "multi-vectors are not served by this version");
    default:
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "", "a vector must have a kind");
    }
}

static enum lathe_status vectors_check(struct scope *scope, size_t count,
                                       Lathe__V1__NamedVector *const *vectors,
                                       struct lathe_error *err)
{
    uint32_t seen = 0;

    for (size_t i = 0; i < count; i++) {
        enum lathe_status status = vector_check(scope, vectors[i], &seen, err);

        if (status != LATHE_OK) {
            lathe_error_in(err, "vectors[%zu]", i);
            return status;
        }
    }
    return LATHE_OK;
}

static enum lathe_status payload_check(const struct scope *scope, Lathe__V1__Object *payload,
                                       bool required, struct lathe_error *err)
{
    if (payload != NULL)
        return lathe_check_payload(payload, scope->max_payload_bytes, err);
    if (required)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "payload", "a payload is missing");
    return LATHE_OK;
}

static enum lathe_status field_names_check(const struct scope *scope,
                                           const Lathe__V1__DeleteVectors *operation,
                                           struct lathe_error *err)
{
    uint32_t seen = 0;

    if (operation->n_fields == 0)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "fields", "no field is named");
    for (size_t i = 0; i < operation->n_fields; i++) {
        const struct lathe_field *field;
        enum lathe_status status = lathe_check_field(scope->collection, operation->fields[i],
                                                     &field, err);

        if (status == LATHE_OK) {
            uint32_t bit = 1u << lathe_collection_field_number(scope->collection, field);

            if ((seen & bit) != 0)
                status = lathe_fail(err, LATHE_INVALID_ARGUMENT, "field \"%s\" is named twice",
                                    field->name);
            seen |= bit;
        }
        if (status != LATHE_OK) {
            if (err != NULL)
                err->field[0] = '\0';
            lathe_error_in(err, "fields[%zu]", i);
            return status;
        }
    }
    return LATHE_OK;
}

/* An id, and where it may be missing, none (size 0). */
static enum lathe_status id_check(const Lathe__V1__PointId *id, bool required,
                                  struct lathe_idkey *key_out, struct lathe_error *err)
{
    enum lathe_status status;

    key_out->size = 0;
    if (id == NULL && !required)
        return LATHE_OK;
    status = lathe_check_id(id, key_out, err);
    if (status != LATHE_OK)
        lathe_error_in(err, "id");
    return status;
}

static enum lathe_status upsert_check(struct scope *scope, const Lathe__V1__UpsertPoint *upsert,
                                      struct lathe_idkey *id_out, struct lathe_error *err)
{
    enum lathe_status status = id_check(upsert->id, false, id_out, err);

    if (status == LATHE_OK)
        status = vectors_check(scope, upsert->n_vectors, upsert->vectors, err);
    if (status == LATHE_OK)
        status = payload_check(scope, upsert->payload, false, err);
    return status;
}

static enum lathe_status set_vectors_check(struct scope *scope, const Lathe__V1__SetVectors *set,
                                           struct lathe_idkey *id_out, struct lathe_error *err)
{
    enum lathe_status status = id_check(set->id, true, id_out, err);

    if (status == LATHE_OK && set->n_vectors == 0)
        status = lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "vectors", "no vector is given");
    if (status == LATHE_OK)
        status = vectors_check(scope, set->n_vectors, set->vectors, err);
    return status;
}

static enum lathe_status delete_keys_check(const Lathe__V1__DeletePayloadKeys *operation,
                                           struct lathe_idkey *id_out, struct lathe_error *err)
{
    enum lathe_status status = id_check(operation->id, true, id_out, err);

    if (status == LATHE_OK && operation->n_keys == 0)
        status = lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "keys", "no key is named");
    return status;
}

static enum lathe_status payload_op_check(const struct scope *scope, const Lathe__V1__PointId *id,
                                          Lathe__V1__Object *payload, struct lathe_idkey *id_out,
                                          struct lathe_error *err)
{
    enum lathe_status status = id_check(id, true, id_out, err);

    return status == LATHE_OK ? payload_check(scope, payload, true, err) : status;
}

/* Checks what is special to the kind; *name_out is its field in WriteOperation. */
static enum lathe_status kind_check(struct scope *scope, Lathe__V1__WriteOperation *operation,
                                    struct lathe_idkey *id_out, const char **name_out,
                                    struct lathe_error *err)
{
    enum lathe_status status;

    switch (operation->operation_case) {
    case LATHE__V1__WRITE_OPERATION__OPERATION_UPSERT:
        *name_out = "upsert";
        return upsert_check(scope, operation->upsert, id_out, err);
    case LATHE__V1__WRITE_OPERATION__OPERATION_DELETE:
        *name_out = "delete";
        return id_check(operation->delete_->id, true, id_out, err);
    case LATHE__V1__WRITE_OPERATION__OPERATION_SET_PAYLOAD:
        *name_out = "set_payload";
        return payload_op_check(scope, operation->set_payload->id, operation->set_payload->payload,
                                id_out, err);
    case LATHE__V1__WRITE_OPERATION__OPERATION_OVERWRITE_PAYLOAD:
        *name_out = "overwrite_payload";
        return payload_op_check(scope, operation->overwrite_payload->id,
                                operation->overwrite_payload->payload, id_out, err);
    case LATHE__V1__WRITE_OPERATION__OPERATION_DELETE_PAYLOAD_KEYS:
        *name_out = "delete_payload_keys";
        return delete_keys_check(operation->delete_payload_keys, id_out, err);
    case LATHE__V1__WRITE_OPERATION__OPERATION_CLEAR_PAYLOAD:
        *name_out = "clear_payload";
        return id_check(operation->clear_payload->id, true, id_out, err);
    case LATHE__V1__WRITE_OPERATION__OPERATION_SET_VECTORS:
        *name_out = "set_vectors";
        return set_vectors_check(scope, operation->set_vectors, id_out, err);
    case LATHE__V1__WRITE_OPERATION__OPERATION_DELETE_VECTORS:
        *name_out = "delete_vectors";
        status = id_check(operation->delete_vectors->id, true, id_out, err);
        return status == LATHE_OK ? field_names_check(scope, operation->delete_vectors, err)
                                  : status;
    case LATHE__V1__WRITE_OPERATION__OPERATION_DELETE_BY_FILTER:
        *name_out = "delete_by_filter";
        return lathe_fail(err, LATHE_UNIMPLEMENTED,
                          "deleting by filter is not served by this version");
    default:
        *name_out = "";
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "an operation must have a kind");
    }
}

static enum lathe_status mode_check(const Lathe__V1__WriteOperation *operation,
                                    struct lathe_error *err)
{
    if ((int)operation->mode < LATHE__V1__WRITE_MODE__WRITE_MODE_UPSERT ||
        (int)operation->mode > LATHE__V1__WRITE_MODE__WRITE_MODE_UPDATE_ONLY)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "mode", "there is no write mode %d",
                                (int)operation->mode);
    if (operation->mode == LATHE__V1__WRITE_MODE__WRITE_MODE_INSERT_ONLY &&
        operation->operation_case != LATHE__V1__WRITE_OPERATION__OPERATION_UPSERT)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "mode",
                                "INSERT_ONLY is a mode of upserts alone: the others act on points "
                                "that exist");
    return LATHE_OK;
}

static enum lathe_status operation_check(struct scope *scope, Lathe__V1__WriteOperation *operation,
                                         struct lathe_idkey *id_out, struct lathe_error *err)
{
    const char *name = "";
    enum lathe_status status = kind_check(scope, operation, id_out, &name, err);

    if (status != LATHE_OK) {
        if (name[0] != '\0')
            lathe_error_in(err, "%s", name);
        return status;
    }
    return mode_check(operation, err);
}

/* The share of a shard, made when it is first needed. */
static uint16_t share_of(struct lathe_write_plan *plan, uint16_t *by_shard, uint32_t shard)
{
    if (by_shard[shard] == 0) {
        plan->shares[plan->share_count] = (struct lathe_write_share){.shard = shard};
        by_shard[shard] = (uint16_t)++plan->share_count;
    }
    return (uint16_t)(by_shard[shard] - 1);
}

enum lathe_status lathe_write_check(Lathe__V1__WritePointsRequest *request,
                                    const struct lathe_collection *collection,
                                    uint64_t max_payload_bytes, uint64_t wall_ms,
                                    struct lathe_arena *arena, struct lathe_write_plan *plan_out,
                                    struct lathe_error *err)
{
    struct scope scope = {.collection = collection, .max_payload_bytes = max_payload_bytes};
    uint16_t by_shard[LATHE_MAX_SHARDS] = {0}; /* share index + 1; 0 = none yet */
    struct lathe_write_plan plan = {.request = request, .collection = collection};
    uint8_t maker[16];

    plan.op_count = request->n_operations;
    plan.ops = lathe_arena_alloc(arena, plan.op_count * sizeof(*plan.ops));
    plan.shares = lathe_arena_alloc(arena, collection->slots.shard_count * sizeof(*plan.shares));
    if (plan.ops == NULL || plan.shares == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED,
                          "the server has no memory for this request");
    /* Without a client id nobody can repeat the request, so any fresh maker of ids will do. */
    if (request->client_id.len == sizeof(maker))
        memcpy(maker, request->client_id.data, sizeof(maker));
    else
        lathe_uuid_new(wall_ms, maker);
    for (size_t i = 0; i < plan.op_count; i++) {
        struct lathe_write_op *op = &plan.ops[i];
        struct lathe_write_share *share;
        enum lathe_status status;

        scope.vector_bytes = 0;
        status = operation_check(&scope, request->operations[i], &op->id, err);
        if (status != LATHE_OK) {
            lathe_error_in(err, "operations[%zu]", i);
            return status;
        }
        op->id_is_made = op->id.size == 0;
        if (op->id_is_made) {
            uint8_t uuid[16];

            lathe_uuid_derive(maker, request->request_number, (uint32_t)i, uuid);
            op->id = lathe_idkey_uuid(uuid);
        }
        op->share = share_of(&plan, by_shard,
                             lathe_collection_shard_of(collection, lathe_idkey_view(&op->id)));
        share = &plan.shares[op->share];
        share->op_count++;
        share->vector_bytes += scope.vector_bytes;
    }
    *plan_out = plan;
    return LATHE_OK;
}
