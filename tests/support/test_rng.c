/* test_rng.c - xoshiro256** (Blackman, Vigna 2018), seeded by splitmix64. */
#include "tests/support/test.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);

    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

void test_rng_seed_with(struct test_rng *rng, uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        rng->state[i] = splitmix(&seed);
}

void test_rng_seed(struct test_rng *rng, const char *name)
{
    const char *wanted = getenv("LATHE_TEST_SEED");
    struct timespec now;
    uint64_t seed;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    seed = wanted != NULL ? strtoull(wanted, NULL, 10)
                          : (uint64_t)now.tv_sec * 1000000007u ^ (uint64_t)now.tv_nsec;
    printf("%s: seed %" PRIu64 " (LATHE_TEST_SEED=%" PRIu64 " repeats it)\n", name, seed, seed);
    (void)fflush(stdout);
    test_rng_seed_with(rng, seed);
}

static uint64_t rotate(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

uint64_t test_rng_u64(struct test_rng *rng)
{
    uint64_t *s = rng->state;
    uint64_t result = rotate(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

uint64_t test_rng_below(struct test_rng *rng, uint64_t bound)
{
    return bound > 0 ? test_rng_u64(rng) % bound : 0;
}

double test_rng_unit(struct test_rng *rng)
{
    return (double)(test_rng_u64(rng) >> 11) * 0x1p-53;
}

double test_rng_gauss(struct test_rng *rng)
{
    double u = 1.0 - test_rng_unit(rng);

    return sqrt(-2.0 * log(u)) * cos(2.0 * M_PI * test_rng_unit(rng));
}

void test_rng_gauss_floats(struct test_rng *rng, float *out, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = (float)test_rng_gauss(rng);
}
