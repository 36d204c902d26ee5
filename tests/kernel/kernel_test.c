/* kernel_test.c - sets under test and their data. */
#include "tests/kernel/kernel_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shard/kernel/cpu.h"

/* kernel_avx512.c compiled against emulated/immintrin.h. */
extern const struct lathe_kernel_set lathe_kernel_avx512_emulated;

size_t kernel_cases(struct kernel_case cases_out[KERNEL_CASES_MAX])
{
    const char *required = getenv("LATHE_REQUIRE_ISA");
    size_t count = 0;

    for (size_t i = 0; i < lathe_kernel_set_count; i++) {
        const struct lathe_kernel_set *set;
        struct lathe_error err;

        if (lathe_kernel_select(lathe_kernel_sets[i]->name, lathe_cpu_detect(), &set, &err) ==
            LATHE_OK) {
            cases_out[count++] = (struct kernel_case){set->name, set};
            continue;
        }
        print_message("skipped: %s\n", err.message);
        if (required != NULL && strstr(required, lathe_kernel_sets[i]->name) != NULL)
            fail_msg("LATHE_REQUIRE_ISA=%s, but: %s", required, err.message);
    }
    cases_out[count++] = (struct kernel_case){"avx512, emulated", &lathe_kernel_avx512_emulated};
    return count;
}

static void scale(float *x, size_t dims, double norm)
{
    double sum = 0;

    for (size_t i = 0; i < dims; i++)
        sum += (double)x[i] * (double)x[i];
    for (size_t i = 0; i < dims && sum > 0; i++)
        x[i] = (float)((double)x[i] * (norm / sqrt(sum)));
}

void data_fill(struct test_rng *rng, enum data_kind kind, float *out, size_t dims)
{
    test_rng_gauss_floats(rng, out, dims);
    switch (kind) {
    case DATA_HUGE:
        scale(out, dims, 0x1.ffp49);
        break;
    case DATA_SMALL:
        scale(out, dims, 0x1p-49);
        break;
    case DATA_SUBNORMAL:
        scale(out, dims, 0x1p-130);
        break;
    case DATA_MIXED:
        for (size_t i = 0; i < dims; i++)
            out[i] = ldexpf(out[i], -(int)test_rng_below(rng, 60));
        break;
    case DATA_SPARSE:
        for (size_t i = 0; i < dims; i++)
            out[i] = test_rng_below(rng, 10) == 0 ? out[i] : 0;
        break;
    case DATA_INTEGERS:
        for (size_t i = 0; i < dims; i++)
            out[i] = roundf(out[i]);
        break;
    case DATA_CANCELLING:
        for (size_t i = 0; i < dims / 2; i++)
            out[dims - 1 - i] = -out[i];
        break;
    case DATA_GAUSS:
    case DATA_KINDS:
        break;
    }
}

void data_worst_dot(const struct lathe_kernel_shape *shape, float *x, size_t dims)
{
    /* 1 + 2^-24 lies in the middle of two floats and is rounded to the even one, 1. */
    for (size_t i = 0; i < dims; i++)
        x[i] = i < shape->lanes ? 1 : 0x1p-12f;
}

void data_worst_l2sq(const struct lathe_kernel_shape *shape, float *x, float *q, size_t dims)
{
    /* x - q is a little more than the middle of two floats and rounded up; so is each later sum. */
    for (size_t i = 0; i < dims; i++) {
        x[i] = i < shape->lanes ? 1 : 0x1.000002p-12f;
        q[i] = i < shape->lanes ? -0x1.00002p-24f : 0;
    }
}
