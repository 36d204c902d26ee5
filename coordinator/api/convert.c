/* convert.c - see convert.h. */
#include "coordinator/api/convert.h"

#include "common/base/check.h"
#include "common/base/id.h"
#include "lathe/v1/collections.pb-c.h"

/* ---- Ids ------------------------------------------------------------------------------------- */

void lathe_wire_id(struct lathe_wire *wire, const void *source)
{
    const struct lathe_bytes *idkey = source;
    char text[37];

    switch (lathe_idkey_kind(*idkey)) {
    case LATHE_ID_NUMBER:
        lathe_wire_uint(wire, LATHE__V1__POINT_ID__ID_NUMBER, lathe_idkey_as_number(*idkey));
        return;
    case LATHE_ID_UUID:
        lathe_uuid_format(idkey->data + 1, text);
        lathe_wire_bytes(wire, LATHE__V1__POINT_ID__ID_UUID, lathe_bytes_str(text));
        return;
    case LATHE_ID_STRING:
        lathe_wire_bytes(wire, LATHE__V1__POINT_ID__ID_STRING,
                         lathe_bytes_of(idkey->data + 1, idkey->size - 1));
        return;
    }
    LATHE_UNREACHABLE();
}

void lathe_idkeys_append(struct lathe_buf *buf, struct lathe_bytes idkey)
{
    LATHE_REQUIRE(idkey.size > 0 && idkey.size <= UINT8_MAX);
    lathe_buf_u8(buf, (uint8_t)idkey.size);
    lathe_buf_append(buf, idkey.data, idkey.size);
}

/* ---- Points ---------------------------------------------------------------------------------- */

enum {
    POINT_ID = 1,
    POINT_VERSION = 2,
    POINT_VECTORS = 3,
    POINT_PAYLOAD = 4,
    NAMED_VECTOR_FIELD = 1,
    NAMED_VECTOR_DENSE = 2,
    VECTOR_VALUES = 1
};

struct vector_source {
    const char *field;
    struct lathe_bytes elements;
};

static void wire_dense(struct lathe_wire *wire, const void *source)
{
    const struct vector_source *vector = source;

    lathe_wire_bytes(wire, VECTOR_VALUES, vector->elements);
}

static void wire_named_vector(struct lathe_wire *wire, const void *source)
{
    const struct vector_source *vector = source;

    lathe_wire_string_set(wire, NAMED_VECTOR_FIELD, vector->field);
    lathe_wire_message(wire, NAMED_VECTOR_DENSE, wire_dense, vector);
}

void lathe_wire_point_vectors(struct lathe_wire *wire, uint32_t number,
                              const struct lathe_point_source *point)
{
    for (size_t i = 0; i < point->data->n_vectors; i++) {
        const Lathe__Shard__VectorRef *ref = point->data->vectors[i];
        struct vector_source vector;

        if (!lathe_selection_wants(point->selection, ref->field))
            continue;
        vector.field = point->collection->fields[ref->field].name;
        vector.elements = lathe_bytes_of(point->block.data + ref->offset, ref->size);
        lathe_wire_message(wire, number, wire_named_vector, &vector);
    }
}

void lathe_wire_point_payload(struct lathe_wire *wire, uint32_t number,
                              const struct lathe_point_source *point)
{
    if (point->selection->payload)
        lathe_wire_bytes(wire, number,
                         lathe_bytes_of(point->data->payload.data, point->data->payload.len));
}

void lathe_wire_point(struct lathe_wire *wire, const void *source)
{
    const struct lathe_point_source *point = source;
    struct lathe_bytes idkey = lathe_bytes_of(point->data->idkey.data, point->data->idkey.len);

    lathe_wire_message(wire, POINT_ID, lathe_wire_id, &idkey);
    lathe_wire_uint_set(wire, POINT_VERSION, point->data->version);
    lathe_wire_point_vectors(wire, POINT_VECTORS, point);
    lathe_wire_point_payload(wire, POINT_PAYLOAD, point);
}

uint64_t lathe_point_size_bound(const struct lathe_collection *collection,
                                const struct lathe_selection *selection, uint64_t payload_bytes)
{
    /* Tag and length of the point, its id, score and version; then 10 bytes cover any tag with
     * length. */
    uint64_t size = 10 + (10 + LATHE_MAX_ID_BYTES + 10) + 5 + 11;

    if (selection->payload)
        size += 10 + payload_bytes;
    for (uint32_t i = 0; i < collection->field_count; i++) {
        const struct lathe_field *field = &collection->fields[i];

        if (lathe_selection_wants(selection, i))
            size += 40 + strlen(field->name) + lathe_element_bytes(field->element, field->dims);
    }
    return size;
}

static enum lathe_status vector_ref_check(const Lathe__Shard__VectorRef *ref,
                                          struct lathe_bytes block,
                                          const struct lathe_collection *collection,
                                          struct lathe_error *err)
{
    const struct lathe_field *field;

    if (ref->field >= collection->field_count)
        return lathe_fail(err, LATHE_INTERNAL, "a shard sent a vector of field %u of %u",
                          ref->field, collection->field_count);
    field = &collection->fields[ref->field];
    if (ref->size != lathe_element_bytes(field->element, field->dims) || ref->offset > block.size ||
        ref->size > block.size - ref->offset)
        return lathe_fail(err, LATHE_INTERNAL,
                          "a shard sent a vector of %u bytes at %llu of a block of %zu bytes",
                          ref->size, (unsigned long long)ref->offset, block.size);
    return LATHE_OK;
}

enum lathe_status lathe_points_check(const Lathe__Shard__Points *points, struct lathe_bytes block,
                                     const struct lathe_collection *collection,
                                     struct lathe_error *err)
{
    for (size_t i = 0; i < points->n_data; i++) {
        const Lathe__Shard__PointData *data = points->data[i];

        if (!lathe_idkey_valid(lathe_bytes_of(data->idkey.data, data->idkey.len)))
            return lathe_fail(err, LATHE_INTERNAL, "a shard sent %zu bytes that are no id",
                              data->idkey.len);
        for (size_t j = 0; j < data->n_vectors; j++) {
            enum lathe_status status = vector_ref_check(data->vectors[j], block, collection, err);

            if (status != LATHE_OK)
                return status;
        }
    }
    return LATHE_OK;
}

void lathe_fetch_select(Lathe__Shard__Fetch *fetch, const struct lathe_selection *selection)
{
    fetch->payload = selection->payload;
    fetch->vectors = selection->vectors;
    fetch->n_fields = selection->field_count;
    fetch->fields = (uint32_t *)(uintptr_t)selection->fields;
}

/* ---- Coverage -------------------------------------------------------------------------------- */

static void wire_shard_coverage(struct lathe_wire *wire, const void *source)
{
    const struct lathe_shard_answer *answer = source;

    lathe_wire_uint_set(wire, 1, answer->shard);
    lathe_wire_uint_set(wire, 2, answer->answered);
    lathe_wire_uint_set(wire, 3, answer->applied_seq);
    lathe_wire_uint_set(wire, 4, answer->rows);
}

void lathe_wire_coverage(struct lathe_wire *wire, const void *source)
{
    const struct lathe_coverage_source *coverage = source;
    uint64_t answered = 0;

    for (size_t i = 0; i < coverage->count; i++)
        answered += coverage->answers[i].answered;
    lathe_wire_uint_set(wire, 1, coverage->count);
    lathe_wire_uint_set(wire, 2, answered);
    for (size_t i = 0; i < coverage->count; i++)
        lathe_wire_message(wire, 3, wire_shard_coverage, &coverage->answers[i]);
}

/* ---- Collections ----------------------------------------------------------------------------- */

static void wire_ladder(struct lathe_wire *wire, const void *source)
{
    const struct lathe_field *field = source;

    for (uint32_t i = 0; i < field->ladder_count; i++)
        lathe_wire_varint(wire, field->ladder[i]);
}

static void wire_field(struct lathe_wire *wire, const void *source)
{
    const struct lathe_field *field = source;
    uint64_t zero_vectors = field->allow_zero ? LATHE__V1__ZERO_VECTORS__ZERO_VECTORS_ALLOW
                                              : LATHE__V1__ZERO_VECTORS__ZERO_VECTORS_REJECT;

    lathe_wire_string_set(wire, 1, field->name);
    lathe_wire_uint_set(wire, 2, field->kind);
    lathe_wire_uint_set(wire, 3, field->dims);
    lathe_wire_uint_set(wire, 4, (uint64_t)field->metric);
    lathe_wire_uint_set(wire, 5, (uint64_t)field->element);
    lathe_wire_uint_set(wire, 6, zero_vectors);
    if (field->ladder_count > 0) /* packed */
        lathe_wire_message(wire, 7, wire_ladder, field);
}

static void wire_schema(struct lathe_wire *wire, const void *source)
{
    const struct lathe_collection *collection = source;

    for (uint32_t i = 0; i < collection->field_count; i++)
        lathe_wire_message(wire, 1, wire_field, &collection->fields[i]);
}

void lathe_collection_to_wire(struct lathe_wire *wire, const void *source)
{
    const struct lathe_collection *collection =
        ((const struct lathe_collection_source *)source)->collection;

    lathe_wire_string_set(wire, 1, collection->name);
    lathe_wire_uint_set(wire, 2, collection->id);
    lathe_wire_message(wire, 3, wire_schema, collection);
    if (((const struct lathe_collection_source *)source)->metadata && collection->metadata.size > 0)
        lathe_wire_bytes(wire, 4, collection->metadata);
    lathe_wire_uint_set(wire, 5, collection->created_ms);
    lathe_wire_uint_set(wire, 6, collection->slots.shard_count);
}
