/* import_batch.c - see import_batch.h. */
#include "cli/import_batch.h"

#include "cli/wire_id.h"
#include "common/base/check.h"
#include "lathe/v1/points.pb-c.h"

enum {
    OPERATIONS_TAG = 4 << 3 | 2, /* field 4 of WritePointsRequest, length-delimited */
    VARINT_BYTES = 10
};

void lathe_import_batch_clear(struct lathe_import_batch *batch, struct lathe_rows_position begin)
{
    lathe_buf_clear(&batch->bytes);
    batch->number = 0;
    batch->row_count = 0;
    batch->begin = begin;
}

void lathe_import_batch_fini(struct lathe_import_batch *batch)
{
    lathe_buf_fini(&batch->bytes);
}

bool lathe_import_batch_full(const struct lathe_import_batch *batch)
{
    return batch->row_count == LATHE_IMPORT_BATCH_ROWS ||
           batch->bytes.size >= LATHE_IMPORT_BATCH_BYTES;
}

static size_t varint_put(uint8_t *p, uint64_t value)
{
    size_t size = 0;

    for (; value >= 0x80; value >>= 7)
        p[size++] = (uint8_t)(value | 0x80);
    p[size++] = (uint8_t)value;
    return size;
}

/* Appends one repeated submessage to the request. */
static void append_operation(struct lathe_buf *out, const Lathe__V1__WriteOperation *operation)
{
    size_t size = lathe__v1__write_operation__get_packed_size(operation);
    uint8_t head[1 + VARINT_BYTES] = {OPERATIONS_TAG};
    uint8_t *p;

    lathe_buf_append(out, head, 1 + varint_put(head + 1, size));
    p = lathe_buf_extend(out, size);
    if (p != NULL)
        (void)lathe__v1__write_operation__pack(operation, p);
}

enum lathe_status lathe_import_batch_add(struct lathe_import_batch *batch,
                                         const struct lathe_row *row, const struct lathe_idkey *id,
                                         const char *field, struct lathe_rows_position end,
                                         struct lathe_error *err)
{
    Lathe__V1__WriteOperation operation = LATHE__V1__WRITE_OPERATION__INIT;
    Lathe__V1__UpsertPoint upsert = LATHE__V1__UPSERT_POINT__INIT;
    Lathe__V1__NamedVector named[LATHE_MAX_FIELDS], *pointers[LATHE_MAX_FIELDS];
    Lathe__V1__Vector dense[LATHE_MAX_FIELDS];
    struct lathe_wire_id wire_id;

    LATHE_REQUIRE(batch->row_count < LATHE_IMPORT_BATCH_ROWS);
    for (size_t i = 0; i < row->vector_count; i++) {
        const struct lathe_row_vector *vector = &row->vectors[i];

        lathe__v1__vector__init(&dense[i]);
        dense[i].data.data = (uint8_t *)(uintptr_t)vector->data.data; /* only read */
        dense[i].data.len = vector->data.size;
        dense[i].element = LATHE__V1__ELEMENT_TYPE__ELEMENT_TYPE_FLOAT32;
        lathe__v1__named_vector__init(&named[i]);
        named[i].field = (char *)(uintptr_t)(vector->field[0] != '\0' ? vector->field : field);
        named[i].kind_case = LATHE__V1__NAMED_VECTOR__KIND_DENSE;
        named[i].dense = &dense[i];
        pointers[i] = &named[i];
    }
    lathe_wire_id_set(&wire_id, id);
    upsert.id = &wire_id.message;
    upsert.n_vectors = row->vector_count;
    upsert.vectors = pointers;
    upsert.payload = (Lathe__V1__Object *)(uintptr_t)row->payload;
    operation.operation_case = LATHE__V1__WRITE_OPERATION__OPERATION_UPSERT;
    operation.upsert = &upsert;
    append_operation(&batch->bytes, &operation);
    if (batch->bytes.failed)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a batch of rows");
    batch->sizes[batch->row_count] = batch->bytes.size;
    batch->ends[batch->row_count++] = end;
    return LATHE_OK;
}

void lathe_import_batch_cut(struct lathe_import_batch *batch, uint32_t row_count)
{
    LATHE_REQUIRE(row_count <= batch->row_count);
    batch->row_count = row_count;
    batch->bytes.size = row_count > 0 ? batch->sizes[row_count - 1] : 0;
}

enum lathe_status lathe_import_batch_seal(struct lathe_import_batch *batch, const char *collection,
                                          const uint8_t client_id[16], uint64_t number,
                                          struct lathe_error *err)
{
    Lathe__V1__WritePointsRequest request = LATHE__V1__WRITE_POINTS_REQUEST__INIT;
    uint8_t *p;

    lathe_import_batch_cut(batch, batch->row_count);
    request.collection = (char *)(uintptr_t)collection;
    request.client_id.data = (uint8_t *)(uintptr_t)client_id;
    request.client_id.len = 16;
    request.request_number = number;
    p = lathe_buf_extend(&batch->bytes, lathe__v1__write_points_request__get_packed_size(&request));
    if (p == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a batch of rows");
    (void)lathe__v1__write_points_request__pack(&request, p);
    batch->number = number;
    return LATHE_OK;
}

struct lathe_rows_position lathe_import_batch_end(const struct lathe_import_batch *batch)
{
    return batch->row_count > 0 ? batch->ends[batch->row_count - 1] : batch->begin;
}
