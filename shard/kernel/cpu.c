/* cpu.c - feature bits from CPUID and XGETBV. */
#include "shard/kernel/cpu.h"

#include <stdio.h>

#if defined(__x86_64__)
#include <cpuid.h>

enum {
    LEAF1_ECX_FMA = 1 << 12,
    LEAF1_ECX_OSXSAVE = 1 << 27,
    LEAF7_EBX_AVX2 = 1 << 5,
    LEAF7_EBX_AVX512F = 1 << 16,
    XCR0_YMM = 0x06, /* SSE and AVX state */
    XCR0_ZMM = 0xe6  /* and masks, upper halves, registers 16 to 31 */
};

/* XCR0: the register state that the operating system saves. Valid only if OSXSAVE is set. */
static uint32_t read_xcr0(void)
{
    uint32_t low, high;

    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

uint32_t lathe_cpu_detect(void)
{
    unsigned a, b, c, d, ecx1;
    uint32_t saved, cpu = 0;

    if (!__get_cpuid(1, &a, &b, &ecx1, &d) || (ecx1 & LEAF1_ECX_OSXSAVE) == 0)
        return 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return 0;
    saved = read_xcr0();
    if ((saved & XCR0_YMM) == XCR0_YMM) {
        cpu |= (b & LEAF7_EBX_AVX2) != 0 ? LATHE_CPU_AVX2 : 0;
        cpu |= (ecx1 & LEAF1_ECX_FMA) != 0 ? LATHE_CPU_FMA : 0;
    }
    if ((saved & XCR0_ZMM) == XCR0_ZMM)
        cpu |= (b & LEAF7_EBX_AVX512F) != 0 ? LATHE_CPU_AVX512F : 0;
    return cpu;
}
#else
uint32_t lathe_cpu_detect(void)
{
    return 0;
}
#endif

void lathe_cpu_describe(uint32_t cpu, char *text_out, size_t size)
{
    snprintf(text_out, size, "%s%s%s%s", (cpu & LATHE_CPU_AVX2) != 0 ? "avx2 " : "",
             (cpu & LATHE_CPU_FMA) != 0 ? "fma " : "",
             (cpu & LATHE_CPU_AVX512F) != 0 ? "avx512f " : "", cpu == 0 ? "none " : "");
    for (size_t i = 0; i < size && text_out[i] != '\0'; i++)
        if (text_out[i] == ' ' && (i + 1 == size || text_out[i + 1] == '\0'))
            text_out[i] = '\0';
}
