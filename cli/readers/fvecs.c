/* fvecs.c - .fvecs: each row is its number of dims as a little-endian int32, then that many
 * float32. */
#include "cli/readers/rows_format.h"
#include "common/base/mem.h"

enum { HEAD_BYTES = 4 };

struct fvecs {
    uint32_t dims; /* of row 0, and so of all */
};

static uint64_t stride_of(const struct fvecs *fvecs)
{
    return HEAD_BYTES + (uint64_t)fvecs->dims * sizeof(float);
}

static enum lathe_status fvecs_open(struct lathe_rows *rows, struct lathe_error *err)
{
    struct fvecs *fvecs = lathe_zalloc(sizeof(*fvecs));
    struct lathe_bytes head;
    enum lathe_status rc;

    rows->state = fvecs;
    if (fvecs == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for the reader");
    if (rows->file.size_bytes < HEAD_BYTES)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "%llu bytes are too few for .fvecs",
                          (unsigned long long)rows->file.size_bytes);
    rc = lathe_file_window_view(&rows->file, 0, HEAD_BYTES, HEAD_BYTES, &head, err);
    if (rc != LATHE_OK)
        return rc;
    fvecs->dims = lathe_get_u32le(head.data);
    if (fvecs->dims < 1 || fvecs->dims > LATHE_MAX_DIMS)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT,
                          "row 0 has %d dims, so this is not .fvecs; it takes 1 to %u",
                          (int32_t)fvecs->dims, LATHE_MAX_DIMS);
    /* A file cut off inside its last row has that row too: reading it says what is wrong. */
    rows->total = (rows->file.size_bytes + stride_of(fvecs) - 1) / stride_of(fvecs);
    return LATHE_OK;
}

static enum lathe_status fvecs_next(struct lathe_rows *rows, struct lathe_row *row_out,
                                    struct lathe_error *err)
{
    const struct fvecs *fvecs = rows->state;
    uint64_t left = rows->file.size_bytes - rows->at.offset, stride = stride_of(fvecs);
    struct lathe_bytes row;
    enum lathe_status rc;

    if (left == 0)
        return LATHE_OUT_OF_RANGE;
    rc = lathe_file_window_view(&rows->file, rows->at.offset,
                                (size_t)(left < stride ? left : stride), stride, &row, err);
    if (rc != LATHE_OK)
        return rc;
    if (left >= HEAD_BYTES && lathe_get_u32le(row.data) != fvecs->dims)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "it has %d dims, and row 0 has %u",
                          (int32_t)lathe_get_u32le(row.data), fvecs->dims);
    if (left < stride)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT,
                          "the file ends inside it, after %llu of %llu bytes",
                          (unsigned long long)left, (unsigned long long)stride);
    row_out->vectors[0] = (struct lathe_row_vector){
        "", lathe_bytes_of(row.data + HEAD_BYTES, row.size - HEAD_BYTES)};
    row_out->vector_count = 1;
    lathe_rows_pass(rows, row);
    rows->at.row++;
    return LATHE_OK;
}

static void fvecs_close(struct lathe_rows *rows)
{
    lathe_free(rows->state);
}

const struct lathe_rows_format lathe_rows_fvecs = {false, false, fvecs_open, fvecs_next,
                                                   fvecs_close};
