/* score.c - the defined score. Compiled with -ffp-contract=off: see CMakeLists.txt.
 *
 * The order of additions is fixed by score.h, so the compiler may not reassociate, and need not:
 * the 16 accumulators are 8 pairs that fit the two doubles of SSE2 and NEON registers. Operations
 * on a pair are the IEEE operations on its members, so the vector form and any lowering of it to
 * scalars give the same bits. */
#include "common/vec/score.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "common/base/check.h"

_Static_assert(FLT_EVAL_METHOD == 0, "doubles must be computed in double precision");

enum { LANES = 16, PAIRS = LANES / 2 };
enum term { PRODUCT, SQUARED_DIFFERENCE, ABSOLUTE_DIFFERENCE };

/* Vector types can only be named by typedef. */
typedef double pair __attribute__((vector_size(16)));
typedef int64_t pair_bits __attribute__((vector_size(16)));

static inline pair widen(const float *p)
{
    return (pair){(double)p[0], (double)p[1]};
}

static inline __attribute__((always_inline)) pair term_pair(enum term term, pair x, pair q)
{
    pair difference = x - q;

    switch (term) {
    case PRODUCT:
        return x * q;
    case SQUARED_DIFFERENCE:
        return difference * difference;
    case ABSOLUTE_DIFFERENCE:
        break;
    }
    return (pair)((pair_bits)difference & (pair_bits){INT64_MAX, INT64_MAX});
}

static inline __attribute__((always_inline)) double term_one(enum term term, double x, double q)
{
    return term_pair(term, (pair){x, 0}, (pair){q, 0})[0];
}

/* One element, widened; like the pairs above it may lie at any address. */
static inline __attribute__((always_inline)) double element(const float *p)
{
    float value;

    memcpy(&value, p, sizeof(value));
    return (double)value;
}

static double fold(double a[LANES])
{
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int j = 0; j < width; j++)
            a[j] += a[j + width];
    return a[0];
}

/* `term` is a constant wherever this is inlined. */
static inline __attribute__((always_inline)) double sum(enum term term, const float *x,
                                                        const float *q, uint32_t dims)
{
    pair acc[PAIRS] = {{0, 0}};
    double a[LANES];
    uint32_t i = 0;

    for (; dims - i >= LANES; i += LANES)
        for (int j = 0; j < PAIRS; j++)
            acc[j] += term_pair(term, widen(x + i + 2 * j), widen(q + i + 2 * j));
    for (int j = 0; j < LANES; j++)
        a[j] = acc[j / 2][j % 2];
    for (int j = 0; i < dims; i++, j++)
        a[j] += term_one(term, element(x + i), element(q + i));
    return fold(a);
}

static double sum_products(const float *x, const float *q, uint32_t dims)
{
    return sum(PRODUCT, x, q, dims);
}

static double sum_squared_differences(const float *x, const float *q, uint32_t dims)
{
    return sum(SQUARED_DIFFERENCE, x, q, dims);
}

static double sum_absolute_differences(const float *x, const float *q, uint32_t dims)
{
    return sum(ABSOLUTE_DIFFERENCE, x, q, dims);
}

double lathe_squared_norm_f32(const float *x, uint32_t dims)
{
    return sum_products(x, x, dims);
}

static double cosine(const float *x, const float *q, uint32_t dims, double q_norm)
{
    double x_norm = sqrt(lathe_squared_norm_f32(x, dims));

    if (x_norm == 0 || q_norm == 0)
        return 0;
    return sum_products(x, q, dims) / (x_norm * q_norm);
}

void lathe_score_query_init(struct lathe_score_query *query, enum lathe_metric metric,
                            const float *q, uint32_t dims)
{
    *query = (struct lathe_score_query){.q = q, .dims = dims, .metric = metric};
    if (metric == LATHE_COSINE)
        query->norm = sqrt(lathe_squared_norm_f32(q, dims));
}

static double score(const struct lathe_score_query *query, const float *x)
{
    switch (query->metric) {
    case LATHE_COSINE:
        return cosine(x, query->q, query->dims, query->norm);
    case LATHE_DOT:
        return sum_products(x, query->q, query->dims);
    case LATHE_EUCLIDEAN:
        return sqrt(sum_squared_differences(x, query->q, query->dims));
    case LATHE_MANHATTAN:
        return sum_absolute_differences(x, query->q, query->dims);
    }
    LATHE_UNREACHABLE();
}

float lathe_score_query_run(const struct lathe_score_query *query, const float *x)
{
    float rounded = (float)score(query, x);

    return rounded == 0 ? 0 : rounded; /* -0 equals 0 */
}

float lathe_score_f32(enum lathe_metric metric, const float *x, const float *q, uint32_t dims)
{
    struct lathe_score_query query;

    lathe_score_query_init(&query, metric, q, dims);
    return lathe_score_query_run(&query, x);
}
