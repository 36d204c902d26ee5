/* test_score.c - the defined score, bit for bit, against a model that was not written in C. */
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

#include "common/vec/score.h"

enum { MAX_DIMS = 4096 };
enum kind { UNIT, MIXED, TINY, HUGE_VALUES, CANCELLING, SPREAD };

/* Made by score_model.py. `tail`, unless all zero, replaces the last three elements of x, and those
 * of q are 0: the score then lies so close to the middle of two floats that another order of the
 * additions, or a fused one, rounds to the other. */
static const struct golden {
    int metric;
    int kind;
    uint64_t seed;
    uint32_t dims;
    uint32_t tail[3];
    uint32_t score;
} golden[] = {
#include "tests/unit/vec/score_golden.inc"
};

static float of_bits(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

static uint32_t bits_of(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static float element(enum kind kind, uint64_t *seed)
{
    int exponent;

    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    switch (kind) {
    case UNIT:
        exponent = -23;
        break;
    case TINY:
        exponent = -149;
        break;
    case HUGE_VALUES:
        exponent = 20;
        break;
    case SPREAD:
        exponent = -30 + (int)(*seed >> 32 & 7);
        break;
    default:
        exponent = -40 + (int)(*seed >> 32 & 31);
    }
    return (float)ldexp((double)(*seed >> 40) - 0x1p23, exponent);
}

static void make_pair(const struct golden *g, float *x, float *q)
{
    uint64_t seed = g->seed;
    uint32_t dims = g->dims;

    for (uint32_t i = 0; i < dims; i++)
        x[i] = element((enum kind)g->kind, &seed);
    for (uint32_t i = 0; i < dims; i++)
        q[i] = element((enum kind)g->kind, &seed);
    for (uint32_t i = 0; g->kind == CANCELLING && i < dims / 2; i++) {
        x[dims - 1 - i] = x[i];
        q[dims - 1 - i] = -q[i];
    }
    for (uint32_t i = 0; g->tail[0] != 0 && i < 3; i++) {
        x[dims - 3 + i] = of_bits(g->tail[i]);
        q[dims - 3 + i] = 0;
    }
}

static void scores_have_the_bits_of_the_model(void **state)
{
    static float x[MAX_DIMS], q[MAX_DIMS];

    (void)state;
    for (size_t i = 0; i < sizeof(golden) / sizeof(golden[0]); i++) {
        const struct golden *g = &golden[i];
        struct lathe_score_query query;

        make_pair(g, x, q);
        if (bits_of(lathe_score_f32((enum lathe_metric)g->metric, x, q, g->dims)) != g->score)
            fail_msg("golden row %zu: got %a, wanted %a", i,
                     (double)lathe_score_f32((enum lathe_metric)g->metric, x, q, g->dims),
                     (double)of_bits(g->score));
        lathe_score_query_init(&query, (enum lathe_metric)g->metric, q, g->dims);
        assert_int_equal(bits_of(lathe_score_query_run(&query, x)), g->score);
    }
}

static void scores_do_not_depend_on_alignment(void **state)
{
    static float memory[2 * MAX_DIMS + 8];

    (void)state;
    for (size_t i = 0; i < sizeof(golden) / sizeof(golden[0]); i += 7) {
        const struct golden *g = &golden[i];
        float *x = memory + i % 4, *q = x + g->dims + i % 3;

        make_pair(g, x, q);
        assert_int_equal(bits_of(lathe_score_f32((enum lathe_metric)g->metric, x, q, g->dims)),
                         g->score);
    }
}

static void a_zero_vector_scores_zero_under_cosine(void **state)
{
    float zero[20] = {0}, x[20] = {[3] = -2};

    (void)state;
    assert_int_equal(bits_of(lathe_score_f32(LATHE_COSINE, zero, x, 20)), 0);
    assert_int_equal(bits_of(lathe_score_f32(LATHE_COSINE, x, zero, 20)), 0);
    assert_int_equal(bits_of(lathe_score_f32(LATHE_COSINE, zero, zero, 20)), 0);
    x[3] = 0x1p-149f; /* the smallest vector still has a direction */
    assert_true(lathe_score_f32(LATHE_COSINE, x, x, 20) == 1);
}

static void minus_zero_becomes_zero(void **state)
{
    float x[2] = {0x1p-149f, 0}, q[2] = {-0x1p-149f, 0};

    (void)state; /* the product, -2^-298, rounds to -0 */
    assert_int_equal(bits_of(lathe_score_f32(LATHE_DOT, x, q, 2)), 0);
    assert_int_equal(bits_of(lathe_score_f32(LATHE_EUCLIDEAN, x, x, 2)), 0);
    assert_int_equal(bits_of(lathe_score_f32(LATHE_MANHATTAN, x, x, 2)), 0);
}

static void a_prefix_is_scored_alone(void **state)
{
    float x[40], q[40];

    (void)state;
    for (int i = 0; i < 40; i++) {
        x[i] = i < 20 ? 1 : NAN;
        q[i] = i < 20 ? 3 : NAN;
    }
    assert_true(lathe_score_f32(LATHE_COSINE, x, q, 20) == 1);
    assert_true(lathe_score_f32(LATHE_DOT, x, q, 20) == 60);
    assert_true(lathe_score_f32(LATHE_EUCLIDEAN, x, q, 16) == 8);
    assert_true(lathe_score_f32(LATHE_MANHATTAN, x, q, 20) == 40);
}

static void better_is_larger_or_nearer(void **state)
{
    (void)state;
    assert_true(lathe_score_better(LATHE_COSINE, 2, 1));
    assert_true(lathe_score_better(LATHE_DOT, 2, 1));
    assert_true(lathe_score_better(LATHE_EUCLIDEAN, 1, 2));
    assert_true(lathe_score_better(LATHE_MANHATTAN, 1, 2));
    for (int metric = 1; metric <= 4; metric++)
        assert_false(lathe_score_better((enum lathe_metric)metric, 1, 1));
    assert_false(lathe_score_better(LATHE_DOT, 1, 2));
    assert_false(lathe_score_better(LATHE_MANHATTAN, 2, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_have_the_bits_of_the_model),
        cmocka_unit_test(scores_do_not_depend_on_alignment),
        cmocka_unit_test(a_zero_vector_scores_zero_under_cosine),
        cmocka_unit_test(minus_zero_becomes_zero),
        cmocka_unit_test(a_prefix_is_scored_alone),
        cmocka_unit_test(better_is_larger_or_nearer),
    };

    return cmocka_run_group_tests_name("vec/score", tests, NULL, NULL);
}
