/* kernel.h - float32 kernels: one query against many rows, as fast as memory delivers the rows.
 *
 * Kernels only propose: their results carry rounding errors that differ between instruction sets,
 * are bounded by what the set says of itself below (docs/scan.md), and never reach a client. The
 * defined score (common/vec/score.h) decides.
 *
 * One C file an instruction set; its only external symbol is the constant set, so that nothing in
 * it runs before the processor was asked. A further set is one more file and one more line in
 * kernel_table.c. */
#ifndef LATHE_SHARD_KERNEL_H
#define LATHE_SHARD_KERNEL_H
#include <stddef.h>

#include "common/base/status.h"

/* out[i] = f(query, row i) for i < row_count, where row i begins at rows + i * stride_floats and
 * only its first `dims` floats are read. dims >= 1; no alignment is assumed; elements are finite
 * and norms are at most 2^50, so that nothing overflows. Rounding is to nearest and subnormal
 * numbers are kept (the processor's default mode). A row's result does not depend on the other
 * rows. Threads: any. */
typedef void (*lathe_kernel_rows_fn)(const float *query, const float *rows, size_t stride_floats,
                                     size_t row_count, size_t dims, float *out);

/* The same for several queries at once: outs[j][i] = f(queries[j], row i) for j < query_count.
 * Meant for blocks of rows that stay in the second-level cache (about 64 rows of 768 dims): about
 * twice as fast there as one call a query, and slower than it on rows out of cache. */
typedef void (*lathe_kernel_tile_fn)(const float *const *queries, size_t query_count,
                                     const float *rows, size_t stride_floats, size_t row_count,
                                     size_t dims, float *const *outs);

/* How a kernel adds, for the rounding bound: element i is added to partial sum i mod `lanes`, in
 * rising order of i, and `fold_depth` further additions lie between a partial sum and the result. A
 * term therefore passes at most ceil(dims / lanes) + fold_depth roundings (its multiplication and
 * first addition count as one: fused, or an exact addition to 0). */
struct lathe_kernel_shape {
    uint32_t lanes;
    uint32_t fold_depth;
};

struct lathe_kernel_set {
    const char *name;    /* as in --kernel and the log */
    uint32_t cpu_needed; /* enum lathe_cpu_feature, or-ed */

    struct lathe_kernel_shape rows_shape; /* of dot_f32 and l2sq_f32 */
    struct lathe_kernel_shape tile_shape; /* of the tiles */
    lathe_kernel_rows_fn dot_f32;         /* sum of query * row */
    lathe_kernel_rows_fn l2sq_f32; /* sum of (row - query) squared, differences rounded first */
    lathe_kernel_tile_fn dot_tile_f32;
    lathe_kernel_tile_fn l2sq_tile_f32;
};

/* The set named `name` ("scalar", "avx2", "avx512"), or under "auto" the fastest that `cpu` (from
 * lathe_cpu_detect) can run. *set_out lives for ever.
 * Errors: INVALID_ARGUMENT (no such set; the message lists them), FAILED_PRECONDITION (this
 * processor cannot run it; the message says what is missing). Threads: any. */
LATHE_MUST_CHECK enum lathe_status lathe_kernel_select(const char *name, uint32_t cpu,
                                                       const struct lathe_kernel_set **set_out,
                                                       struct lathe_error *err);

/* All sets of this build, fastest first, also those that this processor cannot run. */
extern const struct lathe_kernel_set *const lathe_kernel_sets[];
extern const size_t lathe_kernel_set_count;

extern const struct lathe_kernel_set lathe_kernel_scalar;
#if defined(__x86_64__)
extern const struct lathe_kernel_set lathe_kernel_avx2;
extern const struct lathe_kernel_set lathe_kernel_avx512;
#endif
#endif
