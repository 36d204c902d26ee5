/* operation.c - see operation.h. */
#include "shard/write/operation.h"

#include "common/base/mem.h"
#include "common/vec/types.h"
#include "shard/write/payload.h"

static struct lathe_bytes view(ProtobufCBinaryData data)
{
    return lathe_bytes_of(data.data, data.len);
}

static enum lathe_status vector_check(const struct lathe_shard_collection *collection,
                                      const Lathe__Shard__VectorRef *ref, struct lathe_bytes block,
                                      struct lathe_error *err)
{
    const struct lathe_field *field;

    if (ref->field >= collection->field_count)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "vectors", "field %u, there are %u",
                                ref->field, collection->field_count);
    field = &collection->fields[ref->field];
    if (ref->size != field->vector_bytes || ref->offset % sizeof(float) != 0 ||
        ref->offset > block.size || ref->size > block.size - ref->offset)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "vectors",
                                "%u bytes at %llu of a block of %zu, a vector has %zu bytes",
                                ref->size, (unsigned long long)ref->offset, block.size,
                                field->vector_bytes);
    return lathe_vector_check_f32((const float *)(const void *)(block.data + ref->offset),
                                  field->dims, field->metric, field->allow_zero, err);
}

static enum lathe_status vectors_check(const struct lathe_shard_collection *collection,
                                       const Lathe__Shard__Operation *operation,
                                       struct lathe_bytes block, struct lathe_error *err)
{
    uint32_t seen = 0;

    for (size_t i = 0; i < operation->n_vectors; i++) {
        const Lathe__Shard__VectorRef *ref = operation->vectors[i];
        enum lathe_status rc = vector_check(collection, ref, block, err);

        if (rc != LATHE_OK)
            return rc;
        if ((seen >> ref->field & 1) != 0)
            return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "vectors", "field %u comes twice",
                                    ref->field);
        seen |= 1u << ref->field;
    }
    return LATHE_OK;
}

static enum lathe_status operation_check(const struct lathe_shard_collection *collection,
                                         const Lathe__Shard__Operation *operation,
                                         struct lathe_bytes block, struct lathe_error *err)
{
    if (operation->kind > LATHE__SHARD__OPERATION_KIND__DELETE_VECTORS ||
        operation->mode > LATHE_MODE_UPDATE_ONLY)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "kind", "kind %d, mode %u",
                                (int)operation->kind, operation->mode);
    if (!lathe_idkey_valid(view(operation->idkey)))
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "idkey", "not an id key (%zu bytes)",
                                operation->idkey.len);
    for (size_t i = 0; i < operation->n_fields; i++)
        if (operation->fields[i] >= collection->field_count)
            return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "fields", "field %u, there are %u",
                                    operation->fields[i], collection->field_count);
    /* What is merged must be sound before the first operation is applied. */
    if (operation->kind == LATHE__SHARD__OPERATION_KIND__SET_PAYLOAD) {
        enum lathe_status rc = lathe_payload_check(view(operation->payload), err);

        if (rc != LATHE_OK)
            return rc;
    }
    return vectors_check(collection, operation, block, err);
}

enum lathe_status lathe_operations_check(const struct lathe_shard_collection *collection,
                                         const Lathe__Shard__Write *write, struct lathe_bytes block,
                                         struct lathe_error *err)
{
    if (write->client_id.len != 0 && (write->client_id.len != 16 || write->request_number == 0 ||
                                      write->digest.len != LATHE_DIGEST_BYTES))
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "client_id",
                                "client id of %zu bytes, request number %llu, digest of %zu bytes",
                                write->client_id.len, (unsigned long long)write->request_number,
                                write->digest.len);
    if (write->n_operations == 0 || write->n_operations > LATHE_MAX_OPERATIONS)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "operations",
                                "%zu operations, 1 to %u are allowed", write->n_operations,
                                LATHE_MAX_OPERATIONS);
    for (size_t i = 0; i < write->n_operations; i++) {
        enum lathe_status rc = operation_check(collection, write->operations[i], block, err);

        if (rc != LATHE_OK) {
            lathe_error_in(err, "operations[%zu]", i);
            return rc;
        }
    }
    return LATHE_OK;
}

bool lathe_operations_insert(const Lathe__Shard__Write *write)
{
    for (size_t i = 0; i < write->n_operations; i++) {
        switch (write->operations[i]->kind) {
        case LATHE__SHARD__OPERATION_KIND__UPSERT:
        case LATHE__SHARD__OPERATION_KIND__SET_PAYLOAD:
        case LATHE__SHARD__OPERATION_KIND__OVERWRITE_PAYLOAD:
        case LATHE__SHARD__OPERATION_KIND__SET_VECTORS:
            return true;
        default:
            break;
        }
    }
    return false;
}

/* What stands between an operation and its effect: mode and condition, in the order that
 * docs/api.md gives. */
static uint32_t precondition(const Lathe__Shard__Operation *operation,
                             const struct lathe_pending_point *point)
{
    bool creates = operation->kind == LATHE__SHARD__OPERATION_KIND__UPSERT &&
                   operation->mode != LATHE_MODE_UPDATE_ONLY;

    if (!point->exists && !creates)
        return LATHE_OUTCOME_NOT_FOUND;
    if (point->exists && operation->mode == LATHE_MODE_INSERT_ONLY)
        return LATHE_OUTCOME_CONDITION_FALSE;
    if (operation->if_version != 0 &&
        (!point->exists || point->record.version != operation->if_version))
        return LATHE_OUTCOME_CONDITION_FALSE;
    return LATHE_OUTCOME_APPLIED;
}

/* Gives each vector of the operation the next row of its field. */
static size_t new_rows(const struct lathe_table *table, const Lathe__Shard__Operation *operation,
                       struct lathe_bytes block, struct lathe_effect *effect,
                       struct lathe_new_row rows_out[LATHE_MAX_FIELDS])
{
    for (size_t i = 0; i < operation->n_vectors; i++) {
        const Lathe__Shard__VectorRef *ref = operation->vectors[i];

        rows_out[i].field = ref->field;
        rows_out[i].vector = lathe_bytes_of(block.data + ref->offset, ref->size);
        effect->rows[ref->field] = table->pending.next_row[ref->field];
    }
    return operation->n_vectors;
}

/* The payload after an operation that changes some of it. */
static enum lathe_status payload_change(struct lathe_group *group,
                                        struct lathe_pending_point *point,
                                        const Lathe__Shard__Operation *operation,
                                        struct lathe_buf *out, struct lathe_error *err)
{
    struct lathe_bytes *keys;
    enum lathe_status rc = lathe_group_load_payload(group, point, err);

    if (rc != LATHE_OK)
        return rc;
    if (operation->kind == LATHE__SHARD__OPERATION_KIND__SET_PAYLOAD)
        return lathe_payload_merge(lathe_buf_view(&point->payload), view(operation->payload), out,
                                   err);
    keys = lathe_alloc_array(operation->n_keys, sizeof(*keys));
    if (keys == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a write");
    for (size_t i = 0; i < operation->n_keys; i++)
        keys[i] = view(operation->keys[i]);
    rc = lathe_payload_remove(lathe_buf_view(&point->payload), keys, operation->n_keys, out, err);
    lathe_free(keys);
    return rc;
}

/* Fills the effect's payload; `buf` keeps its bytes. */
static enum lathe_status payload_resolve(struct lathe_group *group,
                                         struct lathe_pending_point *point,
                                         const Lathe__Shard__Operation *operation,
                                         struct lathe_effect *effect, struct lathe_buf *buf,
                                         struct lathe_error *err)
{
    enum lathe_status rc = LATHE_OK;

    switch (operation->kind) {
    case LATHE__SHARD__OPERATION_KIND__UPSERT:
        effect->payload = view(operation->payload);
        effect->payload_changed = effect->payload.size > 0 ||
                                  (point->exists && point->record.payload_bytes > 0);
        break;
    case LATHE__SHARD__OPERATION_KIND__OVERWRITE_PAYLOAD:
        effect->payload = view(operation->payload);
        effect->payload_changed = true;
        break;
    case LATHE__SHARD__OPERATION_KIND__CLEAR_PAYLOAD:
        effect->payload_changed = true;
        break;
    case LATHE__SHARD__OPERATION_KIND__SET_PAYLOAD:
    case LATHE__SHARD__OPERATION_KIND__DELETE_PAYLOAD_KEYS:
        rc = payload_change(group, point, operation, buf, err);
        effect->payload = lathe_buf_view(buf);
        effect->payload_changed = true;
        break;
    default:
        break;
    }
    return rc;
}

static enum lathe_status apply_one(struct lathe_group *group, struct lathe_table *table,
                                   const Lathe__Shard__Operation *operation,
                                   struct lathe_bytes block, uint64_t seq,
                                   uint64_t max_payload_bytes, struct lathe_result *result,
                                   struct lathe_buf *log_body, struct lathe_error *err)
{
    struct lathe_pending_point *point;
    struct lathe_effect effect = {0};
    struct lathe_new_row rows[LATHE_MAX_FIELDS];
    struct lathe_buf payload = {0};
    size_t row_count;
    enum lathe_status rc = lathe_group_find(group, table, view(operation->idkey), &point, err);

    if (rc != LATHE_OK)
        return rc;
    result->outcome = precondition(operation, point);
    result->version = point->exists ? point->record.version : 0;
    if (result->outcome != LATHE_OUTCOME_APPLIED)
        return LATHE_OK;
    effect.idkey = view(operation->idkey);
    effect.exists = operation->kind != LATHE__SHARD__OPERATION_KIND__DELETE;
    effect.point = point->exists ? point->record.point : table->pending.next_point;
    effect.row_count = table->collection->field_count;
    for (uint32_t f = 0; f < LATHE_MAX_FIELDS; f++)
        effect.rows[f] = point->exists && operation->kind != LATHE__SHARD__OPERATION_KIND__UPSERT
                             ? point->record.rows[f]
                             : LATHE_NO_ROW;
    for (size_t i = 0; i < operation->n_fields; i++)
        effect.rows[operation->fields[i]] = LATHE_NO_ROW;
    row_count = new_rows(table, operation, block, &effect, rows);
    rc = payload_resolve(group, point, operation, &effect, &payload, err);
    if (rc == LATHE_OK && effect.payload.size > max_payload_bytes) {
        result->outcome = LATHE_OUTCOME_REJECTED;
    } else if (rc == LATHE_OK) {
        result->version = effect.exists ? seq : 0;
        lathe_effect_encode(&effect, log_body);
        rc = lathe_group_apply(group, point, &effect, seq, rows, row_count);
        if (rc != LATHE_OK || log_body->failed)
            rc = lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a write");
    }
    lathe_buf_fini(&payload);
    return rc;
}

enum lathe_status lathe_operations_apply(struct lathe_group *group, struct lathe_table *table,
                                         const Lathe__Shard__Write *write, struct lathe_bytes block,
                                         uint64_t seq, uint64_t max_payload_bytes,
                                         struct lathe_result *results, struct lathe_buf *log_body,
                                         struct lathe_error *err)
{
    for (size_t i = 0; i < write->n_operations; i++) {
        enum lathe_status rc = apply_one(group, table, write->operations[i], block, seq,
                                         max_payload_bytes, &results[i], log_body, err);

        if (rc != LATHE_OK)
            return rc;
    }
    return LATHE_OK;
}
