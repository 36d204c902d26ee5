/* kernel_scalar.c - the readable definition of the kernels, and the set that runs everywhere.
 *
 * Plain C: the compiler may keep the partial sums in vector registers of the base instruction set,
 * or fuse, and stays inside the rounding bound either way. */
#include "shard/kernel/kernel.h"

enum { LANES = 16, FOLD_DEPTH = 4 };

static float fold(float sum[LANES])
{
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int j = 0; j < width; j++)
            sum[j] += sum[j + width];
    return sum[0];
}

static float dot_row(const float *query, const float *row, size_t dims)
{
    float sum[LANES] = {0};
    size_t i = 0;

    for (; dims - i >= LANES; i += LANES)
        for (int j = 0; j < LANES; j++)
            sum[j] += query[i + (size_t)j] * row[i + (size_t)j];
    for (int j = 0; i < dims; i++, j++)
        sum[j] += query[i] * row[i];
    return fold(sum);
}

static float l2sq_row(const float *query, const float *row, size_t dims)
{
    float sum[LANES] = {0};
    size_t i = 0;

    for (; dims - i >= LANES; i += LANES)
        for (int j = 0; j < LANES; j++) {
            float difference = row[i + (size_t)j] - query[i + (size_t)j];

            sum[j] += difference * difference;
        }
    for (int j = 0; i < dims; i++, j++)
        sum[j] += (row[i] - query[i]) * (row[i] - query[i]);
    return fold(sum);
}

static void dot_rows(const float *query, const float *rows, size_t stride_floats, size_t row_count,
                     size_t dims, float *out)
{
    for (size_t i = 0; i < row_count; i++)
        out[i] = dot_row(query, rows + i * stride_floats, dims);
}

static void l2sq_rows(const float *query, const float *rows, size_t stride_floats, size_t row_count,
                      size_t dims, float *out)
{
    for (size_t i = 0; i < row_count; i++)
        out[i] = l2sq_row(query, rows + i * stride_floats, dims);
}

static void dot_tile(const float *const *queries, size_t query_count, const float *rows,
                     size_t stride_floats, size_t row_count, size_t dims, float *const *outs)
{
    for (size_t j = 0; j < query_count; j++)
        dot_rows(queries[j], rows, stride_floats, row_count, dims, outs[j]);
}

static void l2sq_tile(const float *const *queries, size_t query_count, const float *rows,
                      size_t stride_floats, size_t row_count, size_t dims, float *const *outs)
{
    for (size_t j = 0; j < query_count; j++)
        l2sq_rows(queries[j], rows, stride_floats, row_count, dims, outs[j]);
}

const struct lathe_kernel_set lathe_kernel_scalar = {
    .name = "scalar",
    .cpu_needed = 0,
    .rows_shape = {LANES, FOLD_DEPTH},
    .tile_shape = {LANES, FOLD_DEPTH},
    .dot_f32 = dot_rows,
    .l2sq_f32 = l2sq_rows,
    .dot_tile_f32 = dot_tile,
    .l2sq_tile_f32 = l2sq_tile,
};
