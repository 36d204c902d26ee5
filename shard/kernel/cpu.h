/* cpu.h - what this processor can run AND this operating system keeps across a task switch. */
#ifndef LATHE_SHARD_CPU_H
#define LATHE_SHARD_CPU_H
#include <stddef.h>
#include <stdint.h>

enum lathe_cpu_feature {
    LATHE_CPU_AVX2 = 1 << 0, /* with 256-bit registers saved by the system */
    LATHE_CPU_FMA = 1 << 1,
    LATHE_CPU_AVX512F = 1 << 2 /* with 512-bit and mask registers saved by the system */
};

/* The features of this machine, or-ed. 0 on anything but x86-64. Threads: any. */
uint32_t lathe_cpu_detect(void);

/* Names of the features in `cpu`, separated by blanks ("none" for 0), cut at `size` bytes. */
void lathe_cpu_describe(uint32_t cpu, char *text_out, size_t size);
#endif
