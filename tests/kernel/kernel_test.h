/* kernel_test.h - the kernel sets that a test runs, and data that is hard on roundings. */
#ifndef LATHE_TESTS_KERNEL_TEST_H
#define LATHE_TESTS_KERNEL_TEST_H
#include "tests/support/test.h"

#include "shard/kernel/kernel.h"

struct kernel_case {
    const char *label;
    const struct lathe_kernel_set *set;
};

enum { KERNEL_CASES_MAX = 8 };

/* Every set that this machine can run, and AVX-512 emulated in C. A set that cannot run is named in
 * a message, or fails the test if the environment variable LATHE_REQUIRE_ISA names it. */
size_t kernel_cases(struct kernel_case cases_out[KERNEL_CASES_MAX]);

enum data_kind {
    DATA_GAUSS,
    DATA_HUGE,       /* norms close to 2^50 */
    DATA_SMALL,      /* norms close to 2^-49 */
    DATA_SUBNORMAL,  /* elements below 2^-126 */
    DATA_MIXED,      /* magnitudes from 2^-60 to 1 */
    DATA_SPARSE,     /* mostly zeros */
    DATA_INTEGERS,   /* small whole numbers: many equal scores */
    DATA_CANCELLING, /* halves that cancel under a query of equal halves */
    DATA_KINDS
};

void data_fill(struct test_rng *rng, enum data_kind kind, float *out, size_t dims);

/* Data that drives a kernel's sum as far from the truth as its shape allows: every addition after
 * the first in each of the `lanes` partial sums is rounded by half a unit in the last place, in the
 * same direction. Under dot, x times itself comes out too small; under l2sq, x against q comes out
 * too large, its differences having been rounded up as well. dims must be a multiple of `lanes`. */
void data_worst_dot(const struct lathe_kernel_shape *shape, float *x, size_t dims);
void data_worst_l2sq(const struct lathe_kernel_shape *shape, float *x, float *q, size_t dims);
#endif
