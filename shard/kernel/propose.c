/* propose.c - the rounding bound of the float kernels. docs/scan.md has the proof; the names here
 * are its names. */
#include "shard/kernel/propose.h"

#include <math.h>

#include "common/base/check.h"
#include "common/vec/score.h"

/* U, V: unit roundoff of float32 and double. TINY: half of the smallest float32, the most that one
 * rounding to a subnormal adds. NEAR: more than the roundings of the few double operations here. */
#define U    0x1p-24
#define V    0x1p-53
#define TINY 0x1p-150
#define NEAR 0x1p-40

/* Norms between these leave every product of a norm and a reciprocal norm far from the ends of
 * float32's range, so that all roundings but the kernel's own are relative ones. */
#define LEAST_NORM 0x1p-50
#define MOST_NORM  0x1p50

/* gamma_m of Higham: the relative change that m roundings to float32 can make. */
static double gamma_of(double m)
{
    return m * U / (1 - m * U);
}

/* m: roundings that a term of the kernel's sum passes, in whichever of its two forms has more. */
static double kernel_roundings(const struct lathe_kernel_set *set, uint32_t dims)
{
    const struct lathe_kernel_shape *a = &set->rows_shape, *b = &set->tile_shape;
    uint32_t rows = (dims + a->lanes - 1) / a->lanes + a->fold_depth;
    uint32_t tile = (dims + b->lanes - 1) / b->lanes + b->fold_depth;

    return (double)(rows > tile ? rows : tile);
}

/* g: the error of the defined score's sums, relative to the sum of the terms' magnitudes. */
static double defined_error(uint32_t dims)
{
    return (double)((dims + 15) / 16 + 8) * V;
}

/* What roundings to subnormals add: one for each element, one for the bound itself; the factor
 * makes room for what the later relative roundings make of them. */
static double underflow_error(uint32_t dims)
{
    return (1 + 0x1p-10) * (double)(dims + 3) * TINY;
}

static bool norm_in_range(double norm)
{
    return norm >= LEAST_NORM && norm <= MOST_NORM;
}

/* Adds room for the last step, in which a bound of magnitude at most 1 + error becomes a float. */
static double with_last_rounding(double error)
{
    return error + U * (1 + 3 * error + 3 * U) + NEAR * error;
}

float lathe_proposal_aux(enum lathe_metric metric, const float *x, uint32_t dims)
{
    double norm = sqrt(lathe_squared_norm_f32(x, dims));

    switch (metric) {
    case LATHE_COSINE:
        if (norm == 0)
            return 0;
        return norm_in_range(norm) ? (float)(1 / norm) : NAN;
    case LATHE_DOT:
        return norm == 0 ? 0 : nextafterf((float)norm, INFINITY);
    case LATHE_EUCLIDEAN:
    case LATHE_MANHATTAN:
        return 0;
    }
    LATHE_UNREACHABLE();
}

static void init_cosine(struct lathe_proposal *p, const struct lathe_kernel_set *set)
{
    double query_norm = sqrt(lathe_squared_norm_f32(p->query, p->dims));
    double gamma_m = gamma_of(kernel_roundings(set, p->dims));
    double kernel_error = gamma_m + 0x1p101 * (double)p->dims * TINY;
    double aux_error = U + NEAR;
    double error = kernel_error + (1 + kernel_error) * aux_error + 3 * defined_error(p->dims);

    if (!norm_in_range(query_norm))
        return;
    p->rows = set->dot_f32;
    p->tile = set->dot_tile_f32;
    p->scale = 1 / query_norm;
    p->slack = with_last_rounding(error + NEAR);
}

static void init_dot(struct lathe_proposal *p, const struct lathe_kernel_set *set)
{
    double query_norm = sqrt(lathe_squared_norm_f32(p->query, p->dims));
    double error = gamma_of(kernel_roundings(set, p->dims)) + defined_error(p->dims);

    p->rows = set->dot_f32;
    p->tile = set->dot_tile_f32;
    p->scale = 1;
    p->slack = underflow_error(p->dims);
    p->slack_per_aux = (1 + NEAR) * query_norm * with_last_rounding(error + NEAR);
}

static void init_euclidean(struct lathe_proposal *p, const struct lathe_kernel_set *set)
{
    /* Two more roundings: the difference is rounded before it is squared. */
    double gamma_m = gamma_of(kernel_roundings(set, p->dims) + 2);

    p->rows = set->l2sq_f32;
    p->tile = set->l2sq_tile_f32;
    p->scale = -(1 - defined_error(p->dims) - NEAR) / ((1 + gamma_m) * (1 + U));
    p->slack = underflow_error(p->dims);
}

void lathe_proposal_init(struct lathe_proposal *proposal, const struct lathe_kernel_set *set,
                         enum lathe_metric metric, const float *query, uint32_t dims)
{
    *proposal = (struct lathe_proposal){.query = query, .dims = dims, .metric = metric};
    switch (metric) {
    case LATHE_COSINE:
        init_cosine(proposal, set);
        return;
    case LATHE_DOT:
        init_dot(proposal, set);
        return;
    case LATHE_EUCLIDEAN:
        init_euclidean(proposal, set);
        return;
    case LATHE_MANHATTAN:
        return;
    }
    LATHE_UNREACHABLE();
}

static void bound_cosine(const struct lathe_proposal *p, size_t row_count, const float *aux,
                         float *upper)
{
    for (size_t i = 0; i < row_count; i++)
        upper[i] = (float)((double)upper[i] * (double)aux[i] * p->scale + p->slack);
}

static void bound_dot(const struct lathe_proposal *p, size_t row_count, const float *aux,
                      float *upper)
{
    for (size_t i = 0; i < row_count; i++)
        upper[i] = (float)((double)upper[i] + (p->slack_per_aux * (double)aux[i] + p->slack));
}

static void bound_euclidean(const struct lathe_proposal *p, size_t row_count, float *upper)
{
    for (size_t i = 0; i < row_count; i++)
        upper[i] = (float)((double)upper[i] * p->scale + p->slack);
}

/* Makes bounds of the kernel's results. */
static void bound(const struct lathe_proposal *p, size_t row_count, const float *aux, float *upper)
{
    if (p->metric == LATHE_COSINE)
        bound_cosine(p, row_count, aux, upper);
    else if (p->metric == LATHE_DOT)
        bound_dot(p, row_count, aux, upper);
    else
        bound_euclidean(p, row_count, upper);
}

static void no_bound(size_t row_count, float *upper)
{
    for (size_t i = 0; i < row_count; i++)
        upper[i] = NAN;
}

void lathe_proposal_run(const struct lathe_proposal *proposal, const float *rows,
                        size_t stride_floats, size_t row_count, const float *aux, float *upper_out)
{
    if (proposal->rows == NULL) {
        no_bound(row_count, upper_out);
        return;
    }
    proposal->rows(proposal->query, rows, stride_floats, row_count, proposal->dims, upper_out);
    bound(proposal, row_count, aux, upper_out);
}

void lathe_proposal_run_batch(const struct lathe_proposal *const *proposals, size_t proposal_count,
                              const float *rows, size_t stride_floats, size_t row_count,
                              const float *aux, float *const *upper_outs)
{
    const struct lathe_proposal *able[LATHE_PROPOSAL_BATCH];
    const float *queries[LATHE_PROPOSAL_BATCH];
    float *outs[LATHE_PROPOSAL_BATCH];
    size_t count = 0;

    LATHE_REQUIRE(proposal_count <= LATHE_PROPOSAL_BATCH);
    for (size_t j = 0; j < proposal_count; j++) {
        if (proposals[j]->tile == NULL) {
            no_bound(row_count, upper_outs[j]);
            continue;
        }
        able[count] = proposals[j];
        queries[count] = proposals[j]->query;
        outs[count++] = upper_outs[j];
    }
    if (count > 0)
        able[0]->tile(queries, count, rows, stride_floats, row_count, able[0]->dims, outs);
    for (size_t j = 0; j < count; j++)
        bound(able[j], row_count, aux, outs[j]);
}

float lathe_proposal_cut(const struct lathe_proposal *proposal, float tau)
{
    double next;

    if (proposal->metric == LATHE_COSINE || proposal->metric == LATHE_DOT)
        return tau;
    /* The square of the next larger float, exact in double. Rounding it to nearest is enough: a
     * bound is itself a float, so one below the cut lies at least one float further out. */
    next = (double)nextafterf(tau, INFINITY);
    return (float)-(next * next);
}
