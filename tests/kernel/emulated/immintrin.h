/* immintrin.h - the few AVX-512 operations that shard/kernel/kernel_avx512.c uses, in plain C, from
 * their definition in the instruction set reference. The file is compiled a second time against
 * this header, so that its loops, tails and masks are tested on machines without AVX-512. */
#ifndef LATHE_TESTS_EMULATED_IMMINTRIN_H
#define LATHE_TESTS_EMULATED_IMMINTRIN_H
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    float lane[16];
} __m512;
typedef uint16_t __mmask16;

static inline __m512 _mm512_setzero_ps(void)
{
    return (__m512){{0}};
}

static inline __m512 _mm512_loadu_ps(const float *p)
{
    __m512 r;

    memcpy(r.lane, p, sizeof(r.lane));
    return r;
}

static inline __m512 _mm512_maskz_loadu_ps(__mmask16 mask, const float *p)
{
    __m512 r;

    for (int i = 0; i < 16; i++)
        r.lane[i] = (mask >> i & 1) != 0 ? p[i] : 0;
    return r;
}

static inline __m512 _mm512_add_ps(__m512 a, __m512 b)
{
    for (int i = 0; i < 16; i++)
        a.lane[i] += b.lane[i];
    return a;
}

static inline __m512 _mm512_sub_ps(__m512 a, __m512 b)
{
    for (int i = 0; i < 16; i++)
        a.lane[i] -= b.lane[i];
    return a;
}

static inline __m512 _mm512_fmadd_ps(__m512 a, __m512 b, __m512 c)
{
    for (int i = 0; i < 16; i++)
        c.lane[i] = fmaf(a.lane[i], b.lane[i], c.lane[i]);
    return c;
}

/* 128-bit quarters: two from a, then two from b. */
static inline __m512 _mm512_shuffle_f32x4(__m512 a, __m512 b, int select)
{
    __m512 r;

    for (int i = 0; i < 16; i++)
        r.lane[i] = (i < 8 ? a : b).lane[4 * (select >> 2 * (i / 4) & 3) + i % 4];
    return r;
}

/* Within each 128-bit quarter. */
static inline __m512 _mm512_permute_ps(__m512 a, int select)
{
    __m512 r;

    for (int i = 0; i < 16; i++)
        r.lane[i] = a.lane[i / 4 * 4 + (select >> 2 * (i % 4) & 3)];
    return r;
}

static inline float _mm512_cvtss_f32(__m512 a)
{
    return a.lane[0];
}
#endif
