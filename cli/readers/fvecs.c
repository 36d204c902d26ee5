/* fvecs.c - .fvecs: each row is its number of dims as a little-endian int32, then that many
 * float32. */
#include "cli/readers/rows_format.h"

/* The number at the front of the row at `offset`, which lies inside the file. */
static uint32_t dims_at(const struct lathe_rows *rows, uint64_t offset)
{
    return lathe_get_u32le(rows->file.data + offset);
}

static enum lathe_status fvecs_open(struct lathe_rows *rows, struct lathe_error *err)
{
    uint32_t dims;
    uint64_t stride;

    if (rows->file.size < 4)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "%zu bytes are too few for .fvecs",
                          rows->file.size);
    dims = dims_at(rows, 0);
    if (dims < 1 || dims > LATHE_MAX_DIMS)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT,
                          "row 0 has %d dims, so this is not .fvecs; it takes 1 to %u",
                          (int32_t)dims, LATHE_MAX_DIMS);
    stride = 4 + (uint64_t)dims * sizeof(float);
    /* A file cut off inside its last row has that row too: reading it says what is wrong. */
    rows->total = (rows->file.size + stride - 1) / stride;
    return LATHE_OK;
}

static enum lathe_status fvecs_next(struct lathe_rows *rows, struct lathe_row *row_out,
                                    struct lathe_error *err)
{
    uint64_t left = rows->file.size - rows->at.offset;
    uint32_t dims = dims_at(rows, 0);
    uint64_t stride = 4 + (uint64_t)dims * sizeof(float);

    if (left == 0)
        return LATHE_OUT_OF_RANGE;
    if (left >= 4 && dims_at(rows, rows->at.offset) != dims)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "it has %d dims, and row 0 has %u",
                          (int32_t)dims_at(rows, rows->at.offset), dims);
    if (left < stride)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT,
                          "the file ends inside it, after %llu of %llu bytes",
                          (unsigned long long)left, (unsigned long long)stride);
    row_out->vectors[0] = (struct lathe_row_vector){
        "", lathe_bytes_of(rows->file.data + rows->at.offset + 4, dims * sizeof(float))};
    row_out->vector_count = 1;
    rows->at.offset += stride;
    rows->at.row++;
    return LATHE_OK;
}

static void fvecs_close(struct lathe_rows *rows)
{
    (void)rows;
}

const struct lathe_rows_format lathe_rows_fvecs = {false, false, fvecs_open, fvecs_next,
                                                   fvecs_close};
