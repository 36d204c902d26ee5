/* log.c - see log.h. */
#include "common/base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static _Atomic int minimum_level = LATHE_LOG_INFO;
static const char *const level_names[] = {"debug", "info", "warn", "error"};

enum { LINE_BYTES = 1024 };

void lathe_log_set_level(enum lathe_log_level level)
{
    atomic_store_explicit(&minimum_level, (int)level, memory_order_relaxed);
}

bool lathe_log_level_parse(const char *text, enum lathe_log_level *level_out)
{
    for (int i = 0; i < 4; i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *level_out = (enum lathe_log_level)i;
            return true;
        }
    }
    return false;
}

void lathe_log(enum lathe_log_level level, const char *event, const char *format, ...)
{
    char line[LINE_BYTES];
    struct timespec now;
    struct tm utc;
    size_t used;
    int wrote;
    va_list args;

    if ((int)level < atomic_load_explicit(&minimum_level, memory_order_relaxed))
        return;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &utc);
    used = strftime(line, sizeof(line), "time=%Y-%m-%dT%H:%M:%S", &utc);
    wrote = snprintf(line + used, sizeof(line) - used, ".%03ldZ level=%s event=%s ",
                     now.tv_nsec / 1000000, level_names[level], event);
    used += (size_t)wrote;
    va_start(args, format);
    wrote = vsnprintf(line + used, sizeof(line) - used, format, args);
    va_end(args);
    if (wrote > 0)
        used += (size_t)wrote;
    if (used > sizeof(line) - 1)
        used = sizeof(line) - 1;
    line[used++] = '\n';
    /* One write a line keeps lines whole when several threads log. */
    if (write(STDERR_FILENO, line, used) < 0)
        return; /* a log that cannot be written has nowhere to say so */
}
