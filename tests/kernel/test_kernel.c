/* test_kernel.c - every kernel set against a reference in higher precision. */
#include "tests/kernel/kernel_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shard/kernel/cpu.h"

enum { MAX_DIMS = 16384, MAX_ROWS = 11, MAX_QUERIES = 9, PADDING = 40 };

static struct kernel_case cases[KERNEL_CASES_MAX];
static size_t case_count;

static int find_cases(void **state)
{
    (void)state;
    case_count = kernel_cases(cases);
    return 0;
}

/* The exact sum, near enough, and the sum of the magnitudes of its terms. */
struct truth {
    long double sum;
    long double magnitude;
};

static struct truth truth_of(bool l2sq, const float *q, const float *x, size_t dims)
{
    struct truth truth = {0, 0};

    for (size_t i = 0; i < dims; i++) {
        long double term = l2sq ? ((long double)x[i] - q[i]) * ((long double)x[i] - q[i])
                                : (long double)x[i] * q[i];

        truth.sum += term;
        truth.magnitude += fabsl(term);
    }
    return truth;
}

/* The bound that docs/scan.md proves for a kernel's sum. */
static long double bound_of(const struct lathe_kernel_shape *shape, bool l2sq, size_t dims,
                            long double magnitude)
{
    long double m = (dims + shape->lanes - 1) / shape->lanes + shape->fold_depth + (l2sq ? 2 : 0);
    long double gamma_m = m * 0x1p-24L / (1 - m * 0x1p-24L);

    return gamma_m * magnitude + (1 + gamma_m) * dims * 0x1p-150L;
}

static void run(const struct lathe_kernel_set *set, bool l2sq, const float *q, const float *rows,
                size_t stride, size_t row_count, size_t dims, float *out)
{
    (l2sq ? set->l2sq_f32 : set->dot_f32)(q, rows, stride, row_count, dims, out);
}

static void run_tile(const struct lathe_kernel_set *set, bool l2sq, const float *const *queries,
                     size_t query_count, const float *rows, size_t stride, size_t row_count,
                     size_t dims, float *const *outs)
{
    (l2sq ? set->l2sq_tile_f32 : set->dot_tile_f32)(queries, query_count, rows, stride, row_count,
                                                    dims, outs);
}

static void assert_within_bound(const struct kernel_case *c, const struct lathe_kernel_shape *shape,
                                bool l2sq, const float *q, const float *x, size_t dims, float got)
{
    struct truth truth = truth_of(l2sq, q, x, dims);
    long double error = fabsl((long double)got - truth.sum);
    long double bound = bound_of(shape, l2sq, dims, truth.magnitude);

    if (!(error <= bound))
        fail_msg("%s %s%s, %zu dims: %a is %La off, more than %La", c->label, l2sq ? "l2sq" : "dot",
                 shape == &c->set->tile_shape ? " tile" : "", dims, (double)got, error, bound);
}

/* Unaligned memory full of NaN, of which only rows and queries may be read into a result. */
struct test_rows {
    float memory[MAX_ROWS * (MAX_DIMS + PADDING) + 16];
    float query_memory[MAX_QUERIES * (MAX_DIMS + PADDING) + 16];
    const float *rows;
    const float *queries[MAX_QUERIES];
    size_t stride;
    size_t row_count;
    size_t query_count;
};

static void fill_test_rows(struct test_rows *t, struct test_rng *rng, size_t dims)
{
    float *rows = t->memory + test_rng_below(rng, 16);
    float *queries = t->query_memory + test_rng_below(rng, 16);

    t->row_count = dims > 300 ? 4 : MAX_ROWS;
    t->query_count = dims > 300 ? 5 : 1 + test_rng_below(rng, MAX_QUERIES);
    t->stride = dims + test_rng_below(rng, PADDING);
    t->rows = rows;
    for (size_t i = 0; i < t->row_count * t->stride; i++)
        rows[i] = NAN;
    for (size_t i = 0; i < t->query_count * t->stride; i++)
        queries[i] = NAN;
    for (size_t i = 0; i < t->row_count; i++)
        data_fill(rng, (enum data_kind)test_rng_below(rng, DATA_KINDS), rows + i * t->stride, dims);
    for (size_t j = 0; j < t->query_count; j++) {
        data_fill(rng, (enum data_kind)test_rng_below(rng, DATA_KINDS), queries + j * t->stride,
                  dims);
        t->queries[j] = queries + j * t->stride;
    }
}

static void check_dims(const struct kernel_case *c, struct test_rng *rng, size_t dims)
{
    static struct test_rows t;
    float out[MAX_ROWS + 1], tile[MAX_QUERIES][MAX_ROWS + 1], *outs[MAX_QUERIES];

    fill_test_rows(&t, rng, dims);
    out[t.row_count] = 12345;
    for (size_t j = 0; j < t.query_count; j++) {
        outs[j] = tile[j];
        tile[j][t.row_count] = 12345;
    }
    for (int l2sq = 0; l2sq < 2; l2sq++) {
        run(c->set, l2sq, t.queries[0], t.rows, t.stride, t.row_count, dims, out);
        run_tile(c->set, l2sq, t.queries, t.query_count, t.rows, t.stride, t.row_count, dims, outs);
        for (size_t i = 0; i < t.row_count; i++) {
            const float *x = t.rows + i * t.stride;

            assert_within_bound(c, &c->set->rows_shape, l2sq, t.queries[0], x, dims, out[i]);
            for (size_t j = 0; j < t.query_count; j++)
                assert_within_bound(c, &c->set->tile_shape, l2sq, t.queries[j], x, dims,
                                    tile[j][i]);
        }
    }
    assert_true(out[t.row_count] == 12345);
    for (size_t j = 0; j < t.query_count; j++)
        assert_true(tile[j][t.row_count] == 12345);
}

static void results_are_within_the_bound_at_all_dims(void **state)
{
    static const size_t large[] = {768, 1000, 1536, 4096, 4111, 16384};
    struct test_rng rng;

    (void)state;
    test_rng_seed(&rng, "kernel");
    for (size_t c = 0; c < case_count; c++) {
        for (size_t dims = 1; dims <= 300; dims++)
            for (int round = 0; round < 4; round++)
                check_dims(&cases[c], &rng, dims);
        for (size_t i = 0; i < sizeof(large) / sizeof(large[0]); i++)
            for (int round = 0; round < 8; round++)
                check_dims(&cases[c], &rng, large[i]);
    }
}

static void a_row_has_the_same_bits_alone_and_among_others(void **state)
{
    enum { ROWS = 70, DIMS = 100, STRIDE = 112 };
    static float rows[ROWS * STRIDE], q[DIMS], alone[ROWS], together[ROWS];
    struct test_rng rng;

    (void)state;
    test_rng_seed(&rng, "kernel rows");
    for (size_t c = 0; c < case_count; c++) {
        test_rng_gauss_floats(&rng, rows, ROWS * STRIDE);
        test_rng_gauss_floats(&rng, q, DIMS);
        for (size_t dims = 1; dims <= DIMS; dims++) {
            bool l2sq = dims % 2 == 0;

            for (size_t i = 0; i < ROWS; i++)
                run(cases[c].set, l2sq, q, rows + i * STRIDE, STRIDE, 1, dims, alone + i);
            for (size_t count = 0; count <= ROWS; count += 1 + count / 10) {
                memset(together, 0, sizeof(together));
                run(cases[c].set, l2sq, q, rows, STRIDE, count, dims, together);
                assert_memory_equal(together, alone, count * sizeof(float));
                assert_true(count == ROWS || together[count] == 0);
            }
        }
    }
}

static void a_tile_has_the_same_bits_whatever_its_size(void **state)
{
    enum { ROWS = 9, QUERIES = 9, DIMS = 70 };
    static float rows[ROWS * DIMS], q[QUERIES * DIMS], alone[QUERIES][ROWS], tile[QUERIES][ROWS];
    const float *queries[QUERIES];
    float *outs[QUERIES];
    struct test_rng rng;

    (void)state;
    test_rng_seed(&rng, "kernel tile");
    test_rng_gauss_floats(&rng, rows, ROWS * DIMS);
    test_rng_gauss_floats(&rng, q, QUERIES * DIMS);
    for (size_t c = 0; c < case_count; c++) {
        for (size_t dims = 1; dims <= DIMS; dims++) {
            bool l2sq = dims % 2 == 0;

            for (size_t j = 0; j < QUERIES; j++) {
                queries[j] = q + j * DIMS;
                for (size_t i = 0; i < ROWS; i++) {
                    outs[j] = &alone[j][i];
                    run_tile(cases[c].set, l2sq, queries + j, 1, rows + i * DIMS, DIMS, 1, dims,
                             outs + j);
                }
                outs[j] = tile[j];
            }
            for (size_t size = 0; size <= ROWS; size++) {
                memset(tile, 0, sizeof(tile));
                run_tile(cases[c].set, l2sq, queries, size, rows, DIMS, ROWS + 1 - size, dims,
                         outs);
                for (size_t j = 0; j < size; j++)
                    assert_memory_equal(tile[j], alone[j],
                                        (size_t)(ROWS + 1 - size) * sizeof(float));
            }
        }
    }
}

static void no_byte_outside_rows_and_query_is_read(void **state)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), floats = page / sizeof(float);
    /* unreadable, two pages of rows, unreadable, a page of query, unreadable */
    char *memory = mmap(NULL, 6 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    float *rows_end, *rows_begin, *q_end, out[9], *outs[1] = {out};

    (void)state;
    assert_true(memory != MAP_FAILED);
    assert_int_equal(mprotect(memory, page, PROT_NONE), 0);
    assert_int_equal(mprotect(memory + 3 * page, page, PROT_NONE), 0);
    assert_int_equal(mprotect(memory + 5 * page, page, PROT_NONE), 0);
    rows_begin = (float *)(void *)(memory + page);
    rows_end = rows_begin + 2 * floats;
    q_end = rows_end + 2 * floats;
    for (size_t i = 0; i < 2 * floats; i++)
        rows_begin[i] = 1;
    for (size_t i = 1; i <= floats; i++)
        q_end[-(ptrdiff_t)i] = 2;
    for (size_t c = 0; c < case_count; c++) {
        for (size_t dims = 1; dims <= 300; dims++) {
            size_t count = 2 * floats / dims < 9 ? 2 * floats / dims : 9;

            for (int l2sq = 0; l2sq < 2; l2sq++) {
                float wanted = (float)dims * (l2sq != 0 ? 1 : 2);

                run(cases[c].set, l2sq, q_end - dims, rows_end - count * dims, dims, count, dims,
                    out);
                assert_true(out[0] == wanted && out[count - 1] == wanted);
                run_tile(cases[c].set, l2sq, (const float *[]){q_end - dims}, 1,
                         rows_end - count * dims, dims, count, dims, outs);
                assert_true(out[0] == wanted && out[count - 1] == wanted);
                run(cases[c].set, l2sq, q_end - floats, rows_begin, dims, count, dims, out);
                assert_true(out[0] == wanted && out[count - 1] == wanted);
            }
        }
        run(cases[c].set, false, q_end - 768, rows_end - 768, 768, 1, 768, out);
        assert_true(out[0] == 2 * 768);
    }
    assert_int_equal(munmap(memory, 6 * page), 0);
}

static void check_worst_case(const struct kernel_case *c, bool tile, bool l2sq)
{
    static float x[MAX_DIMS], q[MAX_DIMS];
    const struct lathe_kernel_shape *shape = tile ? &c->set->tile_shape : &c->set->rows_shape;
    size_t dims = shape->lanes * 64;
    struct truth truth;
    long double bound, error;
    float got;

    if (l2sq) {
        data_worst_l2sq(shape, x, q, dims);
    } else {
        data_worst_dot(shape, x, dims);
        memcpy(q, x, dims * sizeof(float));
    }
    truth = truth_of(l2sq, q, x, dims);
    bound = bound_of(shape, l2sq, dims, truth.magnitude);
    if (tile)
        run_tile(c->set, l2sq, (const float *[]){q}, 1, x, dims, 1, dims, (float *[]){&got});
    else
        run(c->set, l2sq, q, x, dims, 1, dims, &got);
    error = l2sq ? got - truth.sum : truth.sum - got;
    print_message("%s %s%s: error %.2Lf of the bound\n", c->label, l2sq ? "l2sq" : "dot",
                  tile ? " tile" : "", error / bound);
    assert_true(error > .75L * bound);
    assert_true(error <= bound);
}

/* Half the bound would be wrong: every kernel can come within a quarter of it. */
static void the_accumulation_bound_is_needed(void **state)
{
    (void)state;
    for (size_t c = 0; c < case_count; c++)
        for (int form = 0; form < 4; form++)
            check_worst_case(&cases[c], form / 2 != 0, form % 2 != 0);
}

static void auto_takes_the_fastest_that_can_run(void **state)
{
    const struct lathe_kernel_set *set;
    struct lathe_error err;

    (void)state;
    assert_int_equal(lathe_kernel_select("auto", 0, &set, &err), LATHE_OK);
    assert_ptr_equal(set, &lathe_kernel_scalar);
#if defined(__x86_64__)
    assert_int_equal(lathe_kernel_select("auto", LATHE_CPU_AVX2, &set, &err), LATHE_OK);
    assert_ptr_equal(set, &lathe_kernel_scalar);
    assert_int_equal(lathe_kernel_select("auto", LATHE_CPU_AVX2 | LATHE_CPU_FMA, &set, &err),
                     LATHE_OK);
    assert_ptr_equal(set, &lathe_kernel_avx2);
    assert_int_equal(lathe_kernel_select("auto", ~0u, &set, &err), LATHE_OK);
    assert_ptr_equal(set, &lathe_kernel_avx512);
#endif
}

static void a_named_set_is_taken_or_refused(void **state)
{
    const struct lathe_kernel_set *set;
    struct lathe_error err;

    (void)state;
    assert_int_equal(lathe_kernel_select("scalar", ~0u, &set, &err), LATHE_OK);
    assert_ptr_equal(set, &lathe_kernel_scalar);
    assert_int_equal(lathe_kernel_select("sse9", ~0u, &set, &err), LATHE_INVALID_ARGUMENT);
    assert_null(set);
    assert_non_null(strstr(err.message, "\"sse9\""));
    assert_non_null(strstr(err.message, "auto"));
    assert_non_null(strstr(err.message, "scalar"));
#if defined(__x86_64__)
    assert_int_equal(lathe_kernel_select("avx2", LATHE_CPU_AVX2, &set, &err),
                     LATHE_FAILED_PRECONDITION);
    assert_null(set);
    assert_non_null(strstr(err.message, "lacks fma (present: avx2)"));
    assert_int_equal(lathe_kernel_select("avx512", 0, &set, &err), LATHE_FAILED_PRECONDITION);
    assert_non_null(strstr(err.message, "lacks avx512f (present: none)"));
#endif
}

static void features_are_described_within_the_buffer(void **state)
{
    char text[64];

    (void)state;
    lathe_cpu_describe(LATHE_CPU_AVX2 | LATHE_CPU_FMA | LATHE_CPU_AVX512F, text, sizeof(text));
    assert_string_equal(text, "avx2 fma avx512f");
    lathe_cpu_describe(LATHE_CPU_AVX2 | LATHE_CPU_FMA, text, 7);
    assert_string_equal(text, "avx2 f");
    lathe_cpu_describe(0, text, sizeof(text));
    assert_string_equal(text, "none");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_are_within_the_bound_at_all_dims),
        cmocka_unit_test(a_row_has_the_same_bits_alone_and_among_others),
        cmocka_unit_test(a_tile_has_the_same_bits_whatever_its_size),
        cmocka_unit_test(no_byte_outside_rows_and_query_is_read),
        cmocka_unit_test(the_accumulation_bound_is_needed),
        cmocka_unit_test(auto_takes_the_fastest_that_can_run),
        cmocka_unit_test(a_named_set_is_taken_or_refused),
        cmocka_unit_test(features_are_described_within_the_buffer),
    };

    return cmocka_run_group_tests_name("kernel", tests, find_cases, NULL);
}
