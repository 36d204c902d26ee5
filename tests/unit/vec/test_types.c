/* test_types.c - names, sizes and the check of vectors from outside. */
#include "tests/support/test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/limits.h"
#include "common/vec/types.h"

static void names_and_numbers_are_those_of_the_api(void **state)
{
    enum lathe_metric metric;
    enum lathe_element element;

    (void)state;
    assert_int_equal(LATHE_COSINE, 1);
    assert_int_equal(LATHE_DOT, 2);
    assert_int_equal(LATHE_EUCLIDEAN, 3);
    assert_int_equal(LATHE_MANHATTAN, 4);
    assert_int_equal(LATHE_FLOAT32, 1);
    assert_int_equal(LATHE_BIT, 6);
    for (int i = 1; i <= 4; i++) {
        assert_true(lathe_metric_parse(lathe_metric_name((enum lathe_metric)i), &metric));
        assert_int_equal(metric, i);
    }
    for (int i = 1; i <= 6; i++) {
        assert_true(lathe_element_parse(lathe_element_name((enum lathe_element)i), &element));
        assert_int_equal(element, i);
    }
    assert_string_equal(lathe_metric_name(LATHE_EUCLIDEAN), "euclidean");
    assert_string_equal(lathe_element_name(LATHE_BFLOAT16), "bfloat16");
    assert_null(lathe_metric_name((enum lathe_metric)0));
    assert_null(lathe_metric_name((enum lathe_metric)5));
    assert_null(lathe_element_name((enum lathe_element)7));
    assert_false(lathe_metric_parse("Cosine", &metric));
    assert_false(lathe_element_parse("float", &element));
}

static void sizes_count_bits_packed(void **state)
{
    (void)state;
    assert_int_equal(lathe_element_bytes(LATHE_FLOAT32, 768), 3072);
    assert_int_equal(lathe_element_bytes(LATHE_FLOAT16, 3), 6);
    assert_int_equal(lathe_element_bytes(LATHE_BFLOAT16, 3), 6);
    assert_int_equal(lathe_element_bytes(LATHE_INT8, 5), 5);
    assert_int_equal(lathe_element_bytes(LATHE_UINT8, 5), 5);
    assert_int_equal(lathe_element_bytes(LATHE_BIT, 8), 1);
    assert_int_equal(lathe_element_bytes(LATHE_BIT, 9), 2);
    assert_int_equal(lathe_element_bytes((enum lathe_element)9, 9), 0);
}

static void a_non_finite_element_is_named_wherever_it_stands(void **state)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    float x[67];

    (void)state;
    for (uint32_t dims = 1; dims <= 67; dims += 11) {
        for (uint32_t at = 0; at < dims; at++) {
            struct lathe_error err;
            char wanted[32];

            for (uint32_t i = 0; i < dims; i++)
                x[i] = 0x1p40f;
            x[at] = bad[at % 3];
            assert_int_equal(lathe_vector_check_f32(x, dims, LATHE_DOT, false, &err),
                             LATHE_INVALID_ARGUMENT);
            (void)snprintf(wanted, sizeof(wanted), "element %u ", at);
            assert_non_null(strstr(err.message, wanted));
        }
    }
}

static void a_norm_up_to_the_limit_passes_and_one_above_it_does_not(void **state)
{
    float x[17] = {0};
    struct lathe_error err;

    (void)state;
    x[16] = 0x1p50f;
    assert_int_equal(lathe_vector_check_f32(x, 17, LATHE_COSINE, false, &err), LATHE_OK);
    x[0] = 0x1p24f; /* one ulp of the sum */
    assert_int_equal(lathe_vector_check_f32(x, 17, LATHE_COSINE, false, &err),
                     LATHE_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "2^100"));
    x[0] = 0;
    x[16] = nextafterf(0x1p50f, INFINITY);
    assert_int_equal(lathe_vector_check_f32(x, 17, LATHE_EUCLIDEAN, false, NULL),
                     LATHE_INVALID_ARGUMENT);
    x[16] = 3.4e38f;
    assert_int_equal(lathe_vector_check_f32(x, 17, LATHE_DOT, false, &err), LATHE_INVALID_ARGUMENT);
}

static void a_zero_vector_is_refused_under_cosine_alone(void **state)
{
    float x[33] = {0};
    struct lathe_error err;

    (void)state;
    x[5] = -0.0f;
    assert_int_equal(lathe_vector_check_f32(x, 33, LATHE_COSINE, false, &err),
                     LATHE_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "zero"));
    assert_int_equal(lathe_vector_check_f32(x, 33, LATHE_COSINE, true, &err), LATHE_OK);
    assert_int_equal(lathe_vector_check_f32(x, 33, LATHE_DOT, false, &err), LATHE_OK);
    assert_int_equal(lathe_vector_check_f32(x, 33, LATHE_EUCLIDEAN, false, &err), LATHE_OK);
    x[32] = 0x1p-149f;
    assert_int_equal(lathe_vector_check_f32(x, 33, LATHE_COSINE, false, &err), LATHE_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_numbers_are_those_of_the_api),
        cmocka_unit_test(sizes_count_bits_packed),
        cmocka_unit_test(a_non_finite_element_is_named_wherever_it_stands),
        cmocka_unit_test(a_norm_up_to_the_limit_passes_and_one_above_it_does_not),
        cmocka_unit_test(a_zero_vector_is_refused_under_cosine_alone),
    };

    return cmocka_run_group_tests_name("vec/types", tests, NULL, NULL);
}
