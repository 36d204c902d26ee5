/* test.h - what every test includes first: cmocka with its prerequisites, and the helpers of this
 * folder. */
#ifndef LATHE_TESTS_SUPPORT_TEST_H
#define LATHE_TESTS_SUPPORT_TEST_H
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* A seeded generator (xoshiro256**). The seed is printed; LATHE_TEST_SEED=N repeats a run. */
struct test_rng {
    uint64_t state[4];
};

void test_rng_seed(struct test_rng *rng, const char *name);
void test_rng_seed_with(struct test_rng *rng, uint64_t seed);
uint64_t test_rng_u64(struct test_rng *rng);
uint64_t test_rng_below(struct test_rng *rng, uint64_t bound); /* 0..bound-1 */
double test_rng_unit(struct test_rng *rng);                    /* [0, 1) */
double test_rng_gauss(struct test_rng *rng);                   /* mean 0, variance 1 */
void test_rng_gauss_floats(struct test_rng *rng, float *out, size_t count);

/* Lets `let_pass` calls of lathe_alloc() with this size (SIZE_MAX: any size) succeed and the next
 * one fail, once. Size 0: none fails. The test is linked with -Wl,--wrap=lathe_alloc. */
void test_alloc_fail(size_t size, int let_pass);
bool test_alloc_failed(void); /* the one that was to fail has failed */

/* A fresh empty directory under $TMPDIR or /tmp; freed and removed with everything in it by
 * _remove. */
char *test_dir_create(void);
void test_dir_remove(char *path);
#endif
