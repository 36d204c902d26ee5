/* status.h - result codes of every function that can fail, and the text that goes with a failure.
 *
 * The codes are gRPC's own, with gRPC's numbers: one vocabulary from RocksDB's door to the client.
 */
#ifndef LATHE_BASE_STATUS_H
#define LATHE_BASE_STATUS_H
#include <stdbool.h>
#include <stdint.h>

/* name, gRPC number, may the same request be sent again unchanged and succeed later? */
#define LATHE_STATUS_TABLE(X)        \
    X(OK, 0, false)                  \
    X(CANCELLED, 1, false)           \
    X(UNKNOWN, 2, false)             \
    X(INVALID_ARGUMENT, 3, false)    \
    X(DEADLINE_EXCEEDED, 4, true)    \
    X(NOT_FOUND, 5, false)           \
    X(ALREADY_EXISTS, 6, false)      \
    X(PERMISSION_DENIED, 7, false)   \
    X(RESOURCE_EXHAUSTED, 8, true)   \
    X(FAILED_PRECONDITION, 9, false) \
    X(ABORTED, 10, true)             \
    X(OUT_OF_RANGE, 11, false)       \
    X(UNIMPLEMENTED, 12, false)      \
    X(INTERNAL, 13, false)           \
    X(UNAVAILABLE, 14, true)         \
    X(DATA_LOSS, 15, false)          \
    X(UNAUTHENTICATED, 16, false)

enum lathe_status {
#define LATHE_STATUS_ENUM(name, number, retryable) LATHE_##name = (number),
    LATHE_STATUS_TABLE(LATHE_STATUS_ENUM)
#undef LATHE_STATUS_ENUM
};

#define LATHE_MUST_CHECK __attribute__((warn_unused_result))
#define LATHE_PRINTF(format_index, first_index) \
    __attribute__((format(printf, format_index, first_index)))

enum { LATHE_ERROR_FIELD_BYTES = 160, LATHE_ERROR_MESSAGE_BYTES = 512 };

/* What a person will read about a failure. Plain data, copied freely; zeroed means "no error". */
struct lathe_error {
    enum lathe_status status;
    uint32_t retry_after_ms;             /* hint for RESOURCE_EXHAUSTED and UNAVAILABLE; 0 = none */
    char field[LATHE_ERROR_FIELD_BYTES]; /* path of the request field at fault, "" = none */
    char message[LATHE_ERROR_MESSAGE_BYTES];
};

/* "INVALID_ARGUMENT" and so on; "UNKNOWN" for a number outside the table. */
const char *lathe_status_name(enum lathe_status status);

/* True if the same request may be sent again. */
bool lathe_status_retryable(enum lathe_status status);

/* A number from outside made a status; numbers outside the table become LATHE_UNKNOWN. */
enum lathe_status lathe_status_from_number(uint32_t number);

/* Fills *err (may be NULL) and returns `status`, so that callers can `return lathe_fail(...)`.
 * The text is cut at the buffer's end, never refused. */
enum lathe_status lathe_fail(struct lathe_error *err, enum lathe_status status, const char *format,
                             ...) LATHE_PRINTF(3, 4);

/* The same, naming the request field at fault ("operations[3].point.id"). */
enum lathe_status lathe_fail_field(struct lathe_error *err, enum lathe_status status,
                                   const char *field, const char *format, ...) LATHE_PRINTF(4, 5);

/* Puts "prefix." (or "prefix" before "[") in front of err->field, for callers that know more of the
 * path. */
void lathe_error_in(struct lathe_error *err, const char *format, ...) LATHE_PRINTF(2, 3);
#endif
