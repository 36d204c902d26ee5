/* status.c - texts of the status table and the filling of error objects. */
#include "common/base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *lathe_status_name(enum lathe_status status)
{
    switch (status) {
#define LATHE_STATUS_NAME(name, number, retryable) \
    case LATHE_##name:                             \
        return #name;
        LATHE_STATUS_TABLE(LATHE_STATUS_NAME)
#undef LATHE_STATUS_NAME
    }
    return "UNKNOWN";
}

bool lathe_status_retryable(enum lathe_status status)
{
    switch (status) {
#define LATHE_STATUS_RETRYABLE(name, number, retryable) \
    case LATHE_##name:                                  \
        return retryable;
        LATHE_STATUS_TABLE(LATHE_STATUS_RETRYABLE)
#undef LATHE_STATUS_RETRYABLE
    }
    return false;
}

enum lathe_status lathe_status_from_number(uint32_t number)
{
    return number <= LATHE_UNAUTHENTICATED ? (enum lathe_status)number : LATHE_UNKNOWN;
}

static void fill(struct lathe_error *err, enum lathe_status status, const char *field,
                 const char *format, va_list args)
{
    if (err == NULL)
        return;
    err->status = status;
    err->retry_after_ms = 0;
    (void)snprintf(err->field, sizeof(err->field), "%s", field);
    (void)vsnprintf(err->message, sizeof(err->message), format, args);
}

enum lathe_status lathe_fail(struct lathe_error *err, enum lathe_status status, const char *format,
                             ...)
{
    va_list args;

    va_start(args, format);
    fill(err, status, "", format, args);
    va_end(args);
    return status;
}

enum lathe_status lathe_fail_field(struct lathe_error *err, enum lathe_status status,
                                   const char *field, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fill(err, status, field, format, args);
    va_end(args);
    return status;
}

void lathe_error_in(struct lathe_error *err, const char *format, ...)
{
    char prefix[LATHE_ERROR_FIELD_BYTES];
    char joined[2 * LATHE_ERROR_FIELD_BYTES + 2];
    va_list args;

    if (err == NULL)
        return;
    va_start(args, format);
    (void)vsnprintf(prefix, sizeof(prefix), format, args);
    va_end(args);
    (void)snprintf(joined, sizeof(joined), "%s%s%s", prefix,
                   err->field[0] == '\0' || err->field[0] == '[' ? "" : ".", err->field);
    joined[sizeof(err->field) - 1] = '\0';
    memcpy(err->field, joined, sizeof(err->field));
}
