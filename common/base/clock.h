/* clock.h - time behind a table, so that tests own it. */
#ifndef LATHE_BASE_CLOCK_H
#define LATHE_BASE_CLOCK_H
#include <stdint.h>

struct lathe_clock {
    uint64_t (*now_us)(void *context);  /* monotonic, from an arbitrary start */
    uint64_t (*wall_ms)(void *context); /* since 1970-01-01 UTC; may jump */
    void *context;
};

extern const struct lathe_clock lathe_system_clock;

static inline uint64_t lathe_now_us(const struct lathe_clock *clock)
{
    return clock->now_us(clock->context);
}

static inline uint64_t lathe_wall_ms(const struct lathe_clock *clock)
{
    return clock->wall_ms(clock->context);
}
#endif
