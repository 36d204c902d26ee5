/* test_propose.c - no row whose defined score ties or beats tau is ever dropped; each term of the
 * bound is needed; nearly all other rows are dropped. */
#include "tests/kernel/kernel_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/vec/score.h"
#include "shard/kernel/propose.h"

enum { MAX_DIMS = 4096, MAX_ROWS = 16, QUERIES = 5, METRICS = 3 };

static const enum lathe_metric metrics[METRICS] = {LATHE_COSINE, LATHE_DOT, LATHE_EUCLIDEAN};
static struct kernel_case cases[KERNEL_CASES_MAX];
static size_t case_count;

static int find_cases(void **state)
{
    (void)state;
    case_count = kernel_cases(cases);
    return 0;
}

/* The bound of one row. */
static float upper_of(const struct lathe_proposal *proposal, const float *x)
{
    float aux = lathe_proposal_aux(proposal->metric, x, proposal->dims), upper;

    lathe_proposal_run(proposal, x, proposal->dims, 1, &aux, &upper);
    return upper;
}

/* The same, by the batch form. */
static float batch_upper_of(const struct lathe_proposal *proposal, const float *x)
{
    float aux = lathe_proposal_aux(proposal->metric, x, proposal->dims), upper;

    lathe_proposal_run_batch(&proposal, 1, x, proposal->dims, 1, &aux, (float *[]){&upper});
    return upper;
}

/* True if the row would be dropped when tau is its own defined score: the sharpest test there is,
 * since every better tau that the row still ties or beats gives a lower cut. */
static bool drops_itself(const struct lathe_proposal *proposal, const float *x)
{
    float tau = lathe_score_f32(proposal->metric, x, proposal->query, proposal->dims);
    float cut = lathe_proposal_cut(proposal, tau);

    return lathe_proposal_drops(upper_of(proposal, x), cut) ||
           lathe_proposal_drops(batch_upper_of(proposal, x), cut);
}

/* A row of one of the kinds, or one whose score lies at the end of the range. */
static void fill_row(struct test_rng *rng, enum data_kind kind, const float *q, float *x,
                     uint32_t dims)
{
    uint64_t shape = test_rng_below(rng, 8);
    double factor = test_rng_gauss(rng);

    data_fill(rng, kind, x, dims);
    for (uint32_t i = 0; i < dims && shape < 3; i++) {
        double noise = shape == 0 ? 0 : ldexp((double)x[i], shape == 1 ? -12 : -24);

        x[i] = (float)((double)q[i] * (shape == 2 ? 1 : factor) + noise);
    }
    if (lathe_vector_check_f32(x, dims, LATHE_DOT, true, NULL) != LATHE_OK)
        data_fill(rng, DATA_GAUSS, x, dims);
}

static void check_no_tie_dropped(const struct kernel_case *c, const struct lathe_proposal *p,
                                 const float *rows, const float *upper, const char *form)
{
    for (size_t i = 0; i < MAX_ROWS; i++) {
        float tau = lathe_score_f32(p->metric, rows + i * p->dims, p->query, p->dims);

        if (lathe_proposal_drops(upper[i], lathe_proposal_cut(p, tau)))
            fail_msg("%s %s %s, %u dims: a row of score %a has the bound %a", c->label,
                     lathe_metric_name(p->metric), form, p->dims, (double)tau, (double)upper[i]);
    }
}

static void check_rows(const struct kernel_case *c, struct test_rng *rng, uint32_t dims)
{
    static float rows[MAX_ROWS * MAX_DIMS], q[QUERIES][MAX_DIMS];
    float aux[MAX_ROWS], upper[MAX_ROWS], batch[QUERIES][MAX_ROWS];
    enum data_kind kind = (enum data_kind)test_rng_below(rng, DATA_KINDS);

    for (size_t j = 0; j < QUERIES; j++)
        data_fill(rng, j == 0 ? kind : (enum data_kind)test_rng_below(rng, DATA_KINDS), q[j], dims);
    for (size_t i = 0; i < MAX_ROWS; i++)
        fill_row(rng, i % 4 == 0 ? (enum data_kind)test_rng_below(rng, DATA_KINDS) : kind, q[0],
                 rows + i * dims, dims);
    for (size_t m = 0; m < METRICS; m++) {
        struct lathe_proposal p[QUERIES];
        const struct lathe_proposal *all[QUERIES];
        float *uppers[QUERIES];

        for (size_t j = 0; j < QUERIES; j++) {
            lathe_proposal_init(&p[j], c->set, metrics[m], q[j], dims);
            all[j] = &p[j];
            uppers[j] = batch[j];
        }
        for (size_t i = 0; i < MAX_ROWS; i++)
            aux[i] = lathe_proposal_aux(metrics[m], rows + i * dims, dims);
        lathe_proposal_run(&p[0], rows, dims, MAX_ROWS, aux, upper);
        check_no_tie_dropped(c, &p[0], rows, upper, "run");
        lathe_proposal_run_batch(all, QUERIES, rows, dims, MAX_ROWS, aux, uppers);
        for (size_t j = 0; j < QUERIES; j++)
            check_no_tie_dropped(c, &p[j], rows, batch[j], "batch");
    }
}

static void no_row_that_ties_tau_is_dropped(void **state)
{
    static const uint32_t large[] = {384, 768, 1024, 1536, 4096};
    struct test_rng rng;

    (void)state;
    test_rng_seed(&rng, "propose");
    for (size_t c = 0; c < case_count; c++) {
        for (int round = 0; round < 30; round++)
            for (uint32_t dims = 1; dims <= 130; dims++)
                check_rows(&cases[c], &rng, dims);
        for (size_t i = 0; i < sizeof(large) / sizeof(large[0]); i++)
            for (int round = 0; round < 60; round++)
                check_rows(&cases[c], &rng, large[i]);
    }
}

/* The form of a set's kernels whose sums pass more roundings: the one that the bound is made for.
 */
static const struct lathe_kernel_shape *worse_shape(const struct lathe_kernel_set *set)
{
    return set->tile_shape.lanes < set->rows_shape.lanes ? &set->tile_shape : &set->rows_shape;
}

/* The proposal with the part of its bound that covers the kernel's additions cut to `share`. */
static struct lathe_proposal with_share(const struct kernel_case *c, enum lathe_metric metric,
                                        const float *q, uint32_t dims, double share)
{
    struct lathe_proposal p;
    const struct lathe_kernel_shape *shape = worse_shape(c->set);
    double m = (double)((dims + shape->lanes - 1) / shape->lanes + shape->fold_depth);
    double gamma_m = m * 0x1p-24 / (1 - m * 0x1p-24);
    double gamma_2 = (m + 2) * 0x1p-24 / (1 - (m + 2) * 0x1p-24);

    lathe_proposal_init(&p, c->set, metric, q, dims);
    if (metric == LATHE_COSINE)
        p.slack -= (1 - share) * gamma_m;
    else if (metric == LATHE_DOT)
        p.slack_per_aux -= (1 - share) * gamma_m * sqrt(lathe_squared_norm_f32(q, dims));
    else
        p.scale *= (1 + gamma_2) / (1 + share * gamma_2);
    return p;
}

static void half_the_accumulation_bound_would_drop_a_result(void **state)
{
    static float x[MAX_DIMS], q[MAX_DIMS];

    (void)state;
    for (size_t c = 0; c < case_count; c++) {
        const struct lathe_kernel_shape *shape = worse_shape(cases[c].set);
        uint32_t dims = shape->lanes * 64;

        for (size_t m = 0; m < METRICS; m++) {
            struct lathe_proposal whole, half;

            if (metrics[m] == LATHE_EUCLIDEAN) {
                data_worst_l2sq(shape, x, q, dims);
            } else {
                data_worst_dot(shape, x, dims);
                memcpy(q, x, dims * sizeof(float));
            }
            whole = with_share(&cases[c], metrics[m], q, dims, 1);
            half = with_share(&cases[c], metrics[m], q, dims, .5);
            assert_false(drops_itself(&whole, x));
            assert_true(drops_itself(&half, x));
        }
    }
}

static void the_underflow_term_is_needed(void **state)
{
    static float x[MAX_DIMS], q[MAX_DIMS];

    (void)state;
    for (size_t c = 0; c < case_count; c++) {
        struct lathe_proposal p;

        /* Every product is half of the smallest float and is rounded to the even one, 0. */
        for (size_t i = 0; i < MAX_DIMS; i++)
            x[i] = q[i] = 0x1p-75f;
        lathe_proposal_init(&p, cases[c].set, LATHE_DOT, q, MAX_DIMS);
        assert_false(drops_itself(&p, x));
        p.slack *= .5;
        assert_true(drops_itself(&p, x));

        /* Every square is a little more than that and is rounded up to the smallest float. */
        for (size_t i = 0; i < MAX_DIMS; i++) {
            x[i] = 0x1.0002p-75f;
            q[i] = 0;
        }
        lathe_proposal_init(&p, cases[c].set, LATHE_EUCLIDEAN, q, MAX_DIMS);
        assert_false(drops_itself(&p, x));
        p.slack *= .5;
        assert_true(drops_itself(&p, x));
    }
}

/* The defined score's own sums err as well, by what the bound allots to them and not much less. */
static void the_error_of_the_defined_sums_is_needed(void **state)
{
    static float x[16384];
    /* 1 in each of the 16 accumulators, then squares of a little more than 2^-53, all rounded up.
     */
    float small = 0x1.6a0ap-27f;
    double truth, error, allotted;

    (void)state;
    for (size_t i = 0; i < 16384; i++)
        x[i] = i < 16 ? 1 : small;
    truth = 16 + (16384 - 16) * ((double)small * (double)small);
    error = lathe_squared_norm_f32(x, 16384) - truth;
    allotted = (16384 / 16 + 8) * 0x1p-53 * truth;
    assert_true(error > .75 * allotted);
    assert_true(error <= allotted);
}

static void aux_is_rounded_as_the_bound_allows(void **state)
{
    double worst = 0;
    bool plain_norm_was_too_small = false;
    struct test_rng rng;

    (void)state;
    test_rng_seed(&rng, "propose aux");
    for (int round = 0; round < 20000; round++) {
        float x[3];
        double norm;

        test_rng_gauss_floats(&rng, x, 3);
        norm = sqrt(lathe_squared_norm_f32(x, 3));
        worst = fmax(worst, fabs((double)lathe_proposal_aux(LATHE_COSINE, x, 3) * norm - 1));
        assert_true((double)lathe_proposal_aux(LATHE_DOT, x, 3) > norm * (1 + 0x1p-40));
        plain_norm_was_too_small |= (double)(float)norm < norm;
    }
    assert_true(worst > .5 * 0x1p-24); /* half the allowance would be too little */
    assert_true(worst <= 0x1p-24 + 0x1p-40);
    assert_true(plain_norm_was_too_small);
}

/* Each term is shown to be needed in this size by the tests around this one; here, that it is
 * there, and that nothing is wasted. */
static void the_bound_is_the_sum_of_its_terms(void **state)
{
    static float q[MAX_DIMS];
    const double u = 0x1p-24;
    struct test_rng rng;

    (void)state;
    test_rng_seed(&rng, "propose terms");
    test_rng_gauss_floats(&rng, q, MAX_DIMS);
    for (size_t c = 0; c < case_count; c++) {
        for (uint32_t dims = 64; dims <= MAX_DIMS; dims *= 2) {
            const struct lathe_kernel_shape *shape = worse_shape(cases[c].set);
            double m = (double)((dims + shape->lanes - 1) / shape->lanes + shape->fold_depth);
            double gamma_m = m * u / (1 - m * u), gamma_2 = (m + 2) * u / (1 - (m + 2) * u);
            double g = (dims / 16 + 8) * 0x1p-53, norm = sqrt(lathe_squared_norm_f32(q, dims));
            struct lathe_proposal p;

            lathe_proposal_init(&p, cases[c].set, LATHE_COSINE, q, dims);
            assert_true(p.slack >= gamma_m + 2 * u + 3 * g);
            assert_true(p.slack <= 1.001 * (gamma_m + 2 * u + 3 * g));
            lathe_proposal_init(&p, cases[c].set, LATHE_DOT, q, dims);
            assert_true(p.slack_per_aux >= norm * (gamma_m + u + g));
            assert_true(p.slack_per_aux <= 1.001 * norm * (gamma_m + u + g));
            assert_true(p.slack >= (dims + 1) * 0x1p-150);
            lathe_proposal_init(&p, cases[c].set, LATHE_EUCLIDEAN, q, dims);
            assert_true(-p.scale <= (1 - g) / ((1 + gamma_2) * (1 + u)));
            assert_true(-p.scale >= (1 - g) / (1 + 1.001 * (gamma_2 + u)));
            assert_true(p.slack >= (dims + 1) * 0x1p-150);
        }
    }
}

static void a_score_equal_to_tau_is_kept_and_the_next_worse_is_not(void **state)
{
    struct lathe_proposal p = {.metric = LATHE_COSINE};
    const float taus[] = {.75f, -.75f, 0, 1, 0x1p-149f};

    (void)state;
    for (size_t i = 0; i < sizeof(taus) / sizeof(taus[0]); i++) {
        p.metric = i % 2 == 0 ? LATHE_COSINE : LATHE_DOT;
        assert_false(lathe_proposal_drops(taus[i], lathe_proposal_cut(&p, taus[i])));
        assert_true(
            lathe_proposal_drops(nextafterf(taus[i], -INFINITY), lathe_proposal_cut(&p, taus[i])));
    }
}

static void the_cut_keeps_distances_that_round_to_tau(void **state)
{
    struct lathe_proposal p = {.metric = LATHE_EUCLIDEAN};
    bool squaring_tau_would_drop_a_tie = false;
    struct test_rng rng;

    (void)state;
    test_rng_seed(&rng, "propose cut");
    for (int round = 0; round < 100000; round++) {
        float tau = (float)ldexp(1 + test_rng_unit(&rng), (int)test_rng_below(&rng, 200) - 149);
        /* a squared distance close to tau's square, as the kernel's bound would give it */
        float squared = (float)((double)tau * (double)tau * (1 + test_rng_gauss(&rng) * 0x1p-23));

        if (lathe_proposal_drops(-squared, lathe_proposal_cut(&p, tau)))
            assert_true((float)sqrt((double)squared) > tau);
        squaring_tau_would_drop_a_tie |= -(double)squared < -((double)tau * (double)tau) &&
                                         (float)sqrt((double)squared) == tau;
    }
    assert_true(squaring_tau_would_drop_a_tie);
    assert_false(lathe_proposal_drops(-0.0f, lathe_proposal_cut(&p, 0)));
    assert_true(lathe_proposal_drops(-0x1p-100f, lathe_proposal_cut(&p, 0)));
    assert_false(lathe_proposal_drops(-0x1p120f, lathe_proposal_cut(&p, 0x1p100f)));
}

static void rows_without_a_bound_are_scored(void **state)
{
    float tiny[20] = {[7] = 0x1p-60f, [8] = -0x1p-80f}, one[20] = {[7] = 1};
    float subnormal[20] = {[3] = 1e-40f};

    (void)state;
    assert_true(isnan(lathe_proposal_aux(LATHE_COSINE, tiny, 20)));
    assert_true(isnan(lathe_proposal_aux(LATHE_COSINE, subnormal, 20)));
    for (size_t c = 0; c < case_count; c++) {
        struct lathe_proposal p;

        lathe_proposal_init(&p, cases[c].set, LATHE_COSINE, one, 20);
        assert_true(isnan(upper_of(&p, tiny)));
        assert_false(lathe_proposal_drops(upper_of(&p, tiny), INFINITY));
        lathe_proposal_init(&p, cases[c].set, LATHE_COSINE, tiny, 20);
        assert_true(isnan(upper_of(&p, one)));
        lathe_proposal_init(&p, cases[c].set, LATHE_MANHATTAN, one, 20);
        assert_true(isnan(upper_of(&p, one)));
        assert_true(isnan(batch_upper_of(&p, one)));
        assert_false(lathe_proposal_drops(NAN, lathe_proposal_cut(&p, 0)));
        lathe_proposal_init(&p, cases[c].set, LATHE_DOT, subnormal, 20);
        assert_false(isnan(upper_of(&p, subnormal)));
    }
}

static void zero_rows_score_zero(void **state)
{
    float zero[20] = {0}, q[20] = {[7] = -3};

    (void)state;
    for (size_t c = 0; c < case_count; c++) {
        for (size_t m = 0; m < METRICS; m++) {
            struct lathe_proposal p;

            lathe_proposal_init(&p, cases[c].set, metrics[m], q, 20);
            assert_false(drops_itself(&p, zero));
            lathe_proposal_init(&p, cases[c].set, metrics[m], zero, 20);
            assert_false(drops_itself(&p, q));
            assert_false(drops_itself(&p, zero));
        }
        struct lathe_proposal p;

        lathe_proposal_init(&p, cases[c].set, LATHE_COSINE, q, 20);
        assert_true(lathe_proposal_drops(upper_of(&p, zero), lathe_proposal_cut(&p, 1e-4f)));
    }
}

static int descending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return x > y ? -1 : x < y;
}

static void nearly_all_other_rows_are_dropped(void **state)
{
    enum { ROWS = 4000, DIMS = 256, K = 10 };
    static float rows[ROWS * DIMS], q[DIMS], aux[ROWS], upper[ROWS], better[ROWS];
    struct test_rng rng;

    (void)state;
    test_rng_seed(&rng, "propose pruning");
    test_rng_gauss_floats(&rng, rows, ROWS * DIMS);
    test_rng_gauss_floats(&rng, q, DIMS);
    for (size_t c = 0; c < case_count; c++) {
        for (size_t m = 0; m < METRICS; m++) {
            float sign = metrics[m] == LATHE_EUCLIDEAN ? -1 : 1, cut;
            struct lathe_proposal p;
            size_t kept = 0;

            for (size_t i = 0; i < ROWS; i++) {
                better[i] = sign * lathe_score_f32(metrics[m], rows + i * DIMS, q, DIMS);
                aux[i] = lathe_proposal_aux(metrics[m], rows + i * DIMS, DIMS);
            }
            qsort(better, ROWS, sizeof(better[0]), descending);
            lathe_proposal_init(&p, cases[c].set, metrics[m], q, DIMS);
            cut = lathe_proposal_cut(&p, sign * better[K - 1]);
            lathe_proposal_run(&p, rows, DIMS, ROWS, aux, upper);
            for (size_t i = 0; i < ROWS; i++) {
                assert_false(lathe_proposal_drops(upper[i], LATHE_PROPOSAL_KEEP_ALL));
                kept += !lathe_proposal_drops(upper[i], cut);
            }
            assert_in_range(kept, K, K + 2);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_row_that_ties_tau_is_dropped),
        cmocka_unit_test(half_the_accumulation_bound_would_drop_a_result),
        cmocka_unit_test(the_underflow_term_is_needed),
        cmocka_unit_test(the_error_of_the_defined_sums_is_needed),
        cmocka_unit_test(aux_is_rounded_as_the_bound_allows),
        cmocka_unit_test(the_bound_is_the_sum_of_its_terms),
        cmocka_unit_test(a_score_equal_to_tau_is_kept_and_the_next_worse_is_not),
        cmocka_unit_test(the_cut_keeps_distances_that_round_to_tau),
        cmocka_unit_test(rows_without_a_bound_are_scored),
        cmocka_unit_test(zero_rows_score_zero),
        cmocka_unit_test(nearly_all_other_rows_are_dropped),
    };

    return cmocka_run_group_tests_name("propose", tests, find_cases, NULL);
}
