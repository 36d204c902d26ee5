/* grpc_log.c - see grpc_log.h. */
#include "coordinator/grpc/grpc_log.h"

#include <grpc/support/log.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"

/* Clients can make gRPC complain as often as they like; more lines than this are only counted. */
enum { LINES_A_SECOND = 10 };

static _Atomic uint64_t line_second;
static _Atomic uint32_t line_count; /* in that second */

static _Thread_local char *captured;
static _Thread_local size_t captured_size;

/* The text stands in quotes in a logfmt line, and parts of it come from outside. */
static void clean(const char *text, char *out, size_t size)
{
    size_t i;

    for (i = 0; i + 1 < size && text[i] != '\0'; i++) {
        unsigned char c = (unsigned char)text[i];

        out[i] = c == '"' || c == '\\' ? '\'' : c < 0x20 || c == 0x7F ? ' ' : text[i];
    }
    out[i] = '\0';
}

/* True if this second has room for one more line. Threads may disagree for a moment about the
 * second, which costs a line too many or too few. */
static bool line_allowed(void)
{
    uint64_t second = lathe_now_us(&lathe_system_clock) / 1000000u;
    uint32_t before;

    if (atomic_exchange(&line_second, second) != second) {
        before = atomic_exchange(&line_count, 0);
        if (before > LINES_A_SECOND)
            lathe_log(LATHE_LOG_WARN, "grpc-lines-dropped", "count=%" PRIu32,
                      before - LINES_A_SECOND);
    }
    return atomic_fetch_add(&line_count, 1) < LINES_A_SECOND;
}

static void take_line(gpr_log_func_args *args)
{
    const char *file = strrchr(args->file, '/');
    char text[400];

    if (args->severity != GPR_LOG_SEVERITY_ERROR)
        return;
    if (captured != NULL) {
        if (captured[0] == '\0') /* the first line is the closest to the cause */
            (void)snprintf(captured, captured_size, "%s", args->message);
        return;
    }
    if (!line_allowed())
        return;
    clean(args->message, text, sizeof(text));
    lathe_log(LATHE_LOG_WARN, "grpc", "file=%s line=%d text=\"%s\"",
              file != NULL ? file + 1 : args->file, args->line, text);
}

void lathe_grpc_log_redirect(void)
{
    gpr_set_log_verbosity(GPR_LOG_SEVERITY_ERROR);
    gpr_set_log_function(take_line);
}

void lathe_grpc_log_capture(char *text, size_t size)
{
    text[0] = '\0';
    captured = text;
    captured_size = size;
}

void lathe_grpc_log_release(void)
{
    captured = NULL;
}
