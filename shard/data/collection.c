/* collection.c - see collection.h. */
#include "shard/data/collection.h"

#include <stdatomic.h>

#include "common/base/mem.h"
#include "common/net/message.h"
#include "shard.pb-c.h"

enum { SPEC_ARENA_BYTES = 1 << 20, KIND_DENSE = 1 };

static enum lathe_status field_fill(struct lathe_field *field, const Lathe__Shard__FieldSpec *spec,
                                    struct lathe_error *err)
{
    size_t name_bytes = strlen(spec->name);

    if (name_bytes > LATHE_MAX_NAME_BYTES)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "field name of %zu bytes, the limit is %u",
                          name_bytes, LATHE_MAX_NAME_BYTES);
    if (spec->dims == 0 || spec->dims > LATHE_MAX_DIMS)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "dims %u, the limit is %u", spec->dims,
                          LATHE_MAX_DIMS);
    if (spec->kind != KIND_DENSE || lathe_metric_name((enum lathe_metric)spec->metric) == NULL ||
        spec->metric == LATHE_MANHATTAN || spec->element != LATHE_FLOAT32)
        return lathe_fail(err, LATHE_UNIMPLEMENTED,
                          "field kind %u, metric %u, element %u: this shard cannot hold it",
                          spec->kind, spec->metric, spec->element);
    memcpy(field->name, spec->name, name_bytes + 1);
    field->dims = spec->dims;
    field->metric = (enum lathe_metric)spec->metric;
    field->element = (enum lathe_element)spec->element;
    field->allow_zero = spec->allow_zero;
    field->vector_bytes = lathe_element_bytes(field->element, field->dims);
    return LATHE_OK;
}

static enum lathe_status fill(struct lathe_shard_collection *collection,
                              const Lathe__Shard__CollectionSpec *spec, struct lathe_error *err)
{
    size_t name_bytes = strlen(spec->name);

    if (spec->id == 0 || spec->id == UINT32_MAX)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "collection id %u", spec->id);
    if (name_bytes > LATHE_MAX_NAME_BYTES || spec->slot_key.len != LATHE_SLOT_KEY_BYTES)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT,
                          "collection %u: name of %zu bytes, slot key of %zu", spec->id, name_bytes,
                          spec->slot_key.len);
    if (spec->n_fields == 0 || spec->n_fields > LATHE_MAX_FIELDS)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "collection %u: %zu fields, the limit is %u",
                          spec->id, spec->n_fields, LATHE_MAX_FIELDS);
    collection->id = spec->id;
    collection->schema_version = spec->schema_version;
    memcpy(collection->name, spec->name, name_bytes + 1);
    memcpy(collection->slot_key, spec->slot_key.data, LATHE_SLOT_KEY_BYTES);
    collection->field_count = (uint32_t)spec->n_fields;
    for (uint32_t i = 0; i < collection->field_count; i++) {
        enum lathe_status rc = field_fill(&collection->fields[i], spec->fields[i], err);

        if (rc != LATHE_OK)
            return rc;
    }
    return LATHE_OK;
}

enum lathe_status lathe_shard_collection_create(struct lathe_bytes spec,
                                                struct lathe_shard_collection **collection_out,
                                                struct lathe_error *err)
{
    struct lathe_shard_collection *collection = lathe_zalloc(sizeof(*collection));
    uint8_t *copy = lathe_alloc(spec.size);
    struct lathe_arena arena;
    ProtobufCMessage *message = NULL;
    enum lathe_status rc;

    *collection_out = NULL;
    lathe_arena_init(&arena, SPEC_ARENA_BYTES);
    if (collection == NULL || copy == NULL) {
        lathe_free(copy);
        rc = lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a collection");
        goto done;
    }
    if (spec.size > 0)
        memcpy(copy, spec.data, spec.size);
    collection->spec = lathe_bytes_of(copy, spec.size);
    atomic_init(&collection->references, 1);
    rc = lathe_message_decode(&lathe__shard__collection_spec__descriptor, spec, &arena, &message,
                              err);
    if (rc != LATHE_OK)
        goto done;
    rc = fill(collection, (const Lathe__Shard__CollectionSpec *)message, err);
    if (rc != LATHE_OK)
        goto done;
    *collection_out = collection;
    collection = NULL;
done:
    lathe_arena_fini(&arena);
    if (collection != NULL) {
        lathe_free((void *)(uintptr_t)collection->spec.data);
        lathe_free(collection);
    }
    return rc;
}

struct lathe_shard_collection *
lathe_shard_collection_acquire(struct lathe_shard_collection *collection)
{
    atomic_fetch_add_explicit(&collection->references, 1, memory_order_relaxed);
    return collection;
}

void lathe_shard_collection_release(struct lathe_shard_collection *collection)
{
    if (collection == NULL ||
        atomic_fetch_sub_explicit(&collection->references, 1, memory_order_acq_rel) != 1)
        return;
    lathe_free((void *)(uintptr_t)collection->spec.data);
    lathe_free(collection);
}
