/* score.h - the defined score of a pair of float32 vectors: what a result list is ordered by.
 *
 * The definition, which never changes. Elements are widened to double. Element i adds its term to
 * accumulator i mod 16, in rising order of i, each operation rounded to nearest even and none
 * contracted. The accumulators are folded: a[j] += a[j+8] for j < 8, then a[j+4], a[j+2], a[j+1].
 * The terms are x*q (dot), x*x and q*q (norms), (x-q)*(x-q) and |x-q|.
 *   cosine    = dot / (sqrt(norm x) * sqrt(norm q)), 0 if either vector is zero
 *   dot       = dot
 *   Euclidean = sqrt(sum of squared differences)
 *   Manhattan = sum of absolute differences
 * The double is rounded once to float32, and -0 becomes 0. A search on the first m dimensions is
 * the same with dims = m. Every compiler, instruction set and machine gives the same bits. */
#ifndef LATHE_VEC_SCORE_H
#define LATHE_VEC_SCORE_H
#include "common/vec/types.h"

/* The score of a pair. Both vectors have passed lathe_vector_check_f32; dims >= 1; no alignment is
 * assumed. Threads: any. */
float lathe_score_f32(enum lathe_metric metric, const float *x, const float *q, uint32_t dims);

/* A query whose share of the score is computed once. Plain data. */
struct lathe_score_query {
    const float *q; /* borrowed: the caller keeps it while the struct is used */
    uint32_t dims;
    enum lathe_metric metric;
    double norm; /* sqrt(sum of q*q); 0 unless the metric is cosine */
};

void lathe_score_query_init(struct lathe_score_query *query, enum lathe_metric metric,
                            const float *q, uint32_t dims);

/* Bit for bit lathe_score_f32(metric, x, q, dims). Threads: any. */
float lathe_score_query_run(const struct lathe_score_query *query, const float *x);

/* The sum of squares in the order of the definition. Infinite or NaN if an element is not finite.
 */
double lathe_squared_norm_f32(const float *x, uint32_t dims);

/* True if score `a` is strictly better than `b`: larger for cosine and dot, smaller for the two
 * distances. */
static inline bool lathe_score_better(enum lathe_metric metric, float a, float b)
{
    return metric == LATHE_COSINE || metric == LATHE_DOT ? a > b : a < b;
}
#endif
