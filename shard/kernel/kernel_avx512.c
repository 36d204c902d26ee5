/* kernel_avx512.c - 512-bit kernels for processors with AVX-512F. Only this file is compiled with
 * -mavx512f; nothing in it runs before lathe_kernel_select has asked the processor.
 *
 * The shape of kernel_avx2.c, for the reasons told there, with lanes twice as wide and the tail cut
 * by a mask register. */
#include <immintrin.h>

#include "shard/kernel/cpu.h"
#include "shard/kernel/kernel.h"

#define INLINE static inline __attribute__((always_inline))

enum { WIDTH = 16, VECTORS = 2, STEP = WIDTH * VECTORS, STREAMS = 4, FOLD_DEPTH = 4 };
enum operation { DOT, L2SQ };

INLINE __m512 add_term(enum operation operation, __m512 sum, __m512 x, __m512 q)
{
    __m512 difference;

    if (operation == DOT)
        return _mm512_fmadd_ps(x, q, sum);
    difference = _mm512_sub_ps(x, q);
    return _mm512_fmadd_ps(difference, difference, sum);
}

/* Halves by shuffles of AVX-512F alone: lanes 8.., then 4.., 2.., 1.. are added to the first. */
INLINE float fold(__m512 all)
{
    all = _mm512_add_ps(all, _mm512_shuffle_f32x4(all, all, 0x0e));
    all = _mm512_add_ps(all, _mm512_shuffle_f32x4(all, all, 0x01));
    all = _mm512_add_ps(all, _mm512_permute_ps(all, 0x0e));
    all = _mm512_add_ps(all, _mm512_permute_ps(all, 0x01));
    return _mm512_cvtss_f32(all);
}

/* Ones in the first `count` (0..16) lanes. A masked-off lane is not read and cannot fault. */
INLINE __mmask16 mask_of(size_t count)
{
    return (__mmask16)((1u << count) - 1);
}

/* Adds the last dims - i (1..STEP-1) elements of each row. */
INLINE void add_tail(enum operation operation, size_t streams, const float *query,
                     const float *rows, size_t stream_floats, size_t i, size_t dims,
                     __m512 sum[][VECTORS])
{
    for (size_t v = 0; v < VECTORS && i < dims; v++, i += WIDTH) {
        __mmask16 mask = mask_of(dims - i < WIDTH ? dims - i : WIDTH);
        __m512 q = _mm512_maskz_loadu_ps(mask, query + i);

        for (size_t s = 0; s < streams; s++)
            sum[s][v] = add_term(operation, sum[s][v],
                                 _mm512_maskz_loadu_ps(mask, rows + s * stream_floats + i), q);
    }
}

/* One row of each of `streams` streams that lie `stream_floats` apart; out likewise by
 * `stream_rows`. */
INLINE void streams_row(enum operation operation, size_t streams, const float *query,
                        const float *rows, size_t stream_floats, size_t dims, float *out,
                        size_t stream_rows)
{
    __m512 sum[STREAMS][VECTORS];
    size_t i = 0;

    for (size_t s = 0; s < streams; s++)
        for (size_t v = 0; v < VECTORS; v++)
            sum[s][v] = _mm512_setzero_ps();
    for (; dims - i >= STEP; i += STEP) {
        for (size_t v = 0; v < VECTORS; v++) {
            __m512 q = _mm512_loadu_ps(query + i + v * WIDTH);

            for (size_t s = 0; s < streams; s++) {
                __m512 x = _mm512_loadu_ps(rows + s * stream_floats + i + v * WIDTH);

                sum[s][v] = add_term(operation, sum[s][v], x, q);
            }
        }
    }
    if (i < dims)
        add_tail(operation, streams, query, rows, stream_floats, i, dims, sum);
    for (size_t s = 0; s < streams; s++)
        out[s * stream_rows] = fold(_mm512_add_ps(sum[s][0], sum[s][1]));
}

INLINE void all_rows(enum operation operation, const float *query, const float *rows,
                     size_t stride_floats, size_t row_count, size_t dims, float *out)
{
    size_t quarter = row_count / STREAMS;
    size_t i;

    for (i = 0; i < quarter; i++)
        streams_row(operation, STREAMS, query, rows + i * stride_floats, quarter * stride_floats,
                    dims, out + i, quarter);
    for (i = quarter * STREAMS; i < row_count; i++)
        streams_row(operation, 1, query, rows + i * stride_floats, 0, dims, out + i, 0);
}

static void dot_rows(const float *query, const float *rows, size_t stride_floats, size_t row_count,
                     size_t dims, float *out)
{
    all_rows(DOT, query, rows, stride_floats, row_count, dims, out);
}

static void l2sq_rows(const float *query, const float *rows, size_t stride_floats, size_t row_count,
                      size_t dims, float *out)
{
    all_rows(L2SQ, query, rows, stride_floats, row_count, dims, out);
}

/* What a tile holds in registers: sums of TILE_QUERIES queries by as many rows as leave room for
 * the rows' own elements, and under l2sq for a difference. */
enum { TILE_QUERIES = 4, DOT_TILE_ROWS = 3, L2SQ_TILE_ROWS = 2 };

INLINE void tile_add(enum operation operation, const __m512 *x, size_t row_count, __m512 q,
                     __m512 *sum)
{
    for (size_t r = 0; r < row_count; r++)
        sum[r] = add_term(operation, sum[r], x[r], q);
}

/* `query_count` queries (at most TILE_QUERIES) by `row_count` rows; the results go to outs[j] + at.
 */
INLINE void tile_some(enum operation operation, size_t query_count, size_t row_count,
                      const float *const *queries, const float *rows, size_t stride_floats,
                      size_t dims, float *const *outs, size_t at)
{
    __m512 sum[TILE_QUERIES][DOT_TILE_ROWS], x[DOT_TILE_ROWS];
    size_t i = 0;

    for (size_t j = 0; j < query_count; j++)
        for (size_t r = 0; r < row_count; r++)
            sum[j][r] = _mm512_setzero_ps();
    for (; dims - i >= WIDTH; i += WIDTH) {
        for (size_t r = 0; r < row_count; r++)
            x[r] = _mm512_loadu_ps(rows + r * stride_floats + i);
        for (size_t j = 0; j < query_count; j++)
            tile_add(operation, x, row_count, _mm512_loadu_ps(queries[j] + i), sum[j]);
    }
    if (i < dims) {
        __mmask16 mask = mask_of(dims - i);

        for (size_t r = 0; r < row_count; r++)
            x[r] = _mm512_maskz_loadu_ps(mask, rows + r * stride_floats + i);
        for (size_t j = 0; j < query_count; j++)
            tile_add(operation, x, row_count, _mm512_maskz_loadu_ps(mask, queries[j] + i), sum[j]);
    }
    for (size_t j = 0; j < query_count; j++)
        for (size_t r = 0; r < row_count; r++)
            outs[j][at + r] = fold(sum[j][r]);
}

INLINE void tile_rows(enum operation operation, size_t query_count, const float *const *queries,
                      const float *rows, size_t stride_floats, size_t row_count, size_t dims,
                      float *const *outs)
{
    size_t step = operation == DOT ? DOT_TILE_ROWS : L2SQ_TILE_ROWS;
    size_t i = 0;

    for (; row_count - i >= step; i += step)
        tile_some(operation, query_count, step, queries, rows + i * stride_floats, stride_floats,
                  dims, outs, i);
    for (; i < row_count; i++)
        tile_some(operation, query_count, 1, queries, rows + i * stride_floats, stride_floats, dims,
                  outs, i);
}

INLINE void tile_all(enum operation operation, const float *const *queries, size_t query_count,
                     const float *rows, size_t stride_floats, size_t row_count, size_t dims,
                     float *const *outs)
{
    size_t j = 0;

    for (; query_count - j >= TILE_QUERIES; j += TILE_QUERIES)
        tile_rows(operation, TILE_QUERIES, queries + j, rows, stride_floats, row_count, dims,
                  outs + j);
    for (; j < query_count; j++)
        tile_rows(operation, 1, queries + j, rows, stride_floats, row_count, dims, outs + j);
}

static void dot_tile(const float *const *queries, size_t query_count, const float *rows,
                     size_t stride_floats, size_t row_count, size_t dims, float *const *outs)
{
    tile_all(DOT, queries, query_count, rows, stride_floats, row_count, dims, outs);
}

static void l2sq_tile(const float *const *queries, size_t query_count, const float *rows,
                      size_t stride_floats, size_t row_count, size_t dims, float *const *outs)
{
    tile_all(L2SQ, queries, query_count, rows, stride_floats, row_count, dims, outs);
}

const struct lathe_kernel_set lathe_kernel_avx512 = {
    .name = "avx512",
    .cpu_needed = LATHE_CPU_AVX512F,
    .rows_shape = {STEP, FOLD_DEPTH + 1},
    .tile_shape = {WIDTH, FOLD_DEPTH},
    .dot_f32 = dot_rows,
    .l2sq_f32 = l2sq_rows,
    .dot_tile_f32 = dot_tile,
    .l2sq_tile_f32 = l2sq_tile,
};
