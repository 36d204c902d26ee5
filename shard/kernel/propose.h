/* propose.h - which rows a scan can drop without computing their defined score, proven.
 *
 * A kernel's float32 result plus a bound on every rounding in it gives, for each row, a number that
 * the row's defined score cannot beat. docs/scan.md derives the bound term by term.
 *
 * "Upper bound" here always means: larger is better. For cosine and dot it is an upper bound of the
 * score; for Euclidean the negated lower bound of the squared distance. */
#ifndef LATHE_SHARD_PROPOSE_H
#define LATHE_SHARD_PROPOSE_H
#include <stddef.h>

#include "common/vec/types.h"
#include "shard/kernel/kernel.h"

/* A query prepared for one kernel set. Plain data; read only after init, so any number of threads
 * may run it. */
struct lathe_proposal {
    lathe_kernel_rows_fn rows; /* NULL: nothing can be proposed, every row must be scored */
    lathe_kernel_tile_fn tile;
    const float *query; /* borrowed: the caller keeps it while the struct is used */
    uint32_t dims;
    enum lathe_metric metric;
    /* A row's bound, from its kernel result r and its aux a, computed in double:
     * cosine r * a * scale + slack; dot r + slack_per_aux * a + slack; Euclidean r * scale + slack.
     */
    double scale;
    double slack;
    double slack_per_aux;
};

/* What is kept of a stored row beside its elements, computed once when it is written:
 * cosine: 1/|x| (0 for a zero row; NaN for a norm outside 2^-50 .. 2^50, whose rows are always
 * scored); dot: an upper bound of |x|; the distances: 0. The value never reaches a client and may
 * change between builds, so it is derived data. `dims` must be the dims that queries run with. */
float lathe_proposal_aux(enum lathe_metric metric, const float *x, uint32_t dims);

/* Prepares `query`, which has passed lathe_vector_check_f32, as must all rows. Where no bound is
 * possible (Manhattan; under cosine a query of norm outside 2^-50 .. 2^50), every row's bound is
 * NaN: the scan is slower, never wrong. */
void lathe_proposal_init(struct lathe_proposal *proposal, const struct lathe_kernel_set *set,
                         enum lathe_metric metric, const float *query, uint32_t dims);

/* upper_out[i] = the bound of row i, for i < row_count, or NaN where there is none. aux[i] is the
 * row's lathe_proposal_aux; `aux` may be NULL under the distances. Rows are as the kernel wants
 * them; calls of 256 rows or more run at the speed of memory. */
void lathe_proposal_run(const struct lathe_proposal *proposal, const float *rows,
                        size_t stride_floats, size_t row_count, const float *aux, float *upper_out);

enum { LATHE_PROPOSAL_BATCH = 8 };

/* The same for up to LATHE_PROPOSAL_BATCH proposals of one kernel set, metric and dims:
 * upper_outs[j][i] = the bound of row i for proposals[j]. Its bounds may differ from those of
 * lathe_proposal_run in their last bits; both hold. About twice as fast as that many single runs
 * while the rows stay in the second-level cache: give it blocks of some 64 rows. */
void lathe_proposal_run_batch(const struct lathe_proposal *const *proposals, size_t proposal_count,
                              const float *rows, size_t stride_floats, size_t row_count,
                              const float *aux, float *const *upper_outs);

/* The cut for `tau`, the k-th best defined score found so far (or a score that results must reach):
 * a row whose bound is below the cut has a defined score strictly worse than tau. A row that ties
 * tau is never below the cut, since ties are broken by id. */
float lathe_proposal_cut(const struct lathe_proposal *proposal, float tau);

/* The cut while fewer than k scores are known: below it is nothing. */
#define LATHE_PROPOSAL_KEEP_ALL (-__builtin_inff())

/* True if a row can be dropped for good. A bound that is NaN says "score it", so the comparison
 * must stay this way round. */
static inline bool lathe_proposal_drops(float upper, float cut)
{
    return upper < cut;
}
#endif
