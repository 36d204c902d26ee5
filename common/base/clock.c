/* clock.c - the system's clocks. */
#include "common/base/clock.h"

#include <stddef.h>
#include <time.h>

static uint64_t system_now_us(void *context)
{
    struct timespec t;

    (void)context;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static uint64_t system_wall_ms(void *context)
{
    struct timespec t;

    (void)context;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

const struct lathe_clock lathe_system_clock = {system_now_us, system_wall_ms, NULL};
